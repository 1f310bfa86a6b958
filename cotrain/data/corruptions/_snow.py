"""Snow: the image whitened, and flakes that the wind draws out to streaks."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._motion_blur import blur_along
from cotrain.data.corruptions._pixels import luminance
from cotrain.data.corruptions._random import ImageRandom

UNIT = 2.0**20  # of a layer of flakes whose brightness is 0..1, so that it holds whole numbers


class Snow(NamedTuple):
    """How strong snow is.

    Args:
        mean, deviation: Of the normal numbers that flakes are made of.
        zoom: How much larger than a pixel a flake is.
        threshold: Smaller numbers are no flakes.
        radius, sigma: Of the motion blur, pixels.
        clear: The image's own share; the rest is whitened.
    """

    mean: float
    deviation: float
    zoom: float
    threshold: float
    radius: int
    sigma: float
    clear: float


def _draw(random: ImageRandom, shape: tuple[int, int, int], parameters: Snow) -> Draws:  # noqa: ARG001
    return {
        "normal": random.normal("flakes", shape[1], shape[2]),
        "angle": random.uniform("wind", low=-135.0, high=-45.0),
    }


def _apply(images: Tensor, parameters: Snow, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    layer = enlarged(draws["normal"].double() * parameters.deviation + parameters.mean, parameters.zoom)
    layer = torch.where(layer < parameters.threshold, 0, layer.clamp(0, 1))
    units = (layer[:, None] * UNIT).round()
    flakes = blur_along(units, parameters.radius, parameters.sigma, draws["angle"])[:, :, :height, :width]
    flakes = (flakes * (255 / UNIT / 65536)).round().float()
    pixels = images.float()
    whitened = torch.maximum(pixels, luminance(pixels) * 1.5 + 127.5)
    background = pixels * parameters.clear + whitened * (1 - parameters.clear)
    return (background + (flakes + flakes.flip(2, 3))).clamp(0, 255).to(torch.uint8)


def enlarged(layers: Tensor, factor: float) -> Tensor:
    """Magnify the middle of layers by linear interpolation, each number by the same few steps on every machine.

    Args:
        layers: float64 (images, height, width).
        factor: 1 or more.

    Returns:
        (images, rows, columns), as many as the magnified middle has: the layers' own number or a few more.
    """
    if factor == 1:
        return layers
    for axis in (1, 2):
        before, after, share = (part.to(layers.device) for part in _places(layers.shape[axis], factor))
        share = share[:, None] if axis == 1 else share
        layers = layers.index_select(axis, before) * (1 - share) + layers.index_select(axis, after) * share
    return layers


@functools.lru_cache(maxsize=64)
def _places(size: int, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """What `scipy.ndimage.zoom` of the middle reads: the pixels before and after, and the way from one to the other."""
    middle = math.ceil(size / factor)
    first = (size - middle) // 2
    count = round(middle * factor)
    place = torch.arange(count, dtype=torch.float64) * ((middle - 1) / (count - 1))
    before = place.long().clamp(max=middle - 1)
    after = (before + 1).clamp(max=middle - 1)
    return before + first, after + first, place - before


snow = Corruption(_apply, _draw)
