"""Pixelate: an image made smaller, and large again with blocks for pixels."""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws


def _apply_pixelate(images: Tensor, parameters: float, draws: Draws) -> Tensor:  # noqa: ARG001
    rows, row_sizes, row_places = _blocks(images.shape[2], parameters, images.device)
    columns, column_sizes, column_places = _blocks(images.shape[3], parameters, images.device)
    # columns first, as Pillow does unless an image is far taller than wide
    # products of a 0 or 1 and a byte: exact whatever the precision that matrix products are set to
    narrow = _means(images.float() @ columns.T, column_sizes)
    small = _means(rows @ narrow, row_sizes[:, None]).to(torch.uint8)
    return small.index_select(2, row_places).index_select(3, column_places)


pixelate = Corruption(_apply_pixelate)  # parameters: size of the small image, relative to the image


@functools.lru_cache
def _blocks(size: int, scale: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of one line: which pixels make up each small one (0 or 1; small, size), how many they are, and the way back.

    The small pixel at i covers what lies between i and i + 1 times the ratio of sizes: the pixels whose middles do, as
    Pillow's box filter has it.
    """
    small = int(size * scale)
    ratio = size / small
    covers = torch.zeros(small, size, dtype=torch.float32)
    for i in range(small):
        middle = (i + 0.5) * ratio
        for pixel in range(max(int(middle - 0.5 * ratio + 0.5), 0), min(int(middle + 0.5 * ratio + 0.5), size)):
            covers[i, pixel] = -0.5 < (pixel - middle + 0.5) * (1 / ratio) <= 0.5
    # added up step by step, as Pillow does: its rounding decides where a middle lies on a border
    middles = itertools.accumulate([small / size] * (size - 1), initial=small / size * 0.5)
    back = torch.tensor([min(math.floor(middle), small - 1) for middle in middles])
    return covers.to(device), covers.sum(1).to(device), back.to(device)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Rounded to whole numbers, halves up; a quotient of small whole numbers is never rounded across one."""
    return sums.mul_(2).add_(counts).div_(2 * counts).floor_()
