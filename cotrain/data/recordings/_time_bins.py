"""Responses in time bins become one number a neuron."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

EDGE_TOLERANCE = 1e-6  # of a bin: edges such as 0.1 + 0.2 are no exact numbers


def sum_bins(
    responses: NDArray[np.generic],
    *,
    bin_ms: float,
    first_bin_ms: float,
    window_ms: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Sum responses over the time bins that lie within a window.

    Args:
        responses: Numbers (..., bins), for example spike counts.
        bin_ms: Width of a bin in milliseconds, above 0.
        first_bin_ms: When the first bin begins, in milliseconds after stimulus onset.
        window_ms: From and to when to sum, in milliseconds after stimulus onset; None: all bins. Both must be edges of
            bins, for a part of a bin's spikes is not known.

    Returns:
        float32 (...); NaN where a bin within the window is NaN.

    Raises:
        DataError: The window cuts a bin or leaves the range that was recorded, or the responses are no numbers.
    """
    if responses.dtype.kind not in "iuf" or responses.ndim < 1:
        raise DataError(f"Binned responses must be numbers (..., bins), found {responses.dtype} {responses.shape}.")
    bins = responses.shape[-1]
    start, stop = _covered_bins(bins, bin_ms, first_bin_ms, window_ms)
    total = responses[..., start:stop].sum(-1, dtype=np.float64)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which `check_session` names
        return np.asarray(total, np.float32)


def recorded_window(bins: int, bin_ms: float, first_bin_ms: float) -> tuple[float, float]:
    """From and to when all bins together were recorded, in milliseconds after stimulus onset."""
    return float(first_bin_ms), float(first_bin_ms + bins * bin_ms)


def spike_unit(window_ms: tuple[float, float]) -> str:
    """Unit of spike counts summed over a window.

    >>> spike_unit((40.0, 160.0))
    'spikes in 120 ms'
    """
    return f"spikes in {window_ms[1] - window_ms[0]:g} ms"


def _covered_bins(
    bins: int, bin_ms: float, first_bin_ms: float, window_ms: tuple[float, float] | None
) -> tuple[int, int]:
    """First bin of a window and the one behind its last."""
    if not (math.isfinite(bin_ms) and bin_ms > 0 and math.isfinite(first_bin_ms)):
        raise DataError(f"Bins need a width above 0 ms and a beginning, found {bin_ms} ms from {first_bin_ms} ms on.")
    if bins == 0:
        raise DataError("Responses hold no time bin.")
    if window_ms is None:
        return 0, bins
    first, last = recorded_window(bins, bin_ms, first_bin_ms)
    recorded = f"Recorded are {bins} bins of {bin_ms:g} ms from {first:g} to {last:g} ms."
    begin, end = window_ms
    if not (math.isfinite(begin) and math.isfinite(end) and begin < end):
        raise DataError(f"A window begins before it ends, found {begin:g} to {end:g} ms. {recorded}")
    edges = ((begin - first_bin_ms) / bin_ms, (end - first_bin_ms) / bin_ms)
    if edges[0] < -EDGE_TOLERANCE or edges[1] > bins + EDGE_TOLERANCE:
        raise DataError(f"The window {begin:g} to {end:g} ms leaves what was recorded. {recorded}")
    start, stop = round(edges[0]), round(edges[1])
    if max(abs(edges[0] - start), abs(edges[1] - stop)) > EDGE_TOLERANCE or start == stop:
        raise DataError(f"The window {begin:g} to {end:g} ms cuts a bin. {recorded} Choose edges of bins.")
    return start, stop
