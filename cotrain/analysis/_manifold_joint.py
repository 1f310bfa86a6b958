"""Capacity and geometry of all manifolds together: nothing is assumed of their number, directions or correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.analysis._manifold_arrays import clouds_of
from cotrain.analysis._manifold_checks import require_choice, require_draws
from cotrain.analysis._manifold_labels import LABELS, drawn_labels
from cotrain.cones import cone_coefficients, require_solver
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

HELD = 1e-9  # share of a direction's length: a cone that leaves no more of it is the whole space


@dataclass(frozen=True)
class JointGeometry:
    """What `joint_geometry` finds; NaN where it is not defined.

    With anchors s_i, the points of the manifolds that carry the plane, their means s0_i over draws, s1_i = s_i - s0_i,
    and the sides y_i of a draw's dichotomy:
    """

    capacity: float = math.nan  # manifolds a dimension; P / the mean squared length of projections
    capacity_error: float = math.nan  # standard error over directions and dichotomies
    radius: float = math.nan  # of the anchors about their means, in lengths of these, as far as it matters
    dimension: float = math.nan  # of the anchors about their means, a manifold
    utility: float = math.nan  # capacity / ((1 + 1 / radius^2) / dimension)
    center_alignment: float = math.nan  # mean over pairs of cos(s0_i, s0_j)
    axis_alignment: float = math.nan  # mean over pairs and draws of cos(y_i s1_i, y_j s1_j)
    center_axis_alignment: float = math.nan  # mean over pairs and draws of cos(y_i s0_i, y_j s1_j)
    separable: float = math.nan  # share of the dichotomies that planes through the origin can make with all neurons
    reason: str = ""  # why capacity is NaN; "" where it is known


def joint_geometry(
    manifolds: Sequence[Any],
    *,
    n_t: int = 200,
    seed: int = 0,
    labels: str = "balanced",
    center: bool = True,
    solver: str = "scipy",
) -> JointGeometry:
    """Capacity by projections onto the cone of all manifolds, and the effective measures that go with it.

    For a dichotomy y and a standard normal direction t in all neurons' space, P(t) is the nearest point to t of the
    cone of all y_i x, x a point of manifold i: capacity is (number of manifolds) / <|P(t)|^2>. Its denominator is the
    mean statistical dimension of the cone, at which random projections stop to be separable (Amelunxen, Lotz, McCoy &
    Tropp 2014, Information and Inference 3:224, theorem I). P(t) is a sum of points with weights a >= 0; a manifold's
    anchor is the mean of its points with these weights. Measures by Chou et al. 2025 (Geometry Linked to Untangling
    Efficiency, GLUE): with t1_i = s1_i.t, G0 and G1 the inner products of s0 and s1,

        dimension = <t1 G1^+ t1> / P
        radius^2 = <t1 (G1 + G0)^+ t1> / <t1 (G1 + G1 G0^+ G1)^+ t1>

    A manifold that a projection does not touch has no anchor in that draw, and does not count in it: points have radius
    and dimension 0. Anchors are points of the manifolds, whatever the side; that of the dichotomy cancels.

    There is no search for common directions of the centres, and no assumption that they are random: for few manifolds,
    and for correlated ones, it is nearer to `simulated_capacity` than the capacity of one manifold at a time.

    Args:
        manifolds: As for `manifold_geometry`.
        n_t: Directions, each with a dichotomy of its own.
        seed: Of both.
        labels: "balanced", "one_vs_rest" or "random".
        center: Whether the mean of the centres becomes the origin; planes go through the origin.
        solver: As for `manifold_geometry`.

    Raises:
        DataError: Manifolds are no list of (neurons, points), or leave nothing.
        CotrainError: An argument is out of its range.
    """
    require_choice("kind of labels", labels, LABELS)
    require_draws(n_t)
    require_solver(solver)
    clouds = clouds_of(manifolds).clouds
    count, sizes = len(clouds), [cloud.shape[1] for cloud in clouds]
    middle = np.mean([cloud.mean(1) for cloud in clouds], 0) if center and count > 1 else np.zeros(len(clouds[0]))
    points = np.concatenate(clouds, 1).T - middle
    scale = np.sqrt((points**2).sum(1).mean())
    if not scale > 0:
        return JointGeometry(reason="all points are the origin")
    left, values, _ = np.linalg.svd(points / scale, full_matrices=False)
    span = values > 1e-10 * values[0]
    points = left[:, span] * values[span]  # coordinates in the span of all points: the rest changes no projection
    lengths = np.linalg.norm(points, axis=1)
    some = lengths > 1e-12 * lengths.max()  # a point at the origin spans nothing
    owner = np.repeat(np.arange(count), sizes)
    generator = np.random.default_rng(derive_seed(seed, "noise", "joint geometry"))
    squares, whole = np.zeros(n_t), np.zeros(n_t, bool)
    directions, anchors = np.zeros((n_t, points.shape[1])), np.zeros((n_t, count, points.shape[1]))
    touched, sides = np.zeros((n_t, count), bool), np.zeros((n_t, count))
    for draw in tqdm(range(n_t), desc="joint geometry", disable=None, delay=2, leave=False):
        sides[draw] = drawn_labels(labels, count, generator)
        signs = sides[draw][owner]
        directions[draw] = generator.standard_normal(points.shape[1])
        weights = np.zeros(len(points))
        rows = (signs[:, None] * points)[some]
        weights[some] = cone_coefficients(rows, directions[draw : draw + 1], solver=solver)[0]
        nearest = (weights * signs) @ points
        squares[draw] = nearest @ nearest
        whole[draw] = np.linalg.norm(directions[draw] - nearest) <= HELD * np.linalg.norm(directions[draw])
        sums = np.bincount(owner, weights, count)
        touched[draw] = sums > 0
        held = np.zeros((count, len(points)))
        held[owner, np.arange(len(points))] = weights
        anchors[draw] = held @ points / np.where(touched[draw], sums, 1.0)[:, None]
    separable = float(1 - whole.mean())
    if separable <= 0.5 or not squares.any():
        return JointGeometry(
            separable=separable,
            reason=f"most dichotomies cannot be made in {points.shape[1]} dimensions: capacity is below {count} / "
            f"{points.shape[1]}, and to know it takes more neurons",
        )
    inverse, error = squares.mean() / count, squares.std(ddof=1) / math.sqrt(n_t) / count if n_t > 1 else math.nan
    dimension, radius = _effective(anchors, touched, directions)
    utility = dimension / (1 + radius**-2) / inverse if radius > 0 else math.nan
    aligned = _alignments(anchors, touched, sides)
    return JointGeometry(
        float(1 / inverse), float(error / inverse**2), radius, dimension, float(utility), *aligned, separable, ""
    )


def _deviations(anchors: Floats, touched: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Means of the anchors that there are, and what differs from them (0 where there is none)."""
    times = np.maximum(touched.sum(0), 1)[:, None]
    means = anchors.sum(0) / times
    return means, np.where(touched[:, :, None], anchors - means, 0.0)


