"""Heat maps of a score, corruption by severity, one an experiment."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._robustness import CLEAN, CORRUPTED, Robustness, condition_summary, label_summary
from cotrain.analysis._style import BANDS, SMALL, broken, ink, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.patches import Rectangle
    from numpy.typing import NDArray

BESIDE = 4  # maps in a row
CELL_LETTERS = 6.5  # points
TITLE_LETTERS = 22  # that find room above one map


def rows_of_maps(held: Robustness) -> int:
    """How many rows of maps `draw_heat_maps` makes."""
    return math.ceil(len(held.labels) / BESIDE)


def draw_heat_maps(figure: Figure | SubFigure, held: Robustness) -> list[Axes]:
    """Means over seeds, on one scale of colour, the value in each cell; hatched where there is none.

    Args:
        figure: To draw into; its layout is constrained.
        held: Scores.

    Returns:
        One panel a label, titled with it, its clean score and its mean over the battery.
    """
    names = [name for of_category in held.corruptions.values() for name in of_category]
    points = condition_summary(held)
    cells = {
        label: points[points.label == label]
        .pivot(index="corruption", columns="severity", values="mean")
        .reindex(index=names, columns=held.severities)
        .to_numpy(dtype=float)
        for label in held.labels
    }
    known = np.concatenate([values[np.isfinite(values)] for values in cells.values()] or [np.zeros(1)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    summary = label_summary(held).set_index(["label", "score"])["mean"]
    rows = rows_of_maps(held)
    columns = min(len(held.labels), BESIDE)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(held.labels) :]:
        axes.set_visible(False)
    for place, (label, axes) in enumerate(zip(held.labels, grid.flat, strict=False)):
        draw_cells(axes, cells[label], low, high)
        means = [f"{word} {two_digits(summary.get((label, word), math.nan))}" for word in (CLEAN, CORRUPTED)]
        axes.set_title(f"{broken(label, TITLE_LETTERS)}\n{', '.join(means)}", fontsize=SMALL)
        axes.set_xticks(range(len(held.severities)), held.severities, fontsize=SMALL)
        first = place % columns == 0
        axes.set_yticks(range(len(names)), [words(name) for name in names] if first else [], fontsize=SMALL)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _separate(axes, held)
        if first:
            _tint(axes, held)
    figure.supxlabel("severity", fontsize=9)
    aspect = max(8, 2 * len(names) * rows)  # so that it is as wide beside few corruptions as beside many
    bar = figure.colorbar(grid.flat[0].images[0], ax=list(grid.flat), pad=0.02, aspect=aspect)
    bar.set_label(held.metric, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return list(grid.flat[: len(held.labels)])


def draw_cells(axes: Axes, values: NDArray[np.float64], low: float, high: float) -> None:
    """A map of values on a scale of colour, each written into its cell; hatched where there is none."""
    image = axes.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = ink(image.to_rgba(np.array([value]))[0])
            axes.text(column, row, two_digits(value), ha="center", va="center", size=CELL_LETTERS, color=colour)
        else:
            axes.add_patch(_missing(column, row))


def _missing(column: int, row: int) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.95", edgecolor="0.75", hatch="////", lw=0)


def _separate(axes: Axes, held: Robustness) -> None:
    """White lines between categories."""
    ends = np.cumsum([len(names) for names in held.corruptions.values()])[:-1]
    for end in ends:
        axes.axhline(float(end) - 0.5, color="w", lw=2.5)


def _tint(axes: Axes, held: Robustness) -> None:
    """The colour of its category behind each name."""
    categories = [category for category, names in held.corruptions.items() for _ in names]
    for text, category in zip(axes.get_yticklabels(), categories, strict=True):
        text.set_bbox({"facecolor": BANDS[category], "edgecolor": "none", "pad": 1.2})


def two_digits(value: float) -> str:
    """Two digits: .71, -.05, 1.20, 23.1."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 10:
        return f"{value:.3g}"
    text = f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text
