"""What a corruption is: random numbers drawn for a batch, then a function of images and these alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cotrain.data.corruptions._random import ImageRandom

Draws = dict[str, Tensor]


def no_draws(random: ImageRandom, shape: tuple[int, int, int], parameters: Any) -> Draws:  # noqa: ARG001
    """Of corruptions without chance."""
    return {}


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Args:
        apply: (images, parameters, draws) -> images: uint8 (images, channels, height, width), 1 or 3 channels. It is
            deterministic: equal draws give equal pixels, whatever else is in the batch. So it computes in integers, in
            floats that hold integers exactly, or pixel by pixel with operations that IEEE 754 rounds once (+, -, *, /,
            square root, comparisons); never in sums whose rounding depends on their order, nor with `exp` and the like,
            nor with `/` by a plain number (`_pixels.divided`). Angles and tables are computed on the processor.
        draw: (random, (channels, height, width), parameters) -> what `apply` needs, a row an image.
    """

    apply: Callable[[Tensor, Any, Draws], Tensor]
    draw: Callable[[ImageRandom, tuple[int, int, int], Any], Draws] = no_draws
