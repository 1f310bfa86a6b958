"""Spatter: drops of water, or mud, on the lens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._edges import distances, edges, equalised, mirrored, sums_of_nine
from cotrain.data.corruptions._gaussian import ONE, gaussian
from cotrain.data.corruptions._pixels import luminance
from cotrain.data.corruptions._random import ImageRandom

UNIT = 2.0**24  # of the liquid: normal numbers below 4 in size become whole ones that the filter takes
WATER = (175, 238, 238)  # pale turquoise
MUD = (63, 42, 20)
LOW, HIGH = 50, 150  # thresholds of the edges of drops
LONGEST = 20  # pixels from an edge within which a drop is shaded
LEAST_MUD = 0.8  # thinner mud is none


class Spatter(NamedTuple):
    """How strong spatter is.

    Args:
        mean, deviation: Of the normal numbers that the liquid is made of.
        sigma: Of their smoothing, pixels: the size of drops.
        threshold: Less is no liquid.
        strength: Of water, its brightness; of mud, the softness of its rim (sigma, pixels).
        is_mud: Not water.
    """

    mean: float
    deviation: float
    sigma: float
    threshold: float
    strength: float
    is_mud: bool


def _draw(random: ImageRandom, shape: tuple[int, int, int], parameters: Spatter) -> Draws:  # noqa: ARG001
    return {"normal": random.normal("liquid", shape[1], shape[2])}


def _apply(images: Tensor, parameters: Spatter, draws: Draws) -> Tensor:
    numbers = draws["normal"].double() * parameters.deviation + parameters.mean
    liquid = gaussian((numbers * UNIT).round(), (parameters.sigma, parameters.sigma)) * (1 / UNIT)
    pixels, is_liquid = images.float(), liquid > parameters.threshold
    if parameters.is_mud:
        cover = gaussian(is_liquid.double() * ONE, (parameters.strength, parameters.strength)) * (1 / ONE)
        cover = torch.where(cover < LEAST_MUD, 0, cover).float()[:, None]
        mixed = pixels * (1 - cover) + _colour(MUD, pixels) * cover
    else:
        shine = _shine(torch.where(is_liquid, (liquid * 255).clamp(max=255), 0).int())
        mixed = pixels + shine[:, None] * (_colour(WATER, pixels) * parameters.strength)
    return mixed.clamp(max=255).to(torch.uint8)


def _shine(liquid: Tensor) -> Tensor:
    """How bright drops are, 0 to 1, from the thickness of the liquid: near their rims, and more to the lower right.

    Args:
        liquid: int32 (images, height, width), 0 to 255.

    Returns:
        float32; all 0 where nothing shines.
    """
    near = sums_of_nine(distances(edges(liquid, LOW, HIGH), LONGEST)) // (9 * 65536)
    around = mirrored(equalised(near))
    shaded = (
        -2 * around[:, :-2, :-2]
        - around[:, :-2, 1:-1]
        - around[:, 1:-1, :-2]
        + around[:, 1:-1, 1:-1]
        + around[:, 1:-1, 2:]
        + around[:, 2:, 1:-1]
        + 2 * around[:, 2:, 2:]
    ).clamp(0, 255)
    shine = (liquid * ((2 * sums_of_nine(shaded) + 9) // 18)).float()  # the mean of nine, rounded
    return shine / shine.amax((1, 2), keepdim=True).clamp(min=1)


def _colour(colour: tuple[int, int, int], pixels: Tensor) -> Tensor:
    """Of as many channels as the images have: float32 (1, channels, 1, 1)."""
    shown = pixels.new_tensor(colour)[None, :, None, None]
    return shown if pixels.shape[1] == 3 else luminance(shown)


spatter = Corruption(_apply, _draw)
