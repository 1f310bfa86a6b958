"""Separability is that of linear programming, and simulated capacity that of theory."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.stats import norm

from cotrain.analysis import ball_capacity, joint_geometry, manifold_geometry, simulated_capacity
from cotrain.analysis._manifold_labels import drawn_labels
from cotrain.analysis._manifold_separability import is_separable
from cotrain.analysis._probit import probit_middle

ORACLE = Path(os.environ.get("COTRAIN_TEST_DATA", "/nowhere")) / ".." / "oracles" / "manifolds"


def feasible(clouds, labels, bias):
    """By linear programming: some w, b with label (w.x + b) >= 1."""
    rows = np.concatenate(
        [label * np.r_[cloud, np.ones((1, cloud.shape[1]))].T for cloud, label in zip(clouds, labels, strict=True)]
    )
    rows = rows if bias else rows[:, :-1]
    limits = [(None, None)] * rows.shape[1]
    return optimize.linprog(np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(rows)), bounds=limits).status == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    dimensions=st.integers(1, 8),
    count=st.integers(2, 8),
    points=st.integers(1, 15),
    bias=st.booleans(),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_separable_is_what_a_linear_program_finds_feasible(seed, dimensions, count, points, bias, scale):
    rng = np.random.default_rng(seed)
    clouds = [rng.normal(size=(dimensions, 1)) + 0.4 * rng.normal(size=(dimensions, points)) for _ in range(count)]
    labels = drawn_labels("random", count, rng)
    found = is_separable([scale * cloud for cloud in clouds], labels, bias=bias)
    assert found == feasible(clouds, labels, bias)
    if dimensions == 1 and bias:
        low, high = ([cloud for cloud, y in zip(clouds, labels, strict=True) if y == side] for side in (-1, 1))
        if low and high:
            low, high = np.concatenate(low, 1), np.concatenate(high, 1)
            assert found == bool(low.max() < high.min() or high.max() < low.min())


def test_linear_programming_steps_in(monkeypatch):
    def never(*_, **__):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(optimize, "nnls", never)
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(12):
        clouds = [rng.normal(size=(4, 1)) + 0.5 * rng.normal(size=(4, 9)) for _ in range(6)]
        labels = drawn_labels("balanced", 6, rng)
        answers.add(is_separable(clouds, labels))
        assert is_separable(clouds, labels) == feasible(clouds, labels, True)
    assert answers == {True, False}


def test_points_that_lie_on_every_plane_and_copies():
    cross = [np.array([[1.0, 0.0]]).T, np.zeros((2, 1))]
    assert is_separable(cross, np.array([1.0, -1.0])) and not is_separable(cross, np.array([1.0, -1.0]), bias=False)
    same = [np.ones((3, 2)), np.ones((3, 4))]
    assert not is_separable(same, np.array([1.0, -1.0])) and is_separable(same, np.array([1.0, 1.0]))


@pytest.mark.parametrize("count", [2, 5, 8])
def test_labels(count):
    rng = np.random.default_rng(0)
    drawn = {kind: np.array([drawn_labels(kind, count, rng) for _ in range(200)]) for kind in ("balanced", "random")}
    assert set(np.abs(drawn["balanced"].sum(1))) == {count % 2}
    assert len(np.unique(drawn["balanced"], axis=0)) > 1 and abs(drawn["balanced"].mean()) < 0.1
    assert abs(drawn["random"].mean()) < 0.15 and len(set(drawn["random"].sum(1))) > 2
    one = np.array([drawn_labels("one_vs_rest", count, rng) for _ in range(50)])
    assert set(one.sum(1)) == {2.0 - count}


# ---- the fit


def test_the_fitted_middle_is_the_most_likely_and_its_interval_covers():
    numbers, trials = np.arange(10.0, 31.0, 2.0), np.full(11, 20.0)
    inside = 0
    for seed in range(20):
        successes = np.random.default_rng(seed).binomial(20, norm.cdf((numbers - 20.7) / 4)).astype(float)
        middle, low, high, width = probit_middle(numbers, successes, trials, confidence=0.9)
        inside += low < 20.7 < high
        assert low < middle < high and width > 0
        if seed < 2:
            general = optimize.minimize(
                lambda q, s=successes: (
                    -norm.logcdf((numbers - q[0]) / np.exp(q[1])) @ s
                    - norm.logsf((numbers - q[0]) / np.exp(q[1])) @ (trials - s)
                ),
                [20.0, 1.0],
                method="Nelder-Mead",
                options={"xatol": 1e-6, "fatol": 1e-9},
            )
            assert middle == pytest.approx(general.x[0], abs=1e-2)
            assert width == pytest.approx(np.exp(general.x[1]), rel=1e-2)
    assert 15 <= inside <= 20, "of 20, 18 are to be covered"


def test_counts_that_jump_have_a_middle_between_and_those_that_do_not_bound_nothing():
    middle, low, high, _ = probit_middle(np.array([3.0, 4.0]), np.array([0.0, 50.0]), np.array([50.0, 50.0]))
    assert 3 < low < middle < high < 4
    _, low, high, _ = probit_middle(np.array([3.0, 9.0]), np.array([3.0, 3.0]), np.array([6.0, 6.0]))
    assert math.isinf(low) and math.isinf(high)


# ---- theory


def segments(radius, count, neurons=300, seed=0):
    rng = np.random.default_rng(seed)
    centers, axes = rng.normal(size=(2, count, neurons)) / math.sqrt(neurons)
    return [np.stack([a + radius * b, a - radius * b], 1) for a, b in zip(centers, axes, strict=True)]


@pytest.mark.parametrize("bias", [True, False])
def test_points_have_the_count_of_cover(bias):
    """Cover 1965: of as many random labels, half can be made in half as many dimensions (one less with a bias)."""
    count = 24
    points = [np.random.default_rng(n).normal(size=(100, 1)) for n in range(count)]
    found = simulated_capacity(points, seed=0, labels="random", bias=bias, trials=120)
    expected = count / 2 - 1
    assert abs(found.dimensions - expected) < 1.2
    assert found.low < found.capacity < found.high
    assert found.trials.sum() >= 120 and (found.separable <= found.trials).all()


@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_segments_have_the_capacity_of_theory(radius):
    found = simulated_capacity(segments(radius, 40), seed=0, trials=100)
    assert found.capacity == pytest.approx(ball_capacity(radius, 1), rel=0.08)
    assert found.high / found.low < 1.25


@pytest.mark.slow
@pytest.mark.parametrize(("radius", "closed_form"), [(0.1, 1.774777), (0.5, 1.257597), (1.0, 1.0)])
def test_of_many_segments_closed_form_theory_and_simulation_agree(radius, closed_form):
    """1 / (1/2 + 2 arctan(R) / pi); planes through the origin, as theory has them."""
    manifolds = segments(radius, 100, neurons=500)
    assert ball_capacity(radius, 1) == pytest.approx(closed_form, rel=1e-6)
    theory = manifold_geometry(manifolds, k=0)
    assert theory.mean_capacity == pytest.approx(closed_form, rel=0.01)
    assert theory.mean_dimension == pytest.approx(1, abs=1e-6)
    found = simulated_capacity(manifolds, seed=0, bias=False)
    assert found.capacity == pytest.approx(closed_form, rel=0.025)
    assert found.low < 1.01 * closed_form and found.high > 0.99 * closed_form and found.high / found.low < 1.04


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A_small", "C_corr"])
def test_the_joint_capacity_is_that_of_simulation(name):
    if not (ORACLE / f"{name}_X.npy").is_file():
        pytest.skip("the folder oracles/manifolds beside COTRAIN_TEST_DATA holds no manifolds")
    manifolds = list(np.moveaxis(np.load(ORACLE / f"{name}_X.npy"), 2, 0))
    simulated, joint = simulated_capacity(manifolds, seed=0), joint_geometry(manifolds)
    assert joint.capacity == pytest.approx(simulated.capacity, rel=0.1)


def test_neurons_may_be_chosen_instead_of_projections():
    manifolds = segments(0.5, 20, neurons=60)
    for cloud in manifolds:
        cloud[30:] = 0
    chosen = simulated_capacity(manifolds, seed=0, projection="neurons", trials=60)
    projected = simulated_capacity(manifolds, seed=0, trials=60)
    assert chosen.tried.max() <= 30
    assert chosen.capacity == pytest.approx(projected.capacity, rel=0.2)


def test_a_transition_near_the_number_of_neurons_is_found():
    """Where the first trials at some number of dimensions are luckier than the rest."""
    expected = simulated_capacity(segments(0.5, 20, neurons=60), seed=0, trials=60).capacity
    for seed in range(2):
        found = simulated_capacity(segments(0.5, 20, neurons=19), seed=seed, trials=60)
        assert found.capacity == pytest.approx(expected, rel=0.2)


def test_the_seed_is_all_there_is_of_chance():
    manifolds = segments(0.5, 12, neurons=40)
    first, again, other = (simulated_capacity(manifolds, seed=seed, trials=40) for seed in (0, 0, 1))
    assert first.capacity == again.capacity != other.capacity
    assert float(first) == first.capacity
    assert first.dimensions == pytest.approx(12 / first.capacity)
