"""Motion blur: a one-sided Gaussian along a line, with steps of whole pixels."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._fixed_point import ONE, fixed_point
from cotrain.data.corruptions._random import ImageRandom
from cotrain.data.corruptions._shifts import Step, cropped, shifted_sums


def _draw_angle(random: ImageRandom, shape: tuple[int, int, int], parameters: tuple[int, float]) -> Draws:  # noqa: ARG001
    return {"angle": random.uniform("angle", low=-45.0, high=45.0)}


def _apply_motion(images: Tensor, parameters: tuple[int, float], draws: Draws) -> Tensor:
    radius, sigma = parameters
    sums = blur_along(images.float(), radius, sigma, draws["angle"])
    return (sums / ONE).to(torch.uint8)  # truncated, as the reference does


motion_blur = Corruption(_apply_motion, _draw_angle)  # parameters: radius and standard deviation, pixels


def blur_along(layers: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """Blur each image along its own direction.

    A pixel becomes the weighted sum of 2 * radius + 1 pixels, i steps away at the angle, with weights that are
    proportional to exp(-i^2 / 2 sigma^2); outside of the image its border goes on. Steps are rounded to whole pixels,
    halves towards zero. A line that is longer than the image ends where it leaves it, and its weights then sum to less.
    This is ImageMagick's motion blur as `imagecorruptions` has it.

    Args:
        layers: Whole numbers as floats, (images, channels, height, width): float32 up to 255, float64 up to 2^36.
        radius: Pixels.
        sigma: Standard deviation, pixels.
        angles: Degrees, clockwise from the right (images,).

    Returns:
        65,536 times the blurred layers: whole numbers again, exact, of the same dtype and shape.
    """
    weights = line_weights(radius, sigma)
    lines = [_steps(angle, len(weights)) for angle in angles.tolist()]
    if layers.device.type == "cpu":
        return _by_shifts(layers, weights, lines)
    return _by_gathers(layers, weights, lines)


@functools.lru_cache
def line_weights(radius: int, sigma: float) -> tuple[int, ...]:
    """Of each step along the line, in 65,536ths; those of zero at its end are left out."""
    weights = fixed_point([math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)])
    return tuple(weights[: max(i for i, weight in enumerate(weights) if weight) + 1])


def _steps(angle: float, count: int) -> list[Step]:
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return [(math.ceil(i * down - 0.5), math.ceil(i * right - 0.5)) for i in range(count)]


def _by_shifts(layers: Tensor, weights: tuple[int, ...], lines: list[list[Step]]) -> Tensor:
    """One image after the other, small enough for the processor's cache."""
    height, width = layers.shape[2:]
    blurred = torch.empty_like(layers)
    for layer, line, out in zip(layers.permute(0, 2, 3, 1).contiguous().numpy(), lines, blurred.numpy(), strict=True):
        taps: dict[Step, int] = {}
        for (down, right), weight in zip(line, weights, strict=True):
            if abs(down) < height and abs(right) < width:
                taps[down, right] = taps.get((down, right), 0) + weight
        (top, bottom), (left, beyond) = ((-min(steps), max(steps)) for steps in zip(*taps, strict=True))
        padded = layer.take(np.arange(-top, height + bottom), 0, mode="clip")
        padded = padded.take(np.arange(-left, width + beyond), 1, mode="clip")
        shifted = {(top + down, left + right): weight for (down, right), weight in taps.items()}
        out[:] = cropped(shifted_sums(padded, shifted, height, width).T, padded.shape[1], width)
    return blurred


def _by_gathers(layers: Tensor, weights: tuple[int, ...], lines: list[list[Step]]) -> Tensor:
    """One step after the other for the whole batch, as a GPU likes it."""
    count, channels, height, width = layers.shape
    steps = torch.tensor(lines, dtype=torch.int64, device=layers.device).view(count, len(weights), 2)
    within = (steps[..., 0].abs() < height) & (steps[..., 1].abs() < width)
    scaled = within * torch.tensor(weights, device=layers.device, dtype=layers.dtype)
    rows, columns = (torch.arange(size, device=layers.device) for size in (height, width))
    flat, blurred = layers.flatten(2), torch.zeros_like(layers)
    for i in range(len(weights)):
        row = (rows + steps[:, i, :1]).clamp(0, height - 1)
        column = (columns + steps[:, i, 1:]).clamp(0, width - 1)
        places = (row[:, :, None] * width + column[:, None, :]).flatten(1)[:, None].expand(-1, channels, -1)
        blurred += flat.gather(2, places).view_as(layers) * scaled[:, i, None, None, None]
    return blurred
