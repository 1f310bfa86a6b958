"""Differences to a baseline under each corruption."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cotrain.analysis._robustness import CLEAN, CORRUPTED, Robustness, robustness_differences
from cotrain.analysis._severity_curves import ALL
from cotrain.analysis._style import BANDS, SMALL, TITLE_LETTERS, Look, bare, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

SPREAD = 0.56  # of a place's width, over which the points of its labels are


def draw_differences(
    figure: Figure | SubFigure,
    held: Robustness,
    baseline: str,
    look: Mapping[str, Look],
    *,
    confidence: float = 0.95,
) -> Axes:
    """One point a corruption and label: mean of the differences within seeds, with Student's interval.

    A point of one seed is hollow and has no interval. What shares no seed with the baseline has none at all.

    Args:
        figure: To draw into; its layout is constrained.
        held: Scores.
        baseline: A label.
        look: {label: its look}.
        confidence: Of the intervals.

    Returns:
        The panel.

    Raises:
        CotrainError: No experiment has that label.
    """
    found = robustness_differences(held, baseline, confidence=confidence)
    scores = [CLEAN, CORRUPTED, *(name for names in held.corruptions.values() for name in names)]
    axes = figure.subplots()
    bare(axes, y=f"difference in {held.metric}")
    name = shorten(baseline, TITLE_LETTERS, placeholder=" …")
    axes.set_title(f"difference from {name}, paired by seed", loc="left", fontsize=9, pad=16)  # above the categories
    _draw_bands(axes, held)
    others = [label for label in held.labels if label != baseline]
    shifts = np.linspace(-SPREAD / 2, SPREAD / 2, len(others)) if len(others) > 1 else np.zeros(1)
    for label, shift in zip(others, shifts, strict=False):
        points = found[found.label == label].set_index("score").reindex(scores)
        _draw_points(axes, np.arange(len(scores)) + shift, points, look[label])
    axes.axhline(0, color="0.3", lw=0.9, zorder=2)
    axes.axvline(1.5, color="0.6", lw=0.6, ls=":", zorder=1)
    axes.set_xlim(-0.5, len(scores) - 0.5)
    names = [CLEAN, ALL, *map(words, scores[2:])]
    axes.set_xticks(range(len(scores)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=SMALL)
    axes.get_xticklabels()[1].set_fontweight("bold")
    return axes


def _draw_points(axes: Axes, x: np.ndarray, points: pd.DataFrame, look: Look) -> None:
    for place, row in zip(x, points.itertuples(), strict=True):
        several = row.seeds > 1
        if several:
            axes.vlines(place, row.low, row.high, color=look.colour, lw=1.2, zorder=3)
        fill = look.colour if several else "w"
        axes.plot(place, row.difference, look.marker, color=look.colour, mfc=fill, ms=4, zorder=4)


def _draw_bands(axes: Axes, held: Robustness) -> None:
    """Each category on its colour, named above."""
    start = 1.5
    for category, names in held.corruptions.items():
        axes.axvspan(start, start + len(names), color=BANDS[category], alpha=0.6, lw=0, zorder=0)
        middle = start + len(names) / 2
        axes.text(
            middle, 1.01, category, ha="center", va="bottom", fontsize=SMALL, transform=axes.get_xaxis_transform()
        )
        start += len(names)
