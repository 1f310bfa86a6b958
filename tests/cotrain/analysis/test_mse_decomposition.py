"""What a squared difference of RDMs consists of."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.analysis import Rdm, mse_decomposition, rdm
from cotrain.errors import DataError


def two(seed, stimuli=8):
    generator = np.random.default_rng(seed)
    return [rdm(generator.normal(size=(stimuli, 5)), "squared_euclidean") for _ in range(2)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_the_parts_are_the_whole(seed, stimuli):
    model, target = two(seed, stimuli)
    upper = np.triu_indices(stimuli, 1)
    parts = mse_decomposition(model, target)
    assert parts.total == pytest.approx(np.mean((model[upper] - target[upper]) ** 2), rel=1e-9)
    assert min(parts.offset, parts.scale, parts.shape) >= 0
    assert sum(parts.shares) == pytest.approx(1)
    r = np.corrcoef(model[upper], target[upper])[0, 1]
    assert parts.shape == pytest.approx(2 * model[upper].std() * target[upper].std() * (1 - r), rel=1e-6)


def test_each_part_stands_for_one_change():
    target, _ = two(0)
    off = 1 - np.eye(len(target))
    spread = target[np.triu_indices(len(target), 1)].std()
    moved = mse_decomposition(target + 0.3 * off, target)
    assert (moved.offset, moved.scale, moved.shape) == pytest.approx((0.09, 0, 0), abs=1e-12)
    wide = mse_decomposition(2 * target, target)
    assert wide.scale == pytest.approx(spread**2)
    assert wide.shape == pytest.approx(0, abs=1e-12)
    order = np.random.default_rng(0).permutation(len(target))
    turned = mse_decomposition(target[order][:, order], target)
    assert (turned.offset, turned.scale) == pytest.approx((0, 0), abs=1e-12)
    assert turned.shape > 0.1 * spread**2


def test_no_difference_has_no_shares():
    target, _ = two(1)
    same = mse_decomposition(torch.from_numpy(target), target)
    assert same.total == pytest.approx(0, abs=1e-12)
    still = np.ones((4, 4)) - np.eye(4)
    assert all(math.isnan(share) for share in mse_decomposition(still, still).shares)


def test_what_is_refused():
    model, target = two(2)
    with pytest.raises(DataError, match="takes two RDMs"):
        mse_decomposition(np.stack([model, model]), target)
    target = target.copy()
    target[0, 1] = target[1, 0] = np.nan
    with pytest.raises(DataError, match="pairs are NaN"):
        mse_decomposition(model, target)
    with pytest.raises(DataError, match="similarity"):
        mse_decomposition(Rdm(np.eye(8), kind="similarity"), model)
