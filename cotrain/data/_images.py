"""Arrays as uint8 image tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from cotrain.errors import DataError


def image_tensor(array: NDArray[np.generic], where: str) -> Tensor:
    """Images as uint8 (stimuli, channels, height, width).

    Args:
        array: uint8, or float between 0 and 1; (stimuli, height, width) grey, or (stimuli, height, width, 1 or 3), or
            (stimuli, 1 or 3, height, width).
        where: Named in errors.

    Raises:
        DataError: NaN, another range, type or shape; says where.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise DataError(f"{where}: expected images (stimuli, height, width[, 1 or 3]), found shape {array.shape}.")
    if array.size == 0:
        raise DataError(f"{where}: expected images, found none: shape {array.shape}.")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{where}: expected uint8, or floats between 0 and 1, found {array.dtype}.")
    broken = np.flatnonzero(~np.isfinite(array).all((1, 2, 3))).tolist()
    if broken:
        raise DataError(f"{where}: {len(broken)} images hold NaN or infinite pixels, first at rows {broken[:5]}.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise DataError(f"{where}: float images must lie between 0 and 1, found {low:.4g} to {high:.4g}. Rescale them.")
    return torch.from_numpy(np.ascontiguousarray(np.rint(array * 255).astype(np.uint8)))


def resized(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """uint8 images scaled to `size` (height, width), or to a square (bilinear, antialiased); size 0 leaves them."""
    shape = (size, size) if isinstance(size, int) else size
    if size == 0 or tuple(images.shape[2:]) == shape:
        return images
    pieces = [
        interpolate(piece.float(), shape, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for piece in images.split(1024)
    ]
    return torch.cat(pieces)


def prepared(images: Tensor, channels: int, size: int | tuple[int, int]) -> Tensor:
    """uint8 images with so many channels (1: grey, 3: colour), scaled as `resized` does."""
    return resized(grey(images) if channels == 1 else images.expand(-1, channels, -1, -1), size)


def grey(images: Tensor) -> Tensor:
    """uint8 colour images as grey ones: luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B)."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return torch.cat([(piece.float() * weights).sum(1, keepdim=True).round().byte() for piece in images.split(1024)])
