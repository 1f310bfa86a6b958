"""A neural task from a recording in one of the formats that `cotrain.data.recordings` reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data._duplicates import duplicate_groups
from cotrain.data._image_cache import decode
from cotrain.data._image_files import ImageFiles, Preparation, channels_of
from cotrain.data._image_rows import ImageRows, Images, MappedImages, image_facts
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data._neural_targets import neural_targets
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups
from cotrain.data.recordings import Format, Recording, StoredImages, read_recording
from cotrain.errors import DataError
from cotrain.settings import data_folder

Size = Annotated[int, Ge(0)]
PIECE = 256  # images of an array that are scaled together: a float copy of all would be four times their size


class RecordedConfig(Config):
    """Sessions of a recording as one neural task."""

    kind: ClassVar[str] = "cotrain.data.recorded"
    path: str  # folder or file, relative to the data folder (COTRAIN_DATA)
    sessions: tuple[str, ...] = ()  # their names; none: all that the recording holds
    format: Format = "cadena2024"
    """Of the files: see `cotrain.data.recordings`; "cotrain" is what `cotrain data convert` writes."""
    task: str = "v4"  # name of the neural task
    size: Size = 0  # scale images to this many pixels a side, after the crop; 0: as stored
    grey: bool = False  # colour to grey
    standardise: bool = True  # z-score each neuron with mean and standard deviation of the training images
    split: SplitConfig = SplitConfig()  # by image content, over all sessions; shares that the files do not give
    crop: Annotated[tuple[Size, Size, Size, Size], AddedLater(neutral=(0, 0, 0, 0))] = (0, 0, 0, 0)
    """Pixels cut off each image at the top, bottom, left and right."""
    window_ms: Annotated[tuple[float, float] | None, AddedLater(neutral=None)] = None
    """From and to when after stimulus onset responses are summed, where the files hold time bins; None: all bins."""
    given_split: Annotated[bool, AddedLater(neutral=True)] = True  # use the split that the files give, where they do
    damaged: Annotated[Literal["stop", "skip"], AddedLater(neutral="stop")] = "stop"  # at an image that cannot be read
    storage: Annotated[Literal["memory_map", "files"], NotIdentity()] = "memory_map"
    """Where images in files are while training: decoded once into the cache, or decoded each time they are used."""


def recorded(config: RecordedConfig, *, seed: int) -> Data:
    """Read the sessions; equal images, of whatever sessions, stay in one split.

    Raises:
        DataError: A file is missing, damaged or does not fit.
    """
    recording = read_recording(
        data_folder() / config.path, config.format, sessions=config.sessions or None, window_ms=config.window_ms
    )
    images, kept = _images(recording, config)
    sizes = [len(held) for held in images.values()]
    owner, starts = np.repeat(np.arange(len(images)), sizes), np.cumsum([0, *sizes])
    given: list[str] = []
    if config.given_split:
        splits_given = {name: bool(session.split) for name, session in recording.sessions.items()}
        if len(set(splits_given.values())) > 1:
            without = ", ".join(name for name, has in splits_given.items() if not has)
            raise DataError(
                f"{config.path}: the sessions {without} have no given split, others have. Use given_split=False."
            )
        given = [s.split[row] for name, s in recording.sessions.items() if s.split for row in kept[name]]
    everything = _joined(list(images.values()))
    groups = duplicate_groups(everything, near=config.split.near_duplicates)
    # a session is a stratum, so that each has its share of every split
    index = split_groups(groups, config.split, seed=seed, strata=owner, given=given)
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {config.task: {}} for split in index}
    for number, (name, session) in enumerate(recording.sessions.items()):
        rows = {split: torch.from_numpy(held[owner[held] == number] - starts[number]) for split, held in index.items()}
        if empty := [split for split, held in rows.items() if len(held) == 0]:
            raise DataError(
                f"{config.path}, session {name}: no stimuli for {', '.join(empty)}: it has too few, or they are copies "
                "of other sessions' images. Leave it out, or give the split a larger share."
            )
        where = f"{config.path}, session {name}"
        recorded_here = session.responses[kept[name]]
        mean, trials = neural_targets(recorded_here, rows["train"], standardise=config.standardise, where=where)
        unit = recording.unit + ", z-scored" * config.standardise
        whole = Source("neural", images[name], mean, repeats=trials, unit=unit, neuron_metadata=session.neurons)
        for split, row in rows.items():
            splits[split][config.task][name] = _without_padding(whole.subset(row))
    return assemble(splits)


def _images(recording: Recording, config: RecordedConfig) -> tuple[dict[str, Images], dict[str, NDArray[np.int64]]]:
    """Each session's images, and which of its stimuli could be read."""
    for name, session in recording.sessions.items():
        if session.images is None:
            raise DataError(
                f"{config.path}, session {name}: the recording was published without its pictures, so nothing can be "
                "trained on them. Its responses serve for RDMs and analyses."
            )
    every = {name: session.images for name, session in recording.sessions.items()}
    files = {name: held for name, held in every.items() if isinstance(held, ImageFiles)}
    images: dict[str, Images] = {}
    kept = {name: np.arange(len(held)) for name, held in every.items() if held is not None}
    if files:
        paths = [path for held in files.values() for path in held.paths]
        channels = 1 if config.grey else max(_channels(held, config) for held in files.values())
        preparation = Preparation(crop=config.crop, channels=channels, size=config.size)
        # all sessions together: they share pictures
        decoded = decode(
            ImageFiles(tuple(paths)),
            preparation,
            storage=config.storage,
            damaged=config.damaged,
        )
        ends = np.cumsum([len(held) for held in files.values()])
        for name, end in zip(files, ends, strict=True):
            own = (decoded.kept >= end - len(files[name])) & (decoded.kept < end)
            kept[name] = decoded.kept[own] - (end - len(files[name]))
            images[name] = decoded.images.take(torch.from_numpy(np.flatnonzero(own)))
    arrays: dict[int, dict[str, StoredImages]] = {}  # sessions by the array that they share
    for name, held in every.items():
        if isinstance(held, np.ndarray):
            held = StoredImages(held, np.arange(len(held)))
        if isinstance(held, StoredImages):
            arrays.setdefault(id(held.array), {})[name] = held
    for sharing in arrays.values():
        images |= _shared(sharing, config)
    return {name: images[name] for name in every}, kept


