"""The capacity of all manifolds together, and how their anchors lie to each other."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from cotrain.analysis import joint_geometry, manifold_geometry
from cotrain.analysis._joint_measures import Draw, joint_measures
from cotrain.manifolds import inverse_capacity_of_points


def clouds(count=8, points=6, neurons=40, spread=0.4, seed=0, common=0.0):
    rng = np.random.default_rng(seed)
    shared = common * rng.normal(size=(neurons, 1))
    return [rng.normal(size=(neurons, 1)) + shared + spread * rng.normal(size=(neurons, points)) for _ in range(count)]


def numbers(found):
    return np.array(dataclasses.astuple(found)[:-1])


def test_points_at_right_angles_have_the_capacity_two_and_no_extent():
    """Their cone is an orthant, whatever the dichotomy."""
    found = joint_geometry([axis[:, None] for axis in np.eye(10)], n_t=400, center=False)
    assert found.capacity == pytest.approx(1 / inverse_capacity_of_points(0.0), rel=0.12)
    assert abs(found.capacity - 2) < 4 * found.capacity_error
    assert found.radius == found.dimension == 0
    assert found.center_alignment == pytest.approx(0, abs=1e-12)
    assert found.separable == 1 and found.reason == ""


def test_one_manifold_has_the_statistical_dimension_of_its_cone():
    (cloud,) = clouds(1)
    expected = manifold_geometry([cloud], n_t=800, variant="seed").definitions["inverse"][0]
    found = joint_geometry([cloud], n_t=400)
    assert abs(1 / found.capacity - expected) < 5 * found.capacity_error / found.capacity**2
    assert math.isnan(found.center_alignment)


@pytest.mark.parametrize("labels", ["balanced", "one_vs_rest", "random"])
def test_of_uncorrelated_manifolds_in_many_dimensions_it_is_the_capacity_of_each(labels):
    manifolds = clouds(neurons=3000)
    alone = manifold_geometry(manifolds, k=0, n_t=1000)
    found = joint_geometry(manifolds, n_t=400, labels=labels, center=False)
    assert abs(found.capacity - alone.mean_capacity) < 4 * found.capacity_error + 0.03
    assert abs(found.center_alignment) < 0.05 and abs(found.axis_alignment) < 0.05
    assert abs(found.center_axis_alignment) < 0.05


def test_the_radius_is_that_of_segments():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    for radius in (1.0,):
        segments = [np.stack([a + radius * b, a - radius * b], 1) for a, b in zip(basis[:30], basis[30:], strict=True)]
        found = joint_geometry(segments, n_t=80, center=False)
        alone = manifold_geometry(segments, k=0, n_t=1000, origin=np.zeros(60))
        assert found.capacity == pytest.approx(alone.mean_capacity, rel=0.1)
        assert found.radius == pytest.approx(alone.mean_radius, rel=0.15)
        assert 0.5 < found.dimension <= 1.05, "a segment that no plane touches has none"
        assert found.utility == pytest.approx(found.capacity * found.dimension / (1 + found.radius**-2))


def test_alignments_see_what_centres_and_share():
    shared = joint_geometry(clouds(common=3.0), n_t=60, center=False)
    assert shared.center_alignment > 0.6
    assert abs(joint_geometry(clouds(common=3.0), n_t=60).center_alignment) < 0.3, "the mean of centres is taken away"


def test_measures_are_those_of_naive_loops():
    rng = np.random.default_rng(0)
    points, owner, sides = (
        rng.normal(size=(10, 3)) + 1,
        np.repeat(range(4), (3, 1, 4, 2)),
        rng.choice([-1.0, 1.0], (7, 4)),
    )
    weights = rng.random((7, 10)) * (rng.random((7, 10)) < 0.5)
    touched = np.stack([np.bincount(owner, row, 4) > 0 for row in weights])
    anchors = np.zeros((7, 4, 3))
    for draw, i in np.argwhere(touched):
        anchors[draw, i] = np.average(points[owner == i], axis=0, weights=weights[draw, owner == i])
    means = [anchors[touched[:, i], i].mean(0) for i in range(4)]

    def cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    center = np.mean([cosine(means[i], means[j]) for i, j in pairs])
    moves = [i for i in range(4) if i != 1]  # the second is a point
    axis, across = [], []
    for draw, (i, j) in itertools.product(range(7), pairs):
        side = sides[draw, i] * sides[draw, j]
        own, other = (anchors[draw, n] - means[n] for n in (i, j))
        if touched[draw, i] and touched[draw, j] and i in moves and j in moves:
            axis.append(side * cosine(own, other))
        if touched[draw, j] and j in moves:
            across.append(side * cosine(means[i], other))
    t = rng.normal(size=(7, 3))
    draws = [Draw(*one) for one in zip(sides, t, weights, strict=True)]
    dimension, radius, aligned = joint_measures(points, owner, draws)
    np.testing.assert_allclose(aligned, (center, np.mean(axis), np.mean(across)))
    sums = np.zeros(3)
    for draw in range(7):
        used = [i for i in range(4) if touched[draw, i]]
        away, middle = np.array([anchors[draw, i] - means[i] for i in used]), np.array([means[i] for i in used])
        t1, g1, g0 = away @ t[draw], away @ away.T, middle @ middle.T
        for n, gram in enumerate((g1, g1 + g0, g1 + g1 @ np.linalg.pinv(g0, rcond=1e-9) @ g1)):
            sums[n] += t1 @ np.linalg.pinv(gram, rcond=1e-9) @ t1
    assert dimension == pytest.approx(sums[0] / 28) and radius == pytest.approx(math.sqrt(sums[1] / sums[2]))


def test_unit_origin_rotation_and_order_of_points_change_nothing():
    manifolds = clouds()
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    expected = joint_geometry(manifolds, n_t=150)
    np.testing.assert_allclose(numbers(joint_geometry(manifolds, n_t=150)), numbers(expected))
    for scale in (1e-6, 1e6):
        moved = joint_geometry([scale * (rotation @ cloud + 2) for cloud in manifolds], n_t=150)
        # the draws are others, in another basis
        assert abs(moved.capacity - expected.capacity) < 5 * expected.capacity_error
        assert moved.radius == pytest.approx(expected.radius, rel=0.1)
        assert moved.dimension == pytest.approx(expected.dimension, rel=0.1)


def test_a_point_at_the_origin_and_ragged_manifolds_are_no_trouble():
    manifolds = [np.c_[np.zeros(12), cloud] for cloud in clouds(3, points=5, neurons=12)]
    manifolds.append(clouds(1, points=30, neurons=12, seed=4)[0])
    found = joint_geometry(manifolds, n_t=50, center=False)
    assert np.isfinite(numbers(found)).all() or found.reason


@pytest.mark.parametrize("solver", ["numba", "torch"])
def test_solvers_agree(solver):
    if solver == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install cotrain[numba]")
    expected = joint_geometry(clouds(), n_t=20)
    np.testing.assert_allclose(numbers(joint_geometry(clouds(), n_t=20, solver=solver)), numbers(expected), rtol=1e-6)
