"""Capacity, radius and dimension are those of published code, of closed forms and of the loss."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.analysis import ball_capacity, manifold_geometry
from cotrain.manifolds import inverse_capacity, inverse_capacity_of_points

ORACLE = Path(os.environ.get("COTRAIN_TEST_DATA", "/nowhere")) / ".." / "oracles" / "manifolds"
NAMES = ["A_small", "C_corr", "D_margin"]
FEW = settings(max_examples=12, deadline=None)


def clouds(count=6, points=12, neurons=40, spread=0.4, seed=0):
    """Manifolds about random centres."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(neurons, 1)) + spread * rng.normal(size=(neurons, points)) for _ in range(count)]


def opposite(shape):
    """A shape about (1, 0, ...), as (coordinates, points), and its mirror image: the mean of centres is the origin."""
    return [shape, -shape]


# ---- published code


def oracle(name):
    """Results of the published Python code, its manifolds, directions, and the subspace that it removed."""
    if not (ORACLE / "oracle.json").is_file():
        pytest.skip("the folder oracles/manifolds beside COTRAIN_TEST_DATA holds no results of the published code")
    held = json.loads((ORACLE / "oracle.json").read_text())[name]
    points, removed, t = (np.load(ORACLE / f"{name}_{part}.npy") for part in "XVt")
    manifolds = list(np.moveaxis(points, 2, 0))  # with NaN where there is no point
    counts = [int(np.isfinite(cloud).all(0).sum()) for cloud in manifolds]
    return held, manifolds, [one[: count + 1] for one, count in zip(t, counts, strict=True)], removed


@pytest.mark.parametrize("name", NAMES)
def test_given_directions_and_subspace_all_is_that_of_the_published_code(name):
    held, manifolds, t, removed = oracle(name)
    kappa = held["settings"]["kappa"]
    found = manifold_geometry(manifolds, kappa=kappa, directions=t, subspace=removed, variant="follow_up")
    np.testing.assert_allclose(found.capacity, held["alpha_M"], rtol=1e-7)
    np.testing.assert_allclose(found.radius, held["R_M"], rtol=1e-7)
    np.testing.assert_allclose(found.dimension, held["D_M"], rtol=1e-6)
    assert found.center_correlation == pytest.approx(held["rho_center"], abs=1e-10)
    assert found.mean_capacity == pytest.approx(held["mean"]["alpha_M"], rel=1e-7)
    if name != "D_margin":  # of which manifolds differ in size, and the mean of points is not that of centres
        ours = manifold_geometry(manifolds, kappa=kappa, directions=t, subspace=removed)
        np.testing.assert_allclose(ours.capacity, held["alpha_M"], rtol=1e-7)
        np.testing.assert_allclose(ours.radius, held["R_M"], rtol=1e-7)
        np.testing.assert_allclose(ours.dimension, held["D_M"], rtol=0.02)  # of a direction less


@pytest.mark.parametrize("name", ["A_small", "D_margin", pytest.param("C_corr", marks=pytest.mark.slow)])
def test_from_end_to_end_it_is_near_the_published_code(name):
    held, manifolds, t, _ = oracle(name)
    found = manifold_geometry(manifolds, kappa=held["settings"]["kappa"], directions=t, variant="follow_up", restarts=4)
    assert found.n_removed == held["K"]
    assert found.mean_capacity == pytest.approx(held["mean"]["alpha_M"], rel=0.03)
    assert found.mean_radius == pytest.approx(held["mean"]["R_M"], rel=0.03)
    assert found.mean_dimension == pytest.approx(held["mean"]["D_M"], rel=0.03)


def test_the_variant_of_the_matlab_code_averages_over_the_coordinate_along_the_centre():
    """In high dimensions its frame is that of the default, so the smoothed mean is an average of ours."""
    manifolds = clouds(neurons=400)
    ours, theirs = (manifold_geometry(manifolds, k=0, n_t=1500, variant=name) for name in ("default", "seed"))
    np.testing.assert_allclose(theirs.capacity, ours.capacity, rtol=0.1)
    np.testing.assert_allclose(1 / theirs.capacity, theirs.definitions["inverse_smoothed"])
    np.testing.assert_allclose(theirs.radius, ours.radius, rtol=0.1)
    np.testing.assert_allclose(theirs.dimension, theirs.definitions["dimension_of_products"])
    assert (theirs.definitions["dimension_of_deviations"] < theirs.dimension).all()


# ---- closed forms


@pytest.mark.parametrize("kappa", [-0.5, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0])
def test_identical_points_have_the_capacity_of_points(kappa):
    manifolds = [np.repeat(cloud[:, :1], 4, axis=1) for cloud in clouds()]
    found = manifold_geometry(manifolds, kappa=kappa)
    np.testing.assert_allclose(found.capacity, 1 / inverse_capacity_of_points(kappa), rtol=1e-9)
    np.testing.assert_allclose([found.radius, found.dimension], 0, atol=1e-12)


