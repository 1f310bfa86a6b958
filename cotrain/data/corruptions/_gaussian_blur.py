"""Blur with a Gaussian, rows and columns in turn."""

from __future__ import annotations

from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._gaussian import gaussian_of_bytes


def _apply(images: Tensor, parameters: float, draws: Draws) -> Tensor:  # noqa: ARG001
    return gaussian_of_bytes(images, parameters)


gaussian_blur = Corruption(_apply)  # parameters: standard deviation, pixels
