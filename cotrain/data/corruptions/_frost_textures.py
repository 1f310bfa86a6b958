"""Pictures of frost, grown and lit by this program; none is a photograph."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from cotrain.data.corruptions._frost_growth import DIRECTIONS, Habit, grow
from cotrain.data.corruptions._random import ImageRandom

SEED = 0  # of what grows; another one is another benchmark
LIGHT = 160  # direction that the light comes from, 256ths of a turn
PERCENTILES = (0, 1, 10, 25, 50, 75, 90, 99, 100)

Ints = np.ndarray


@dataclass(frozen=True)
class Kind:
    """One texture.

    Args:
        habit: How it grows.
        facet: How much brighter ice is that faces the light.
        glow: How much light spreads about it.
        tones: Grey levels at `PERCENTILES`, close to those of one of the benchmark's photographs.
        tint: Added to red, green and blue where it is darkest; where it is brightest it is white.
    """

    habit: Habit
    facet: int
    glow: int
    tones: tuple[int, ...]
    tint: tuple[int, int, int]


BRIGHT = (120, 140, 176, 193, 208, 220, 230, 244, 255)
KINDS = (
    Kind(Habit(90, 3, 160, 44, 8, (3, 4), 36, 8), 40, 10, (80, 95, 107, 116, 128, 141, 155, 177, 215), (-48, 9, 34)),
    Kind(Habit(40, 4, 240, 90, 8, (3, 3), 26, 2), 60, 10, BRIGHT, (-5, 0, 10)),
    Kind(Habit(130, 2, 180, 30, 6, (3, 3), 22, 3), 50, 6, BRIGHT, (-9, 0, 8)),
    Kind(Habit(150, 4, 100, 40, 8, (4, 3), 38, 2), 60, 14, (50, 81, 114, 132, 150, 167, 183, 231, 255), (-20, 4, 22)),
    Kind(Habit(80, 3, 140, 56, 9, (4, 3), 40, 5), 60, 16, (20, 43, 68, 89, 117, 149, 181, 237, 255), (-16, 2, 20)),
    Kind(Habit(28, 3, 260, 110, 10, (4, 3), 34, 1), 60, 10, (5, 17, 37, 56, 87, 119, 145, 185, 235), (-34, 8, 30)),
)


@functools.lru_cache
def frost_textures() -> tuple[torch.Tensor, ...]:
    """Six textures, uint8 (3, 480, 480) each, whose opposite edges fit together.

    They are grown at the first call, in about a second, and the same to the bit everywhere.
    """
    return tuple(_texture(number, kind) for number, kind in enumerate(KINDS))


def _texture(number: int, kind: Kind) -> torch.Tensor:
    pool = ImageRandom(SEED, torch.tensor([number])).integers16("frost", 65536)[0].long().numpy()
    light = _lit(*grow(kind.habit, pool), kind)
    grey = _with_tones(light, kind.tones)
    colours = [grey + tint * (255 - grey) // 255 for tint in kind.tint]
    return torch.from_numpy(np.stack(colours).clip(0, 255).astype(np.uint8))


def _lit(thickness: Ints, directions: Ints, kind: Kind) -> Ints:
    """Light from each place: from its ice, which shines as it faces the light, from about it, and from its slopes."""
    facets = np.array([round(math.cos(2 * math.pi * (k - LIGHT) / DIRECTIONS) * kind.facet) for k in range(DIRECTIONS)])
    ice = np.where(thickness > 0, thickness + facets[directions], 0) * 16
    soft = _spread(_spread(ice, 1), 1)
    near = _spread(_spread(ice, 4), 4)
    far = _spread(_spread(ice, 20), 20)
    height = _spread(thickness * 16, 1)
    slope = height - np.roll(height, (2, 2), (0, 1))
    light: Ints = 3 * ice // 2 + 4 * soft + kind.glow * near // 2 + 2 * far + 3 * slope
    return light


def _spread(values: Ints, reach: int) -> Ints:
    """The mean over a square of 2 * reach + 1 pixels a side, rounded down; opposite edges are neighbours."""
    width = 2 * reach + 1
    for axis in (0, 1):
        size = values.shape[axis]
        sums = values.take(range(-reach - 1, size + reach), axis, mode="wrap").cumsum(axis)
        values = (sums.take(range(width, width + size), axis) - sums.take(range(size), axis)) // width
    return values


def _with_tones(values: Ints, tones: tuple[int, ...]) -> Ints:
    """Grey levels in the order of the values, with the given ones at `PERCENTILES` and evenly between."""
    count = values.size
    grey = np.empty(count, dtype=np.int64)
    order = np.argsort(values, axis=None, kind="stable")
    for i in range(len(tones) - 1):
        first, last = (count * percentile // 100 for percentile in PERCENTILES[i : i + 2])
        steps = np.arange(last - first)
        grey[order[first:last]] = tones[i] + (tones[i + 1] - tones[i]) * steps // (last - first)
    return grey.reshape(values.shape)
