"""Sums over time bins agree with a loop over bins; windows that fit no bins are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cotrain.data.recordings import sum_bins
from cotrain.errors import DataError


@given(
    counts=hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6), elements=st.integers(0, 1000)),
    bin_ms=st.sampled_from([0.1, 1.0, 2.5, 10.0, 33.3]),
    first=st.sampled_from([-20.0, 0.0, 0.3, 40.0]),
    data=st.data(),
)
def test_bins_within_the_window_are_summed(counts, bin_ms, first, data):
    bins = counts.shape[-1]
    start = data.draw(st.integers(0, bins - 1))
    stop = data.draw(st.integers(start + 1, bins))
    window = (first + start * bin_ms, first + stop * bin_ms)
    summed = sum_bins(counts, bin_ms=bin_ms, first_bin_ms=first, window_ms=window)
    assert summed.dtype == np.float32 and summed.shape == counts.shape[:-1]
    expected = np.zeros(counts.shape[:-1])
    for number in range(bins):
        middle = first + (number + 0.5) * bin_ms
        if window[0] < middle < window[1]:
            expected = expected + counts[..., number]
    np.testing.assert_array_equal(summed, expected)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 100, width=32)), st.integers(1, 3))
def test_windows_that_meet_add_up(rates, cut):
    """The whole is the sum of its parts, and no window means the whole."""
    first, second = (0.0, 10.0 * cut), (10.0 * cut, 40.0)
    parts = [sum_bins(rates, bin_ms=10, first_bin_ms=0, window_ms=window) for window in (first, second)]
    whole = sum_bins(rates, bin_ms=10, first_bin_ms=0, window_ms=None)
    np.testing.assert_allclose(parts[0] + parts[1], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "text"),
    [
        ((35.0, 100.0), "35 to 100 ms leaves what was recorded.*12 bins of 10 ms from 40 to 160 ms"),
        ((40.0, 170.0), "leaves what was recorded"),
        ((45.0, 100.0), "cuts a bin.*from 40 to 160 ms"),
        ((40.0, 101.0), "cuts a bin"),
        ((50.0, 50.0), "begins before it ends"),
        ((60.0, 50.0), "begins before it ends"),
        ((float("nan"), 50.0), "begins before it ends"),
        ((40.0, float("inf")), "begins before it ends"),
        ((50.0, 50.0 + 1e-8), "cuts a bin"),
    ],
)
def test_windows_that_fit_no_bins(window, text):
    with pytest.raises(DataError, match=text):
        sum_bins(np.ones((2, 12)), bin_ms=10, first_bin_ms=40, window_ms=window)


def test_other_misuse():
    with pytest.raises(DataError, match="must be numbers"):
        sum_bins(np.array([["a"]]), bin_ms=10, first_bin_ms=40)
    with pytest.raises(DataError, match="must be numbers"):
        sum_bins(np.array(3.0), bin_ms=10, first_bin_ms=40)
    with pytest.raises(DataError, match="no time bin"):
        sum_bins(np.ones((2, 0)), bin_ms=10, first_bin_ms=40)
    for width in (0.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="width above 0"):
            sum_bins(np.ones((2, 3)), bin_ms=width, first_bin_ms=40)


def test_missing_bins_make_missing_sums():
    rates = np.array([[1.0, np.nan], [1.0, 2.0]])
    np.testing.assert_array_equal(sum_bins(rates, bin_ms=10, first_bin_ms=0), [np.nan, 3.0])
    np.testing.assert_array_equal(sum_bins(rates, bin_ms=10, first_bin_ms=0, window_ms=(0, 10)), [1.0, 1.0])


def test_sums_beyond_float32_are_infinite():
    assert np.isinf(sum_bins(np.array([1e300, 1e300]), bin_ms=10, first_bin_ms=0))