def _shared(sessions: dict[str, StoredImages], config: RecordedConfig) -> dict[str, Images]:
    """Each picture of the array that some session showed, prepared once."""
    first = next(iter(sessions))
    used = np.unique(np.concatenate([held.rows for held in sessions.values()]))
    array = sessions[first].array
    pixels = torch.cat([_prepared(array[used[i : i + PIECE]], config, first) for i in range(0, len(used), PIECE)])
    stack, known = MappedImages(pixels), image_facts(pixels)
    rows = {name: torch.from_numpy(np.searchsorted(used, held.rows)) for name, held in sessions.items()}
    return {name: ImageRows(stack, held, known) for name, held in rows.items()}


def _channels(files: ImageFiles, config: RecordedConfig) -> int:
    """Those of a session's first picture that can be read; looking into all of them would take long."""
    for path in files.paths:
        try:
            return channels_of(path)
        except DataError:
            if config.damaged == "stop":
                raise
    return 1


def _prepared(array: NDArray[np.uint8], config: RecordedConfig, session: str) -> torch.Tensor:
    top, bottom, left, right = config.crop
    height, width = array.shape[1:3]
    if top + bottom >= height or left + right >= width:
        raise DataError(
            f"{config.path}, session {session}: cutting {config.crop} pixels off {height}x{width} leaves none."
        )
    cut = array[:, top : height - bottom, left : width - right]
    images = image_tensor(cut, f"{config.path}, session {session}")
    return resized(grey(images) if config.grey else images, config.size)


def _joined(images: list[Images]) -> Images:
    """All sessions' images one after the other."""
    mapped = [held for held in images if isinstance(held, ImageRows)]
    if len(mapped) == len(images) and len({id(held.stack) for held in mapped}) == 1:
        first = mapped[0]
        return ImageRows(first.stack, torch.cat([held.rows for held in mapped]), first.known)
    shapes = {tuple(held.shape[1:]) for held in images}
    if len(shapes) > 1:
        raise DataError(f"The sessions' images differ in shape: {sorted(shapes)}. Give a size that all are scaled to.")
    return torch.cat([held[:] for held in images])


def _without_padding(source: Source) -> Source:
    """The same without repeats that no stimulus of this split has; without any where one response is all there is."""
    if source.repeats is None:
        return source
    known = ~torch.isnan(source.repeats)
    repeats = source.repeats[:, known.any(2).any(0)] if int(known.sum(1).max()) > 1 else None
    return replace(source, repeats=repeats)
