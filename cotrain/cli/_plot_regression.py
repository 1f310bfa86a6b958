"""The command that draws how well neurons are predicted from layers: `plot regression`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.cli._connected import database
from cotrain.cli._text import as_columns
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cotrain.analysis import RegressionScores

SHOWN = ("depth", "neurons", "scatter", "map", "training")
UNTRAINED = ", untrained"


def add_regression(group: Any) -> None:
    """Add the command to the group `plot`."""
    added = group.add(
        "regression",
        regression,
        "draw how well neurons are predicted from layers: over depth, neuron by neuron, by area, over training",
        "--recipe hvm_v4 --untrained --out depth.pdf",
        "co-trained 'V4 only' --show scatter --normalised --out scatter.png",
        "co-trained --show training --out training.svg",
    )
    runs = "label (its runs of all seeds) or key (or its beginning) of a run; default: all that are evaluated"
    added.add_argument("runs", nargs="*", metavar="RUN", help=runs)
    added.add_argument("--recipe", help="only runs of this recipe, in its order and by its labels")
    shown = (
        "depth: medians by layer, a panel an area (default); neurons: histograms; scatter: the first label against the "
        "second; map: layers by areas; training: medians by epoch"
    )
    added.add_argument("--show", choices=SHOWN, default="depth", help=shown)
    added.add_argument("--target", help="neural task, or name of a file; needed where there are several")
    added.add_argument("--metric", help="default: pearson, where it was computed")
    added.add_argument("--session", help="default: all together")
    added.add_argument("--area", help="default: all")
    added.add_argument("--normalised", action="store_true", help="divided by what a perfect prediction would score")
    untrained = "also draw the networks as they were initialised, where epoch 0 was evaluated"
    added.add_argument("--untrained", action="store_true", help=untrained)
    key = "key (or its beginning) of the evaluation, where there are several"
    added.add_argument("--evaluation", metavar="KEY", help=key)
    added.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, .pdf or .svg")


def regression(options: argparse.Namespace) -> int:
    """Draw what the database holds of neurons predicted from layers, and print its medians."""
    from cotrain.analysis import check_picture_path, regression_scores, save_figure

    check_picture_path(options.out)
    with database():
        from cotrain.tables.regression_scores import scores_of_neurons

        found = scores_of_neurons(options.runs, recipe=options.recipe, evaluation=options.evaluation)
    rows, labels = found.rows, list(found.labels)
    if options.show != "training":
        rows, labels = _of_one_epoch(rows, labels, options.untrained)
    held = regression_scores(
        rows, target=options.target, metric=options.metric, session=options.session, area=options.area,
        normalised=options.normalised, labels=[label for label in labels if label in set(rows.label)],
    )  # fmt: skip
    folds = rows.folds[rows.target == held.target].iloc[0]
    title = f"{held.target}: {held.described} ({found.described}; {folds})"
    print(f"{title}\n")
    print(as_columns(_table(held, options.show)))
    print("\nmedian over neurons [95 %, bootstrap]; neurons without a score are left out and counted.")
    if found.without:
        print(f"{found.without} more of these runs are finished, but not evaluated so.")
    save_figure(_figure(held, options.show, title), options.out)
    print(f"\npicture: {options.out}")
    return 0


def _of_one_epoch(rows: pd.DataFrame, labels: list[str], untrained: bool) -> tuple[pd.DataFrame, list[str]]:
    """Of each run the best epoch; beside it the first weights, as labels of their own."""
    import pandas as pd

    parts = [rows[rows.best]]
    if untrained:
        first = rows[rows.epoch == 0]
        if not len(first):
            raise CotrainError("Epoch 0 was not evaluated. Evaluate with epochs: [initial, best].")
        parts.append(first.assign(label=first.label + UNTRAINED))
        labels = [name for label in labels for name in (label, label + UNTRAINED)]
    if not len(parts[0]):
        raise CotrainError("The best epoch was not evaluated: epochs of the config lacks it. Take --show training.")
    return pd.concat(parts).drop(columns="epoch"), labels


def _table(held: RegressionScores, show: str) -> pd.DataFrame:
    """A row a label (and epoch) and layer."""
    import pandas as pd

    from cotrain.analysis import regression_summary

    by = ["label", *(["epoch"] if show == "training" else ["area"]), "layer_place", "layer"]
    points = regression_summary(held, by)
    points = points.assign(order=points.label.map(list(held.labels).index)).sort_values(["order", *by], kind="stable")
    middle = [f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in points.itertuples()]
    shown = pd.DataFrame({"layer": points.layer, held.described: middle, "neurons": points.neurons})
    shown["left out"] = points.without_score
    shown["seeds"] = points.label.map(held.seeds)
    for name in ("area", "epoch"):
        if name in by and (points[name] != "").any():
            shown.insert(0, name, points[name])
    return shown.set_index(pd.Index(points.label))


def _figure(held: RegressionScores, show: str, title: str) -> Figure:
    from cotrain import analysis

    if show == "scatter":
        if len(held.labels) != 2:
            raise CotrainError(f"A scatter is of two labels, found {len(held.labels)}: {', '.join(held.labels)}.")
        return analysis.regression_scatter_figure(held, *held.labels, title=title)
    draw = {
        "depth": analysis.regression_depth_figure,
        "neurons": analysis.regression_neurons_figure,
        "map": analysis.regression_map_figure,
        "training": analysis.regression_training_figure,
    }[show]
    return draw(held, title=title)
