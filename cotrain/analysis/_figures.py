"""Pictures of what was trained, in one style that is readable in print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._style import NORMAL, SMALL, Look, draw_legend, draw_title, looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def overview_figure(
    curves: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, str],
    test: Mapping[str, Mapping[str, float]],
    rdms: Mapping[str, NDArray[np.float64]],
    *,
    title: str,
) -> Figure:
    """Validation curves a task above, test scores as points beside them, RDMs below.

    Args:
        curves: {label: scores with the columns epoch, task, metric, value} of the validation split.
        metrics: {task: metric that is drawn}.
        test: {label: {task: test value of that metric}}.
        rdms: {name: (stimuli, stimuli)}, each coloured by the rank of its pairs, all in the cluster order of the first
            one; may be empty.
        title: Above all.

    Returns:
        The figure; `figure.savefig(path)` writes it.
    """
    from matplotlib.figure import Figure

    columns = max(len(metrics), len(rdms), 1)
    rows = 2 if rdms else 1
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    draw_title(figure, title, columns)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    look = looks([*curves, *test])
    for axes, (task, metric) in zip(grid[0], metrics.items(), strict=False):
        axes.set_visible(True)
        _draw_curves(axes, task, metric, curves, test, look)
    draw_legend(figure, look, columns)
    if rdms:
        orders: dict[int, NDArray[np.int64]] = {}  # those of other data may be of another size
        for axes, (name, matrix) in zip(grid[1], rdms.items(), strict=False):
            axes.set_visible(True)
            if len(matrix) not in orders:
                orders[len(matrix)] = cluster_order(matrix)
            order = orders[len(matrix)]
            image = draw_rdm(axes, matrix[np.ix_(order, order)], name)
            axes.set_xlabel(f"{len(matrix)} test stimuli, like ones of the first RDM together", fontsize=SMALL)
        figure.colorbar(image, ax=list(grid[1]), shrink=0.8, label="dissimilarity (percentile of pairs)")
    return figure


def _draw_curves(
    axes: Axes,
    task: str,
    metric: str,
    curves: Mapping[str, pd.DataFrame],
    test: Mapping[str, Mapping[str, float]],
    look: Mapping[str, Look],
) -> None:
    last = 0
    for label, frame in curves.items():
        line = frame[(frame.task == task) & (frame.metric == metric)].sort_values("epoch")
        if len(line):
            colour, style, _ = look[label]
            axes.plot(line.epoch, line.value, color=colour, ls=style, lw=1.6)
            last = max(last, int(line.epoch.max()))
    place = last * 1.05 + 0.5
    for label, scores in test.items():
        if task in scores:
            colour, _, marker = look[label]
            axes.plot(place, scores[task], marker, color=colour, ms=6, clip_on=False)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_title(f"{task}: {metric}", fontsize=NORMAL)
    axes.set_xlabel("epoch (lines: validation; points: test at the best epoch)", fontsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def draw_rdm(axes: Axes, matrix: NDArray[np.float64], name: str) -> Any:
    """An RDM, its off-diagonal values as percentiles, so that matrices of other scales can be compared by eye."""
    image = axes.imshow(percentiles(matrix), cmap="viridis", vmin=0, vmax=100, interpolation="nearest")
    axes.set_title(name, fontsize=NORMAL)
    axes.set_xticks([])
    axes.set_yticks([])
    return image


def percentiles(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Off-diagonal values as percentiles of them, 0 to 100; NaN on the diagonal, and where they are."""
    from scipy.stats import rankdata

    known = ~np.eye(len(matrix), dtype=bool) & ~np.isnan(matrix)
    shown = np.full(matrix.shape, np.nan)
    shown[known] = 100 * (rankdata(matrix[known]) - 1) / max(1, known.sum() - 1)
    return shown


def cluster_order(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of the stimuli in which like ones stand together: the leaves of average linkage."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform((matrix + matrix.T) / 2, checks=False), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)
