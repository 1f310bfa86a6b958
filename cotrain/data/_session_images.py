"""The pictures of a recording's sessions, ready for use: those that sessions share are read once."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.data._image_cache import decode
from cotrain.data._image_files import ImageFiles, Preparation, channels_of
from cotrain.data._image_rows import ImageRows, Images, MappedImages, image_facts
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data.recordings import Recording, StoredImages
from cotrain.errors import DataError

PIECE = 256  # images of an array that are scaled together: a float copy of all would be four times their size
Kept = dict[str, NDArray[np.int64]]


def session_images(
    recording: Recording,
    where: str,
    preparation: Preparation,
    *,
    storage: Literal["memory_map", "files"] = "memory_map",
    damaged: Literal["stop", "skip"] = "stop",
) -> tuple[dict[str, Images], Kept]:
    """Each session's images, and which of its stimuli these are.

    Args:
        recording: Sessions without pictures are passed over.
        where: Named in errors.
        preparation: What is done to each picture; channels 1 makes them grey, 0 leaves them grey or colour.
        storage, damaged: Of pictures in files, as in `decode`.

    Returns:
        {session: images}, and {session: positions of the stimuli whose pictures could be read}.

    Raises:
        DataError: A picture is missing or damaged, is smaller than what is cut off, or sizes differ.
    """
    every = {name: held.images for name, held in recording.sessions.items() if held.images is not None}
    files: dict[str, ImageFiles] = {}
    arrays: dict[int, dict[str, StoredImages]] = {}  # sessions by the array that they share
    for name, held in every.items():
        if isinstance(held, ImageFiles):
            files[name] = held
        else:
            stored = held if isinstance(held, StoredImages) else StoredImages(held, np.arange(len(held)))
            arrays.setdefault(id(stored.array), {})[name] = stored
    images: dict[str, Images] = {}
    kept: Kept = {name: np.arange(len(held)) for name, held in every.items()}
    if files:
        if not preparation.channels:
            channels = max(_channels(held, damaged) for held in files.values())
            preparation = replace(preparation, channels=channels)
        _decode_all(files, preparation, storage, damaged, images, kept)
    for sharing in arrays.values():
        images |= _prepare_shared(sharing, where, preparation)
    return {name: images[name] for name in every}, kept


def joined_images(images: list[Images]) -> Images:
    """Images of several sources or sessions, one after the other; rows of one stack stay where they are.

    Raises:
        DataError: Their shapes differ.
    """
    mapped = [held for held in images if isinstance(held, ImageRows)]
    if len(mapped) == len(images) and len({id(held.stack) for held in mapped}) == 1:
        first = mapped[0]
        return ImageRows(first.stack, torch.cat([held.rows for held in mapped]), first.known)
    shapes = {tuple(held.shape[1:]) for held in images}
    if len(shapes) > 1:
        raise DataError(
            f"Images of several sources differ in shape: {sorted(shapes)}. Give a size that all are scaled to."
        )
    return torch.cat([held[:] for held in images])


def _decode_all(
    files: dict[str, ImageFiles],
    preparation: Preparation,
    storage: Literal["memory_map", "files"],
    damaged: Literal["stop", "skip"],
    images: dict[str, Images],
    kept: Kept,
) -> None:
    paths = tuple(path for held in files.values() for path in held.paths)
    decoded = decode(ImageFiles(paths), preparation, storage=storage, damaged=damaged)
    end = 0
    for name, held in files.items():
        start, end = end, end + len(held)
        own = (decoded.kept >= start) & (decoded.kept < end)
        kept[name] = decoded.kept[own] - start
        images[name] = decoded.images.take(torch.from_numpy(np.flatnonzero(own)))


def _channels(files: ImageFiles, damaged: str) -> int:
    """Those of a session's first picture that can be read; looking into all of them would take long."""
    for path in files.paths:
        try:
            return channels_of(path)
        except DataError:
            if damaged == "stop":
                raise
    return 1


def _prepare_shared(sessions: dict[str, StoredImages], where: str, preparation: Preparation) -> dict[str, Images]:
    """Each picture of the array that some session showed, prepared once."""
    first = next(iter(sessions))
    array = sessions[first].array
    used = np.unique(np.concatenate([held.rows for held in sessions.values()]))
    pieces = (array[used[i : i + PIECE]] for i in range(0, len(used), PIECE))
    pixels = torch.cat([_prepared(piece, preparation, f"{where}, session {first}") for piece in pieces])
    stack, known = MappedImages(pixels), image_facts(pixels)
    rows = {name: torch.from_numpy(np.searchsorted(used, held.rows)) for name, held in sessions.items()}
    return {name: ImageRows(stack, held, known) for name, held in rows.items()}


def _prepared(array: NDArray[np.uint8], preparation: Preparation, where: str) -> Tensor:
    top, bottom, left, right = preparation.crop
    height, width = array.shape[1:3]
    if top + bottom >= height or left + right >= width:
        raise DataError(f"{where}: cutting {preparation.crop} pixels off {height}x{width} leaves none.")
    images = image_tensor(array[:, top : height - bottom, left : width - right], where)
    return resized(grey(images) if preparation.channels == 1 else images, preparation.size)
