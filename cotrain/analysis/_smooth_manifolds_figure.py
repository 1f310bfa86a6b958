"""A picture of smooth manifolds: capacity by layer for each family and displacement, before and after training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cotrain.analysis._manifold_figures import NAMED, NOISE, told_of_bands
from cotrain.analysis._manifold_summary import ManifoldRuns, manifold_summary
from cotrain.analysis._style import NORMAL, SMALL, Look, bare, broken, draw_legend, draw_title, looks, words
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (2.9, 2.2)  # inches, of one family and experiment
BESIDE = 0.6  # inches, of the letters beside the panels
NOTE_LETTERS = 52  # that find room below one panel
STAGES = {"trained": ("-", 0.18), "initial": ("--", 0.08)}  # line, and how dark its band is


def smooth_manifolds_figure(held: ManifoldRuns, *, confidence: float = 0.95, title: str | None = None) -> Figure:
    """Capacity of smooth manifolds by layer: a row of panels an experiment, a column a family, a colour a displacement.

    Solid: trained; dashed: epoch 0, where it was evaluated; dotted grey: capacity of noise of as many points. Layers
    are named where all runs have the same ones, else drawn over depth.

    Args:
        held: Geometry (`manifold_runs`) of rows of `cotrain.evaluations.LayerSmoothManifolds`.
        confidence: Of the bands.
        title: None: whose images.

    Raises:
        CotrainError: The rows are of manifolds of classes.
    """
    from matplotlib.figure import Figure

    if not {"family", "displacement"} <= set(held.rows):
        raise CotrainError(
            "These are no smooth manifolds: they have no family and displacement. Give rows of "
            "cotrain.evaluations.LayerSmoothManifolds; those of classes are drawn by manifold_layers_figure."
        )
    rows = held.rows[held.rows.stage != ""]
    shown = ManifoldRuns(held.target, held.session, held.labels, rows)
    by = ("family", "displacement", "stage", "layer_place", "layer", "depth")
    points = manifold_summary(shown, by, confidence=confidence)
    points = points[points.measure == "mean_capacity"]
    names = _names(rows)
    points = points.assign(x=points.layer_place if names else points.depth)
    families, reaches = list(dict.fromkeys(points.family)), sorted(set(points.displacement))
    look = dict(zip(reaches, looks(map(str, reaches)).values(), strict=True))
    wide, high = PANEL
    figure = Figure(figsize=(BESIDE + wide * len(families), high * len(held.labels)), layout="constrained")
    grid = figure.subplots(len(held.labels), len(families), sharex=True, sharey=True, squeeze=False)
    for label, panels in zip(held.labels, grid, strict=True):
        for family, axes in zip(families, panels, strict=True):
            _draw(axes, points[(points.label == label) & (points.family == family)], look)
            bare(axes)
            if names:
                axes.set_xticks(range(len(names)), [broken(name, 14) for name in names])
                axes.tick_params(axis="x", rotation=40 if max(map(len, names)) > 8 else 0)
        panels[0].set_ylabel(f"{broken(label, 24)}\ncapacity", fontsize=SMALL)
    grid[0, 0].set_ylim(bottom=0)  # once all that share it are drawn, for it ends their scaling
    for family, axes in zip(families, grid[0], strict=True):
        axes.set_title(words(family), fontsize=NORMAL)
    if not names:
        figure.supxlabel("depth (share of blocks)", fontsize=SMALL)
    draw_title(figure, title or f"Smooth manifolds of {held.target}{f', {held.session}' * bool(held.session)}",
               len(families))  # fmt: skip
    named = {f"{reach:g} pixel{'s' * (reach != 1)}": Look(own.colour, "-", own.marker) for reach, own in look.items()}
    note = f"{told_of_bands(points, confidence, 'images')}; dotted: noise"
    note += "; dashed: epoch 0" if (points.stage == "initial").any() else ""
    draw_legend(figure, named, len(families), note="\n".join(textwrap.wrap(note, NOTE_LETTERS * len(families))))
    return figure


def _names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Of the layers, where all runs have the same ones and there is room."""
    found = {tuple(part.layer) for _, part in rows.groupby(["run_key", "stage", "family", "displacement"], sort=False)}
    first = next(iter(found))
    return first if len(found) == 1 and len(first) <= NAMED else ()


def _draw(axes: Axes, points: pd.DataFrame, look: Mapping[float, Look]) -> None:
    """One family of one experiment."""
    for reach, own in look.items():
        for stage, (style, shade) in STAGES.items():
            line = points[(points.displacement == reach) & (points.stage == stage)].sort_values("x")
            few = own.marker if len(line) <= NAMED else None
            axes.plot(line.x, line["mean"], color=own.colour, ls=style, lw=1.6, marker=few, ms=4, zorder=3)
            axes.fill_between(line.x, line.low, line.high, color=own.colour, alpha=shade, lw=0, zorder=2)
    floors = points.groupby("x").floor.mean()
    axes.plot(floors.index, floors.to_numpy(), color=NOISE, ls=":", lw=1.0, zorder=1)
    axes.grid(axis="y", color="0.92", lw=0.6)
    axes.set_axisbelow(True)
