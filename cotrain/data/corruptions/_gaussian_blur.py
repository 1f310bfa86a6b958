"""Blur with a Gaussian, rows and columns in turn."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._fixed_point import fixed_point

ONE = 1 << 20  # 20-bit weights twice, times bytes, stay below 2^53, which float64 still holds exactly


def _apply_gaussian_blur(images: Tensor, parameters: float, draws: Draws) -> Tensor:  # noqa: ARG001
    return gaussian_blurred(images, parameters).to(torch.uint8)  # truncated, as the reference does


gaussian_blur = Corruption(_apply_gaussian_blur)  # parameters: standard deviation, pixels


def gaussian_blurred(images: Tensor, sigma: float) -> Tensor:
    """Bytes, blurred as by `scipy.ndimage.gaussian_filter(mode="nearest", truncate=4)`, but with weights of 20 bits.

    Args:
        images: uint8 (images, channels, height, width).
        sigma: Standard deviation, pixels.

    Returns:
        float64 of the same shape, in 0..255, exact.
    """
    rows, columns = (_operator(size, sigma, images.device) for size in images.shape[2:])
    return (rows @ (images.double() @ columns.T)) / ONE**2


@functools.lru_cache
def _operator(size: int, sigma: float, device: torch.device) -> Tensor:
    """What each blurred pixel of a line takes from each pixel of it, in 2^20ths: float64 (size, size)."""
    reach = math.floor(4 * sigma + 0.5)
    weights = fixed_point([math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)], ONE)
    operator = torch.zeros(size, size, dtype=torch.float64)
    places = torch.arange(size)
    for step, weight in zip(range(-reach, reach + 1), weights, strict=True):
        operator[places, (places + step).clamp(0, size - 1)] += weight
    return operator.to(device)
