"""Noise that is drawn for each pixel and channel on its own."""

from __future__ import annotations

from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._pixels import to_bytes
from cotrain.data.corruptions._random import ImageRandom


def _draw_normal(random: ImageRandom, shape: tuple[int, int, int], parameters: float) -> Draws:  # noqa: ARG001
    return {"normal": random.normal("noise", *shape)}


def _apply_gaussian(images: Tensor, parameters: float, draws: Draws) -> Tensor:
    return to_bytes(images.float() / 255 + draws["normal"] * parameters)


gaussian_noise = Corruption(_apply_gaussian, _draw_normal)  # parameters: standard deviation, of the range 0..1
