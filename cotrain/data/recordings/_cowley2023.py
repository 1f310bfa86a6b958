"""Macaque V4 sessions of Cowley et al. 2023."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cotrain.data.recordings._npy import read_npy
from cotrain.data.recordings._recording import Recording, Session, recording_from
from cotrain.errors import DataError


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
    return recording_from(
        folder,
        {name: _cowley_session(folder, name) for name in names},
        unit="spikes in 100 ms",
        origin="Cowley, Stan, Pillow & Smith 2023, bioRxiv 2023.11.22.568315",
    )


def _cowley_session(folder: Path, name: str) -> Session:
    raw, average = folder / f"responses_raw_{name}.npy", folder / f"responses_avg_{name}.npy"
    path = raw if raw.is_file() else average
    recorded = read_npy(path)
    if recorded.dtype.kind not in "iuf":
        raise DataError(f"{path}: expected an array of numbers, found {recorded.dtype}.")
    if recorded.ndim != (3 if path is raw else 2):
        raise DataError(f"{path}: expected (neurons, images{', repeats' * (path is raw)}), found {recorded.shape}.")
    # (neurons, images[, repeats]) -> (images[, repeats], neurons)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        responses = np.moveaxis(recorded, 0, -1).astype(np.float32)
    images = _numbered_jpegs(folder / f"images_{name}.zip")
    if len(images) != len(responses):
        raise DataError(f"{folder}, session {name}: {len(images)} images but responses to {len(responses)}.")
    ids = tuple(f"{name}/{number}" for number in range(1, len(images) + 1))
    return Session(ids, responses, images)


def _numbered_jpegs(path: Path) -> NDArray[np.uint8]:
    """The pictures of an archive in the order of their numbers; the archive's own order may be any."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if outside := [name for name in names if _leaves(name)]:
                raise DataError(f"{path} holds {outside[0]!r}, whose name leaves the archive. Do not unpack it.")
            entries = [name for name in names if name.lower().endswith((".jpg", ".jpeg"))]
            numbers = [int(found[-1]) if (found := re.findall(r"[0-9]+", Path(name).stem)) else -1 for name in entries]
            if not entries or sorted(numbers) != list(range(1, len(entries) + 1)):
                found_numbers = f"{min(numbers, default=0)} to {max(numbers, default=0)}"
                raise DataError(f"{path}: expected pictures numbered 1 to {len(entries)}, found {found_numbers}.")
            ordered = [entries[i] for i in np.argsort(numbers)]
            first = _decoded(archive, ordered[0], path)
            pictures = np.empty((len(ordered), *first.shape), np.uint8)
            for row, entry in enumerate(ordered):
                picture = first if row == 0 else _decoded(archive, entry, path)
                if picture.shape != first.shape:
                    raise DataError(
                        f"{path}: its pictures differ in size: {ordered[0]} is {first.shape[0]}x{first.shape[1]}, "
                        f"{entry} {picture.shape[0]}x{picture.shape[1]}."
                    )
                pictures[row] = picture
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return pictures


def _decoded(archive: zipfile.ZipFile, entry: str, path: Path) -> NDArray[np.uint8]:
    try:
        return np.asarray(Image.open(io.BytesIO(archive.read(entry))).convert("RGB"))
    except Exception as error:  # zip and JPEG decoders fail in any way on damaged bytes
        raise DataError(f"{path}: {entry} cannot be read: {error}") from None


def _leaves(name: str) -> bool:
    """Whether an archive's name would lead out of the folder that it were unpacked in, on any system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts
