"""A further task for the images of data that are there: whose images are shown, and the data with it."""

from __future__ import annotations

from collections.abc import Mapping

from cotrain.data._source import Data, Source, assemble
from cotrain.errors import DataError, did_you_mean
from cotrain.tasks import SPLITS


def shown_sources(data: Data, task: str, new: str) -> dict[str, Source]:
    """The sources of a task whose images are shown to whoever is to respond: {split: source}.

    Args:
        data: Hold the images.
        task: Whose images these are; it has one session.
        new: Name of the task that the responses will be.

    Raises:
        DataError: The data have a task `new` already, lack `task`, or have several sessions of it.
    """
    if new in data.info.tasks:
        raise DataError(f"The data have a task {new!r} already. Give the new one another name.")
    if task not in data.info.tasks:
        raise DataError(f"The data have no task {task!r} to be shown.{did_you_mean(task, list(data.info.tasks))}")
    sessions = list(data.info.tasks[task].sessions)
    if len(sessions) > 1:
        raise DataError(f"The task {task!r} has {len(sessions)} sessions; the images shown must be of one set.")
    return {split: data.splits[split][task][sessions[0]] for split in SPLITS}


def with_task(data: Data, task: str, added: Mapping[str, Mapping[str, Source]]) -> Data:
    """The data and a task more, whose sources are given as {split: {session: source}}."""
    return assemble({split: {**held, task: added[split]} for split, held in data.splits.items()})
