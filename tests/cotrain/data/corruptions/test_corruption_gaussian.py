"""Gaussian filters against SciPy's, and their exactness against Python's whole numbers."""

import numpy as np
import pytest
import torch
from corruption_images import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cotrain.data.corruptions._gaussian import BITS, BYTE, ONE, _matrix, gaussian, gaussian_of_bytes


@pytest.mark.parametrize("edges", ["nearest", "reflect"])
@pytest.mark.parametrize(
    ("sigma", "truncate"), [((0.7, 0.7), 4.0), ((2.24, 1.1), 3.0), ((19.2, 12.8), 3.0), ((0, 1), 4)]
)
def test_it_is_scipys_filter(edges, sigma, truncate):
    values = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 40, 33)))
    found = gaussian((values * ONE).round(), sigma, truncate=truncate, edges=edges) / ONE
    expected = gaussian_filter(values.numpy(), (0, *sigma), mode=edges, truncate=truncate)
    assert np.abs(found.numpy() - expected).max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(-(2**BITS), 2**BITS), st.floats(0.05, 9), st.sampled_from(["nearest", "reflect"]))
def test_a_constant_stays(value, sigma, edges):
    values = torch.full((1, 12, 17), float(value), dtype=torch.float64)
    assert torch.equal(gaussian(values, (sigma, sigma), edges=edges), values)


def test_sums_are_those_of_pythons_whole_numbers():
    values = torch.randint(-(2**BITS), 2**BITS + 1, (9, 11), generator=torch.Generator().manual_seed(0))
    down, across = (
        [[int(weight) for weight in row] for row in _matrix(size, 1.5, 4.0, "nearest", torch.device("cpu")).tolist()]
        for size in (9, 11)
    )
    rows = [[sum(weight * int(values[y, x]) for y, weight in enumerate(row)) for x in range(11)] for row in down]
    rounded = [[round(value / 2**BITS) for value in row] for row in rows]  # powers of two: no rounding but this one
    expected = [[sum(w * value for w, value in zip(line, row, strict=True)) for line in across] for row in rounded]
    found = gaussian(values.double(), (1.5, 1.5)) * ONE
    assert [[int(value) for value in row] for row in found.tolist()] == expected


def test_bytes_are_truncated():
    images = pictures(2, 40, 36)
    expected = gaussian_filter(images.double().numpy(), (0, 0, 1.1, 1.1), mode="nearest", truncate=4)
    found = gaussian_of_bytes(images, 1.1).numpy()
    differences = found - np.floor(expected)
    assert np.abs(differences).max() <= 1
    assert (differences != 0).mean() < 0.02  # constant patches, where SciPy's sums are a rounding error below
    assert torch.equal(gaussian_of_bytes(images, 0.05), images)
    assert BYTE * 256 == ONE
