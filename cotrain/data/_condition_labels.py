"""A classification of the pictures that neurons were shown, by what the files of the recording say of them."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.config import Config
from cotrain.data._image_rows import Images, taken
from cotrain.data._source import Source
from cotrain.data.recordings import Recording
from cotrain.errors import DataError, did_you_mean

log = logging.getLogger(__name__)
UNKNOWN = -1


class ConditionLabelsConfig(Config):
    """A classification task whose classes are the values of a condition of a recording's stimuli."""

    kind: ClassVar[str] = "cotrain.data.ConditionLabelsConfig"
    condition: str  # for example "category" or "object", as the format names it
    task: str = "objects"  # name of the classification task


def condition_labels(
    config: ConditionLabelsConfig, recording: Recording, kept: dict[str, NDArray[np.int64]], where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each stimulus of all sessions, one session after the other.

    Args:
        config: Which condition.
        recording: Whose.
        kept: {session: positions of the stimuli that are used}.
        where: Named in errors.

    Returns:
        int64 (stimuli,), `UNKNOWN` where the condition is "", and the names of the classes, sorted.

    Raises:
        DataError: A session lacks the condition, or there are fewer than two classes.
    """
    names: list[str] = []
    for name, session in recording.sessions.items():
        if config.condition not in session.conditions:
            known = list(session.conditions)
            raise DataError(
                f"{where}, session {name}: its stimuli have no condition {config.condition!r}."
                f"{did_you_mean(config.condition, known)} They have: {', '.join(known) or 'none'}."
            )
        values = session.conditions[config.condition]
        names += [str(values[row]) for row in kept[name]]
    classes = tuple(sorted(set(names) - {""}))
    if len(classes) < 2:
        raise DataError(
            f"{where}: the condition {config.condition!r} has {len(classes)} values, no classes to be told."
        )
    if without := names.count(""):
        log.warning("%s: %d stimuli have no %s; task %s does without.", where, without, config.condition, config.task)
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number.get(name, UNKNOWN) for name in names], np.int64), classes


def label_source(
    images: Images, labels: NDArray[np.int64], classes: tuple[str, ...], rows: NDArray[np.int64]
) -> Source:
    """The stimuli of a split that have a class, each with it."""
    index = torch.from_numpy(rows[labels[rows] != UNKNOWN])
    return Source("classification", taken(images, index), torch.from_numpy(labels)[index], class_names=classes)
