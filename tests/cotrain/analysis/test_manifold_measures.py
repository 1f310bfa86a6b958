"""Balls, Gaussian geometry, spectra, controls, and how capacity falls with the number of points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from cotrain.analysis import (
    ball_capacity,
    capacity_by_points,
    clip_dimension,
    gaussian_geometry,
    manifold_geometry,
    manifold_spectrum,
    randomise_manifolds,
    scale_radius,
)
from cotrain.manifolds import inverse_capacity_of_points


def clouds(count=5, points=12, neurons=30, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(neurons, 1)) + spread * rng.normal(size=(neurons, points)) for _ in range(count)]


# ---- balls


@pytest.mark.parametrize(
    ("radius", "dimension", "kappa", "alpha"),
    [
        (0.5, 2, 0, 0.949860),
        (0.5, 5, 0, 0.576511),
        (0.5, 20, 0, 0.208505),
        (0.1, 20, 0, 1.047079),
        (2, 5, 0, 0.234443),
        (0.5, 5, 0.5, 0.353269),
    ],
)
def test_capacities_of_balls(radius, dimension, kappa, alpha):
    assert ball_capacity(radius, dimension, kappa) == pytest.approx(alpha, rel=1e-5)


@settings(max_examples=8, deadline=None)
@given(radius=st.floats(0.05, 5), dimension=st.floats(0.5, 40), kappa=st.floats(-0.5, 1.5))
def test_a_ball_has_the_mean_of_projections_that_are_drawn(radius, dimension, kappa):
    rng = np.random.default_rng(0)
    r, b = np.sqrt(rng.chisquare(dimension, 100_000)), rng.normal(size=100_000) + kappa
    squares = np.where(b < r / radius, np.maximum(b + radius * r, 0) ** 2 / (1 + radius**2), b**2 + r**2)
    assert abs(1 / ball_capacity(radius, dimension, kappa) - squares.mean()) < 5 * squares.std() / math.sqrt(1e5)


@pytest.mark.parametrize("dimension", [1, 5, 20])
def test_limits_of_balls(dimension):
    assert ball_capacity(0, dimension, 0.3) == pytest.approx(1 / inverse_capacity_of_points(0.3))
    assert ball_capacity(1e-6, dimension) == pytest.approx(2, rel=1e-3)
    assert ball_capacity(1, dimension) == pytest.approx(2 / (dimension + 1))
    assert ball_capacity(1e4, dimension) == pytest.approx(1 / (dimension + 0.5), rel=1e-3)


# ---- Gaussian geometry and spectra


def test_gaussian_geometry_is_that_of_small_manifolds():
    small = clouds(spread=0.01)
    fast, full = gaussian_geometry(small, n_t=3000), manifold_geometry(small, k=0, n_t=3000)
    np.testing.assert_allclose(fast.radius, full.radius, rtol=0.03)
    np.testing.assert_allclose(fast.dimension, full.dimension, rtol=0.12)  # <t.s>^2, and not of the cosine
    np.testing.assert_allclose(fast.dimension, (fast.width / fast.radius) ** 2)


def test_gaussian_geometry_of_simple_shapes():
    ends = np.array([[1.0, 1.0], [0.5, -0.5]])
    found = gaussian_geometry([ends, -ends], n_t=4000)
    np.testing.assert_allclose(found.radius, 0.5, rtol=0.01)
    np.testing.assert_allclose(found.width, 0.5 * math.sqrt(2 / math.pi), rtol=0.05)
    np.testing.assert_allclose(found.dimension, 2 / math.pi, rtol=0.1)
    shared = manifold_geometry(clouds(8), k=1)
    removed = gaussian_geometry(clouds(8), subspace=shared.subspace)
    assert (removed.radius > gaussian_geometry(clouds(8)).radius).mean() > 0.5
    points = gaussian_geometry([np.ones((3, 4)), np.eye(3)[:, :2]])
    assert points.radius[0] == points.dimension[0] == 0


def test_spectra_are_those_of_principal_components():
    manifolds = clouds(points=15, neurons=9)
    found = manifold_spectrum(manifolds)
    centers = np.stack([cloud.mean(1) for cloud in manifolds], 1)
    distances = np.linalg.norm(centers - centers.mean(1, keepdims=True), axis=0)
    for number, cloud in enumerate(manifolds):
        values = PCA().fit(cloud.T).explained_variance_ * 14 / 15
        assert found.participation_ratio[number] == pytest.approx(values.sum() ** 2 / (values**2).sum())
        assert found.radius[number] == pytest.approx(math.sqrt(values.sum()) / distances[number])
        assert found.variance_radius[number] == pytest.approx(math.sqrt((values**2).sum()) / distances[number] ** 2)
        assert found.explained_dimension[number] == PCA(0.9, svd_solver="full").fit(cloud.T).n_components_
    together = np.concatenate(manifolds, 1)
    values = PCA().fit(together.T).explained_variance_
    assert found.total_participation_ratio == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert found.total_explained_dimension == PCA(0.9, svd_solver="full").fit(together.T).n_components_
    values = PCA().fit(centers.T).explained_variance_
    assert found.center_participation_ratio == pytest.approx(values.sum() ** 2 / (values**2).sum())


def test_spectra_of_points_and_of_equal_axes():
    found = manifold_spectrum([np.ones((6, 4)), 3 + np.c_[np.eye(6), -np.eye(6)]])
    assert math.isnan(found.participation_ratio[0]) and found.explained_dimension[0] == 0
    assert found.participation_ratio[1] == pytest.approx(6) and found.explained_dimension[1] == 6
    assert found.radius[0] == 0


# ---- controls


def parts(manifolds):
    """Centres about their mean, (neurons, manifolds), and clouds about their centres."""
    centers = np.stack([cloud.mean(1) for cloud in manifolds], 1)
    return centers - centers.mean(1, keepdims=True), [cloud - cloud.mean(1, keepdims=True) for cloud in manifolds]


def lengths(centers):
    return np.linalg.norm(centers, axis=0)


CENTERS_ONLY = ("orthogonal_centers", "random_centers")
AXES_ONLY = ("random_axes",)
BOTH = ("random_centers_and_axes", "equal_random_centers_and_axes")


@pytest.mark.parametrize("control", [*CENTERS_ONLY, *AXES_ONLY, *BOTH, "random_neurons"])
def test_controls_change_what_they_say_and_nothing_else(control):
    manifolds = clouds()
    before, around = parts(manifolds)
    found = randomise_manifolds(manifolds, control, seed=1)
    after = np.stack([cloud.mean(1) for cloud in found], 1)
    wanted = np.full(5, lengths(before).mean()) if control.startswith("equal") else lengths(before)
    np.testing.assert_allclose(lengths(after), wanted)
    for old, new in zip(around, parts(found)[1], strict=True):
        np.testing.assert_allclose(pdist(new.T), pdist(old.T), err_msg="shapes stay")
        assert np.allclose(new, old) == (control in CENTERS_ONLY)
    assert np.allclose(after, before) == (control in AXES_ONLY)
    if control == "orthogonal_centers":
        np.testing.assert_allclose(after.T @ after, np.diag(lengths(before) ** 2), atol=1e-9)
    if control == "random_neurons":
        np.testing.assert_allclose(np.sort(after, 0), np.sort(before, 0))
    again, other = (randomise_manifolds(manifolds, control, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(again[2], found[2])
    if control != "orthogonal_centers":
        assert not np.allclose(other[2], found[2])


def test_shuffled_points_are_the_same_points_elsewhere():
    manifolds = [*clouds(3), *clouds(2, points=5, seed=1)]
    found = randomise_manifolds(manifolds, "shuffled_points", seed=0)
    assert [cloud.shape for cloud in found] == [cloud.shape for cloud in manifolds]
    middle = np.mean([cloud.mean(1) for cloud in manifolds], 0)[:, None]
    old, new = np.concatenate(manifolds, 1) - middle, np.concatenate(found, 1)
    np.testing.assert_allclose(new[:, np.lexsort(new)], old[:, np.lexsort(old)])
    assert not np.allclose(new, old)
    separate = manifold_geometry(manifolds, k=0).mean_capacity
    assert manifold_geometry(found, k=0).mean_capacity < 0.5 * separate


def test_radii_are_scaled_and_dimensions_clipped():
    manifolds = clouds()
    centers, around = parts(manifolds)
    for factor in (0.0, 0.5, 3.0):
        after, away = parts(scale_radius(manifolds, factor))
        np.testing.assert_allclose(after, centers, atol=1e-12)
        for old, new in zip(around, away, strict=True):
            np.testing.assert_allclose(new, factor * old, atol=1e-12)
    for dimension in (0, 2, 11, 40):
        after, away = parts(clip_dimension(manifolds, dimension))
        np.testing.assert_allclose(after, centers, atol=1e-12)
        for old, new in zip(around, away, strict=True):
            principal = PCA(min(dimension, 11), svd_solver="full").fit(old.T) if dimension else None
            expected = principal.inverse_transform(principal.transform(old.T)).T if dimension else 0 * old
            np.testing.assert_allclose(new, expected, atol=1e-9)
    radii = [manifold_geometry(scale_radius(manifolds, f), k=0).mean_radius for f in (0.1, 0.2)]
    assert radii[1] == pytest.approx(2 * radii[0], rel=0.05)
    np.testing.assert_allclose(manifold_geometry(clip_dimension(manifolds, 1), k=0).dimension, 1)


# ---- numbers of points


def test_capacity_falls_with_the_number_of_points_towards_the_ball():
    rng = np.random.default_rng(0)
    balls = []
    for _ in range(6):
        surface = rng.normal(size=(4, 200))
        basis = np.linalg.qr(rng.normal(size=(60, 5)))[0]
        balls.append(basis[:, :1] + 0.5 * basis[:, 1:] @ (surface / np.linalg.norm(surface, axis=0)))
    found = capacity_by_points(balls, [5, 20, 200], subsets=2, n_t=100, k=0)
    assert found.points.tolist() == [5, 20, 200]
    assert (np.diff(found.capacity) < 0).all() and (np.diff(found.dimension) > 0).all()
    assert found.capacity[0] > 1.3 * found.capacity[2]
    assert found.capacity[2] == pytest.approx(ball_capacity(0.5, 4), rel=0.15)
    assert found.change == pytest.approx(found.capacity[2] / found.capacity[1] - 1)
    assert math.isnan(found.capacity_error[2]) and found.capacity_error[0] > 0
    np.testing.assert_allclose(found.floor[0], 2 / 5)


def test_by_default_halves_are_taken_and_the_subspace_is_that_of_all_points():
    found = capacity_by_points(clouds(8), n_t=40, subsets=1, restarts=2)
    assert found.points.tolist() == [2, 3, 6, 12]
    whole = manifold_geometry(clouds(8), n_t=1, restarts=2)
    given = capacity_by_points(clouds(8), n_t=40, subsets=1, subspace=whole.subspace)
    np.testing.assert_allclose(found.capacity, given.capacity)
    assert math.isnan(capacity_by_points(clouds(), [12], n_t=20, k=0).change)
