"""Augmentation of image batches on their device: shifts and mirroring, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from cotrain.config import Config


class JitterConfig(Config):
    """Each image is shifted by whole pixels, and mirrored or not, at random; edges are repeated."""

    kind: ClassVar[str] = "cotrain.data.jitter"
    pixels: Annotated[int, Ge(0)] = 2  # largest shift along each axis
    mirror: bool = False  # left to right, in half of the cases: for objects, never for receptive fields


Augmentation = Callable[[Tensor, int], Tensor]
"""(images (images, channels, height, width), seed) -> images; equal seeds give equal draws on every device."""


def jitter(config: JitterConfig) -> Augmentation:
    """The augmentation of a config."""

    def apply(images: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        count, channels, height, width = images.shape
        shift = torch.randint(-config.pixels, config.pixels + 1, (2, count, 1), generator=generator)
        mirrored = torch.rand(count, 1, generator=generator) < 0.5 * config.mirror
        rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)
        columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
        columns = torch.where(mirrored, width - 1 - columns, columns)
        place = (
            torch.arange(count)[:, None, None, None],
            torch.arange(channels)[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        )
        return images[tuple(index.to(images.device) for index in place)]

    return apply
