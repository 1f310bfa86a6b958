"""One figure of robustness: curves over severity, heat maps, differences to a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cotrain.analysis._difference_figure import draw_differences
from cotrain.analysis._robustness import Robustness
from cotrain.analysis._severity_curves import ROW_HEIGHT, draw_severity_curves, rows_of_curves
from cotrain.analysis._severity_heat_map import draw_heat_maps, rows_of_maps
from cotrain.analysis._style import draw_legend, draw_letter, draw_title, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 9.0  # inches; a page takes it at four fifths
PANELS = 2  # panels of other figures, which are as wide
MAP_ROW = 0.19  # inches a corruption
DIFFERENCES = 3.0


def robustness_figure(
    held: Robustness, *, baseline: str | None = None, confidence: float = 0.95, title: str | None = None
) -> Figure:
    """A: curves over severity; B: heat maps; C, with a baseline: differences to it.

    Args:
        held: Scores (`robustness`).
        baseline: A label; None: part C is left out.
        confidence: Of all intervals.
        title: None: task and score.

    Returns:
        The figure; `save_figure(figure, path)` writes it.

    Raises:
        CotrainError: No experiment has the baseline's label.
    """
    from matplotlib.figure import Figure

    corruptions = sum(map(len, held.corruptions.values()))
    heights = [ROW_HEIGHT * rows_of_curves(held) + 0.3, (MAP_ROW * max(corruptions, 4) + 0.8) * rows_of_maps(held)]
    if baseline is not None:
        heights.append(DIFFERENCES)
    look = looks(held.labels)
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    draw_title(figure, title or _title(held), PANELS)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_severity_curves(parts[0], held, look, confidence=confidence)
    # one map alone would be stretched over the whole width
    draw_heat_maps(parts[1] if len(held.labels) > 1 else parts[1].subfigures(1, 3, width_ratios=[1, 3, 1])[1], held)
    if baseline is not None:
        draw_differences(parts[2], held, baseline, look, confidence=confidence)
    for part, letter in zip(parts, "ABC", strict=False):
        draw_letter(part, letter)
    draw_legend(figure, look, PANELS, note=_seeds(held, confidence))
    return figure


def _title(held: Robustness) -> str:
    session = f", session {held.session}" if held.session else ""
    return f"{held.task}{session}: {held.metric} under corruption"


def _seeds(held: Robustness, confidence: float) -> str:
    """What the intervals are, or why there are none."""
    counts = held.values.groupby("label").seed.nunique()
    low, high = counts.min(), counts.max()
    if high == 1:
        return "Means of one seed: without intervals"
    seeds = f"{low}" if low == high else f"{low} to {high}"
    alone = "; no interval of one seed" if low == 1 else ""
    return f"Means over seeds; bands and bars: {confidence:.0%} intervals over {seeds} seeds (Student's t){alone}"
