"""What gives no capacity is refused, or is NaN with a reason: never a number that looks like one."""

import logging
import math
import re

import numpy as np
import pytest

from cotrain.analysis import (
    ball_capacity,
    capacity_by_points,
    clip_dimension,
    gaussian_geometry,
    joint_geometry,
    manifold_geometry,
    manifold_spectrum,
    randomise_manifolds,
    scale_radius,
    simulated_capacity,
)
from cotrain.errors import CotrainError, DataError

ALL = [
    manifold_geometry,
    gaussian_geometry,
    manifold_spectrum,
    joint_geometry,
    capacity_by_points,
    lambda manifolds: simulated_capacity(manifolds, seed=0),
    lambda manifolds: randomise_manifolds(manifolds, "random_axes", seed=0),
    lambda manifolds: scale_radius(manifolds, 2.0),
    lambda manifolds: clip_dimension(manifolds, 2),
]


def clouds(count=5, points=6, neurons=20, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(neurons, 1)) + 0.3 * rng.normal(size=(neurons, points)) for _ in range(count)]


def changed(**new):
    """Manifolds of which some are replaced: `m2` is the third."""
    manifolds = clouds()
    for name, cloud in new.items():
        manifolds[int(name[1:])] = cloud
    return manifolds


@pytest.mark.parametrize("analyse", ALL)
@pytest.mark.parametrize(
    ("manifolds", "text"),
    [
        ([], r"Manifolds are a list of arrays \(neurons, points\), one or more, found \[\]"),
        (np.zeros((3, 4, 5)), r"found ndarray of shape \(3, 4, 5\)\. .* use manifolds_of_sessions"),
        (
            changed(m2=np.ones((19, 6))),
            r"need the same neurons, one or more, along their first axis, found .*\(19, 6\)",
        ),
        (
            changed(m1=np.ones(20)),
            r"Manifold 1 must be an array of numbers \(neurons, points\), found the shape \(20,\)",
        ),
        (changed(m1=np.full((20, 3), "a")), r"Manifold 1 must be an array of numbers .* of <U1"),
        (changed(m3=np.full((20, 3), np.inf)), r"Manifold 3 holds infinite values"),
        (changed(m4=np.full((20, 3), np.nan)), r"NaN leaves no point of the manifolds \[4\] at which all 20 neurons"),
        (changed(m0=np.ones((20, 0))), r"NaN leaves no point of the manifolds \[0\]"),
    ],
)
def test_what_is_no_list_of_manifolds_is_refused_by_all(analyse, manifolds, text):
    with pytest.raises(DataError, match=text):
        analyse(manifolds)


@pytest.mark.parametrize(
    ("manifolds", "lost", "text"),
    [
        (changed(m2=np.ones((20, 1))), [2], "has one point"),
        (changed(m2=clouds()[0]), [0, 2], r"its centre is that of manifold [02], so no plane parts the two"),
        (clouds()[:1] * 2, [0, 1], "its centre is that of manifold"),
        (
            [clouds()[0] - clouds()[0].mean(1, keepdims=True)],
            [0],
            "its centre is the point that centres are measured from",
        ),
        ([np.zeros((20, 4))], [0], "its centre is the point that centres are measured from"),
    ],
)
def test_a_manifold_that_cannot_be_told_apart_is_nan_with_a_reason(manifolds, lost, text, caplog):
    with caplog.at_level(logging.WARNING):
        found = manifold_geometry(manifolds, n_t=60)
    for name in ("capacity", "capacity_error", "radius", "radius_error", "dimension", "dimension_error"):
        assert np.flatnonzero(np.isnan(getattr(found, name))).tolist() == lost
    for number, reason in enumerate(found.reasons):
        assert bool(reason) == (number in lost)
    assert all(re.search(text, found.reasons[number]) for number in lost)
    assert f"{len(lost)} of {len(manifolds)} manifolds have no capacity; manifold {lost[0]}" in caplog.text
    assert math.isnan(found.mean_capacity) == (len(lost) == len(manifolds))
    assert math.isnan(found.mean_radius) == math.isnan(found.mean_dimension) == (len(lost) == len(manifolds))
    gaussian = gaussian_geometry(manifolds, n_t=20)
    assert np.flatnonzero(np.isnan(gaussian.radius)).tolist() == lost


def test_a_removed_subspace_that_holds_a_centre_leaves_no_capacity():
    manifolds = clouds()
    centers = np.stack([cloud.mean(1) for cloud in manifolds], 1)
    around = centers - centers.mean(1, keepdims=True)
    found = manifold_geometry(manifolds, subspace=around[:, :2], n_t=60)
    assert np.isnan(found.capacity).tolist() == [True, True, False, False, False]
    assert found.reasons[0].startswith("the removed directions hold its centre")
    assert found.stability < 1e-6


def test_centres_that_carry_nothing_are_said_to_be_at_the_floor(caplog):
    rng = np.random.default_rng(0)
    with caplog.at_level(logging.INFO):
        found = manifold_geometry([rng.normal(size=(2000, 20)) for _ in range(6)], k=0, n_t=100)
    assert found.at_floor.all()
    np.testing.assert_allclose(found.floor, 0.1)
    assert "6 manifolds have a capacity within 10 % of that of noise" in caplog.text
    assert "6 manifolds have fewer than 10 points a dimension" in caplog.text


