"""The search for what centres have in common: its gradient, its minima, and the number of directions."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from cotrain.analysis import CenterSubspace, center_subspace
from cotrain.analysis._grassmann import _cost_and_gradient, correlation_cost, descend
from cotrain.analysis._manifold_centers import Search, follow_up_largest, given_subspace
from cotrain.errors import CotrainError, DataError

ORACLE = Path(os.environ.get("COTRAIN_TEST_DATA", "/nowhere")) / ".." / "oracles" / "manifolds"


def centers(rank=2, strength=3.0, count=16, neurons=60, seed=0):
    """Random centres that share some directions."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(neurons, rank)) @ rng.normal(size=(rank, count))
    return rng.normal(size=(neurons, count)) + strength * shared


def naive_cost(values):
    """Of centres (neurons, centres), by the formula, a pair at a time."""
    total = 0.0
    for a in values.T:
        for b in values.T:
            total += (a @ b) ** 2 / ((a @ a) * (b @ b)) / 2
    return total


def without(values, basis):
    around = values - values.mean(1, keepdims=True)
    return around - basis @ (basis.T @ around)


def test_the_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(7, 5))
    v = np.linalg.qr(rng.normal(size=(5, 2)))[0]

    def cost(flat):
        basis = np.linalg.qr(flat.reshape(5, 2))[0]
        return naive_cost((x - x @ basis @ basis.T).T)

    value, gradient = _cost_and_gradient(v[None], x, x @ x.T)
    assert value[0] == pytest.approx(naive_cost((x - x @ v @ v.T).T))
    np.testing.assert_allclose(gradient[0].ravel(), approx_fprime(v.ravel(), cost, 1e-7), atol=1e-4)
    assert correlation_cost(x @ x.T) == pytest.approx(naive_cost(x.T))


def test_descent_ends_where_a_general_minimiser_ends_and_starts_do_not_mix():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(9, 6))
    starts = np.stack([np.linalg.qr(rng.normal(size=(6, 2)))[0] for _ in range(4)])
    found, costs = descend(x, starts)
    alone = [descend(x, start[None]) for start in starts]
    np.testing.assert_allclose(costs, [cost[0] for _, cost in alone], rtol=1e-9)

    def cost(flat):
        basis = np.linalg.qr(flat.reshape(6, 2))[0]
        rest = x - x @ basis @ basis.T
        return correlation_cost(rest @ rest.T)

    general = min(minimize(cost, start.ravel(), method="L-BFGS-B").fun for start in starts[:2])
    assert costs.min() <= general + 1e-6
    np.testing.assert_allclose([cost(one.ravel()) for one in found], costs, rtol=1e-9)
    np.testing.assert_allclose(found.swapaxes(1, 2) @ found, np.broadcast_to(np.eye(2), (4, 2, 2)), atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_as_many_directions_as_centres_share_are_found(rank):
    found = center_subspace(centers(rank, strength=4))
    assert isinstance(found, CenterSubspace)
    assert found.k == rank
    assert found.residual_correlation < found.correlation / 2
    assert found.tried[rank] == min(found.tried)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(rank), atol=1e-12)
    assert found.cost == pytest.approx(naive_cost(without(centers(rank, strength=4), found.basis)))


def test_nothing_is_removed_of_centres_that_share_nothing():
    found = center_subspace(centers(strength=0, count=20, neurons=300))
    assert found.k == 0 and found.stability == pytest.approx(1)
    assert found.residual_correlation == found.correlation


def test_stability_is_the_smallest_share_that_a_centre_keeps():
    values = centers()
    found = center_subspace(values, k=2)
    around = values - values.mean(1, keepdims=True)
    shares = np.linalg.norm(without(values, found.basis), axis=0) / np.linalg.norm(around, axis=0)
    assert found.stability == pytest.approx(shares.min())
    steadier = center_subspace(values, k=2, search=Search("stability"))
    assert steadier.stability >= found.stability - 1e-3


def test_unit_origin_rotation_and_order_change_nothing_and_the_seed_is_all_there_is_of_chance():
    values = centers()
    found = center_subspace(values, seed=3)
    np.testing.assert_array_equal(center_subspace(values, seed=3).basis, found.basis)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(60, 60)))[0]
    for scale in (1e-6, 1e6):
        moved = center_subspace(scale * (rotation @ values + 3), k=found.k)
        assert moved.cost == pytest.approx(found.cost, abs=1e-4)
        assert moved.correlation == pytest.approx(found.correlation)
    assert center_subspace(values[:, ::-1], k=found.k).cost == pytest.approx(found.cost, abs=1e-4)


@pytest.mark.parametrize(("count", "largest"), [(1, 0), (2, 0), (3, 1), (6, 4)])
def test_few_manifolds_can_lose_one_direction_less_than_their_centres_span(count, largest):
    values = centers(count=count)
    assert center_subspace(values, k=largest).k == largest
    assert center_subspace(values).k <= largest
    text = rf"{count} manifolds have centres of {count - 1} independent directions, of which {largest + 1} cannot be re"
    with pytest.raises(DataError, match=text):
        center_subspace(values, k=largest + 1)


def test_bad_arguments():
    with pytest.raises(
        CotrainError, match=r"needs 1 restart or more and k of 0 or more, found restarts = 0 and k = -1"
    ):
        center_subspace(centers(), k=-1, restarts=0)
    with pytest.raises(CotrainError, match=r"There is no selection 'price' of starts\. Known: cost, stability"):
        center_subspace(centers(), search=Search("price"))
    with pytest.raises(DataError, match=r"\(neurons, directions\) = \(60, k\), found \(59, 2\)"):
        given_subspace(centers(), np.ones((59, 2)))
    with pytest.raises(DataError, match=r"The 2 directions of the subspace depend on each other"):
        given_subspace(centers(), np.ones((60, 2)))


def test_a_given_subspace_need_not_be_orthonormal():
    basis = np.random.default_rng(0).normal(size=(60, 2))
    found = given_subspace(centers(), 5 * basis)
    q = np.linalg.qr(basis)[0]
    np.testing.assert_allclose(found.basis @ found.basis.T, q @ q.T, atol=1e-12)


@pytest.mark.parametrize("name", ["A_small", "D_margin", pytest.param("C_corr", marks=pytest.mark.slow)])
def test_the_cost_is_no_more_than_that_of_the_published_code(name):
    if not (ORACLE / "oracle.json").is_file():
        pytest.skip("the folder oracles/manifolds beside COTRAIN_TEST_DATA holds no results of the published code")
    held = json.loads((ORACLE / "oracle.json").read_text())[name]
    points, removed = np.load(ORACLE / f"{name}_X.npy"), np.load(ORACLE / f"{name}_V.npy")
    values = np.nanmean(points, 1)
    theirs = naive_cost(without(values, removed))
    ours = center_subspace(values, k=held["K"])
    assert ours.cost <= theirs + 1e-4
    assert ours.correlation == pytest.approx(held["rho_center"], abs=1e-10)
    steady = center_subspace(values, search=Search("stability", 1, follow_up_largest, 5))
    assert steady.k == held["K"]
    assert steady.cost <= theirs + 1e-4
