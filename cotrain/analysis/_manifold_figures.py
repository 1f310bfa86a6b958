"""Pictures of manifold geometry: capacity, radius, dimension and centre correlation, by layer or over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._manifold_summary import ManifoldRuns, manifold_summary
from cotrain.analysis._style import NORMAL, SMALL, Look, bare, broken, draw_legend, draw_title, looks, words
from cotrain.errors import CotrainError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {
    "mean_capacity": "capacity",
    "mean_radius": "radius (lengths of the centre)",
    "mean_dimension": "dimension",
    "center_correlation": "correlation of centres",
}
SIZE = (7.2, 5.4)  # inches
NAMED = 12  # layers whose names find room
CONTROL_STYLES = (":", "-.", (0, (5, 1)), (0, (1, 3)), (0, (3, 1, 1, 1)), (0, (8, 2)), "--")
NOISE = "0.45"


def manifold_layers_figure(held: ManifoldRuns, *, confidence: float = 0.95, title: str | None = None) -> Figure:
    """The four measures by layer, after the figure of Cohen et al. 2020 (Nature Communications 11:746).

    A line an experiment: where all have the same layers, at their names, else over depth. Dotted: epoch 0, where it was
    evaluated. In the panel of capacity, thin: controls, and grey: capacity of noise of as many points.

    Args:
        held: Geometry (`manifold_runs`).
        confidence: Of the bands.
        title: None: whose images.

    Raises:
        CotrainError: The rows are of smooth manifolds.
    """
    _require_classes(held)
    own = _with(held, held.rows[(held.rows.stage != "") & (held.rows.control == "")])
    points = manifold_summary(own, ("stage", "layer_place", "layer", "depth"), confidence=confidence)
    names = [tuple(part.layer) for _, part in own.rows.groupby(["run_key", "stage"], sort=False)]
    named = len(set(names)) == 1 and len(names[0]) <= NAMED
    points = points.assign(x=points.layer_place if named else points.depth)
    figure, panels = _panels()
    look = looks(held.labels)
    for measure, axes in panels.items():
        of_measure = points[points.measure == measure]
        _draw(axes, of_measure[of_measure.stage == "trained"], look)
        _draw(axes, of_measure[of_measure.stage == "initial"], look, style=":", width=1.2)
        if named:
            tilt = max(map(len, names[0])) > 8
            axes.set_xticks(range(len(names[0])), [broken(name, 14) for name in names[0]])
            axes.tick_params(axis="x", rotation=40 if tilt else 0)
        else:
            axes.set_xlim(0, 1.03)
    _draw_controls(panels["mean_capacity"], held, look, named)
    _draw_floor(panels["mean_capacity"], points)
    _finish(figure, panels, held, points, "" if named else "depth (share of blocks)", title, confidence)
    return figure


def manifold_training_figure(
    held: ManifoldRuns, *, layer: str | None = None, confidence: float = 0.95, title: str | None = None
) -> Figure:
    """The four measures of one layer over training.

    Where the seeds of an experiment have different epochs, only those that all of them have are drawn.

    Args:
        held: Geometry (`manifold_runs`), of several epochs.
        layer: None: the last one of each run.
        confidence: Of the bands.
        title: None: whose images, and the layer.

    Raises:
        CotrainError: There is no such layer, no experiment has several epochs, or the rows are of smooth manifolds.
    """
    from matplotlib.ticker import MaxNLocator

    _require_classes(held)
    rows = held.rows[held.rows.control == ""]
    known = list(dict.fromkeys(rows.layer))
    if layer is not None and layer not in known:
        raise CotrainError(f"No layer {layer!r} is evaluated.{did_you_mean(layer, known)}")
    last = rows.groupby("run_key").layer_place.transform("max")
    chosen = rows[rows.layer == layer] if layer is not None else rows[rows.layer_place == last]
    seeds = chosen.groupby("label").run_key.transform("nunique")
    chosen = chosen[chosen.groupby(["label", "epoch"]).run_key.transform("nunique") == seeds]
    if not len(chosen) or chosen.groupby("label").epoch.nunique().max() < 2:
        raise CotrainError(
            "Geometry over training needs several epochs that all seeds have. Evaluate with "
            "`epochs: [initial, kept, best]` runs whose trainer has `keep_epochs`."
        )
    points = manifold_summary(_with(held, chosen), ("epoch",), confidence=confidence)
    points = points.assign(x=points.epoch)
    figure, panels = _panels()
    look = looks(held.labels)
    for measure, axes in panels.items():
        _draw(axes, points[points.measure == measure], look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_floor(panels["mean_capacity"], points)
    names = ", ".join(dict.fromkeys(chosen.layer))
    _finish(figure, panels, held, points, f"epoch (0: as initialised); {names}", title, confidence)
    return figure


def _with(held: ManifoldRuns, rows: pd.DataFrame) -> ManifoldRuns:
    return ManifoldRuns(held.target, held.session, held.labels, rows)


def _panels() -> tuple[Figure, dict[str, Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, dict(zip(PANELS, figure.subplots(2, 2, sharex=True).flat, strict=True))


def _draw(
    axes: Axes, points: pd.DataFrame, look: Mapping[str, Look], *, style: object = None, width: float = 1.6
) -> None:
    for label, (colour, own, marker) in look.items():
        line = points[points.label == label].sort_values("x")
        x = line.x.to_numpy(dtype=float)
        few = len(line) <= NAMED and style is None
        axes.plot(x, line["mean"], color=colour, ls=style or own, lw=width, marker=marker if few else None, ms=4,
                  zorder=3)  # fmt: skip
        axes.fill_between(x, line.low, line.high, color=colour, alpha=0.18 if style is None else 0.08, lw=0, zorder=2)


def _draw_controls(axes: Axes, held: ManifoldRuns, look: Mapping[str, Look], named: bool) -> None:
    from matplotlib.lines import Line2D

    controls = held.rows[(held.rows.control != "") & (held.rows.stage == "trained")]
    styles = dict(zip(dict.fromkeys(controls.control), CONTROL_STYLES, strict=False))
    for control, style in styles.items():
        own = _with(held, controls[controls.control == control])
        points = manifold_summary(own, ("layer_place", "depth"))
        points = points[points.measure == "mean_capacity"].assign(low=np.nan, high=np.nan)
        _draw(axes, points.assign(x=points.layer_place if named else points.depth), look, style=style, width=0.9)
    if styles:
        handles = [Line2D([], [], color="0.3", lw=0.9, ls=style) for style in styles.values()]
        axes.legend(handles, [words(name) for name in styles], frameon=False, fontsize=SMALL - 1, loc="best")


def _draw_floor(axes: Axes, points: pd.DataFrame) -> None:
    """Where noise would be, of each point: other numbers of images have other floors."""
    floors = points[points.floor.notna()].groupby("x").floor.mean().sort_index()
    if not len(floors):
        return
    axes.plot(floors.index, floors.to_numpy(), color=NOISE, ls="--", lw=1.0, zorder=1)
    axes.annotate("noise", (floors.index[0], floors.iloc[0]), xytext=(0, -2), textcoords="offset points",
                  ha="left", va="top", fontsize=SMALL - 1, color=NOISE)  # fmt: skip


def _finish(
    figure: Figure,
    panels: Mapping[str, Axes],
    held: ManifoldRuns,
    points: pd.DataFrame,
    x: str,
    title: str | None,
    confidence: float,
) -> None:
    for number, (measure, axes) in enumerate(panels.items()):
        bare(axes, x if number > 1 else "")
        axes.set_title(PANELS[measure], fontsize=NORMAL)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.92", lw=0.6)
        axes.set_axisbelow(True)
    draw_title(figure, title or f"Manifolds of {held.target}{f', {held.session}' * bool(held.session)}", 2)
    draw_legend(figure, looks(held.labels), 2, note=_note(points, confidence))


def told_of_bands(points: pd.DataFrame, confidence: float, one: str) -> str:
    """What bands are; of one seed they are over `one`, in the plural."""
    seeds = points.groupby("label").seeds.max()
    low, high = int(seeds.min()), int(seeds.max())
    if high == 1:
        return f"One seed; bands: {confidence:.0%} intervals over {one}"
    told = f"Means over {f'{low} to ' * (low < high)}{high} seeds; bands: {confidence:.0%} intervals over seeds"
    return told + (f" (of one seed, over {one})" if low == 1 else "")


def _note(points: pd.DataFrame, confidence: float) -> str:
    dotted = "stage" in points and (points.stage == "initial").any()
    return told_of_bands(points, confidence, "classes") + ("; dotted: epoch 0" if dotted else "")


def _require_classes(held: ManifoldRuns) -> None:
    if "family" in held.rows:
        raise CotrainError("These are smooth manifolds, of many families: smooth_manifolds_figure draws them.")
