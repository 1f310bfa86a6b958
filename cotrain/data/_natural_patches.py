"""Grey patches of two real photographs, labelled so that a split can keep whole places apart.

The photographs (china.jpg and flower.jpg) come with scikit-learn, so nothing is downloaded. Neighbouring
patches share pixels; a split by patch would show the test pixels in training. So each photograph is tiled
into disjoint regions, every patch lies inside one of them at every scale, and a split goes by `Patches.region`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SCALES = (1, 2)  # photograph pixels averaged into one patch pixel, along each axis
SMALLEST, LARGEST = (
    8,
    80,
)  # pixels; at 80 each photograph still has 2 x 3 regions, enough for a split by region
MIN_CONTRAST = 16.0  # grey levels, standard deviation inside a patch: leaves out sky and blurred background

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, section 2.5.1
_REGION_SIDE = 2.5  # patch sides: room for several patches of the coarsest scale (2 sides) in one region


@dataclass(frozen=True)
class Patches:
    """Grey patches and where each was cut; the entries along the first axis belong together.

    images: uint8 (patches, 1, size, size), 0 black to 255 white.
    region: int64 (patches,), the region of a photograph that holds the patch: ids from 0, those of regions
        without an acceptable patch never occur. Patches of different regions share no photograph pixel.
    photograph: int64 (patches,), an index into `PHOTOGRAPHS`.
    top, left: int64 (patches,), the first row and column of the cut, in photograph pixels.
    scale: int64 (patches,), the cut spans `scale * size` photograph pixels along each axis.
    """

    images: NDArray[np.uint8]
    region: NDArray[np.int64]
    photograph: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    scale: NDArray[np.int64]


def natural_patches(number: int, size: int, *, seed: int) -> Patches:
    """Draw `number` distinct grey patches of `size` x `size` pixels, evenly over regions.

    Same arguments, same patches; a larger `number` begins with those of a smaller one. The regions take turns
    in random order, one patch each. A region that has run out of acceptable patches (contrast of at least
    `MIN_CONTRAST`, content seen nowhere else) gives no more, and the others fill in; so the last patches come
    from fewer regions than the first.

    Raises DataError where `size` is outside `SMALLEST`..`LARGEST` or fewer than `number` patches exist.
    """
    if not SMALLEST <= size <= LARGEST:
        raise DataError(f"size is {size}, patches can be cut from {SMALLEST} to {LARGEST} pixels a side.")
    if number < 1:
        raise DataError(f"number is {number}, ask for at least 1 patch.")
    images, cuts = _candidates(size)
    if number > len(images):
        raise DataError(
            f"{number} patches of {size} pixels were asked for, the two photographs hold {len(images)} distinct "
            f"ones with enough contrast: ask for at most {len(images)}, or for smaller patches."
        )
    shuffled = np.random.default_rng(seed).permutation(len(images))
    # The turn of a candidate within its region; taking low turns first goes round the regions evenly.
    region = cuts[shuffled, 0]
    by_region = np.argsort(region, kind="stable")
    _, first, counts = np.unique(region[by_region], return_index=True, return_counts=True)
    turn = np.empty(len(images), np.int64)
    turn[by_region] = np.arange(len(images)) - np.repeat(first, counts)
    chosen = shuffled[np.argsort(turn, kind="stable")[:number]]
    return Patches(images[chosen][:, None], *cuts[chosen].T.copy())


def _candidates(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All acceptable patches (candidates, size, size) and their cuts: region, photograph, top, left, scale."""
    found: dict[bytes, tuple[int, ...]] = {}
    region = 0
    for index, photograph in enumerate(_grey_photographs()):
        for rows in _bands(photograph.shape[0], size):
            for columns in _bands(photograph.shape[1], size):
                for scale in SCALES:
                    patches, tops, lefts = _cut(photograph[rows, columns], size, scale)
                    for patch, top, left in zip(patches, tops, lefts, strict=True):
                        # The first of equal contents stays, whatever the seed.
                        place = (region, index, rows.start + top, columns.start + left, scale)
                        found.setdefault(patch.tobytes(), place)
                region += 1
    images = np.frombuffer(b"".join(found), np.uint8).reshape(-1, size, size)
    return images, np.array(list(found.values()), np.int64)


def _cut(region: NDArray[np.float64], size: int, scale: int) -> tuple[NDArray[np.uint8], list[int], list[int]]:
    """The patches of one region at one scale that have enough contrast, with their offsets in the region."""
    stride = max(1, size // 8)  # closer patches are near copies of each other and only cost time
    side = size * scale
    windows = np.lib.stride_tricks.sliding_window_view(region, (side, side))[::stride, ::stride]
    down, across = windows.shape[:2]
    blocks = windows.reshape(down * across, size, scale, size, scale).mean(axis=(2, 4))
    patches = np.rint(blocks).astype(np.uint8)
    good = np.flatnonzero(patches.std(axis=(1, 2)) >= MIN_CONTRAST)
    return patches[good], (good // across * stride).tolist(), (good % across * stride).tolist()


def _bands(length: int, size: int) -> list[slice]:
    """Disjoint near-equal pieces of 0..length, each at least `_REGION_SIDE` patch sides long."""
    edges = np.linspace(0, length, int(length // (_REGION_SIDE * size)) + 1).astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _grey_photographs() -> list[NDArray[np.float64]]:
    """The luma of each photograph, (rows, columns), 0 to 255."""
    from sklearn.datasets import load_sample_image  # slow to import, and only simulated data needs it

    return [load_sample_image(name).astype(np.float64) @ _LUMA for name in PHOTOGRAPHS]
