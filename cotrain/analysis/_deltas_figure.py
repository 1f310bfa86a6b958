"""What finetuning changed, as a picture: a line a finetuning, a panel a readout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cotrain.analysis._finetuning_deltas import finetuning_deltas
from cotrain.analysis._style import COLOURS, NORMAL, SMALL, bare, broken, draw_title
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, PANEL = 0.3, 3.2  # inches
LABELS = 2.4


def deltas_figure(scores: Mapping[str, pd.DataFrame], *, confidence: float = 0.95, title: str = "") -> Figure:
    """Each difference with Student's interval over seeds, and the seeds themselves as small dots.

    A mean of one seed is hollow and has no interval.

    Args:
        scores: {label of what was started from: scores, as `finetuning_deltas` takes them}; shares, 0 to 1.
        confidence: Of the intervals.
        title: Above all.

    Returns:
        The figure: a row a start, a panel a score. `save_figure(figure, path)` writes it.

    Raises:
        CotrainError: There are no scores, or as `finetuning_deltas`.
    """
    from matplotlib.figure import Figure

    if not scores:
        raise CotrainError("There are no scores to draw: nothing was compared.")
    tables = {start: finetuning_deltas(rows, start, confidence=confidence) for start, rows in scores.items()}
    heights = [ROW * table.label.nunique() + 0.9 for table in tables.values()]
    columns = max(table.score.nunique() for table in tables.values())
    figure = Figure(figsize=(PANEL * columns + LABELS, sum(heights) + 0.2), layout="constrained")
    if title:
        draw_title(figure, title, columns + 1)
    grid = figure.subplots(len(tables), columns, squeeze=False, sharex=True, height_ratios=heights)
    for row, (start, table) in zip(grid, tables.items(), strict=True):
        labels = list(dict.fromkeys(table.label))
        names = list(dict.fromkeys(table.score))
        for axes, name in zip(row, names, strict=False):
            of_score = scores[start][scores[start].score == name]
            _draw_panel(axes, table[table.score == name], of_score, start, labels)
            axes.set_title(f"{name}, started from {start!r}" if columns == 1 else name, fontsize=NORMAL, loc="left")
        for axes in row[len(names) :]:
            axes.set_axis_off()
        row[0].set_yticks(range(len(labels)), [broken(label) for label in labels], fontsize=SMALL)
        if columns > 1:
            row[0].set_ylabel(f"started from\n{broken(start)}", fontsize=SMALL)
    for axes in grid[-1]:
        axes.set_xlabel(
            f"after less before, points: mean over seeds, {confidence:.0%} interval; dots: seeds", fontsize=SMALL
        )
    return figure


def _draw_panel(axes: Axes, table: pd.DataFrame, scores: pd.DataFrame, start: str, labels: list[str]) -> None:
    wide = scores.pivot_table(index="seed", columns="label", values="value")
    for row in table.to_dict("records"):
        place = labels.index(row["label"])
        seeds = 100 * (wide[row["label"]] - wide[start]).dropna()
        axes.plot(seeds, [place + 0.22] * len(seeds), ".", color="0.6", ms=4, zorder=2)
        low, high = 100 * row["low"], 100 * row["high"]
        alone = math.isnan(low)
        if not alone:
            axes.hlines(place, low, high, color=COLOURS[0], lw=1.4, zorder=3)
        axes.plot(
            100 * row["difference"], place, "o", color=COLOURS[0], mfc="w" if alone else COLOURS[0], ms=5, zorder=4
        )
    axes.axvline(0, color="0.3", lw=0.9, zorder=1)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks([])
    bare(axes)
