"""Families of affine maps by how far they move the corners of an object: seven with one parameter, four random ones.

Cohen, Chung, Lee & Sompolinsky 2020 (Nature Communications 11:746, methods, smooth manifolds). Maps act on columns
(x, y, 1), in units in which the object is the square from -1 to 1, x to the right and y downwards. `reach` is the
displacement of corners in these units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

Floats = NDArray[np.float64]

AffineFamily = Literal[
    "affine",
    "rotation",
    "shear",
    "translation",
    "translation_and_shear",
    "x_scale",
    "x_shear",
    "x_translation",
    "y_scale",
    "y_shear",
    "y_translation",
]
"""Kinds of maps, as `affine_manifolds` tells."""

ENTRIES = {  # of the 2 x 3 matrices, those that are drawn
    "affine": ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)),
    "shear": ((0, 1), (1, 0)),
    "translation": ((0, 2), (1, 2)),
    "translation_and_shear": ((0, 1), (0, 2), (1, 0), (1, 2)),
}
LINES = tuple(name for name in get_args(AffineFamily) if name not in ENTRIES)
PLACES = {"shear": {"x": (0, 1), "y": (1, 0)}, "translation": {"x": (0, 2), "y": (1, 2)}}
FARTHEST_TURN = 2 * math.sqrt(2)  # that of a corner by half a turn
CORNERS = np.array([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
TRIES = 500  # maps that are drawn for each that is wanted, at most
BLOCK = 256


def corner_moves(maps: Floats) -> Floats:
    """How far maps (..., 2, 3) move each corner of the object: (..., 4), in half sides of the object."""
    moved: Floats = np.linalg.norm(maps @ CORNERS - CORNERS[:2], axis=-2)
    return moved


def line_of_maps(family: str, reach: float, points: int) -> tuple[Floats, Floats]:
    """Evenly spaced values of a parameter, for scales of its logarithm, and their maps.

    Translations and shears are from -reach to reach, scales from 1 / (1 + reach) to 1 + reach, and angles from -r to r,
    in radians, clockwise as y is downwards, with r = 2 arcsin(reach / sqrt 8).

    Args:
        family: One of `LINES`.
        reach: Largest displacement of a corner; for "rotation" no more than `FARTHEST_TURN`.
        points: Two or more; with an odd number, the one in the middle moves nothing.

    Returns:
        (points,) and (points, 2, 3).
    """
    evenly = np.arange(1 - points, points, 2) / (points - 1)  # symmetric to the last bit
    maps = np.tile(np.eye(2, 3), (points, 1, 1))
    if family == "rotation":
        values = evenly * 2 * math.asin(min(reach / FARTHEST_TURN, 1.0))
        cos, sin = np.cos(values), np.sin(values)
        maps[:, :, :2] = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
        return values, maps
    axis, kind = family.split("_")
    if kind == "scale":
        values, place = np.exp(evenly * math.log1p(reach)), {"x": (0, 0), "y": (1, 1)}[axis]
    else:
        values, place = evenly * reach, PLACES[kind][axis]
    maps[:, place[0], place[1]] = values
    return values, maps


def random_maps(
    family: str,
    reach: float,
    points: int,
    allowed: Callable[[Floats], NDArray[np.bool_]],
    generator: np.random.Generator,
) -> Floats:
    """The identity with normal numbers added to some entries; the first ones that move corners by no more than reach.

    The standard deviation is that of the published code, reach / (1.25 (0.286 d + 0.684)) with d entries, and so is
    what is measured: the root of the mean over the four corners of the squared displacement.

    Args:
        family: A key of `ENTRIES`.
        reach: Largest displacement.
        points: How many maps.
        allowed: Of maps (n, 2, 3), which may be taken besides.
        generator: More points are the same ones and further ones.

    Returns:
        (points, 2, 3).

    Raises:
        DataError: Hardly any map is allowed.
    """
    rows, columns = np.array(ENTRIES[family]).T
    spread = reach / (1.25 * (0.286 * len(rows) + 0.684))
    found: list[Floats] = []
    held = 0
    for drawn in range(0, TRIES * points + BLOCK, BLOCK):
        maps = np.tile(np.eye(2, 3), (BLOCK, 1, 1))
        maps[:, rows, columns] += spread * generator.standard_normal((BLOCK, len(rows)))
        near = np.sqrt((corner_moves(maps) ** 2).mean(1)) <= reach
        near &= np.abs(np.linalg.det(maps[:, :, :2])) > 1e-6  # what shrinks to a line has no inverse
        near[near] = allowed(maps[near])
        found.append(maps[near])
        held += int(near.sum())
        if held >= points or (not held and drawn >= 10 * BLOCK):
            break
    if held < points:
        raise DataError(
            f"Of {drawn + BLOCK} random maps of the family {family!r}, {held} show nothing from outside the images, "
            f"and {points} are wanted. Give images with wider margins, a smaller size or displacement, or say with "
            "fill what is outside."
        )
    return np.concatenate(found)[:points]