def _effective(anchors: Floats, touched: NDArray[np.bool_], directions: Floats) -> tuple[float, float]:
    """Dimension and radius."""
    means, deviations = _deviations(anchors, touched)
    if not (np.linalg.norm(deviations) > 1e-9 * np.linalg.norm(anchors)):  # all manifolds are points
        return 0.0, 0.0
    sums = np.zeros(3)
    for own, some, direction in zip(deviations, touched, directions, strict=True):
        away, center = own[some], means[some]
        along, g1, g0 = away @ direction, away @ away.T, center @ center.T
        spread = g1 + g1 @ np.linalg.pinv(g0, rcond=1e-10, hermitian=True) @ g1
        for number, gram in enumerate((g1, g1 + g0, spread)):
            sums[number] += along @ np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ along
    dimension = sums[0] / touched.size
    return float(dimension), float(np.sqrt(sums[1] / sums[2])) if sums[2] > 0 else math.nan


def _alignments(anchors: Floats, touched: NDArray[np.bool_], sides: Floats) -> tuple[float, float, float]:
    """Mean cosines over pairs of manifolds: of centres, of axes, and of centres with axes of others."""
    means, deviations = _deviations(anchors, touched)
    center, axes = _unit(means), sides[:, :, None] * _unit(deviations)
    present = (np.linalg.norm(axes, axis=2) > 0).astype(float)
    known = (np.linalg.norm(center, axis=1) > 0).astype(float)
    between = np.einsum("kid,kjd->ij", axes, axes)
    times = np.einsum("ki,kj->ij", present, present)
    across = np.einsum("id,ki,kjd->ij", center, sides, axes, optimize=True)
    return (
        _mean_of_pairs(center @ center.T, np.outer(known, known)),
        _mean_of_pairs(between, times),
        _mean_of_pairs(across, np.outer(known, present.sum(0))),
    )


def _mean_of_pairs(sums: Floats, times: Floats) -> float:
    other = ~np.eye(len(sums), dtype=bool)
    total = times[other].sum()
    return float(sums[other].sum() / total) if total > 0 else math.nan


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = np.where(lengths > 1e-12 * lengths.max(), vectors / np.where(lengths > 0, lengths, 1.0), 0.0)
    return unit
