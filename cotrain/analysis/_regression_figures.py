"""Pictures of neurons predicted from layers: over depth, neuron by neuron, two experiments, areas, and training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._regression_scores import LAYER, NEURON, RegressionScores, regression_ceiling, regression_summary
from cotrain.analysis._severity_heat_map import draw_cells
from cotrain.analysis._style import SMALL, Look, bare, broken, draw_legend, draw_title, looks
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, HEIGHT = 3.0, 2.7  # inches
BESIDE = 4  # panels in a row
NAMED = 8  # layers whose names find room below a panel
CEILING = "0.85"
BINS = 20
NOTE_LETTERS = 50  # that find room in the width of one panel


def regression_depth_figure(held: RegressionScores, *, title: str | None = None) -> Figure:
    """Medians over neurons by depth of the layer, a panel an area, with intervals and the ceiling as a band.

    Args:
        held: Scores of one epoch of each run (`regression_scores`).
        title: None: target and metric.
    """
    points = regression_summary(held, ["label", "area", *LAYER])
    figure, panels = _panels(held, held.areas, title)
    for axes, area in zip(panels, held.areas, strict=False):
        part = points[points.area == area]
        _draw_ceiling(axes, held, held.rows[held.rows.area == area])
        for label, look in looks(held.labels).items():
            _draw_line(axes, part[part.label == label].sort_values("depth"), "depth", look)
        places = part.drop_duplicates(["layer", "depth"]).sort_values("depth")
        if places.layer.nunique() == len(places) <= NAMED:  # the same layers of all labels
            axes.set_xticks(places.depth, places.layer, rotation=40, ha="right", rotation_mode="anchor")
        bare(axes, "" if places.layer.nunique() == len(places) <= NAMED else "depth (share of blocks)")
    panels[0].set_ylabel(f"{held.described}, median", fontsize=SMALL)
    draw_legend(figure, looks(held.labels), _beside(held.areas), note=_note(held, held.areas, points))
    return figure


def regression_neurons_figure(held: RegressionScores, *, title: str | None = None) -> Figure:
    """How many neurons have which score, a panel a layer; lines are medians.

    Args:
        held: As for `regression_depth_figure`.
        title: None: target and metric.
    """
    figure, panels = _panels(held, held.layers, title)
    known = held.rows.score.dropna()
    if not len(known):
        raise CotrainError(f"No neuron of {held.target!r} has a score.")
    edges = np.linspace(min(0.0, float(known.min())), max(float(known.max()), 1e-3), BINS + 1).tolist()
    for axes, layer in zip(panels, held.layers, strict=False):
        for label, look in looks(held.labels).items():
            rows = held.rows[(held.rows.label == label) & (held.rows.layer == layer)].score.dropna()
            if not len(rows):
                continue
            axes.hist(rows, edges, histtype="step", color=look.colour, ls=look.style, lw=1.4)
            axes.axvline(float(rows.median()), color=look.colour, ls=look.style, lw=0.9)
        bare(axes, held.described)
    panels[0].set_ylabel("neurons", fontsize=SMALL)
    note = _note(held, held.layers, more="thin lines: medians")
    draw_legend(figure, looks(held.labels), _beside(held.layers), note=note)
    return figure


def regression_scatter_figure(held: RegressionScores, first: str, second: str, *, title: str | None = None) -> Figure:
    """Each neuron with one experiment and with another, a panel a layer that both have; areas by colour.

    Args:
        held: As for `regression_depth_figure`.
        first, second: Labels; of the horizontal and the vertical axis.
        title: None: target and metric.

    Raises:
        CotrainError: There is no such label, or no layer that both have.
    """
    pairs = regression_pairs(held, first, second)
    layers = [layer for layer in held.layers if layer in set(pairs.layer)]
    figure, panels = _panels(held, layers, title, width=HEIGHT - 0.3, height=HEIGHT + 0.4)
    look = looks(held.areas)
    low, high = float(pairs[[first, second]].min().min()), float(pairs[[first, second]].max().max())
    margin = 0.05 * max(high - low, 1e-3)
    for axes, layer in zip(panels, layers, strict=False):
        part = pairs[pairs.layer == layer]
        axes.plot([low, high], [low, high], color="0.6", lw=0.8, zorder=1)
        for area, (colour, _, marker) in look.items():
            of_area = part[part.area == area]
            axes.scatter(of_area[first], of_area[second], s=11, color=colour, marker=marker, alpha=0.7, lw=0, zorder=2)
        better = int((part[second] > part[first]).sum())
        axes.set_title(f"{axes.get_title()}\n{better} of {len(part)} above the line", fontsize=SMALL)
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), box_aspect=1)
        bare(axes, broken(first))
    panels[0].set_ylabel(broken(second), fontsize=SMALL)
    shown = {area or "neurons": look[area]._replace(style="") for area in held.areas}
    draw_legend(figure, shown, _beside(layers), note=_note(held, layers))
    return figure


def regression_pairs(held: RegressionScores, first: str, second: str) -> pd.DataFrame:
    """Neurons that have a score with both labels: layer, session, neuron, area, and a column a label.

    Raises:
        CotrainError: There is no such label, or no layer that both have.
    """
    for label in (first, second):
        if label not in held.labels:
            raise CotrainError(f"There are no scores of {label!r}. There are: {', '.join(held.labels)}.")
    rows = held.rows[held.rows.label.isin([first, second])]
    wide = rows.pivot(index=["layer", *NEURON], columns="label", values="score")
    found = wide.dropna().reset_index().rename_axis(columns=None) if {first, second} <= set(wide) else wide[:0]
    if not len(found):
        raise CotrainError(f"{first!r} and {second!r} share no layer from which the same neurons are predicted.")
    return found


def regression_map_figure(held: RegressionScores, *, title: str | None = None) -> Figure:
    """Medians over neurons by layer and area, a map a label on one scale of colour.

    Args:
        held: As for `regression_depth_figure`.
        title: None: target and metric.
    """
    points = regression_summary(held, ["label", "area", *LAYER])
    figure, panels = _panels(held, held.labels, title, height=0.9 + 0.24 * len(held.layers))
    low, high = float(points.value.min()), float(points.value.max())
    for number, (axes, label) in enumerate(zip(panels, held.labels, strict=False)):
        wide = points[points.label == label].pivot(index="layer", columns="area", values="value")
        # the deepest layer above, as brains and networks are drawn
        layers = held.layers[::-1]
        draw_cells(axes, wide.reindex(index=layers, columns=held.areas).to_numpy(dtype=float), low, high)
        axes.set_xticks(range(len(held.areas)), [area or "all" for area in held.areas], fontsize=SMALL)
        axes.set_yticks(range(len(layers)), layers, fontsize=SMALL)
        axes.tick_params(length=0, labelleft=number % _beside(held.labels) == 0)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(panels[0].images[0], ax=list(panels), pad=0.02)
    bar.set_label(f"{held.described}, median", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return figure


def regression_training_figure(held: RegressionScores, *, title: str | None = None) -> Figure:
    """Medians over neurons after each epoch that is known, a panel a layer, with intervals and the ceiling.

    Args:
        held: Scores of several epochs; epochs that not all runs of a label have are not in it.
        title: None: target and metric.

    Raises:
        CotrainError: No label has scores of two epochs or more.
    """
    if int(held.rows.groupby("label").epoch.nunique().max()) < 2:
        raise CotrainError(
            "No experiment has scores of two epochs that all its runs have. Train with `keep_epochs`, and evaluate "
            "with epochs: [initial, kept, best]."
        )
    from matplotlib.ticker import MaxNLocator

    points = regression_summary(held, ["label", "epoch", *LAYER])
    figure, panels = _panels(held, held.layers, title)
    for axes, layer in zip(panels, held.layers, strict=False):
        _draw_ceiling(axes, held, held.rows[held.rows.layer == layer])
        for label, look in looks(held.labels).items():
            part = points[(points.label == label) & (points.layer == layer)]
            _draw_line(axes, part.sort_values("epoch"), "epoch", look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bare(axes, "epoch (0: as initialised)")
    panels[0].set_ylabel(f"{held.described}, median", fontsize=SMALL)
    draw_legend(figure, looks(held.labels), _beside(held.layers), note=_note(held, held.layers, points))
    return figure


def _beside(names: Sequence[str]) -> int:
    """Panels in a row, so that rows are about as long."""
    return math.ceil(len(names) / math.ceil(len(names) / BESIDE))


def _panels(
    held: RegressionScores, names: Sequence[str], title: str | None, *, width: float = PANEL, height: float = HEIGHT
) -> tuple[Figure, list[Axes]]:
    """A panel a name, titled with it, all on one vertical axis."""
    from matplotlib.figure import Figure

    rows = math.ceil(len(names) / BESIDE)
    beside = _beside(names)
    figure = Figure(figsize=(width * beside + 0.6, height * rows), layout="constrained")
    grid = figure.subplots(rows, beside, squeeze=False, sharey="all")
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(broken(name), fontsize=SMALL + 1)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    draw_title(figure, title or f"{held.target}: prediction of neurons from layers", beside)
    return figure, list(grid.flat[: len(names)])


def _draw_line(axes: Axes, points: pd.DataFrame, x: str, look: Look) -> None:
    place = points[x].to_numpy(dtype=float)
    axes.plot(place, points.value, color=look.colour, ls=look.style, lw=1.4, marker=look.marker, ms=3.5, zorder=3)
    axes.fill_between(place, points.low, points.high, color=look.colour, alpha=0.2, lw=0, zorder=2)


def _draw_ceiling(axes: Axes, held: RegressionScores, rows: pd.DataFrame) -> None:
    """The median ceiling of the neurons, and its interval, where it is known."""
    value, low, high = regression_ceiling(held, rows)
    axes.axhspan(low, high, color=CEILING, lw=0, zorder=0)
    axes.axhline(value, color="0.55", lw=0.8, zorder=1)


def _note(held: RegressionScores, panels: Sequence[str], points: pd.DataFrame | None = None, more: str = "") -> str:
    """What lines, bands and points are, in lines that find room below the panels."""
    neurons = held.rows.drop_duplicates(NEURON)
    counts = sorted(set(held.seeds.values()))
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    over = "" if counts == [1] else f", means over {seeds} seeds"
    text = f"{len(neurons)} neurons{over}"
    if points is not None:
        drawn = "animals and neurons" if (points.drawn != "neurons").any() else "neurons"
        text += f"; bands: 95 % bootstrap over {drawn}"
        known = held.rows[held.rows.ceiling.notna()].drop_duplicates(NEURON)
        if len(known):
            of = "" if len(known) == len(neurons) else f" (of {len(known)} neurons with repeats)"
            text += f"; grey: ceiling of a perfect prediction{of}"
    return broken(f"{text}; {more}" if more else text, NOTE_LETTERS * _beside(panels))
