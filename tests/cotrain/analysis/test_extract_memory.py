"""Reductions inside the pass, budgets, and features in files."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from networks import network, pixels
from sklearn.decomposition import PCA
from torch import nn

from cotrain.analysis import AveragePool, GaussianProjection, Gram, Pca, SparseProjection, extract, ridge
from cotrain.errors import DataError, ModelError


def test_the_budget_is_checked_before_the_run_and_the_error_says_what_would_fit():
    model, images = network(), pixels(200)
    passed = []
    model.head.register_forward_hook(lambda *_: passed.append(1))
    with pytest.raises(
        ModelError,
        match=r"Features of \d+ layers for 200 images need .* MB, more than the memory budget of 1 MB. The largest are "
        r"(entry|relu|blocks)\S*: 384 features, 307 kB; .* What would fit: .*AveragePool\(\) "
        r".*a folder as spill .*smallest",
    ):
        extract(model, images, "all", memory_budget=1e6, batch=4)
    assert len(passed) == 2, "in the trial passes alone"
    assert len(extract(model, images, "all", memory_budget=1e6, batch=4, reduce="average_pool")) > 8
    with pytest.raises(ModelError, match="Nothing smaller fits: raise the budget"):
        extract(model, images, "all", memory_budget=100)


def test_what_waits_takes_several_passes_under_a_budget(caplog):
    model, images = network().eval(), pixels(60)
    free = extract(model, images, "all", reduce=Pca(3), batch=4)
    with caplog.at_level("INFO"):
        tight = extract(model, images, "all", reduce=Pca(3), batch=4, memory_budget=5e5)
    assert "passes, so that no more than 500 kB is held" in caplog.text
    assert list(tight) == list(free)
    for name, values in free.items():
        assert torch.equal(values, tight[name])


@pytest.mark.parametrize("reduce", [None, "gram", SparseProjection(50)])
def test_features_may_lie_in_files(reduce, tmp_path):
    model, images = network().eval(), pixels(20)
    kept = extract(model, images, "all", reduce=reduce)
    spilled = extract(model, images, "all", reduce=reduce, spill=tmp_path / "new", memory_budget=1e6)
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {f"{name}.npy" for name in kept}
    for name, values in kept.items():
        assert torch.equal(values, spilled[name])
        np.testing.assert_array_equal(np.load(tmp_path / "new" / f"{name}.npy"), values)
        spilled[name] += 1
        np.testing.assert_array_equal(np.load(tmp_path / "new" / f"{name}.npy"), values)
    with pytest.raises(DataError, match=r"files of features are there already, first .*Name another folder"):
        extract(model, images, "head", spill=tmp_path / "new")
    assert isinstance(extract(model, images.numpy(), "head", spill=tmp_path / "n")["head"], np.ndarray)


def test_features_may_be_kept_as_other_types():
    model, images = network().eval(), pixels()
    whole = extract(model, images, "head")["head"]
    half = extract(model, images, "head", dtype="float16")["head"]
    assert half.dtype == torch.float16 and torch.allclose(half.float(), whole, atol=1e-3)
    double = extract(copy.deepcopy(model).double(), images, "head", dtype="float64")["head"]
    assert double.dtype == torch.float64 and torch.allclose(double.float(), whole, atol=1e-5)
    with pytest.raises(DataError, match=r"Features of '0' reach 1e.05, too large for float16"):
        extract(nn.Sequential(nn.Identity()), images * 0 + 1e5, "0", dtype="float16")
    with pytest.raises(DataError, match="kept as float32, float16, float64, found 'int8'"):
        extract(model, images, "head", dtype="int8")


@pytest.mark.parametrize("reduce", [None, AveragePool(), SparseProjection(40), GaussianProjection(40), Pca(5), Gram()])
def test_neither_batches_nor_other_layers_matter(reduce):
    model, images = network().eval(), pixels(20)
    alone = extract(model, images, "blocks.0", reduce=reduce, seed=5, batch=20)["blocks.0"]
    for batch in (7, 1):
        found = extract(model, images, "all", reduce=reduce, seed=5, batch=batch)
        others = extract(model, images, ["blocks.0", "head"], reduce=reduce, seed=5, batch=batch)
        assert torch.equal(
            others["blocks.0"], extract(model, images, "blocks.0", reduce=reduce, seed=5, batch=batch)["blocks.0"]
        )
        torch.testing.assert_close(others["blocks.0"], alone, atol=1e-4, rtol=1e-4)
        assert len(found) > 8
    if isinstance(reduce, (SparseProjection, GaussianProjection)):
        assert not torch.allclose(alone, extract(model, images, "blocks.0", reduce=reduce, seed=6)["blocks.0"])


def test_projections_are_those_of_the_whole_features():
    model, images = network().eval(), pixels(20)
    from cotrain.analysis._sparse_projection import SparseMatrix
    from cotrain.seeds import derive_seed

    whole = extract(model, images, "blocks.0")["blocks.0"]
    matrix = SparseMatrix(384, 50, nonzeros=4, seed=derive_seed(3, "initialisation", "sparse projection", "blocks.0"))
    found = extract(model, images, "blocks.0", reduce=SparseProjection(50), seed=3, batch=6)["blocks.0"]
    torch.testing.assert_close(found, matrix(whole), atol=1e-5, rtol=1e-4)
    pooled = extract(model, images, ["blocks.0", "head"], reduce="average_pool")
    torch.testing.assert_close(pooled["blocks.0"], whole.view(20, 6, 64).mean(2))
    assert pooled["head"].shape == (20, 4)


def test_layers_smaller_than_a_projection_stay_as_they_are():
    model, images = network().eval(), pixels(20)
    found = extract(model, images, ["entry", "head"], reduce=SparseProjection(100))
    assert found["entry"].shape == (20, 100)
    torch.testing.assert_close(found["head"], extract(model, images, "head")["head"])


def test_principal_components_are_fitted_to_their_rows():
    model, images = network().eval(), pixels(20)
    rows = list(range(12))
    found = extract(model, images, ["blocks.0", "head"], reduce=Pca(3, rows=rows), batch=6)
    for name, scores in found.items():
        whole = extract(model, images, name)[name].double().numpy()
        expected = PCA(3, svd_solver="full").fit(whole[rows]).transform(whole)
        np.testing.assert_allclose(np.abs(scores.numpy()), np.abs(expected), atol=1e-4)
    masked = extract(model, images, "head", reduce=Pca(3, rows=np.arange(20) < 12))["head"]
    torch.testing.assert_close(masked, found["head"])
    for wrong in ([0, 0, 1], [3], [5, 20], [0.5, 2]):
        with pytest.raises(ModelError, match="rows must be two or more different positions from 0 to 19"):
            extract(model, images, "head", reduce=Pca(3, rows=wrong))


def test_ridge_sees_no_difference_between_features_and_their_coordinates():
    model, images = network().eval(), pixels(30)
    y = torch.rand(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = [extract(model, images, "blocks.1", reduce=reduce)["blocks.1"] for reduce in (None, "gram")]
    fits = [ridge(found.double(), y, [0.1, 1, 10]) for found in features]
    torch.testing.assert_close(fits[0].predictions, fits[1].predictions, atol=1e-4, rtol=1e-4)
    assert torch.equal(fits[0].alphas, fits[1].alphas)