@pytest.mark.parametrize("kappa", [0.0, 0.5])
@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 2.0])
def test_segments_have_their_capacity_and_one_dimension(radius, kappa):
    segment = np.array([[1.0, 1.0], [radius, -radius], [0.0, 0.0]])
    found = manifold_geometry(opposite(segment), kappa=kappa, n_t=2000)
    alpha = ball_capacity(radius, 1, kappa)
    if kappa == 0:
        assert alpha == pytest.approx(1 / (0.5 + 2 / math.pi * math.atan(radius)), rel=1e-9)
    assert (np.abs(found.capacity - alpha) < 4 * found.capacity_error).all()
    np.testing.assert_allclose(found.capacity, alpha, rtol=0.03)
    np.testing.assert_allclose(found.dimension, 1, atol=1e-9)
    too_many = manifold_geometry(opposite(segment), k=0, kappa=kappa, n_t=2000, variant="follow_up")
    np.testing.assert_allclose(too_many.dimension, 2 * (2 / math.pi) ** 2, rtol=0.1)  # 0.81


@pytest.mark.parametrize(("radius", "kappa"), [(0.5, 0.0), (1.0, 0.0), (0.5, 0.5)])
def test_discs_have_the_capacity_of_balls_of_two_dimensions(radius, kappa):
    angles = np.linspace(0, 2 * np.pi, 81)[:-1]
    disc = np.stack([np.ones(80), radius * np.cos(angles), radius * np.sin(angles)])
    found = manifold_geometry(opposite(disc), kappa=kappa, n_t=3000)
    assert (np.abs(found.capacity - ball_capacity(radius, 2, kappa)) < 4 * found.capacity_error + 0.002).all()
    np.testing.assert_allclose(found.dimension, 2, rtol=0.01)
    if kappa == 0:
        np.testing.assert_allclose(found.radius, {0.5: 0.492985, 1.0: 0.956145}[radius], rtol=0.03)


@pytest.mark.parametrize("points", [5, 20])
def test_points_at_right_angles_are_at_the_floor_and_said_to_be(points):
    found = manifold_geometry(opposite(np.eye(points)), n_t=2000)
    np.testing.assert_allclose(found.floor, 2 / points)
    assert (np.abs(found.capacity - found.floor) < 4 * found.capacity_error).all()
    assert found.at_floor.all() and found.few_points.all()
    small = manifold_geometry(opposite(np.ones((5, 1)) + 0.01 * np.eye(5)), n_t=200)
    assert not small.at_floor.any()


@pytest.mark.parametrize(("name", "kappa"), [("small", 0.0), ("small", 0.5), ("large", 0.0)])
def test_errors_are_the_spread_over_seeds_and_control_variates_make_them_small(name, kappa):
    manifolds = clouds(count=4, spread={"small": 0.2, "large": 1.0}[name])
    for controlled in (True, False):
        runs = [
            manifold_geometry(manifolds, k=0, kappa=kappa, n_t=100, seed=seed, control_variates=controlled)
            for seed in range(40)
        ]
        inverse = np.array([1 / run.capacity for run in runs])
        stated = np.array([run.capacity_error / run.capacity**2 for run in runs]).mean(0)
        np.testing.assert_allclose((inverse.std(0) / stated).mean(), 1, rtol=0.3)
        for part in ("radius", "dimension"):
            spread = np.std([getattr(run, part) for run in runs], axis=0)
            np.testing.assert_allclose(spread, np.mean([getattr(run, f"{part}_error") for run in runs], 0), rtol=0.45)
        if controlled:
            least, means = stated, inverse.mean(0)
    assert (least < 0.6 * stated).all()
    np.testing.assert_allclose(means, inverse.mean(0), atol=4 * stated.max() / math.sqrt(40))


# ---- the loss


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_it_is_the_loss_of_training(kappa):
    """Of more points than neurons, the frame of the published code has the neurons as its coordinates."""
    manifolds = clouds(points=15, neurons=8)
    t = [np.random.default_rng(n).normal(size=(9, 50)) for n in range(len(manifolds))]
    found = manifold_geometry(manifolds, kappa=kappa, directions=t, subspace=np.zeros((8, 0)), variant="follow_up")
    tensors = [torch.from_numpy(cloud.T.copy()) for cloud in manifolds]
    loss = inverse_capacity(tensors, kappa=kappa, directions=[torch.from_numpy(one.T.copy()) for one in t])
    np.testing.assert_allclose(1 / found.capacity, loss, rtol=1e-9)


# ---- what changes nothing


def values(found):
    return np.array([found.capacity, found.radius, found.dimension, found.floor, found.capacity_error])


@FEW
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    points=st.integers(2, 60),
    kappa=st.sampled_from([0.0, 0.3]),
)
def test_unit_origin_rotation_silent_neurons_and_the_order_of_points_change_nothing(seed, scale, points, kappa):
    manifolds = clouds(3, points, 20, seed=seed)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    shift, order = rng.normal(size=(20, 1)), rng.permutation(points)
    expected = manifold_geometry(manifolds, k=0, n_t=60, kappa=kappa)
    moved = [scale * (rotation @ cloud[:, order] + shift) for cloud in manifolds]
    np.testing.assert_allclose(values(manifold_geometry(moved, k=0, n_t=60, kappa=kappa)), values(expected), rtol=1e-6)
    silent = [np.insert(cloud, 7, 0, axis=0) for cloud in manifolds]
    found = manifold_geometry(silent, k=0, n_t=60, kappa=kappa)
    np.testing.assert_allclose(values(found), values(expected), rtol=1e-6)
    assert found.neurons == expected.neurons == 20


