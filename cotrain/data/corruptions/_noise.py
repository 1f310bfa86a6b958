"""Noise that is drawn for each pixel and channel on its own."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._pixels import to_bytes, to_unit
from cotrain.data.corruptions._random import ImageRandom

LEVELS = 65536  # of the uniform draws


def _draw_normal(random: ImageRandom, shape: tuple[int, int, int], parameters: float) -> Draws:  # noqa: ARG001
    return {"normal": random.normal("noise", *shape)}


def _draw_uniform(random: ImageRandom, shape: tuple[int, int, int], parameters: float) -> Draws:  # noqa: ARG001
    return {"uniform": random.integers16("noise", *shape)}


def _apply_gaussian(images: Tensor, parameters: float, draws: Draws) -> Tensor:
    return to_bytes((draws["normal"] * parameters).add_(to_unit(images)))


def _apply_speckle(images: Tensor, parameters: float, draws: Draws) -> Tensor:
    values = to_unit(images)
    return to_bytes((draws["normal"] * parameters).mul_(values).add_(values))


def _apply_shot(images: Tensor, parameters: float, draws: Draws) -> Tensor:
    places = images.to(torch.int32).mul_(LEVELS).add_(draws["uniform"])
    return _poisson_bytes(parameters, images.device).index_select(0, places.flatten()).view(images.shape)


def _apply_impulse(images: Tensor, parameters: float, draws: Draws) -> Tensor:
    half = round(parameters * LEVELS / 2)
    images = images.masked_fill(draws["uniform"] < 2 * half, 255)
    return images.masked_fill_(draws["uniform"] < half, 0)


# parameters: standard deviation, of the range 0..1
gaussian_noise = Corruption(_apply_gaussian, _draw_normal)
# parameters: photons of a white pixel
shot_noise = Corruption(_apply_shot, _draw_uniform)
# parameters: share of the values that become 0 or 255, of either half
impulse_noise = Corruption(_apply_impulse, _draw_uniform)
# parameters: standard deviation, relative to the value
speckle_noise = Corruption(_apply_speckle, _draw_normal)


@functools.lru_cache(maxsize=5)
def _poisson_bytes(photons: float, device: torch.device) -> Tensor:
    """What byte and uniform draw become, at byte * 65536 + draw: uint8 (256 * 65536,), 16 MiB.

    A Poisson number whose mean is the pixel's share of `photons` is one of 65,536 equally likely quantiles.
    """
    table = np.empty((256, LEVELS), dtype=np.uint8)
    counts = np.arange(round(photons + 10 * photons**0.5 + 10))  # none of more is likely enough to be drawn
    found = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    for byte in range(256):
        # half-way quantiles; a rounded distribution, so that the last bit of a special function decides nothing
        below = np.ceil(np.round(pdtr(counts, byte / 255 * photons) * LEVELS - 0.5, 6)).astype(np.int64)
        table[byte] = np.repeat(found, np.diff(below, prepend=0))
    return torch.from_numpy(table.ravel()).to(device)
