"""The command that draws how separable classes are in layers of finished runs: `plot manifolds`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.cli._connected import database
from cotrain.cli._text import as_columns

if TYPE_CHECKING:
    import pandas as pd

    from cotrain.analysis import ManifoldRuns

NAMES = {
    "mean_capacity": "capacity",
    "mean_radius": "radius",
    "mean_dimension": "dimension",
    "center_correlation": "centres",
}


def add_manifolds(group: Any) -> None:
    """Add the command to the group `plot`."""
    added = group.add(
        "manifolds",
        manifolds,
        "draw capacity, radius, dimension and centre correlation of classes, by layer or over training",
        "--recipe cifar_manifolds --out manifolds.pdf",
        "--recipe cifar_manifolds --show training --layer layer4 --out training.png",
        "'objects only' 'co-trained, V4' --target objects --evaluation 3fa9 --out two.svg",
    )
    add_choice(added, "classes")
    show = "layers (default), of the best epoch and of epoch 0 where it is evaluated, or training: one layer by epoch"
    added.add_argument("--show", choices=("layers", "training"), default="layers", help=show)
    layer = "of --show training (default: the last one that is evaluated)"
    added.add_argument("--layer", metavar="LAYER", help=layer)


def add_choice(added: argparse.ArgumentParser, manifolds: str) -> None:
    """Add the options that say which runs, images and evaluation are drawn, and where to.

    Args:
        added: The command's.
        manifolds: What these are, in the plural.
    """
    runs = "label (its runs of all seeds) or key (or its beginning) of a run; default: all that are evaluated"
    added.add_argument("runs", nargs="*", metavar="RUN", help=runs)
    added.add_argument("--recipe", help="only runs of this recipe, in its order and by its labels")
    target = f"classification or file whose {manifolds} are drawn; needed where there are several"
    added.add_argument("--target", metavar="TARGET", help=target)
    added.add_argument("--session", default="", help="of the target (default: of one without sessions)")
    key = "key (or its beginning) of the evaluation, where there are several"
    added.add_argument("--evaluation", metavar="KEY", help=key)
    added.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, .pdf or .svg")


def manifolds(options: argparse.Namespace) -> int:
    """Draw what the database holds of manifolds, and print it."""
    from cotrain.analysis import (
        check_picture_path,
        manifold_layers_figure,
        manifold_runs,
        manifold_training_figure,
        save_figure,
    )
    from cotrain.errors import CotrainError

    check_picture_path(options.out)
    if options.layer is not None and options.show == "layers":
        raise CotrainError("--layer is for --show training; over layers all of them are drawn.")
    with database():
        from cotrain.tables.manifolds import measured_manifolds

        found = measured_manifolds(options.runs, recipe=options.recipe, evaluation=options.evaluation)
    held = manifold_runs(found.rows, target=options.target, session=options.session, labels=found.labels)
    title = f"Manifolds of {held.target}{f', session {held.session}' * bool(held.session)} ({found.described})"
    if options.show == "layers":
        figure = manifold_layers_figure(held, title=title)
    else:
        figure = manifold_training_figure(held, layer=options.layer, title=title)
    print(f"{title}\n")
    print(as_columns(_table(held)))
    for note in notes(held, found.without, "classes", "images"):
        print(note)
    save_figure(figure, options.out)
    print(f"\npicture: {options.out}")
    return 0


def _table(held: ManifoldRuns) -> pd.DataFrame:
    """A row a label, control, epoch and layer."""
    import pandas as pd

    from cotrain.analysis import ManifoldRuns, manifold_summary

    rows: dict[tuple[str, ...], dict[str, object]] = {}
    for control in dict.fromkeys(held.rows.control):
        chosen = held.rows[(held.rows.control == control) & (held.rows.stage != "")]
        of_control = ManifoldRuns(held.target, held.session, held.labels, chosen)
        for row in manifold_summary(of_control, ("stage", "layer_place", "layer")).to_dict("records"):
            name = ", ".join(part for part in (row["label"], "epoch 0" * (row["stage"] == "initial"), control) if part)
            at = (name, row["layer"])
            shown = rows.setdefault(at, {"layer": row["layer"], "seeds": row["seeds"]})
            shown[NAMES[row["measure"]]] = with_interval(row["mean"], row["low"], row["high"])
            if row["floor"] == row["floor"]:
                shown["noise"] = f"{row['floor']:.3f}"
    return pd.DataFrame(list(rows.values()), index=[name for name, _ in rows])


def with_interval(mean: float, low: float, high: float) -> str:
    """For a table."""
    digits = 3 if abs(mean) < 1 else 2
    shown = f"{mean:.{digits}f}"
    return shown if low != low else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def notes(held: ManifoldRuns, without: int, manifolds: str, points: str) -> list[str]:
    """What must be known beside the numbers.

    Args:
        held: That are shown.
        without: How many runs are not evaluated so.
        manifolds, points: What these are, in the plural.
    """
    rows = held.rows[held.rows.control == ""]
    seeds = rows.groupby("label").seed.nunique()
    alone = [label for label in held.labels if seeds[label] == 1]
    told = ["\n[95 %, Student's t]: over seeds; noise: capacity of as many points without any structure."]
    if alone:
        told.append(f"One seed, and so intervals over {manifolds}: {', '.join(alone)}.")
    if where := _where(rows[rows.at_floor > 0.5]):
        told.append(f"Most {manifolds} are near the capacity of noise, which says little, in: {where}.")
    if where := _where(rows[rows.few_points > 0.5]):
        told.append(f"Most have fewer than 10 {points} a dimension; with more, capacity would be lower, in: {where}.")
    if (rows.unknown > 0).any():
        told.append("Some manifolds have no capacity; means are of the others, the table's `undefined` says why.")
    if without:
        told.append(f"{without} more of these runs are finished, but not evaluated so.")
    return told


def _where(rows: pd.DataFrame) -> str:
    """The layers of some rows, or of smooth manifolds their families and displacements; "" of no row."""
    if "family" not in rows:
        return ", ".join(dict.fromkeys(rows.layer))
    reaches = zip(rows.family, rows.displacement, strict=True)
    return ", ".join(dict.fromkeys(f"{family} {pixels:g} px" for family, pixels in reaches))
