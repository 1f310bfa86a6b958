"""Edges, distances to them, small filters: of pictures in whole numbers, as OpenCV computes them for one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

TANGENT = 13573  # of 22.5 degrees, in 32,768ths
PIXEL = 65536  # units of a distance
DIAGONAL, KNIGHT = 91750, 143976  # 1.4 and 2.1969 pixels: one down and one right, one down and two right


def edges(images: Tensor, low: int, high: int) -> Tensor:
    """Canny's edges (1986, IEEE Trans. PAMI 8(6)) by Sobel differences of three pixels a side.

    Args:
        images: int32 (images, height, width), 0 to 255.
        low, high: Sums of the differences' sizes along both axes. A ridge of them above `low` is an edge where it hangs
            together with a point above `high`.

    Returns:
        Booleans of the same shape.
    """
    across, down = _sobel(images)
    size = across.abs() + down.abs()
    x, y = across.abs(), down.abs() << 15
    flat = y < x * TANGENT
    steep = y > x * TANGENT + (x << 16)
    around = pad(size, (1, 1, 1, 1))
    left, right = around[:, 1:-1, :-2], around[:, 1:-1, 2:]
    above, below = around[:, :-2, 1:-1], around[:, 2:, 1:-1]
    falls = (across ^ down) < 0  # the steepest way leads to the upper right
    before = torch.where(falls, around[:, :-2, 2:], around[:, :-2, :-2])
    after = torch.where(falls, around[:, 2:, :-2], around[:, 2:, 2:])
    is_ridge = torch.where(
        flat,
        (size > left) & (size >= right),
        torch.where(steep, (size > above) & (size >= below), (size > before) & (size > after)),
    )
    maybe = is_ridge & (size > low)
    found = maybe & (size > high)
    while True:
        grown = (max_pool2d(found.float(), 3, 1, 1) > 0) & maybe
        if torch.equal(grown, found):
            return found
        found = grown


def _sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    padded = pad(images.float(), (1, 1, 1, 1), mode="replicate").int()
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return rows[..., 2:] - rows[..., :-2], columns[:, 2:] - columns[:, :-2]


def distances(points: Tensor, longest: int) -> Tensor:
    """How far it is to the nearest point by steps like a king's and a knight's (Borgefors 1986, CVGIP 34(3)).

    Args:
        points: Booleans (images, height, width).
        longest: Pixels; it stands for all that are farther away, and where there is no point.

    Returns:
        In 65,536ths of a pixel, int32 of the same shape.
    """
    height, width = points.shape[1:]
    far = longest * PIXEL
    found = torch.where(points, 0, far).int()
    steps = torch.arange(width, device=points.device, dtype=torch.int32) * PIXEL
    for _ in range(2):  # from above, then from below
        padded = pad(found, (2, 2, 2, 0), value=far)
        for row in range(2, height + 2):
            last, one_more = padded[:, row - 1], padded[:, row - 2]
            nearest = torch.minimum(padded[:, row, 2:-2], last[:, 2:-2] + PIXEL)
            nearest = torch.minimum(nearest, torch.minimum(last[:, 1:-3], last[:, 3:-1]) + DIAGONAL)
            nearest = torch.minimum(nearest, torch.minimum(last[:, :-4], last[:, 4:]) + KNIGHT)
            nearest = torch.minimum(nearest, torch.minimum(one_more[:, 1:-3], one_more[:, 3:-1]) + KNIGHT)
            # along the row, from the left
            padded[:, row, 2:-2] = (nearest - steps).cummin(1).values + steps
        found = padded[:, 2:, 2:-2].flip(1, 2)
    return found


def sums_of_nine(images: Tensor) -> Tensor:
    """Of a pixel and its neighbours; the image is mirrored beyond its edges, without its edge pixels.

    Args:
        images: int32 (images, height, width).
    """
    padded = mirrored(images)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def mirrored(images: Tensor) -> Tensor:
    """With one more pixel on each side: b a | b c | b a of a row a b c is b | a b c | b."""
    rows = torch.cat([images[:, 1:2], images, images[:, -2:-1]], 1)
    return torch.cat([rows[..., 1:2], rows, rows[..., -2:-1]], 2)


def equalised(images: Tensor) -> Tensor:
    """Grey levels spread so that about as many pixels have each; an image of a single level stays.

    Args:
        images: int32 (images, height, width), 0 to 255.
    """
    flat = images.flatten(1).long()
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    lowest = flat.amin(1, keepdim=True)
    of_lowest = counts.gather(1, lowest)
    others = flat.shape[1] - of_lowest
    scale = others.new_tensor(255).float() / others.clamp(min=1).float()
    table = ((counts.cumsum(1) - of_lowest).float() * scale).round().long().clamp(0, 255)
    return torch.where(others > 0, table.gather(1, flat), flat).view(images.shape).int()
