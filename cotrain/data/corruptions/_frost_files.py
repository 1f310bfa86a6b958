"""The benchmark's own pictures of frost, for those who have them."""

from __future__ import annotations

import functools
import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cotrain.data.corruptions._frost_textures import frost_textures
from cotrain.errors import DataError

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
ONE = 2048  # the sum of a resized pixel's weights along one axis
LARGER = 1.1  # at full size they are magnified by this, that there is room for a random place
REDUCED = {3: 0.3, 5: 0.2}  # scales of the benchmarks of small images

Weights = tuple[np.ndarray, np.ndarray]


def frost_identity(folder: Path | str | None = None) -> str:
    """Which pictures of frost were used: a short hash, stored with scores under frost.

    Args:
        folder: With the original files, or None for our own textures.

    Returns:
        16 hexadecimal digits.

    Raises:
        DataError: Files are missing.
    """
    digest = hashlib.sha256()
    if folder is None:
        for texture in frost_textures():
            digest.update(texture.numpy().tobytes())
    else:
        for path in _paths(Path(folder)):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def frost_files(folder: Path | str, shape: tuple[int, int], reduction: int) -> tuple[torch.Tensor, ...]:
    """The original pictures, resized as the reference implementations do it for images of this shape.

    Args:
        folder: With frost1.png, frost2.png, frost3.png, frost4.jpg, frost5.jpg and frost6.jpg.
        shape: Height and width of the images that shall be corrupted.
        reduction: 1 for pictures at 1.1 times their size, bicubic; 3 and 5 for 0.3 and 0.2 times, bilinear and without
            the sixth, which the scripts of the small benchmarks never draw. Pictures that would be too small are
            magnified to 1.1 times what covers the image.

    Returns:
        uint8 (3, rows, columns) each.

    Raises:
        DataError: Files are missing or hold no picture.
    """
    paths = _paths(Path(folder))
    return tuple(
        _resized(path, path.stat().st_mtime_ns, shape, reduction) for path in (paths if reduction == 1 else paths[:5])
    )


def _paths(folder: Path) -> list[Path]:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"The folder of frost pictures {folder} has no {', '.join(missing)}. Give the folder of the six original "
            "files, as the package imagecorruptions has them, or none for cotrain's own textures."
        )
    return [folder / name for name in FILES]


@functools.lru_cache(maxsize=24)
def _resized(path: Path, changed: int, shape: tuple[int, int], reduction: int) -> torch.Tensor:  # noqa: ARG001
    """One picture; when its file was changed is given so that a new one is read."""
    picture = _read(path)
    rows, columns = picture.shape[:2]
    cover = max(shape[0] / rows, shape[1] / columns)
    if reduction == 1 or cover >= REDUCED[reduction]:
        factor = max(1.0, cover) * LARGER if reduction == 1 else cover * LARGER
        new = (math.ceil(rows * factor), math.ceil(columns * factor))
        along = [_cubic(size, wanted, size / wanted) for size, wanted in zip((rows, columns), new, strict=True)]
    else:
        factor = REDUCED[reduction]
        along = [_linear(size, round(size * factor), 1 / factor) for size in (rows, columns)]
    numbers = picture.astype(np.int64)
    places, weights = along[1]
    wide = np.sum([numbers[:, places[:, k]] * weights[:, k, None] for k in range(places.shape[1])], 0)
    places, weights = along[0]
    sums = np.sum([wide[places[:, k]] * weights[:, k, None, None] for k in range(places.shape[1])], 0)
    found = ((sums + ONE**2 // 2) // ONE**2).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1)))


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except OSError as error:
        raise DataError(f"The frost picture {path} cannot be read: {error}. Copy it anew.") from error


def _linear(size: int, wanted: int, scale: float) -> Weights:
    """Two pixels and their weights for each new one, as OpenCV's `resize` has them."""
    before, share = _between(wanted, scale)
    weights = np.stack([1 - share, share], 1)
    return (before[:, None] + np.arange(2)).clip(0, size - 1), _whole(weights)


def _cubic(size: int, wanted: int, scale: float) -> Weights:
    """Four pixels and weights: cubic convolution with a = -0.75 (Keys 1981, IEEE Trans. ASSP 29(6), equation 4)."""
    before, share = _between(wanted, scale)
    distance = np.abs(share[:, None] - np.arange(-1, 3))
    a = -0.75
    inner = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    outer = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return (before[:, None] + np.arange(-1, 3)).clip(0, size - 1), _whole(np.where(distance <= 1, inner, outer))


def _between(wanted: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixel before each new pixel's centre, and the rest of the way to it."""
    centres = (np.arange(wanted) + 0.5) * scale - 0.5
    before = np.floor(centres).astype(np.int64)
    return before, centres - before


def _whole(weights: np.ndarray) -> np.ndarray:
    return np.round(weights * ONE).astype(np.int64)