def test_the_order_of_manifolds_changes_their_order():
    manifolds, t = clouds(), [np.random.default_rng(n).normal(size=(12, 80)) for n in range(6)]
    expected = manifold_geometry(manifolds, k=0, directions=t)
    found = manifold_geometry(manifolds[::-1], k=0, directions=t[::-1])
    np.testing.assert_allclose(values(found)[:, ::-1], values(expected))
    assert found.center_correlation == pytest.approx(expected.center_correlation)


@pytest.mark.parametrize("solver", ["numba", "torch"])
def test_solvers_agree(solver):
    if solver == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install cotrain[numba]")
    manifolds = [*clouds(), *clouds(points=60, seed=3)]
    expected = manifold_geometry(manifolds, n_t=80, kappa=0.2)
    found = manifold_geometry(manifolds, n_t=80, kappa=0.2, solver=solver)
    np.testing.assert_allclose(values(found), values(expected), rtol=1e-7)


def test_the_seed_is_all_there_is_of_chance_and_tensors_give_tensors():
    manifolds = clouds()
    first, again, other = (manifold_geometry(manifolds, n_t=50, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(values(first), values(again))
    assert (first.capacity != other.capacity).all()
    tensors = manifold_geometry([torch.from_numpy(cloud) for cloud in manifolds], n_t=50)
    assert isinstance(tensors.capacity, torch.Tensor) and isinstance(tensors.subspace, torch.Tensor)
    np.testing.assert_array_equal(values(first), values(tensors))
    assert tensors.mean_capacity == first.mean_capacity


# ---- sizes


@pytest.mark.parametrize("count", [1, 2, 6, 200])
def test_any_number_of_manifolds(count):
    found = manifold_geometry(clouds(count, points=4, neurons=30), n_t=30, restarts=2)
    assert np.isfinite(values(found)).all() and found.reasons == ("",) * count
    assert found.load == pytest.approx(count / 30)
    assert found.n_removed == 0 if count < 3 else found.n_removed <= (count + 1) // 2
    assert math.isnan(found.center_correlation) == (count == 1)
    assert len(found.table()) == count


@pytest.mark.parametrize("variant", ["default", "follow_up", "seed"])
def test_ragged_ones_more_points_than_neurons_and_silent_neurons(variant):
    rng = np.random.default_rng(0)
    manifolds = [rng.normal(size=(9, 1)) + 0.3 * rng.normal(size=(9, count)) for count in (2, 5, 9, 10, 40)]
    for cloud in manifolds:
        cloud[[2, 5]] = 0
    found = manifold_geometry(manifolds, n_t=60, variant=variant, k=1)
    assert np.isfinite(values(found)).all()
    assert found.neurons == 7
    np.testing.assert_array_equal(found.points, [2, 5, 9, 10, 40])
    np.testing.assert_allclose(found.subspace[[2, 5]], 0, atol=1e-12)


def test_an_origin_may_be_given():
    manifolds = clouds()
    middle = np.mean([cloud.mean(1) for cloud in manifolds], 0)
    expected = manifold_geometry(manifolds, k=0)
    np.testing.assert_allclose(values(manifold_geometry(manifolds, k=0, origin=middle)), values(expected))
    alone = manifold_geometry(manifolds[:1], origin=middle)
    np.testing.assert_allclose(alone.capacity, expected.capacity[:1])
    assert manifold_geometry(manifolds[:1], origin=middle + 100).capacity[0] > alone.capacity[0]


def test_more_radius_means_less_capacity_and_a_margin_costs():
    capacities = [manifold_geometry(clouds(spread=spread), k=0).mean_capacity for spread in (0.1, 0.3, 1.0)]
    assert capacities == sorted(capacities, reverse=True)
    with_margin = [manifold_geometry(clouds(), k=0, kappa=kappa).mean_capacity for kappa in (-0.2, 0.0, 0.5, 2.0)]
    assert with_margin == sorted(with_margin, reverse=True)


def test_shared_directions_are_removed_and_their_removal_is_told():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 14))
    manifolds = [
        center[:, None] + 3 * common[:, None] + 0.5 * rng.normal(size=(80, 10))
        for center, common in zip(rng.normal(size=(14, 80)), shared.T, strict=True)
    ]
    found, kept = manifold_geometry(manifolds), manifold_geometry(manifolds, k=0)
    assert found.n_removed == 2 and found.subspace.shape == (80, 2)
    assert found.residual_correlation < 0.5 * found.center_correlation
    assert kept.mean_capacity > 1.3 * found.mean_capacity, "correlated centres look far apart"
    assert (found.center_share < 1).all() and found.stability < 1
    given = manifold_geometry(manifolds, subspace=found.subspace)
    np.testing.assert_allclose(values(given), values(found))
