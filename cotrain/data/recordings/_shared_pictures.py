"""The pictures of all sessions of a recording in one array, each stimulus once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cotrain.data._image_cache import allocated
from cotrain.data._image_files import ImageFiles, Preparation, channels_of, picture
from cotrain.data.recordings._recording import Recording, StoredImages
from cotrain.errors import DataError


def write_pictures(recording: Recording, path: Path) -> tuple[dict[str, list[int] | None], tuple[int, ...] | None]:
    """Write each stimulus' picture once, in the order in which the sessions name them first.

    Args:
        recording: Sessions without pictures are passed over.
        path: The array's file, uint8 (images, height, width[, 3]); not written where no session has pictures.

    Returns:
        The row of each stimulus by session, None for sessions without pictures; and the array's shape.

    Raises:
        DataError: One id stands for two pictures, or a picture cannot be read or differs in size or colour.
    """
    sessions = {
        name: (held.stimuli, held.images) for name, held in recording.sessions.items() if held.images is not None
    }
    known = dict.fromkeys(stimulus for stimuli, _ in sessions.values() for stimulus in stimuli)
    row_of = {stimulus: row for row, stimulus in enumerate(known)}
    rows: dict[str, list[int] | None] = dict.fromkeys(recording.sessions)
    pixels: NDArray[np.uint8] | None = None
    written: dict[int, str] = {}
    files: dict[int, Path] = {}
    for name, (stimuli, images) in sessions.items():
        rows[name] = [row_of[stimulus] for stimulus in stimuli]
        for position, stimulus in enumerate(stimuli):
            row = row_of[stimulus]
            file = images.paths[position] if isinstance(images, ImageFiles) else None
            if file is not None and files.get(row) == file:
                continue  # it was read for another session
            picture = _picture(images, position)
            where = f"session {name}, stimulus {stimulus}" + (f" ({file})" if file else "")
            if pixels is None:
                pixels = allocated(path, (len(row_of), *picture.shape))
            if picture.shape != pixels.shape[1:]:
                raise DataError(
                    f"{where}: a picture of shape {picture.shape}, but the first is {pixels.shape[1:]}. All pictures "
                    "must be of one size, and all grey (height, width) or all colour (height, width, 3)."
                )
            if row in written and not np.array_equal(pixels[row], picture):
                raise DataError(f"{where}: another picture than that of {written[row]}. An id stands for one picture.")
            if row not in written:
                pixels[row], written[row] = picture, where
            if file is not None:
                files.setdefault(row, file)
    if isinstance(pixels, np.memmap):
        pixels.flush()
    return rows, None if pixels is None else pixels.shape


def _picture(images: NDArray[np.uint8] | StoredImages | ImageFiles, position: int) -> NDArray[np.uint8]:
    """uint8 (height, width) grey or (height, width, 3)."""
    if not isinstance(images, ImageFiles):
        return np.asarray(images[position])
    path = images.paths[position]
    found = picture(path, Preparation(channels=channels_of(path)))
    return found[0] if len(found) == 1 else np.ascontiguousarray(found.transpose(1, 2, 0))
