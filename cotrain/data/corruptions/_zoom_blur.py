"""Zoom blur: the mean of an image and of its middle, enlarged more and more."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._fixed_point import ONE

Parameters = tuple[float, float, bool]


def _apply_zoom(images: Tensor, parameters: Parameters, draws: Draws) -> Tensor:  # noqa: ARG001
    count, channels, height, width = images.shape
    pixels = (
        images.flatten(2).permute(2, 0, 1).flatten(1).float()
    )  # pixels first: each is a row that is added to others
    if images.device.type == "cpu":
        sums = torch.from_numpy(zoom_operator(height, width, *parameters) @ pixels.numpy())
    else:
        sums = _by_gathers(pixels, *_places(height, width, parameters, images.device))
    return (sums / ONE).to(torch.uint8).view(height, width, count, channels).permute(2, 3, 0, 1).contiguous()


# parameters: enlargements below this one, from 1 in such steps; whether the middle of the enlarged image is kept, as
# Hendrycks does, or its upper left corner, as `imagecorruptions` does: they are a pixel or two larger than the image
zoom_blur = Corruption(_apply_zoom)


@functools.lru_cache(maxsize=10)
def zoom_operator(height: int, width: int, end: float, step: float, middle: bool) -> sparse.csr_array:
    """What each pixel of the result takes from each of the image, in 65,536ths: whole numbers as float32.

    Enlarging is linear interpolation between the pixels' middles, along rows and columns; so all enlargements and their
    mean are one linear map. Each of its rows has 4 weights an enlargement or fewer, and sums to 65,536.
    """
    factors = np.arange(1, end, step)
    total = sparse.eye_array(height * width, format="csr")
    for factor in factors.tolist():
        total = total + sparse.kron(_enlarging(height, factor, middle), _enlarging(width, factor, middle), format="csr")
    return _whole(total / (len(factors) + 1))


def _enlarging(size: int, factor: float, middle: bool) -> sparse.csr_array:
    """Of one line: float64 (size, size), as `scipy.ndimage.zoom(order=1)` of its middle part."""
    part = math.ceil(size / factor)
    enlarged = round(part * factor)
    first = (size - part) // 2
    places = (np.arange(size) + (enlarged - size) // 2 * middle) * ((part - 1) / (enlarged - 1))
    left = np.minimum(np.floor(places).astype(np.int64), part - 1)
    share = places - left
    lines = np.tile(np.arange(size), 2)
    columns = first + np.concatenate([left, np.minimum(left + 1, part - 1)])
    return sparse.csr_array((np.concatenate([1 - share, share]), (lines, columns)), shape=(size, size))


def _whole(operator: sparse.csr_array) -> sparse.csr_array:
    """Rounded to 65,536ths, each row to a sum of one: as `fixed_point` does, all rows at once."""
    operator.sum_duplicates()
    lines = np.repeat(np.arange(operator.shape[0]), np.diff(operator.indptr))
    whole = np.floor(operator.data * ONE)
    rest = np.round(operator.data * ONE - whole, 9)
    order = np.lexsort((-rest, lines))  # stable: of equal ones, the first
    missing = ONE - np.bincount(lines, whole, operator.shape[0])
    rank = np.arange(len(order)) - operator.indptr[lines]
    whole[order[rank < missing[lines]]] += 1
    found = sparse.csr_array((whole.astype(np.float32), operator.indices, operator.indptr), shape=operator.shape)
    found.eliminate_zeros()
    return found


@functools.lru_cache(maxsize=10)
def _places(height: int, width: int, parameters: Parameters, device: torch.device) -> tuple[Tensor, Tensor]:
    """The operator as tables (most weights a row, pixels) of pixels and of weights, rows filled up with zeros."""
    operator = zoom_operator(height, width, *parameters)
    lengths = np.diff(operator.indptr)
    lines = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(lines)) - operator.indptr[lines]
    places = np.zeros((lengths.max(), len(lengths)), dtype=np.int64)
    weights = np.zeros(places.shape, dtype=np.float32)
    places[rank, lines], weights[rank, lines] = operator.indices, operator.data
    return torch.from_numpy(places).to(device), torch.from_numpy(weights).to(device)


def _by_gathers(pixels: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """One weight a pixel after the other, as a GPU likes it."""
    sums = torch.zeros_like(pixels)
    for place, weight in zip(places, weights, strict=True):
        sums += pixels.index_select(0, place) * weight[:, None]
    return sums
