"""RDMs agree with NumPy and SciPy, and stimuli without any response do no harm."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.dissimilarity import pairs, pearson, rdm

MANY = settings(max_examples=50, deadline=None)
SEEDS = st.integers(0, 10**6)
SIZES = st.integers(2, 12)


def normal(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close(found, expected, tolerance=1e-10) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance, rtol=0)


@MANY
@given(SIZES, st.integers(3, 20), SEEDS)
def test_rdm_is_one_minus_pearson(stimuli, features, seed):
    values = normal(stimuli, features, seed=seed)
    assert_close(rdm(values), 1 - np.corrcoef(values))
    condensed = scipy.spatial.distance.pdist(values, "correlation")
    assert_close(pairs(rdm(values)), condensed)
    assert_close(rdm(values), scipy.spatial.distance.squareform(condensed))


@MANY
@given(SIZES, st.integers(3, 20), SEEDS)
def test_rdm_is_symmetric_and_zero_on_the_diagonal(stimuli, features, seed):
    matrix = rdm(normal(stimuli, features, seed=seed, dtype=torch.float32))
    assert_close(matrix, matrix.T, 1e-6)
    assert torch.equal(matrix.diagonal(), torch.zeros(stimuli))
    assert matrix.min() >= 0 and matrix.max() <= 2


@MANY
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), SEEDS)
def test_rdm_ignores_the_order_of_units_and_scale_and_offset_of_a_stimulus(offset, scale, seed):
    values = normal(6, 15, seed=seed)
    expected = rdm(values)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
    assert_close(rdm(values[:, order]), expected)
    assert_close(rdm(values * torch.tensor([1, scale, 1, 1, 1, 2.0])[:, None]), expected)
    assert_close(rdm(values + torch.tensor([0, offset, 0, 0, 0, 2.0])[:, None]), expected, 1e-8)
    assert_close(rdm(-values), expected)


@pytest.mark.parametrize("scale", [1e-15, 1e-9, 1.0, 1e12])
def test_rdm_of_tiny_and_of_huge_features(scale):
    values = normal(5, 30, dtype=torch.float32)
    assert_close(rdm(values * scale), rdm(values), 1e-6)


def test_rdm_follows_the_order_of_stimuli():
    values, order = normal(7, 9), torch.tensor([3, 0, 6, 1, 2, 5, 4])
    assert_close(rdm(values[order]), rdm(values)[order][:, order])


def test_equal_and_opposite_stimuli_are_at_the_ends_of_the_scale():
    values = normal(1, 9, dtype=torch.float32)
    matrix = rdm(torch.cat([values, 2 * values + 1, -values]))
    assert_close(matrix, [[0, 0, 2], [0, 0, 2], [2, 2, 0]], 1e-6)


def test_gradients_are_those_of_finite_differences():
    values = normal(5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pairs(rdm(x)), values)
    target = normal(10)
    assert torch.autograd.gradcheck(lambda x: pearson(pairs(rdm(x)), target), values)
    assert torch.autograd.gradcheck(pearson, (normal(8, seed=1).requires_grad_(), normal(8, seed=2).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, -3.3, 1234.567, 3.3e5])
@pytest.mark.parametrize("features", [1, 7, 100, 333])
def test_a_stimulus_without_structure_is_at_1_from_all_and_pulls_at_nothing(level, features, dtype):
    values = normal(6, features, dtype=dtype)
    values[0], values[3] = level, level * 1.7
    values.requires_grad_()
    matrix = rdm(values)
    assert_close(matrix[0].detach(), [0, 1, 1, 1, 1, 1])
    assert_close(matrix[3].detach(), [1, 1, 1, 0, 1, 1])
    (matrix * normal(6, 6, dtype=dtype)).sum().backward()
    assert values.grad.isfinite().all()
    assert not values.grad[[0, 3]].any()


@pytest.mark.parametrize("level", [0.0, 0.1, 1234.567])
def test_pearson_of_a_constant_is_0_and_pulls_at_nothing(level):
    constant, other = torch.full((333,), level), normal(333, dtype=torch.float32)
    for a, b in ((constant, other), (other, constant), (constant, constant * 1.3)):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        value = pearson(a, b)
        value.backward()
        assert value == 0
        assert not a.grad.any() and not b.grad.any()


def test_features_that_are_all_constant_give_a_gradient_without_nan():
    values = torch.zeros(5, 8, requires_grad=True)
    pearson(pairs(rdm(values)), normal(10, dtype=torch.float32)).backward()
    assert not values.grad.any()


@MANY
@given(SIZES)
def test_pairs_are_those_of_scipy(stimuli):
    matrix = normal(stimuli, stimuli)
    matrix = (matrix + matrix.T).fill_diagonal_(0)
    assert_close(pairs(matrix), scipy.spatial.distance.squareform(matrix.numpy()))


def test_a_single_stimulus_has_no_pairs():
    assert pairs(rdm(normal(1, 4))).shape == (0,)
    assert pearson(torch.ones(0), torch.ones(0)) == 0


@MANY
@given(st.integers(2, 40), st.floats(-100, 100), st.floats(0.01, 100), SEEDS)
def test_pearson_is_that_of_scipy(number, offset, scale, seed):
    a, b = normal(2, number, seed=seed)
    assert_close(pearson(a, b), scipy.stats.pearsonr(a, b).statistic)
    assert_close(pearson(a * scale + offset, -b), -pearson(a, b), 1e-9)
    assert_close(pearson(a, a * scale + offset), 1.0, 1e-9)
