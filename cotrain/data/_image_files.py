"""Pictures in files, and one of them decoded: cropped, grey or colour, scaled."""

from __future__ import annotations

import struct
import threading
import tokenize
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cotrain.errors import DataError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError,
    Image.DecompressionBombError, struct.error, tokenize.TokenError, zlib.error,
)  # fmt: skip
"""What Pillow and NumPy raise for files that are missing, damaged, or something else."""


@dataclass(frozen=True)
class ImageFiles:
    """Pictures that stay in their files until they are asked for, in an order of their own; one path may come twice."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Preparation:
    """What is done to each picture after it was decoded, in this order.

    Args:
        crop: Pixels cut off at the top, bottom, left and right.
        channels: 1 makes colour grey (luma of ITU-R BT.601), 3 makes grey colour.
        size: Pixels of each side after scaling (bilinear, antialiased); 0 leaves the size.
        fit: "stretch" scales both sides to `size`; "crop" scales the shorter side and cuts the longer one's ends off.
    """

    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    channels: int = 3
    size: int = 0
    fit: Literal["stretch", "crop"] = "stretch"


def find_pictures(folder: Path) -> list[Path]:
    """All picture files in a folder and the folders below it, sorted; hidden ones are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and not path.is_dir())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def channels_of(path: Path) -> int:
    """1 if a picture is grey, else 3, from its header."""
    try:
        with _quiet, _open(path) as image:
            return 1 if image.mode in ("1", "L", "LA") else 3
    except DAMAGE as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def picture(path: Path, preparation: Preparation) -> NDArray[np.uint8]:
    """One picture, uint8 (channels, height, width).

    Raises:
        DataError: It is missing, damaged, or smaller than what is cut off.
    """
    try:
        with _quiet, _open(path) as image:
            return _prepared(image, preparation, path)
    except DAMAGE as error:
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}") from None


class _Quiet:
    """Hides Pillow's warnings of odd metadata while any thread decodes; the pixels are what counts.

    `warnings.catch_warnings` of several threads at once would leave its filter behind.
    """

    def __init__(self) -> None:
        self.lock, self.threads, self.caught = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.threads += 1
            if self.threads == 1:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.threads -= 1
            if self.threads == 0:
                self.caught.__exit__(None, None, None)


_quiet = _Quiet()


def _open(path: Path) -> Any:
    if path.suffix.lower() != ".npy":
        return Image.open(path)
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"expected uint8 (height, width[, 3]), found {array.dtype} {array.shape}")
    return Image.fromarray(array)


def _prepared(image: Any, preparation: Preparation, path: Path) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path} has {image.mode} pixels, more than 8 bits; convert it to 8 bits a channel.")
    top, bottom, left, right = preparation.crop
    box = (left, top, image.width - right, image.height - bottom)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"{path} has {image.height}x{image.width} pixels; cutting {preparation.crop} leaves none.")
    # cut off before scaling: of a box that is scaled, Pillow's filter sees pixels outside
    image = image.convert("L" if preparation.channels == 1 else "RGB").crop(box)
    size, side = preparation.size, min(image.size)
    if size not in (0, image.width) or size not in (0, image.height):
        x, y = ((image.width - side) / 2, (image.height - side) / 2) if preparation.fit == "crop" else (0, 0)
        whole = (x, y, image.width - x, image.height - y)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=whole)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
