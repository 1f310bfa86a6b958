"""Weighted sums of shifted copies of an image, on the processor: a shift is a step along all its numbers at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.linalg.blas import daxpy, saxpy

Step = tuple[int, int]  # rows down, columns to the right
AT_ONCE = 9984  # numbers: OpenBLAS wakes no threads for less than 10,000, which would cost more than they save


def shifted_sums(padded: np.ndarray, taps: Mapping[Step, int], height: int, width: int) -> np.ndarray:
    """For each pixel, the sum over the taps of weight times the pixel that is a step away.

    Exact where no sum leaves the whole numbers that the floats hold; the library that adds may fuse.

    Args:
        padded: Whole numbers as float32 or float64, contiguous (rows, columns, channels).
        taps: Weights of steps, from 0 to the number of rows or columns that are more than `height` or `width`.
        height, width: Of what is asked for.

    Returns:
        (pixels, channels) in rows as long as the padded ones, from the first pixel to the last that is asked for; what
        is beyond `width` in a row means nothing.
    """
    columns, channels = padded.shape[1:]
    numbers = padded.ravel()
    sums = np.zeros(((height - 1) * columns + width) * channels, dtype=padded.dtype)
    add = daxpy if padded.dtype == np.float64 else saxpy
    places = [((down * columns + right) * channels, weight) for (down, right), weight in taps.items()]
    for first in range(0, sums.size, AT_ONCE):
        part = sums[first : first + AT_ONCE]
        for place, weight in places:
            part = add(numbers[first + place :], part, part.size, weight)
        sums[first : first + AT_ONCE] = part
    return sums.reshape(-1, channels)


def cropped(sums: np.ndarray, columns: int, width: int) -> np.ndarray:
    """Without what is beyond the rows' ends: (channels, height, width) of (channels, pixels) in rows of `columns`."""
    channels, pixels = sums.shape
    rows = np.zeros((channels, pixels + columns - width), dtype=sums.dtype)
    rows[:, :pixels] = sums
    return rows.reshape(channels, -1, columns)[:, :, :width]
