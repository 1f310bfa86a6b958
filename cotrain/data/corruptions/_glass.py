"""Frosted glass: blur, pixels taken from near by, blur."""

from __future__ import annotations

import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._gaussian import gaussian_of_bytes
from cotrain.data.corruptions._random import ImageRandom

Parameters = tuple[float, int, int]


def _draw(random: ImageRandom, shape: tuple[int, int, int], parameters: Parameters) -> Draws:
    """Steps down and right, from -reach to reach - 1; the same 16 bits at every severity, scaled to its reach."""
    _, reach, rounds = parameters
    drawn = [random.integers16(f"glass {number}", 2, shape[1], shape[2]) for number in range(rounds)]
    return {"steps": ((torch.stack(drawn, 1) * (2 * reach)) >> 16) - reach}


def _apply(images: Tensor, parameters: Parameters, draws: Draws) -> Tensor:
    sigma, reach, _ = parameters
    sources = source_pixels(draws["steps"], reach)[:, None].expand(-1, images.shape[1], -1)
    shuffled = gaussian_of_bytes(images, sigma).flatten(2).gather(2, sources).view(images.shape)
    return gaussian_of_bytes(shuffled, sigma)


def source_pixels(steps: Tensor, reach: int) -> Tensor:
    """Where each pixel comes from after the reference's loop of copies.

    The loop visits pixels from the lower right to the upper left, and each takes the value that its neighbour has at
    that moment: the neighbour's own source if the loop has passed it, else what it held before the round. (The
    reference means to swap, but assigns views of an array, so that the second half of the swap copies a pixel to
    itself.) All chains of references are followed at once; as they are shortened on the way, their lengths double.

    Args:
        steps: Down and right to the neighbour, whole numbers (images, rounds, 2, height, width), from -reach to
            reach - 1.
        reach: Pixels nearer than this to an edge stay.

    Returns:
        Index into the flattened image, int64 (images, height * width).
    """
    count, _, _, height, width = steps.shape
    pixels = torch.arange(count * height * width, device=steps.device).view(count, height, width)
    rows = torch.arange(height, device=steps.device)[:, None]
    columns = torch.arange(width, device=steps.device)
    loops = (rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)
    result = pixels.flatten()
    for down, right in ((one[:, 0], one[:, 1]) for one in steps.unbind(1)):
        way = (down * width + right) * loops
        neighbour = (pixels + way).flatten()
        # a pixel that the loop has passed: its new value, numbered after all that were there before the round
        passed = (way > 0).flatten() & loops.expand(count, -1, -1).flatten()[neighbour]
        pointers = neighbour + passed * len(result)
        unsettled = passed.nonzero()[:, 0]
        while len(unsettled):
            shorter = pointers[pointers[unsettled] - len(result)]
            pointers[unsettled] = shorter
            unsettled = unsettled[shorter >= len(result)]
        result = result[pointers]
    return result.view(count, -1) - pixels.flatten(1)[:, :1]


glass_blur = Corruption(_apply, _draw)  # parameters: the blur's sigma in pixels, reach in pixels, rounds
