"""Frost: ice on the pane through which the picture was taken."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._frost_files import frost_files
from cotrain.data.corruptions._frost_growth import SIZE
from cotrain.data.corruptions._frost_textures import frost_textures
from cotrain.data.corruptions._pixels import divided, luminance
from cotrain.data.corruptions._random import ImageRandom

STEP = 20  # weights are whole 20ths


class Frost(NamedTuple):
    """How strong frost is.

    Args:
        image, ice: Weights of the image and of the frost, multiples of 0.05.
        reduction: 1, 3 or 5: each, every third or every fifth pixel of a texture, so that crystals suit small images.
    """

    image: float
    ice: float
    reduction: int


def frost_from(folder: Path | None) -> Corruption:
    """Frost whose pictures are the original ones in a folder, or our own for None."""
    return Corruption(functools.partial(_apply, folder), functools.partial(_draw, folder))


def _draw(folder: Path | None, random: ImageRandom, shape: tuple[int, int, int], parameters: Frost) -> Draws:
    textures = _textures(folder, shape[1:], parameters.reduction, random.device)
    texture = random.integers("texture", low=0, high=len(textures))
    # our own go on beyond their edges, so that a crop may begin anywhere
    room = [(texture.shape[1] - shape[1], texture.shape[2] - shape[2]) for texture in textures]
    places = random.integers("place", 2, low=0, high=2**24)
    starts = (places * torch.tensor(room, device=random.device)[texture]) >> 24
    return {"texture": texture, "row": starts[:, 0], "column": starts[:, 1]}


def _apply(folder: Path | None, images: Tensor, parameters: Frost, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    textures = _textures(folder, (height, width), parameters.reduction, images.device)
    chosen = zip(*(draws[name].tolist() for name in ("texture", "row", "column")), strict=True)
    crops = [textures[i][:, row : row + height, column : column + width] for i, row, column in chosen]
    ice = torch.stack(crops).float()
    if images.shape[1] == 1:
        ice = luminance(ice)
    mixed = images.float() * round(STEP * parameters.image) + ice * round(STEP * parameters.ice)
    return divided(mixed, STEP).clamp(max=255).to(torch.uint8)


def _textures(folder: Path | None, shape: tuple[int, int], reduction: int, device: torch.device) -> tuple[Tensor, ...]:
    if folder is not None:
        return tuple(texture.to(device) for texture in frost_files(folder, shape, reduction))
    return _own_textures(shape, reduction, device)


@functools.lru_cache(maxsize=8)
def _own_textures(shape: tuple[int, int], reduction: int, device: torch.device) -> tuple[Tensor, ...]:
    """Continued by the size of an image beyond their edges, where they begin again."""
    rows, columns = ((torch.arange(SIZE // reduction + size) * reduction + reduction // 2) % SIZE for size in shape)
    return tuple(texture[:, rows][:, :, columns].to(device) for texture in frost_textures())


frost = frost_from(None)
