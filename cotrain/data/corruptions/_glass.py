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
    itself.) The chains of references are followed all at once, each look-up doubling their length.

    Args:
        steps: Down and right to the neighbour, int64 (images, rounds, 2, height, width), from -reach to reach - 1.
        reach: Pixels nearer than this to an edge stay.

    Returns:
        Index into the flattened image, int64 (images, height * width).
    """
    count, _, _, height, width = steps.shape
    pixels = height * width
    place = torch.arange(pixels, device=steps.device).view(height, width)
    rows, columns = place // width, place % width
    loops = (rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)
    result = place.view(1, pixels).expand(count, pixels)
    for down, right in ((one[:, 0], one[:, 1]) for one in steps.unbind(1)):
        neighbour = torch.where(loops, place + down * width + right, place)
        # an earlier pixel's new value stands in the second half of a table whose first half is the round's start
        passed = loops.flatten()[neighbour] & (neighbour > place)
        pointers = torch.where(passed, neighbour + pixels, neighbour).view(count, pixels)
        while bool((pointers >= pixels).any()):
            pointers = torch.cat([place.view(1, pixels).expand(count, pixels), pointers], 1).gather(1, pointers)
        result = result.gather(1, pointers)
    return result


glass_blur = Corruption(_apply, _draw)  # parameters: the blur's sigma in pixels, reach in pixels, rounds
