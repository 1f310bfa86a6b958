"""A neural task from a recording in one of the formats that `cotrain.data.recordings` reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data._condition_labels import ConditionLabelsConfig, condition_labels, label_source
from cotrain.data._duplicates import duplicate_groups
from cotrain.data._image_files import Preparation
from cotrain.data._neural_targets import neural_targets
from cotrain.data._session_images import joined_images, session_images
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups
from cotrain.data.recordings import Format, read_recording
from cotrain.errors import DataError
from cotrain.settings import data_folder

Size = Annotated[int, Ge(0)]


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
    labels: Annotated[tuple[ConditionLabelsConfig, ...], AddedLater(neutral=())] = ()
    """Classifications of the same pictures in the same split, by what the files say of the stimuli."""


def recorded(config: RecordedConfig, *, seed: int) -> Data:
    """Read the sessions; equal images, of whatever sessions, stay in one split.

    With `labels`, classes are in equal shares in all splits, those of the first of them; a picture that several
    sessions showed is in the classification once for each.

    Raises:
        DataError: A file is missing, damaged or does not fit.
    """
    recording = read_recording(
        data_folder() / config.path, config.format, sessions=config.sessions or None, window_ms=config.window_ms
    )
    if without := [name for name, session in recording.sessions.items() if session.images is None]:
        raise DataError(
            f"{config.path}, session {without[0]}: the recording was published without its pictures, so nothing can be "
            "trained on them. Its responses serve for RDMs and analyses."
        )
    preparation = Preparation(crop=config.crop, channels=int(config.grey), size=config.size)
    images, kept = session_images(recording, config.path, preparation, storage=config.storage, damaged=config.damaged)
    sizes = [len(held) for held in images.values()]
    owner, starts = np.repeat(np.arange(len(images)), sizes), np.cumsum([0, *sizes])
    given: list[str] = []
    if config.given_split:
        splits_given = {name: bool(session.split) for name, session in recording.sessions.items()}
        if len(set(splits_given.values())) > 1:
            ungiven = ", ".join(name for name, has in splits_given.items() if not has)
            raise DataError(
                f"{config.path}: the sessions {ungiven} have no given split, others have. Use given_split=False."
            )
        given = [s.split[row] for name, s in recording.sessions.items() if s.split for row in kept[name]]
    tasks = [config.task, *(held.task for held in config.labels)]
    if double := [task for task in tasks if tasks.count(task) > 1]:
        raise DataError(f"{config.path}: the task {double[0]!r} is named twice. Rename one.")
    every = joined_images(list(images.values()))
    labels = {held.task: condition_labels(held, recording, kept, config.path) for held in config.labels}
    groups = duplicate_groups(every, near=config.split.near_duplicates)
    # a session is a stratum, or a class in one, so that each has its share of every split
    strata = owner
    for numbers, classes in list(labels.values())[:1]:
        strata = owner * (len(classes) + 1) + numbers
    index = split_groups(groups, config.split, seed=seed, strata=strata, given=given)
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
    for split, held in index.items():
        for task, (numbers, classes) in labels.items():
            splits[split][task] = {"": label_source(every, numbers, classes, held)}
    return assemble(splits)


def _without_padding(source: Source) -> Source:
    """The same without repeats that no stimulus of this split has; without any where one response is all there is."""
    if source.repeats is None:
        return source
    known = ~torch.isnan(source.repeats)
    repeats = source.repeats[:, known.any(2).any(0)] if int(known.sum(1).max()) > 1 else None
    return replace(source, repeats=repeats)
