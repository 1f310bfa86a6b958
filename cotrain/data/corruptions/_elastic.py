"""Elastic distortion: each pixel is taken from a place near by, and places change smoothly over the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._gaussian import ONE, gaussian
from cotrain.data.corruptions._pixels import divided
from cotrain.data.corruptions._random import ImageRandom

FRACTION = 11  # bits of a place between two pixels: bytes weighted along both axes stay below 2**30
PIXEL = 2**FRACTION


class Elastic(NamedTuple):
    """How strong an elastic distortion is; all lengths are shares of the image's height.

    Args:
        amount: What smoothed random numbers in -1..1 are multiplied with.
        sigma: Standard deviation of their smoothing. Along the width it is this share of the width.
        jitter: How far the three corners of the random affine map before it move at most; 0 for no such map.
    """

    amount: float
    sigma: float
    jitter: float = 0.0


def _draw(random: ImageRandom, shape: tuple[int, int, int], parameters: Elastic) -> Draws:
    draws = {}
    if parameters.amount:
        numbers = random.integers16("elastic", 2, shape[1], shape[2])
        draws["steps"] = (2 * numbers - 65535).float() / 65536  # to the right, down: -1..1
    if parameters.jitter:
        draws["corners"] = random.uniform("affine", 3, 2, low=-1.0, high=1.0)
    return draws


def _apply(images: Tensor, parameters: Elastic, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    if parameters.jitter:
        rows, columns = affine_places(draws["corners"] * (parameters.jitter * height), height, width)
        images = sample(images, rows, columns, repeat_edge=False, truncate=not parameters.amount)
    if not parameters.amount:
        return images
    steps = (draws["steps"].double() * ONE).round()
    smooth = gaussian(steps, (parameters.sigma * height, parameters.sigma * width), truncate=3.0, edges="reflect")
    moves = (smooth * (parameters.amount * height * PIXEL / ONE)).round().int()
    rows = torch.arange(height, device=images.device, dtype=torch.int32)[:, None] * PIXEL + moves[:, 1]
    columns = torch.arange(width, device=images.device, dtype=torch.int32) * PIXEL + moves[:, 0]
    return sample(images, rows, columns)


def affine_places(moves: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where pixels come from under the affine map that moves three corners of a square about the image's centre.

    Args:
        moves: Of the lower right, upper right and upper left corner: right and down, pixels, (images, 3, 2).
        height, width: Of the images; the square's sides are two thirds of the shorter one.

    Returns:
        Rows and columns in 2048ths of a pixel, int32 (images, height, width).
    """
    side = min(height, width) // 3
    centre = torch.tensor([width // 2, height // 2], device=moves.device, dtype=torch.float64)
    corners = torch.tensor([[side, side], [side, -side], [-side, -side]], device=moves.device, dtype=torch.float64)
    moved = corners + moves.double()
    right, down = (divided(moved[:, i] - moved[:, i + 1], 2 * side) for i in (1, 0))  # what unit steps become
    offset = moved[:, 1] - right * side + down * side  # what the centre becomes
    determinant = (right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0])[:, None, None]
    x = torch.arange(width, device=moves.device).double() - centre[0]
    y = torch.arange(height, device=moves.device).double()[:, None] - centre[1]
    x, y = x - offset[:, 0, None, None], y - offset[:, 1, None, None]
    a, b, c, d = (v[:, None, None] for v in (right[:, 0], down[:, 0], right[:, 1], down[:, 1]))
    columns = (x * d - y * b) / determinant + centre[0]
    rows = (y * a - x * c) / determinant + centre[1]
    return (rows * PIXEL).round().int(), (columns * PIXEL).round().int()


def sample(images: Tensor, rows: Tensor, columns: Tensor, *, repeat_edge: bool = True, truncate: bool = True) -> Tensor:
    """Pixels at places between pixels, bilinear, in whole numbers; beyond its edges the image is mirrored.

    Args:
        images: uint8 (images, channels, height, width).
        rows, columns: In 2048ths of a pixel, int32 (images, height, width).
        repeat_edge: In the mirror the pixels at an edge stand twice.
        truncate: The result; else it is rounded.

    Returns:
        uint8 of the shape of `images`.
    """
    (row, down), (column, right) = (
        _split(places, size, repeat_edge) for places, size in ((rows, images.shape[2]), (columns, images.shape[3]))
    )
    padded = pad(images.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    upper, lower = padded[:, :, :-1], padded[:, :, 1:]
    # a pixel and its three neighbours to the lower right are one number, so that one look-up finds all
    four = torch.stack([upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]], -1)
    # two dimensions: of more, one of a single channel may have a stride that cannot be viewed as larger numbers
    neighbours = four.flatten(0, 3).view(torch.int32).view(*images.shape[:2], -1)
    places = (row + 1) * four.shape[3] + (column + 1)
    places = places.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
    found = neighbours.gather(2, places).view(images.shape)
    sums: Tensor = (found & 255) * ((PIXEL - down) * (PIXEL - right))[:, None]
    for weight in ((PIXEL - down) * right, down * (PIXEL - right), down * right):
        found = found >> 8
        sums.addcmul_(found & 255, weight[:, None])
    if not truncate:
        sums += 2 ** (2 * FRACTION - 1)
    sums >>= 2 * FRACTION
    return sums.to(torch.uint8)


def _split(places: Tensor, size: int, repeat_edge: bool) -> tuple[Tensor, Tensor]:
    """The pixel before a place, -1 to size - 1 after mirroring, and the rest of the way to it."""
    half, period = (PIXEL // 2, 2 * size * PIXEL) if repeat_edge else (0, 2 * (size - 1) * PIXEL)
    around = (places + half) % period
    inside = torch.minimum(around, period - around) - half
    pixel = inside >> FRACTION
    return pixel, inside - pixel * PIXEL


elastic_transform = Corruption(_apply, _draw)
