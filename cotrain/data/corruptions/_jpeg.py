"""JPEG at a quality: what an image looks like when libjpeg has coded and decoded it, in exact arithmetic.

Nothing is written: only the steps that lose something are done, as ITU-T T.81 (1992) defines them and as libjpeg's
default integer method rounds them (Loeffler, Ligtenberg & Moschytz 1989, ICASSP; 13-bit constants, two more bits
between the passes), with colour at half the resolution, as Pillow's defaults are.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws

SIDE = 8  # of a block
BITS, EXTRA = 13, 2  # of the constants; carried between the two passes

# T.81, tables K.1 and K.2, at quality 50: rows are vertical frequencies
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * SIDE,) * 4,
)
# colours to luminance and the two chrominances, and back (T.871, 7), in 65,536ths
TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
RED_OF_CR, GREEN_OF_CB, GREEN_OF_CR, BLUE_OF_CB = 91881, -22554, -46802, 116130


def _apply_jpeg(images: Tensor, parameters: int, draws: Draws) -> Tensor:  # noqa: ARG001
    height, width = images.shape[2:]
    if images.shape[1] == 1:
        return _coded(images.float()[:, 0], _table(LUMINANCE, parameters, images.device))[:, None].to(torch.uint8)
    luminance, *chrominance = _ycc(images)
    luminance = _coded(luminance, _table(LUMINANCE, parameters, images.device))
    halves = torch.cat([_halved(plane) for plane in chrominance])
    halves = _coded(halves, _table(CHROMINANCE, parameters, images.device))[..., : (width + 1) // 2]
    blue, red = (_doubled(halves)[:, :height, :width] - 128).chunk(2)
    channels = [
        luminance + _shifted(red * RED_OF_CR),
        luminance + _shifted(blue * GREEN_OF_CB + red * GREEN_OF_CR),
        luminance + _shifted(blue * BLUE_OF_CB),
    ]
    return torch.stack(channels, 1).clamp_(0, 255).to(torch.uint8)


jpeg_compression = Corruption(_apply_jpeg)  # parameters: quality, 1 to 100


def _shifted(values: Tensor) -> Tensor:
    """Divided by 65,536 and rounded, halves up."""
    return values.add_(32768).mul_(2**-16).floor_()


def _ycc(images: Tensor) -> list[Tensor]:
    """Luminance and chrominances as whole float32 (images, height, width): each sum is below 2^24."""
    red, green, blue = images.float().unbind(1)
    planes = []
    for row, (of_red, of_green, of_blue) in enumerate(TO_YCC):
        plane = (red * of_red).add_(green * of_green).add_(blue * of_blue)
        # chrominance is centred at 128, and its halves are rounded down
        plane.add_(32768 if row == 0 else (128 << 16) + 32767)
        planes.append(plane.mul_(2**-16).floor_())
    return planes


def _padded(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Continued to whole multiples by their last row and column."""
    below, beyond = (-planes.shape[1]) % rows, (-planes.shape[2]) % columns
    return F.pad(planes, (0, beyond, 0, below), mode="replicate") if below or beyond else planes


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; sums that are odd are rounded down and up in turn, from column to column.

    Columns are continued to whole blocks before, as libjpeg does it, but rows only to a pair.
    """
    planes = _padded(planes, 2, 2 * SIDE)
    sums = planes[:, ::2] + planes[:, 1::2]
    sums = sums[..., ::2] + sums[..., 1::2]
    sums[..., ::2] += 1
    sums[..., 1::2] += 2
    return sums.mul_(0.25).floor_()


def _doubled(planes: Tensor) -> Tensor:
    """Twice the size: pixels weigh 9, 3, 3 and 1 sixteenths by nearness; halves are rounded up and down in turn."""
    above = torch.cat([planes[:, :1], planes[:, :-1]], 1)
    below = torch.cat([planes[:, 1:], planes[:, -1:]], 1)
    tall = torch.stack([planes * 3 + above, planes * 3 + below], 2).flatten(1, 2)
    left = torch.cat([tall[..., :1], tall[..., :-1]], 2)
    right = torch.cat([tall[..., 1:], tall[..., -1:]], 2)
    tall = tall * 3
    return torch.stack([left.add_(tall).add_(8), right.add_(tall).add_(7)], 3).flatten(2).mul_(1 / 16).floor_()


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Planes of bytes through the cosine transform, the rounding of its coefficients, and back.

    Each pass is an exact product of whole numbers, in float64, and one rounding, where libjpeg has its own.
    """
    height, width = planes.shape[1:]
    forward, backward = _passes(planes.device)
    values = _padded(planes, SIDE, SIDE).double() - 128
    shape = values.shape
    values = _rounded(values.view(-1, SIDE) @ (forward.T * 2.0 ** (EXTRA - BITS)))
    values = values.view(shape[0], shape[1] // SIDE, SIDE, shape[2])
    values = _rounded((forward * 2.0 ** -(BITS + EXTRA)) @ values)
    blocks = values.view(*values.shape[:3], shape[2] // SIDE, SIDE)
    # whole numbers, 8 times too large, over whole numbers: halves are rounded away from zero. What is added is a little
    # more than a half, and less than what is between a half and the next quotient; so rounded reciprocals do
    scale, table = 1 / (8 * table[:, None]), table[:, None]
    blocks *= scale
    blocks.add_(torch.copysign(0.5 + 0.5 * scale, blocks)).trunc_().mul_(table)
    values = _rounded((backward * 2.0 ** (EXTRA - BITS)) @ values)
    values = _rounded(values.view(-1, SIDE) @ (backward.T * 2.0 ** -(BITS + EXTRA + 3)))
    return (values.view(shape)[:, :height, :width] + 128).clamp_(0, 255).float()


def _rounded(values: Tensor) -> Tensor:
    """To whole numbers, halves up."""
    return values.add_(0.5).floor_()


@functools.lru_cache
def _table(base: tuple[tuple[int, ...], ...], quality: int, device: torch.device) -> Tensor:
    """What coefficients are divided by: float64 (vertical, horizontal)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = (torch.tensor(base) * percent + 50) // 100
    return table.clamp(1, 255).double().to(device)


@functools.lru_cache
def _passes(device: torch.device) -> tuple[Tensor, Tensor]:
    """The cosine transform of eight numbers and its inverse, in 8,192ths: whole numbers as float64 (8, 8).

    As sqrt(8) cos((2 i + 1) k pi / 16), but made of the constants that the fast algorithm rounds.
    """
    c1, c2, c3, c5, c6, c7 = (math.sqrt(2) * math.cos(k * math.pi / 16) for k in (1, 2, 3, 5, 6, 7))
    one = 1 << BITS
    both, first, second = (round(value * one) for value in (c6, c2 - c6, c2 + c6))
    even = [
        [one, one],
        [both + first, both],
        [one, -one],
        [both, both - second],
    ]
    shared, outer, inner, third, fifth = (round(v * one) for v in (c3, c7 - c3, -c1 - c3, -c3 - c5, c5 - c3))
    own = [round(v * one) for v in (c1 + c3 - c5 - c7, c1 + c3 + c5 - c7, c1 + c3 - c5 + c7, -c1 + c3 + c5 - c7)]
    odd = [
        [shared + own[0] + outer + fifth, shared, shared + fifth, shared + outer],
        [shared, shared + own[1] + inner + third, shared + inner, shared + third],
        [shared + fifth, shared + inner, shared + own[2] + inner + fifth, shared],
        [shared + outer, shared + third, shared, shared + own[3] + outer + third],
    ]
    rows = []
    for k in range(SIDE):
        # the second half of a cosine mirrors its first; in rows 0 and 4 of the even ones, so does the quarter
        half = odd[k // 2] if k % 2 else even[k // 2] + [v if k % 4 == 0 else -v for v in even[k // 2][::-1]]
        rows.append(half + [-v if k % 2 else v for v in half[::-1]])
    forward = torch.tensor(rows, dtype=torch.float64, device=device)
    return forward, forward.T.contiguous()
