"""A neural task from a recording in one of the formats that `cotrain.data.recordings` reads."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge

from cotrain.config import Config
from cotrain.data._arrays import responses
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, duplicate_groups, split_groups
from cotrain.data.recordings import read_cowley2023
from cotrain.settings import data_folder

READERS = {"cowley2023": read_cowley2023}


class RecordedConfig(Config):
    """Sessions of a published recording as one neural task."""

    kind: ClassVar[str] = "cotrain.data.recorded"
    path: str  # relative to the data folder (COTRAIN_DATA)
    sessions: tuple[str, ...]  # their names
    format: Literal["cowley2023"] = "cowley2023"
    task: str = "v4"  # name of the neural task
    size: Annotated[int, Ge(0)] = 0  # scale images to this many pixels; 0: as stored
    grey: bool = False  # colour to grey
    standardise: bool = True  # z-score each neuron with mean and standard deviation of the training images
    split: SplitConfig = SplitConfig()  # by image content, over all sessions together


def recorded(config: RecordedConfig, *, seed: int) -> Data:
    """Read the sessions; equal images, of whatever sessions, stay in one split.

    Raises:
        DataError: A file is missing, damaged or does not fit.
    """
    recording = READERS[config.format](data_folder() / config.path, sessions=config.sessions)
    pictures = {}
    for name, session in recording.sessions.items():
        images = image_tensor(session.images, f"{config.path}, session {name}")
        pictures[name] = resized(grey(images) if config.grey else images, config.size)
    groups = duplicate_groups(torch.cat(list(pictures.values())))
    owner = np.repeat(np.arange(len(pictures)), [len(images) for images in pictures.values()])
    # a session is a stratum, so that each has its share of every split
    index = split_groups(groups, config.split, seed=seed, strata=owner)
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {config.task: {}} for split in index}
    for number, (name, images) in enumerate(pictures.items()):
        first = int(np.flatnonzero(owner == number)[0])
        rows = {split: torch.from_numpy(held[owner[held] == number] - first) for split, held in index.items()}
        mean, trials = responses(recording.sessions[name].responses, rows["train"], standardise=config.standardise)
        whole = Source("neural", images, mean, repeats=trials)
        for split, row in rows.items():
            splits[split][config.task][name] = whole.subset(row)
    return assemble(splits)
