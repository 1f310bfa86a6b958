"""Gaussian filters whose sums are exact: no order of summation, and so no machine, shows in a pixel."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cotrain.data.corruptions._fixed_point import fixed_point

BITS = 26  # of a value and of a weight: their products sum up to at most 2**52, which float64 holds exactly
ONE = float(2**BITS)
BYTE = float(2 ** (BITS - 8))  # one grey level as such a value

Edges = Literal["nearest", "reflect"]


def gaussian(values: Tensor, sigma: tuple[float, float], *, truncate: float = 4.0, edges: Edges = "nearest") -> Tensor:
    """Filter whole numbers, rows and columns apart, as `scipy.ndimage.gaussian_filter` does.

    Args:
        values: Whole numbers from -2**26 to 2**26 in float64 (..., height, width).
        sigma: Standard deviations along height and width, in pixels; 0 leaves that axis as it is.
        truncate: Where the filter ends, in standard deviations.
        edges: What lies beyond: `nearest` a a | a b c | c c, `reflect` b a | a b c | c b.

    Returns:
        float64 of the same shape, in the same unit: multiples of 2**-26. Between the two axes it is rounded to whole
        numbers. A constant stays itself.
    """
    down = _matrix(values.shape[-2], sigma[0], truncate, edges, values.device)
    across = _matrix(values.shape[-1], sigma[1], truncate, edges, values.device)
    rows = (torch.matmul(down, values) * (1 / ONE)).round()
    return torch.matmul(rows, across.T) * (1 / ONE)


def gaussian_of_bytes(images: Tensor, sigma: float) -> Tensor:
    """Filter images (images, channels, height, width) of bytes; the result is truncated to bytes."""
    return (gaussian(images.double() * BYTE, (sigma, sigma)) * (1 / BYTE)).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def _matrix(size: int, sigma: float, truncate: float, edges: Edges, device: torch.device) -> Tensor:
    """The filter along one axis: whole numbers in float64 (size, size), 2**26 a row."""
    reach = int(truncate * sigma + 0.5)
    steps = range(-reach, reach + 1)
    weights = fixed_point([math.exp(-0.5 * (step / sigma) ** 2) if step else 1.0 for step in steps], 2**BITS)
    places = np.arange(size)[:, None] + np.array(steps)
    if edges == "nearest":
        places = places.clip(0, size - 1)
    else:
        places = places % (2 * size)
        places = np.minimum(places, 2 * size - 1 - places)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], places), np.array(weights, dtype=float)[None])
    return torch.from_numpy(matrix).to(device)
