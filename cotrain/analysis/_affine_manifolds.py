"""Smooth manifolds: what affine maps of growing reach make of an image, warped when a batch of them is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from cotrain.analysis._affine_families import (
    CORNERS,
    ENTRIES,
    FARTHEST_TURN,
    LINES,
    corner_moves,
    line_of_maps,
    random_maps,
)
from cotrain.analysis._shown_images import channels_first
from cotrain.data import ImageRows
from cotrain.errors import DataError, did_you_mean
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

OBJECT = 0.75  # of the side of what is shown: 48 of 64 pixels
TOLERANCE = 1e-6  # pixels that rounding may reach beyond the border


@dataclass(frozen=True)
class AffineManifolds:
    """Images under affine maps, as images that `extract` takes: those of the first image, of the second one, and so on.

    A slice of it is made when it is asked for, on `device`: floats (images, channels, height, width), for uint8 images
    in 0..1. What is made of an image does not depend on the slice, so that no batch size changes it.

    `maps`: (images, points, 2, 3), float64, from places (x, y, 1) of an image to where they are shown, about the centre
    and in half sides of the object, y downwards. `values`: (points,), the parameter of a family that has one (shift or
    shear in these units, factor, radians clockwise), else None.
    """

    family: str
    displacement: float  # pixels
    object_size: float  # side, pixels
    size: tuple[int, int]  # height and width of what is shown, pixels
    maps: Floats = field(repr=False)
    values: Floats | None = field(repr=False)
    images: Tensor | ImageRows = field(repr=False)
    fill: float | str | None
    device: torch.device

    @property
    def points(self) -> int:
        """Of each manifold."""
        return int(self.maps.shape[1])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images * points, channels, height, width)."""
        return (len(self), int(self.images.shape[1]), *self.size)

    def __len__(self) -> int:
        return int(self.maps.shape[0] * self.maps.shape[1])

    def __getitem__(self, index: slice) -> Tensor:
        rows = np.arange(len(self))[index]
        owners, points = rows // self.points, rows % self.points
        needed, which = np.unique(owners, return_inverse=True)
        sources = self.images[torch.from_numpy(needed)].to(self.device)
        if sources.dtype == torch.uint8:
            sources = sources.float() / 255
        elif sources.dtype != torch.float64:
            sources = sources.float()
        return self._warped(sources[torch.from_numpy(which).to(self.device)], self.maps[owners, points])

    def displacements(self) -> Floats:
        """How far the corners of the object are moved: (images, points, 4), in pixels."""
        return corner_moves(self.maps) * self.object_size / 2

    def split(self, features: Any) -> list[Any]:
        """Features (images * points, features) as manifolds, a list of (features, points), one for each image.

        Raises:
            DataError: They are of another number of images.
        """
        if features.ndim != 2 or len(features) != len(self):
            raise DataError(
                f"Expected features of all {len(self)} warped images, (images * points, features), found the shape "
                f"{tuple(features.shape)}."
            )
        return [features[start : start + self.points].T for start in range(0, len(self), self.points)]

    def _warped(self, sources: Tensor, maps: Floats) -> Tensor:
        """Each source by a map of its own."""
        height, width = self.size
        rows, columns = sources.shape[2:]
        back, shift = _inverse(maps, self.object_size / 2)
        # grid_sample counts in halves of the image: -1 and 1 are the outer edges of its outer pixels. No product of
        # matrices makes the grid, since the rounding of one may depend on how many there are.
        scale = np.array([2 / columns, 2 / rows])
        x, y = (torch.arange(n, device=self.device, dtype=torch.float64) - (n - 1) / 2 for n in (width, height))
        axes = []
        for axis in range(2):
            a, b, c = (
                torch.from_numpy(part * scale[axis]).to(self.device)[:, None, None]
                for part in (back[:, axis, 0], back[:, axis, 1], shift[:, axis])
            )
            axes.append(a * x + b * y[:, None] + c)
        grid = torch.stack(axes, 3).to(sources.dtype)
        outside = self.fill if isinstance(self.fill, float) else None
        mode = "border" if outside is None else "zeros"
        moved = sources if outside is None else sources - outside
        warped = grid_sample(moved, grid, mode="bilinear", padding_mode=mode, align_corners=False)
        warped = warped if outside is None else warped + outside
        low, high = sources.amin((1, 2, 3), keepdim=True), sources.amax((1, 2, 3), keepdim=True)
        if outside is not None:
            low, high = low.clamp_max(outside), high.clamp_min(outside)
        return warped.clamp(low, high)  # means of pixels are no larger than the largest, but for rounding


