"""Fog: a random cloud, rough at every scale, laid over the image."""

from __future__ import annotations

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._random import ImageRandom

FIRST_SPREAD = 100.0  # of the coarsest level, before it is squared


def _map_size(height: int, width: int) -> int:
    """The smallest power of two that covers the image."""
    return 1 << (max(height, width) - 1).bit_length()


def _draw(random: ImageRandom, shape: tuple[int, int, int], parameters: tuple[float, float]) -> Draws:  # noqa: ARG001
    # three numbers a square of each level: 3 (1 + 4 + 16 + ...), so all points but one
    return {"offsets": random.uniform("fog", _map_size(*shape[1:]) ** 2 - 1, low=-1.0, high=1.0)}


def _apply(images: Tensor, parameters: tuple[float, float], draws: Draws) -> Tensor:
    amount, decay = parameters
    height, width = images.shape[2:]
    cloud = plasma(draws["offsets"], _map_size(height, width), decay)[:, None, :height, :width]
    brightest = images.amax((1, 2, 3), keepdim=True).double()
    dimmed = (brightest / (brightest + 255 * amount)).float()
    return ((images.float() + cloud * (255 * amount)) * dimmed).clamp(0, 255).to(torch.uint8)


def plasma(offsets: Tensor, size: int, decay: float) -> Tensor:
    """Height maps by the diamond-square method (Fournier, Fussell & Carpenter 1982, CACM 25(6)), on a torus.

    Each level halves the distance of the known points: a square's centre and two of its edges' centres become the mean
    of their four neighbours plus a random offset. The offset's range is the square of a spread that starts at 100 and
    is divided by `decay` a level, as in the reference implementation. Steps
    are rounded one by one, in fixed order.

    Args:
        offsets: In -1..1, float32 (maps, size**2 - 1), level after level: centres, upper edges, left edges.
        size: Of the maps, a power of two.
        decay: Of the spread, above 1 for smoother maps.

    Returns:
        float32 (maps, size, size), each from 0 to 1.
    """
    maps = offsets.new_zeros(len(offsets), size, size)
    step, used, spread = size, 0, FIRST_SPREAD
    while step >= 2:
        half, squares = step // 2, size // step
        taken = offsets[:, used : used + 3 * squares**2] * (spread * spread)
        centre_offsets, upper_offsets, left_offsets = taken.reshape(-1, 3, squares, squares).unbind(1)
        corners = maps[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)) / 4 + centre_offsets
        upper = ((centres + centres.roll(1, 1)) + (corners + corners.roll(-1, 2))) / 4 + upper_offsets
        left = ((centres + centres.roll(1, 2)) + (corners + corners.roll(-1, 1))) / 4 + left_offsets
        maps[:, half::step, half::step] = centres
        maps[:, ::step, half::step] = upper
        maps[:, half::step, ::step] = left
        step, used, spread = half, used + 3 * squares**2, spread / decay
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


fog = Corruption(_apply, _draw)  # parameters: amount of fog, decay of its roughness
