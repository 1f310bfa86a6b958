"""Recordings as labs publish them: readers from files to sessions of images and responses."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError


@dataclass(frozen=True)
class Session:
    """One session.

    Args:
        images: uint8 (stimuli, height, width, 3).
        responses: float32 (stimuli, neurons), mean over repeats; or (stimuli, repeats, neurons) with NaN where a
            repeat is missing.
    """

    images: NDArray[np.uint8]
    responses: NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """Sessions by name, and the unit of their responses."""

    sessions: Mapping[str, Session]
    unit: str


def read_cowley2023(folder: str | Path, *, sessions: Sequence[str] | None = None) -> Recording:
    """Macaque V4 sessions of Cowley, Stan, Pillow & Smith 2023 (bioRxiv 2023.11.22.568315).

    Args:
        folder: Holds, for each session, `images_<session>.zip` (numbered JPEG files) and
            `responses_avg_<session>.npy` (neurons, images) or `responses_raw_<session>.npy` (neurons, images,
            repeats; NaN where one is missing). The raw file is preferred.
        sessions: Their names; None: all that the folder holds.

    Raises:
        DataError: A file is missing or damaged, or images and responses differ in number.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Set COTRAIN_DATA to the folder that holds {folder.name}.")
    known = sorted(path.stem.removeprefix("images_") for path in folder.glob("images_*.zip"))
    names = known if sessions is None else list(sessions)
    if not names:
        raise DataError(f"{folder} holds no images_<session>.zip, or no session was named.")
    if missing := [name for name in names if name not in known]:
        raise DataError(f"{folder} lacks the images of {', '.join(missing)}; it has: {', '.join(known) or 'none'}.")
    return Recording({name: _cowley_session(folder, name) for name in names}, "spikes in 100 ms")


def _cowley_session(folder: Path, name: str) -> Session:
    raw, average = folder / f"responses_raw_{name}.npy", folder / f"responses_avg_{name}.npy"
    path = raw if raw.is_file() else average
    try:
        recorded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if recorded.ndim != (3 if path is raw else 2):
        raise DataError(f"{path}: expected (neurons, images{', repeats' * (path is raw)}), found {recorded.shape}.")
    # (neurons, images[, repeats]) -> (images[, repeats], neurons)
    responses = np.moveaxis(recorded, 0, -1).astype(np.float32)
    images = _numbered_jpegs(folder / f"images_{name}.zip")
    if len(images) != len(responses):
        raise DataError(f"{folder}, session {name}: {len(images)} images but responses to {len(responses)}.")
    return Session(images, responses)


def _numbered_jpegs(path: Path) -> NDArray[np.uint8]:
    """The pictures of an archive in the order of their numbers; the archive's own order may be any."""
    from PIL import Image

    try:
        with zipfile.ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
            numbers = [int(found[-1]) if (found := re.findall(r"\d+", Path(name).stem)) else -1 for name in entries]
            if sorted(numbers) != list(range(1, len(entries) + 1)):
                found_numbers = f"{min(numbers, default=0)} to {max(numbers, default=0)}"
                raise DataError(f"{path}: expected pictures numbered 1 to {len(entries)}, found {found_numbers}.")
            order = np.argsort(numbers)
            pictures = [np.asarray(Image.open(io.BytesIO(archive.read(entries[i]))).convert("RGB")) for i in order]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if len({picture.shape for picture in pictures}) != 1:
        raise DataError(f"{path}: its pictures differ in size, or there are none.")
    return np.stack(pictures)
