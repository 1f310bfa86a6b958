"""Curves of a score over severity, a small panel a corruption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from cotrain.analysis._robustness import CLEAN, CORRUPTED, Robustness, condition_summary
from cotrain.analysis._style import BANDS, SMALL, Look, bare, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ALL = "all corruptions"
BAND_WIDTH = 0.09  # of a category's name, in widths of a panel
ROW_HEIGHT = 1.55  # inches
BESIDE = 4  # panels in a row where categories have no rows of their own


def rows_of_curves(held: Robustness) -> int:
    """How many rows of panels `draw_severity_curves` makes."""
    return len(_places(held))


def draw_severity_curves(
    figure: Figure | SubFigure, held: Robustness, look: Mapping[str, Look], *, confidence: float = 0.95
) -> list[Axes]:
    """A row of panels a category, and one of the mean over all corruptions; the clean score is at severity 0.

    Where categories have too few corruptions for rows of their own, the titles are on their colours.

    Lines are means over seeds, bands Student's intervals of these; there is none of one seed. A line is broken where
    the score is undefined.

    Args:
        figure: To draw into; its layout is constrained.
        held: Scores.
        look: {label: its look}.
        confidence: Of the intervals.

    Returns:
        The panels, each titled with its corruption.
    """
    rows = _places(held)
    columns = max(len(names) for _, names in rows)
    banded = any(category for category, _ in rows)
    grid = figure.add_gridspec(len(rows), columns + 1, width_ratios=[BAND_WIDTH if banded else 0.001, *[1] * columns])
    category_of = {name: category for category, names in held.corruptions.items() for name in names}
    points = pd.concat([condition_summary(held, confidence=confidence), _mean_over_all(held, confidence)])
    clean = points[points.corruption == CLEAN]
    panels: list[Axes] = []
    for row, (category, names) in enumerate(rows):
        if category:
            draw_band(figure.add_subplot(grid[row, 0]), category)
        for column, name in enumerate(names):
            axes = figure.add_subplot(grid[row, column + 1], sharey=panels[0] if panels else None)
            _draw(axes, pd.concat([clean, points[points.corruption == name]]), look)
            axes.set_title(ALL if name == CORRUPTED else words(name), fontsize=9)
            if name == CORRUPTED:
                axes.title.set_fontweight("bold")
            elif not banded:
                axes.title.set_bbox({"facecolor": BANDS[category_of[name]], "edgecolor": "none", "pad": 1.2})
            axes.set_xticks([0, *held.severities])
            axes.tick_params(labelleft=column == 0)
            panels.append(axes)
    figure.supxlabel("severity (0: clean)", fontsize=9)
    figure.supylabel(held.metric, fontsize=9)
    return panels


def draw_band(axes: Axes, category: str) -> None:
    """The name of a category, upwards on its colour."""
    axes.set_facecolor(BANDS[category])
    axes.text(0.5, 0.5, category, rotation=90, ha="center", va="center", fontsize=SMALL, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _places(held: Robustness) -> list[tuple[str, list[str]]]:
    """(category, its panels) of each row, "" where they are mixed.

    The mean over all corruptions is where a row has room, else in one of its own.
    """
    widest = max(map(len, held.corruptions.values()))
    if widest < BESIDE - 1:
        names = [*(name for of_category in held.corruptions.values() for name in of_category), CORRUPTED]
        return [("", names[start : start + BESIDE]) for start in range(0, len(names), BESIDE)]
    rows = [(category, list(names)) for category, names in held.corruptions.items()]
    for _, names in rows:
        if len(names) < max(widest, BESIDE):
            names.append(CORRUPTED)
            return rows
    return [*rows, ("", [CORRUPTED])]


def _mean_over_all(held: Robustness, confidence: float) -> pd.DataFrame:
    """The mean over corruptions at each severity, as `condition_summary` gives single ones."""
    found = held.values[held.values.corruption != CLEAN]
    wide = found.pivot(index=["run_key", "label", "seed"], columns=["severity", "corruption"], values="value")
    means = {severity: wide[severity].mean(axis=1, skipna=False) for severity in held.severities}
    rows = pd.DataFrame(means).rename_axis(columns="severity").stack(future_stack=True).rename("value").reset_index()
    together = Robustness(held.task, held.metric, held.session, held.labels, rows.assign(corruption=CORRUPTED))
    return condition_summary(together, confidence=confidence)


def _draw(axes: Axes, points: pd.DataFrame, look: Mapping[str, Look]) -> None:
    bare(axes)
    for label, (colour, style, marker) in look.items():
        line = points[points.label == label].sort_values("severity")
        line = line.set_index("severity").reindex(sorted(set(points.severity)))  # a gap where one is missing
        x = line.index.to_numpy()
        axes.plot(x, line["mean"], color=colour, ls=style, lw=1.4, marker=marker, ms=3, zorder=3)
        axes.fill_between(x, line.low, line.high, color=colour, alpha=0.2, lw=0, zorder=2)
    axes.grid(axis="y", color="0.92", lw=0.6)
    axes.set_axisbelow(True)