def test_a_margin_that_no_direction_reaches_is_no_infinite_capacity():
    found = manifold_geometry(clouds(), kappa=-50.0, n_t=60)
    assert np.isnan(found.capacity).all()
    assert found.reasons[0].startswith("too few of the directions touch its cone at kappa = -50")
    assert np.isnan(found.radius).all()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"kappa": math.nan}, CotrainError, r"A margin kappa is a finite number, 0 for none, found nan"),
        ({"kappa": math.inf}, CotrainError, r"A margin kappa is a finite number, 0 for none, found inf"),
        ({"n_t": 0}, CotrainError, r"n_t is the number of random directions, a whole number of 1 or more, found 0"),
        ({"n_t": 2.5}, CotrainError, r"n_t is the number of random directions"),
        ({"variant": "seeds"}, CotrainError, r"no variant of manifold geometry 'seeds'\. Did you mean 'seed'\?"),
        ({"solver": "cplex"}, CotrainError, r"There is no solver 'cplex' of cones"),
        ({"k": 4}, DataError, r"5 manifolds have centres of 4 independent directions, of which 4 cannot be removed"),
        ({"k": -1}, CotrainError, r"k of 0 or more"),
        ({"k": 1, "subspace": np.ones((20, 1))}, DataError, r"either a subspace to remove, or the number k"),
        ({"subspace": np.ones((19, 1))}, DataError, r"\(neurons, directions\) = \(20, k\), found \(19, 1\)"),
        ({"subspace": np.full((20, 1), np.nan)}, DataError, r"A subspace to remove is finite"),
        (
            {"origin": np.zeros(19)},
            DataError,
            r"An origin is finite and of shape \(neurons,\) = \(20,\), found \(19,\)",
        ),
        ({"directions": [np.zeros((6, 9))]}, DataError, r"5 manifolds need as many arrays of directions, found 1"),
        ({"directions": [np.zeros((4, 9))] * 5}, DataError, r"manifold 0 must be finite and of shape .* with 6 coord"),
        ({"directions": [np.full((6, 9), np.nan)] * 5}, DataError, r"Directions of manifold 0 must be finite"),
        ({"directions": [np.zeros((6, 0))] * 5}, DataError, r"Directions of manifold 0"),
    ],
)
def test_arguments_out_of_their_range(options, error, text):
    with pytest.raises(error, match=text):
        manifold_geometry(clouds(), **options)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: joint_geometry(m, labels="half"), r"There is no kind of labels 'half'\. Known: balanced"),
        (lambda m: joint_geometry(m, n_t=0), r"n_t is the number of random directions"),
        (lambda m: joint_geometry(m, solver="x"), r"There is no solver 'x'"),
        (lambda m: simulated_capacity(m, seed=0, labels="half"), r"There is no kind of labels 'half'"),
        (lambda m: simulated_capacity(m, seed=0, projection="pca"), r"There is no projection 'pca'\. Known: neurons"),
        (
            lambda m: simulated_capacity(m, seed=0, trials=0),
            r"1 trial or more and a confidence between 0 and 1, found 0",
        ),
        (lambda m: simulated_capacity(m, seed=0, confidence=1), r"found 300 and 1"),
        (
            lambda m: capacity_by_points(m, [1, 3]),
            r"Subsets have 2 points or more, and no more than .* 6; found \[1, 3\]",
        ),
        (lambda m: capacity_by_points(m, [7]), r"found \[7\]"),
        (
            lambda m: randomise_manifolds(m, "random_center", seed=0),
            r"no control of manifolds 'random_center'\. Did you",
        ),
        (
            lambda m: randomise_manifolds(clouds(21), "orthogonal_centers", seed=0),
            r"21 centres cannot be at right angles",
        ),
        (lambda m: scale_radius(m, -1.0), r"scaled by a finite factor of 0 or more, found -1\.0"),
        (lambda m: clip_dimension(m, -1), r"clipped to 0 or more dimensions, found -1"),
        (lambda m: gaussian_geometry(m, n_t=0), r"n_t is the number of random directions"),
        (lambda m: ball_capacity(-1, 2), r"a radius of 0 or more and a dimension above 0, found -1 and 2"),
        (lambda m: ball_capacity(1, 0), r"found 1 and 0"),
        (lambda m: manifold_spectrum(m, share=0.0), r"A share of variance is above 0 and at most 1, found 0\.0"),
    ],
)
def test_arguments_of_the_others_out_of_their_range(call, text):
    with pytest.raises(CotrainError, match=text):
        call(clouds())


def test_more_manifolds_than_neurons_allow_are_no_silent_bound():
    crowded = [np.random.default_rng(n).normal(size=(5, 8)) for n in range(20)]
    joint = joint_geometry(crowded, n_t=20)
    assert math.isnan(joint.capacity) and joint.separable <= 0.5
    assert "most dichotomies cannot be made in 5 dimensions: capacity is below 20 / 5" in joint.reason
    simulated = simulated_capacity(crowded, seed=0)
    assert math.isnan(simulated.capacity) and simulated.high == 4
    assert "most dichotomies are not separable in all 5 dimensions" in simulated.reason


def test_too_few_manifolds_for_a_dichotomy():
    assert "one manifold has no dichotomies" in simulated_capacity(clouds(1), seed=0).reason
    apart = [np.full((3, 4), value) + 0.01 * np.random.default_rng(0).normal(size=(3, 4)) for value in (-1.0, 1.0)]
    simulated = simulated_capacity(apart, seed=0)
    assert "most dichotomies are separable in one dimension" in simulated.reason
    assert math.isnan(simulated.capacity) and simulated.low == 2 and simulated.high == math.inf
    assert joint_geometry([np.zeros((4, 3))]).reason == "all points are the origin"
