"""How models' geometries lie to each other: a matrix with its numbers, and a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._mds_figure import scaled_to_plane
from cotrain.analysis._style import COLOURS, NORMAL, SMALL, broken, draw_title
from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # left, bottom, right, top
MOST_NUMBERS = 16  # models whose similarities are written into the cells
CELL = 0.42  # inches
LETTERS = 26


def second_order_figure(table: pd.DataFrame, *, method: str = "", title: str = "") -> Figure:
    """Similarities of each two models' RDMs, and a map in which like models are near each other.

    Args:
        table: Of `second_order_rdm`: (models, models), 1 - similarity.
        method: Of the comparison, to be named.
        title: Above all.

    Raises:
        DataError: The table is not square with the same names on both sides.
    """
    from matplotlib.figure import Figure

    names = [str(name) for name in table.columns]
    if list(map(str, table.index)) != names:
        raise DataError(
            "A second-order RDM has the same names on both sides, in one order. Give that of second_order_rdm."
        )
    number, values = len(names), 1 - table.to_numpy(dtype=float)
    side = max(2.6, CELL * number)
    panels = 2 if number > 2 else 1
    figure = Figure(figsize=(side + 1.9 + (panels - 1) * 3.9, max(side + 1.1, 3.6)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=[side + 1.6, 3.6][:panels])[0]
    off = ~np.eye(number, dtype=bool)
    known = values[off][np.isfinite(values[off])]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    image = axes[0].imshow(
        np.where(off, values, np.nan), cmap="viridis", vmin=min(low, 0), vmax=high if high > min(low, 0) else 1
    )
    for row, column in zip(*np.nonzero(off), strict=True):
        if number <= MOST_NUMBERS and np.isfinite(values[row, column]):
            dark = image.norm(values[row, column]) < 0.6
            text = f"{values[row, column]:.2f}".replace("0.", ".", 1)
            axes[0].text(column, row, text, ha="center", va="center", fontsize=SMALL - 1, color="w" if dark else "k")
    labels = [broken(name, LETTERS) for name in names]
    axes[0].set_xticks(range(number), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
    axes[0].set_yticks(range(number), labels, fontsize=SMALL)
    axes[0].tick_params(length=0)
    axes[0].spines[:].set_visible(False)
    axes[0].set_title("similarity of RDMs" + (f" ({method.replace('_', ' ')})" if method else ""), fontsize=NORMAL)
    bar = figure.colorbar(image, ax=axes[0], shrink=0.6, aspect=20, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    if panels > 1:
        found = scaled_to_plane(table.to_numpy(dtype=float))
        axes[1].scatter(found.points[:, 0], found.points[:, 1], s=26, color=COLOURS[0], lw=0)
        half = 0.62 * float(np.ptp(found.points, axis=0).max() or 1)
        middle = (found.points.max(0) + found.points.min(0)) / 2
        axes[1].set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        axes[1].set(aspect="equal", xticks=[], yticks=[])
        axes[1].spines[:].set_color("0.8")
        axes[1].set_xlabel(f"stress {found.stress:.2f}, r {found.correlation:.2f}", fontsize=SMALL)
        axes[1].set_title("like geometries together", fontsize=NORMAL)
    if title:
        draw_title(figure, title, panels)
    if panels > 1:
        figure.draw_without_rendering()  # to know how large the map is
        inches = axes[1].get_window_extent().width / figure.dpi
        _write(axes[1], found.points, [broken(name, LETTERS) for name in names], 2 * half / inches)
    return figure


def _write(axes: Axes, points: NDArray[np.float64], names: list[str], inch: float) -> None:
    """Each name right, left, above or below its point, where it covers least of points, names so far, and the edge.

    Args:
        axes: Of the map.
        points, names: Of the models.
        inch: In the units of the points.
    """
    (left_edge, right_edge), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    far = 100 * inch
    taken = [(x - 0.05 * inch, y - 0.05 * inch, x + 0.05 * inch, y + 0.05 * inch) for x, y in points]
    taken += [(left_edge - far, -far, left_edge, far), (right_edge, -far, right_edge + far, far)]
    taken += [(-far, bottom - far, far, bottom), (-far, top, far, top + far)]
    for (x, y), name in zip(points, names, strict=True):
        lines = name.split("\n")
        width, height = (max(map(len, lines)) * 0.075 * inch, len(lines) * 0.16 * inch)
        gap = 0.07 * inch
        places = (
            ((gap, 0, "left", "center"), (x + gap, y - height / 2)),
            ((-gap, 0, "right", "center"), (x - gap - width, y - height / 2)),
            ((0, gap, "center", "bottom"), (x - width / 2, y + gap)),
            ((0, -gap, "center", "top"), (x - width / 2, y - gap - height)),
        )
        found = [(how, (*corner, corner[0] + width, corner[1] + height)) for how, corner in places]
        (across, up, horizontal, vertical), box = min(found, key=lambda one: sum(_shared(one[1], old) for old in taken))
        taken.append(box)
        text = axes.text(x + across, y + up, name, ha=horizontal, va=vertical, fontsize=SMALL)
        text.set_in_layout(False)


def _shared(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