def affine_manifolds(
    images: Any,
    family: str,
    displacement: float,
    points: int,
    *,
    size: int | tuple[int, int] | None = None,
    object_size: float | None = None,
    fill: float | str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> AffineManifolds:
    """The smooth manifold of each image: the image moved, scaled, sheared or turned, by up to so many pixels.

    Cohen, Chung, Lee & Sompolinsky 2020 (Nature Communications 11:746). The reach of a map is how far it moves the
    corners of the object, a square in the middle of the image; their images are 144 pixels wide, the object 48, and
    `size` 64 is shown. Families with one parameter take evenly spaced values of it:

    - "x_translation", "y_translation", "x_shear", "y_shear": to both sides by `displacement`;
    - "x_scale", "y_scale": by factors from 1 / (1 + s) to 1 + s, with s the displacement in half sides of the object;
    - "rotation": to both sides, until a corner has moved so far.

    Random families draw for each image maps of their own: "translation" and "shear" with two parameters,
    "translation_and_shear" with four, "affine" with all six. A map counts where the root mean square displacement of
    the four corners is no more than `displacement`.

    Pixels are interpolated bilinearly.

    Args:
        images: (images, channels, height, width) as a tensor or `ImageRows`, or arrays as `extract` takes them; uint8
            or floating-point. They are what the window of `size` is moved in.
        family: One of those above.
        displacement: Pixels, above 0.
        points: Of each manifold, two or more. With an odd number, the middle point of a family with one parameter is
            the image as it stands.
        size: Side, or (height, width), of the window in the middle of the images that is shown; None: all of them,
            which leaves no margins. It differs from the images' by an even number, so that no pixel is halved.
        object_size: Side of the object in pixels; None: three quarters of the shorter side of what is shown.
        fill: What is outside the images, a number in the images' unit (0 to 1 for uint8) or "edge", the nearest pixel.
            None: nothing, and maps that would show it are refused, or drawn again in random families.
        seed: Of random families; what is drawn for an image depends on it, on the family and on the image's place.
        device: Where images are warped; None: where they are.

    Raises:
        DataError: There are no such images, family or size, or what lies outside the images would be shown.

    >>> moved = affine_manifolds(torch.rand(2, 3, 32, 32), "rotation", 2.0, 5, size=24)
    >>> moved.shape, moved[5:8].shape
    ((10, 3, 24, 24), torch.Size([3, 3, 24, 24]))
    """
    held = images if isinstance(images, (Tensor, ImageRows)) else channels_first(images)
    if len(held.shape) != 4 or not all(held.shape):
        raise DataError(f"Expected images (images, channels, height, width), found the shape {tuple(held.shape)}.")
    if isinstance(held, Tensor) and held.dtype != torch.uint8 and not held.is_floating_point():
        raise DataError(f"Expected images as uint8 or floating-point numbers, found {held.dtype}.")
    if family not in (*LINES, *ENTRIES):
        raise DataError(f"There is no affine family {family!r}.{did_you_mean(family, (*LINES, *ENTRIES))}")
    source = (int(held.shape[2]), int(held.shape[3]))
    shown = _shown(source, size)
    side = OBJECT * min(shown) if object_size is None else float(object_size)
    if not (0 < side < math.inf and 0 < displacement < math.inf) or points < 2:
        raise DataError(
            f"An object has a side and a displacement above 0, and a manifold 2 points or more, found {side!r}, "
            f"{displacement!r} and {points!r}."
        )
    if fill is not None and fill != "edge":
        if isinstance(fill, str) or not math.isfinite(fill):
            raise DataError(f"What is outside of images is None, a number or 'edge', found fill={fill!r}.")
        fill = float(fill)
    window = _Window(source, shown, side / 2, fill is not None)
    if family in LINES:
        values, line = _line(family, displacement, points, window)
        maps = np.broadcast_to(line, (len(held), *line.shape))
    else:
        own = [np.random.default_rng(derive_seed(seed, "noise", "affine", family, row)) for row in range(len(held))]
        maps = np.stack(
            [random_maps(family, displacement / window.half, points, window.allows, generator) for generator in own]
        )
        values = None
    place = held.device if device is None else torch.device(device)
    if isinstance(held, Tensor):
        held = held.detach().to(place)
    return AffineManifolds(family, float(displacement), side, shown, maps, values, held, fill, place)


def _shown(source: tuple[int, int], size: int | tuple[int, int] | None) -> tuple[int, int]:
    height, width = source if size is None else (size, size) if isinstance(size, int) else size
    good = all(
        0 < part <= whole and (whole - part) % 2 == 0 for part, whole in zip((height, width), source, strict=True)
    )
    if not good:
        raise DataError(
            f"What is shown of images of {source[0]} x {source[1]} pixels is no larger than they are, and smaller by "
            f"an even number of pixels, found the size {height} x {width}."
        )
    return int(height), int(width)


@dataclass(frozen=True)
class _Window:
    """What is shown of a source, both (height, width) in pixels; `half`: side of the object / 2."""

    source: tuple[int, int]
    shown: tuple[int, int]
    half: float
    anything: bool  # whether what is outside may be shown

    def beyond(self, maps: Floats) -> Floats:
        """How many pixels the corners of the window reach beyond the centres of the outer pixels: (maps,); below 0: not
        at all."""
        back, shift = _inverse(maps, self.half)
        edge = (np.array(self.shown[::-1]) - 1) / 2
        reached = np.abs(back @ (edge[:, None] * CORNERS[:2]) + shift[:, :, None]).max(2)
        beyond: Floats = (reached - (np.array(self.source[::-1]) - 1) / 2).max(1)
        return beyond

    def allows(self, maps: Floats) -> NDArray[np.bool_]:
        """Which maps show nothing that may not be shown."""
        return np.full(len(maps), True) if self.anything else self.beyond(maps) <= TOLERANCE


def _line(family: str, displacement: float, points: int, window: _Window) -> tuple[Floats, Floats]:
    """Values and maps of a family with one parameter."""
    if family == "rotation" and displacement > FARTHEST_TURN * window.half:
        raise DataError(
            f"No rotation moves a corner of an object of {2 * window.half:g} pixels by {displacement:g} pixels: half a "
            f"turn moves it by {FARTHEST_TURN * window.half:.4g}."
        )
    values, maps = line_of_maps(family, displacement / window.half, points)
    if not window.allows(maps).all():
        (rows, columns), (height, width) = window.source, window.shown
        raise DataError(
            f"{family} by {displacement:g} pixels would show what lies up to {window.beyond(maps).max():.4g} pixels "
            f"outside the images of {rows} x {columns} pixels, of which {height} x {width} are shown. Give images with "
            "wider margins, a smaller size or displacement, or say with fill what is outside."
        )
    return values, maps


def _inverse(maps: Floats, half: float) -> tuple[Floats, Floats]:
    """From what is shown back to the source, both in pixels about their centres: (n, 2, 2) and (n, 2)."""
    back = np.asarray(np.linalg.inv(maps[:, :, :2]), dtype=np.float64)
    return back, -half * (back @ maps[:, :, 2:])[:, :, 0]
