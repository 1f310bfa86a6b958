"""Whether a plane can have some manifolds on its one side and the others on the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST = 5  # points of each manifold that are looked at before the others
TOUCHING = 1e-12  # squared distance of the hull from the origin, in lengths of points, that is none


def is_separable(clouds: list[Floats], labels: Floats, *, bias: bool = True) -> bool:
    """Whether there are w and b with label (w.x + b) > 0 for all points x of all manifolds.

    There are if and only if the origin lies outside the convex hull of all label (x, 1), and its distance from there is
    a problem of non-negative least squares: min over a >= 0 of |sum of a label (x, 1)|^2 + (sum of a - 1)^2. It is
    solved for a few points of each manifold; those that the plane found is wrong about are added until there is none.

    Args:
        clouds: (dimensions, points) each.
        labels: 1 or -1 for each.
        bias: Whether b may be other than 0.
    """
    sizes = [cloud.shape[1] for cloud in clouds]
    owner = np.repeat(np.arange(len(clouds)), sizes)
    points = np.concatenate(clouds, 1).T
    scale = np.sqrt((points**2).sum(1).mean())
    if bias:
        points = np.concatenate([points, np.full((len(points), 1), scale if scale > 0 else 1.0)], 1)
    lengths = np.linalg.norm(points, axis=1)
    if (lengths <= 1e-12 * max(scale, np.finfo(float).tiny)).any():  # a point at the origin lies on every plane
        return False
    rows = labels[owner, None] * points / lengths[:, None]
    starts = np.cumsum([0, *sizes[:-1]])
    chosen = np.zeros(len(rows), bool)
    for start, size in zip(starts, sizes, strict=True):
        chosen[start + np.unique(np.linspace(0, size - 1, min(size, FIRST)).astype(int))] = True
    while True:
        normal, margin = _hull(rows[chosen])
        if margin <= TOUCHING:
            return False
        margins = rows @ normal
        worst = np.array(
            [start + margins[start : start + size].argmin() for start, size in zip(starts, sizes, strict=True)]
        )
        wrong = worst[(margins[worst] <= margin / 2) & ~chosen[worst]]
        if not len(wrong):
            return bool(margins.min() > 0)
        chosen[wrong] = True


def _hull(rows: Floats) -> tuple[Floats, float]:
    """A normal vector w and m: w.row >= m for all rows, and m > 0 if and only if the origin is outside their hull."""
    from scipy.optimize import nnls

    system = np.concatenate([rows.T, np.ones((1, len(rows)))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    try:
        weights = nnls(system, target, maxiter=30 * len(rows))[0]
    except RuntimeError:  # it did not end
        return _by_linear_programming(rows)
    return rows.T @ weights, float(1 - weights.sum())


def _by_linear_programming(rows: Floats) -> tuple[Floats, float]:
    """The largest m with w.row >= m, the entries of w between -1 and 1."""
    from scipy.optimize import linprog

    dimensions = rows.shape[1]
    bounds = [(-1, 1)] * dimensions + [(None, None)]
    held = np.concatenate([-rows, np.ones((len(rows), 1))], 1)
    found = linprog(np.r_[np.zeros(dimensions), -1.0], A_ub=held, b_ub=np.zeros(len(rows)), bounds=bounds)
    margin = float(found.x[-1]) if found.x is not None else 0.0
    return (found.x[:-1], margin) if margin > 1e-9 else (np.zeros(dimensions), 0.0)
