"""Dimension, radius and alignments of manifolds from their anchors, the points that carry a plane in each draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """A dichotomy (manifolds,) of 1 and -1, a direction (coordinates,), and the weights of its projection (points,)."""

    sides: Floats
    direction: Floats
    weights: Floats


def joint_measures(
    points: Floats, owner: NDArray[np.int64], draws: Sequence[Draw]
) -> tuple[float, float, tuple[float, float, float]]:
    """Dimension, radius, and the alignments of centres, of axes, and of both, as `joint_geometry` describes them.

    Only weights are kept of the draws, and anchors are computed twice: those of all draws would need (draws, manifolds,
    coordinates) numbers.

    Args:
        points: (points, coordinates).
        owner: The manifold of each point, from 0.
        draws: One or more.
    """
    count = int(owner.max()) + 1
    sums, times = np.zeros((count, points.shape[1])), np.zeros(count)
    for draw in draws:
        anchors, touched = _anchors(points, owner, count, draw.weights)
        sums += anchors
        times += touched
    means = sums / np.maximum(times, 1)[:, None]
    g0, center = means @ means.T, _unit(means)
    reach = np.sqrt((means**2).sum())
    lengths, values = 0.0, np.zeros(3)
    between, together, across = np.zeros((count, count)), np.zeros((count, count)), np.zeros((count, count))
    for draw in draws:
        anchors, touched = _anchors(points, owner, count, draw.weights)
        away = np.where(touched[:, None], anchors - means, 0.0)
        away[np.linalg.norm(away, axis=1) <= 1e-9 * reach] = 0.0  # a point
        lengths += float((away**2).sum())
        values += _forms(away[touched] @ draw.direction, away[touched] @ away[touched].T, g0[np.ix_(touched, touched)])
        axes = draw.sides[:, None] * _unit(away)
        present = (axes != 0).any(1).astype(float)
        between += axes @ axes.T
        together += np.outer(present, present)
        across += (draw.sides[:, None] * center) @ axes.T
    known = (center != 0).any(1).astype(float)
    seen = np.diagonal(together)
    aligned = (
        _mean_of_pairs(center @ center.T, np.outer(known, known)),
        _mean_of_pairs(between, together),
        _mean_of_pairs(across, np.outer(known, seen)),
    )
    if lengths == 0:  # all manifolds are points
        return 0.0, 0.0, aligned
    dimension = float(values[0] / (len(draws) * count))
    return dimension, float(np.sqrt(values[1] / values[2])) if values[2] > 0 else math.nan, aligned


def _anchors(points: Floats, owner: NDArray[np.int64], count: int, weights: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The weighted mean of each manifold's points, 0 where all weights are, and where they are not."""
    totals = np.bincount(owner, weights, count)
    touched = totals > 0
    used = np.flatnonzero(weights)
    shares = np.zeros((count, len(used)))
    shares[owner[used], np.arange(len(used))] = weights[used] / totals[owner[used]]
    return shares @ points[used], touched


def _forms(along: Floats, g1: Floats, g0: Floats) -> Floats:
    """t1 G^+ t1 for G = G1, G1 + G0 and G1 + G1 G0^+ G1."""
    spread = g1 + g1 @ np.linalg.pinv(g0, rcond=1e-10, hermitian=True) @ g1
    grams = (g1, g1 + g0, spread)
    return np.array([along @ np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ along for gram in grams])


def _mean_of_pairs(sums: Floats, times: Floats) -> float:
    other = ~np.eye(len(sums), dtype=bool)
    total = times[other].sum()
    return float(sums[other].sum() / total) if total > 0 else math.nan


def _unit(vectors: Floats) -> Floats:
    """0 where a vector has no length."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1.0), 0.0)
    return unit
