"""Capacity and geometry of all manifolds together: nothing is assumed of their number, directions or correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.analysis._joint_measures import Draw, joint_measures
from cotrain.analysis._manifold_arrays import clouds_of
from cotrain.analysis._manifold_checks import require_choice, require_draws
from cotrain.analysis._manifold_frame import compact
from cotrain.analysis._manifold_labels import LABELS, drawn_labels
from cotrain.cones import cone_coefficients, require_solver
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

HELD = 1e-9  # share of a direction's length that is nothing of it


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
    points = compact(np.concatenate(clouds, 1) - middle[:, None]).T  # no more coordinates than points
    scale = np.sqrt((points**2).sum(1).mean())
    if not scale > 0:
        return JointGeometry(reason="all points are the origin")
    points = points / scale
    lengths = np.linalg.norm(points, axis=1)
    some = lengths > 1e-12 * lengths.max()  # a point at the origin spans nothing
    owner = np.repeat(np.arange(count), sizes)
    generator = np.random.default_rng(derive_seed(seed, "noise", "joint geometry"))
    squares, whole = np.zeros(n_t), np.zeros(n_t, bool)
    draws = []
    for number in tqdm(range(n_t), desc="joint geometry", disable=None, delay=2, leave=False):
        sides = drawn_labels(labels, count, generator)
        signs, direction = sides[owner], generator.standard_normal(points.shape[1])
        weights = np.zeros(len(points))
        rows = (signs[:, None] * points)[some]
        weights[some] = cone_coefficients(rows, direction[None], solver=solver)[0]
        nearest = (weights * signs) @ points
        squares[number] = nearest @ nearest
        # a cone that leaves nothing of a direction, in the span of all points, is the whole of it
        left = rows @ (direction - nearest) / lengths[some]
        whole[number] = np.abs(left).max() <= HELD * np.linalg.norm(direction)
        draws.append(Draw(sides, direction, weights))
    separable = float(1 - whole.mean())
    if separable <= 0.5 or not squares.any():
        rank = np.linalg.matrix_rank(points)
        return JointGeometry(
            separable=separable,
            reason=f"most dichotomies cannot be made in {rank} dimensions: capacity is below {count} / {rank}, and to "
            "know it takes more neurons",
        )
    inverse, error = squares.mean() / count, squares.std(ddof=1) / math.sqrt(n_t) / count if n_t > 1 else math.nan
    dimension, radius, aligned = joint_measures(points, owner, draws)
    utility = dimension / (1 + radius**-2) / inverse if radius > 0 else math.nan
    return JointGeometry(
        float(1 / inverse), float(error / inverse**2), radius, dimension, float(utility), *aligned, separable, ""
    )
