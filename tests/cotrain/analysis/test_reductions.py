"""Projections, principal components and coordinates against their definitions and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from cotrain.analysis import _feature_pca
from cotrain.analysis._feature_pca import coordinates, principal_components
from cotrain.analysis._sparse_projection import GaussianMatrix, SparseMatrix, johnson_lindenstrauss_size
from cotrain.errors import ModelError


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def dense(matrix):
    return matrix(torch.eye(matrix.features))


def distortion(values, projected):
    """Of all squared distances, and the mean of their ratios."""
    ratio = torch.pdist(projected.double()).square() / torch.pdist(values.double()).square()
    return (ratio - 1).abs().max().item(), ratio.mean().item()


@settings(max_examples=20)
@given(st.integers(2, 400), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**62))
def test_each_feature_has_one_entry_in_each_part(features, size, nonzeros, seed):
    nonzeros = min(nonzeros, size)
    held = dense(SparseMatrix(features, size, nonzeros=nonzeros, seed=seed)) * nonzeros**0.5
    ends = np.linspace(0, size, nonzeros + 1).astype(int)
    for start, end in itertools.pairwise(ends):
        part = held[:, start:end]
        assert ((part.abs() - 1).abs() < 1e-6).sum(1).tolist() == [1] * features
        assert (part != 0).sum().item() == features


def test_entries_are_even_over_columns_and_signs():
    held = dense(SparseMatrix(3_000, 50, nonzeros=2, seed=0))
    counts = (held != 0).sum(0)
    assert counts.min() > 70 and counts.max() < 170  # 120 +- 11
    assert abs((held > 0).sum().item() / (held != 0).sum().item() - 0.5) < 0.03


@pytest.mark.parametrize("features", [1000, 70_000, 140_000])
def test_a_projection_is_the_product_with_its_matrix(features):
    values, matrix = normal(4, features), SparseMatrix(features, 64, nonzeros=4, seed=1)
    rows = torch.from_numpy((matrix.places >> 1) + matrix.starts).long()
    signs = torch.from_numpy(1 - 2 * (matrix.places & 1)).double()
    expected = torch.zeros(4, 64, dtype=torch.float64)
    for j in range(4):
        expected.index_add_(1, rows[:, j], values.double() * signs[:, j])
    torch.testing.assert_close(matrix(values).double(), expected / 2, atol=2e-3, rtol=1e-4)


def test_devices_without_scipy_compute_the_same():
    values, matrix = normal(5, 70_000), SparseMatrix(70_000, 100, nonzeros=4, seed=1)
    total = torch.zeros(200, 5)
    for start in (0, _sparse_piece()):
        piece = values[:, start : start + _sparse_piece()]
        total += torch.sparse.mm(_sparse_as_torch(matrix, start), piece.T)
    torch.testing.assert_close(((total[::2] - total[1::2]) / 2).T, matrix(values), atol=1e-3, rtol=1e-4)


def _sparse_piece():
    from cotrain.analysis import _sparse_projection

    return _sparse_projection.PIECE


def _sparse_as_torch(matrix, start):
    from cotrain.analysis import _sparse_projection

    return _sparse_projection._as_torch(matrix._piece(start), torch.device("cpu"))


@pytest.mark.parametrize("kind", ["sparse", "gaussian"])
@pytest.mark.parametrize("features", ["normal", "sparse and positive"])
def test_distances_are_kept(kind, features):
    values = normal(40, 20_000)
    if features == "sparse and positive":  # as after a ReLU
        values = (values - 1).relu()
    size = johnson_lindenstrauss_size(40, 0.15)
    matrix = (
        SparseMatrix(20_000, size, nonzeros=4, seed=0) if kind == "sparse" else GaussianMatrix(20_000, size, seed=0)
    )
    largest, mean = distortion(values, matrix(values))
    assert largest < 0.15 and abs(mean - 1) < 0.03


@pytest.mark.parametrize("nonzeros", [1, 4])
def test_every_bit_is_the_same_whatever_is_projected_with_it(nonzeros):
    values, matrix = normal(40, 70_000), SparseMatrix(70_000, 300, nonzeros=nonzeros, seed=3)
    whole = matrix(values)
    for size in (1, 7, 17):
        assert torch.equal(torch.cat([matrix(part) for part in values.split(size)]), whole)
    assert torch.equal(SparseMatrix(70_000, 300, nonzeros=nonzeros, seed=3)(values), whole)
    assert not torch.equal(SparseMatrix(70_000, 300, nonzeros=nonzeros, seed=4)(values), whole)


def test_wide_parts_need_wider_numbers_and_give_the_same_kind_of_matrix():
    wide = SparseMatrix(500, 40_000, nonzeros=1, seed=0)
    assert wide.places.dtype == np.int32 and SparseMatrix(500, 4096, nonzeros=4, seed=0).places.dtype == np.int16
    assert (dense(wide).abs().sum(1) == 1).all()


def test_gaussian_matrices_are_the_same_held_or_drawn_anew():
    held, drawn = GaussianMatrix(3000, 20, seed=0), GaussianMatrix(3000, 20, seed=0, held=0)
    values = normal(6, 3000)
    assert drawn.kept is None and drawn.nbytes < held.nbytes
    assert torch.equal(held(values), drawn(values))
    entries = dense(held)
    assert entries.std().item() == pytest.approx(20**-0.5, rel=0.02) and abs(entries.mean()) < 0.003


@pytest.mark.parametrize("stimuli", [119, 118, 2592, 640, 2])
@pytest.mark.parametrize("eps", [0.1, 0.3])
def test_automatic_sizes_are_those_of_scikit_learn(stimuli, eps):
    assert johnson_lindenstrauss_size(stimuli, eps) == johnson_lindenstrauss_min_dim(stimuli, eps=eps)


def test_wrong_sizes_are_named():
    with pytest.raises(ModelError, match="sparse projection to 3 has 1 to 3 entries a feature, found 4"):
        SparseMatrix(10, 3, nonzeros=4, seed=0)
    with pytest.raises(ModelError, match="between 0 and 1, found eps=1"):
        johnson_lindenstrauss_size(10, 1)


def assert_same_up_to_sign(found, expected, atol):
    signs = torch.sign((found * expected).sum(0))
    torch.testing.assert_close(found * signs, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("shape", [(60, 9000), (60, 40), (60, 60)])
@pytest.mark.parametrize("fitted", [range(60), range(5, 45), [50, 3, 9, 7, 30, 31, 32, 33, 2, 1, 0, 59]])
def test_principal_components_are_those_of_a_full_decomposition(shape, fitted):
    values = normal(*shape) * torch.logspace(0, -2, shape[1]) + 3
    rows = torch.tensor(list(fitted))
    size = min(10, len(rows) - 1)
    found = principal_components(values, size, rows)
    expected = PCA(size, svd_solver="full").fit(values[rows].double().numpy()).transform(values.double().numpy())
    assert_same_up_to_sign(found, torch.tensor(expected).float(), 1e-4 * float(np.abs(expected).max()))
    best = found[rows].gather(0, found[rows].abs().argmax(0, keepdim=True))
    assert (best > 0).all(), "signs are settled"


def test_components_are_cut_to_what_there_is_and_empty_ones_are_zero():
    assert principal_components(normal(8, 500), 100, torch.arange(8)).shape == (8, 7)
    assert principal_components(normal(80, 6), 100, torch.arange(80)).shape == (80, 6)
    twice = normal(4, 500).repeat(3, 1)
    found = principal_components(twice, 8, torch.arange(12))
    assert (found[:, 3:].abs() < 1e-3).all() and (found[:, :3].std(0) > 1).all()


def test_large_ones_are_incremental_and_near_exact(monkeypatch):
    values = normal(900, 5) * torch.tensor([9.0, 7, 5, 4, 3]) @ normal(5, 300, seed=1) + 0.5 * normal(900, 300, seed=2)
    exact = principal_components(values, 5, torch.arange(800))
    monkeypatch.setattr(_feature_pca, "EXACT", 100)
    monkeypatch.setattr(_feature_pca, "ROWS", 200)
    found = principal_components(values, 5, torch.arange(800))
    assert_same_up_to_sign(found, exact, 0.05 * float(exact.abs().max()))


@pytest.mark.parametrize("shape", [(50, 20_000), (50, 30)])
def test_coordinates_have_all_scalar_products(shape):
    values = normal(*shape).relu() + 1
    found = coordinates(values)
    assert found.shape[1] <= min(shape) and found.dtype == torch.float32
    expected = values.double() @ values.double().T
    torch.testing.assert_close(
        found.double() @ found.double().T, expected, rtol=1e-6, atol=1e-6 * float(expected.max())
    )
    assert coordinates(torch.zeros(5, 100)).abs().max() == 0
    assert coordinates(normal(3, 400).repeat(5, 1)).shape == (15, 3), "of rank 3"
