"""Defocus: the blur of a lens, a disk whose rim is smoothed."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._fixed_point import ONE
from cotrain.data.corruptions._pixels import divided
from cotrain.data.corruptions._shifts import Step, cropped, shifted_sums


def _apply_defocus(images: Tensor, parameters: tuple[float, float], draws: Draws) -> Tensor:  # noqa: ARG001
    kernel, gain = disk_kernel(*parameters)
    sums = (_by_edges if images.device.type == "cpu" else _by_taps)(images.float(), kernel)
    return divided(sums, int(kernel.sum()) / gain).clamp_(0, 255).to(torch.uint8)  # truncated, as the reference does


# parameters: radius, and standard deviation of the rim's smoothing, pixels
defocus_blur = Corruption(_apply_defocus)


@functools.lru_cache
def disk_kernel(radius: float, smoothing: float) -> tuple[np.ndarray, float]:
    """The kernel, and what it does to the brightness.

    A disk on 17 x 17 pixels (up to radius 8, else as large as it is) is smoothed by a Gaussian of 3 x 3 (5 x 5) whose
    border is mirrored, as OpenCV's is by default. So the rim of wide disks is cut off, and does not sum to one.

    Returns:
        Whole weights, int64 (size, size), that sum to 65,536 or little less; those off the rim are equal. And what the
        reference's weights sum to.
    """
    reach, half = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    disk = offsets[:, None] ** 2 + offsets**2 <= radius**2
    kernel = disk.astype(np.float64)
    gauss = np.array([math.exp(-(i**2) / (2 * smoothing**2)) for i in range(-half, half + 1)])
    for axis in (0, 1):
        kernel = correlate1d(kernel, gauss / gauss.sum(), axis=axis, mode="mirror")
    gain = kernel.sum() / np.count_nonzero(disk)
    kernel /= kernel.max()
    plateau = math.floor(ONE / kernel.sum())
    while True:
        # rounded before, so that the last bit of an exponential decides nothing
        whole = np.floor(np.round(kernel * plateau, 6) + 0.5).astype(np.int64)
        if whole.sum() <= ONE:
            break
        plateau -= 1
    outside = np.abs(offsets)[whole.any(0)].max()
    inner = slice(reach - outside, reach + outside + 1)
    return whole[inner, inner], float(gain)


def _mirrored(size: int, reach: int) -> np.ndarray:
    return np.pad(np.arange(size), reach, mode="reflect")


def _by_edges(images: Tensor, kernel: np.ndarray) -> Tensor:
    """Sums of one image after the other.

    A kernel's row is flat but for its ends: what a step to the right changes has few weights, and sums of the changes
    along the row are the result. They stay below 2^24 as well: a disk has more pixels than two times its diameter.
    """
    height, width = images.shape[2:]
    reach = len(kernel) // 2
    edges = np.diff(-kernel, prepend=0, append=0)
    direct = np.count_nonzero(kernel) <= np.count_nonzero(edges)
    taps, edge_taps = _taps(kernel), _taps(edges)
    rows, columns = _mirrored(height, reach), _mirrored(width, reach)
    blurred = torch.empty_like(images)
    for image, out in zip(images.permute(0, 2, 3, 1).contiguous().numpy(), blurred.numpy(), strict=True):
        padded = image.take(rows, 0).take(columns, 1)
        if direct:
            sums = shifted_sums(padded, taps, height, width).T
        else:
            sums = np.empty((images.shape[1], (height - 1) * len(columns) + width), dtype=np.float32)
            sums[:, 0] = np.einsum("yxc,yx->c", padded[: len(kernel), : len(kernel)].astype(np.int64), kernel)
            # one pixel further to the right, from the first to the last but one
            sums[:, 1:] = shifted_sums(padded, edge_taps, height, width - 1).T
            np.cumsum(sums, axis=1, out=sums)
        out[:] = cropped(sums, len(columns), width)
    return blurred


def _by_taps(images: Tensor, kernel: np.ndarray) -> Tensor:
    """One weight after the other for the whole batch, as a GPU likes it."""
    height, width = images.shape[2:]
    reach = len(kernel) // 2
    rows, columns = (torch.from_numpy(_mirrored(size, reach)).to(images.device) for size in (height, width))
    padded = images[:, :, rows][..., columns]
    sums = torch.zeros_like(images)
    for (down, right), weight in _taps(kernel).items():
        sums.add_(padded[:, :, down : down + height, right : right + width], alpha=weight)
    return sums


def _taps(kernel: np.ndarray) -> dict[Step, int]:
    return {(int(y), int(x)): int(kernel[y, x]) for y, x in np.argwhere(kernel)}
