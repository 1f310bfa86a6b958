"""Data for comparisons: some tasks only, and the control in which images and responses are no longer paired."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from cotrain.config import Config
from cotrain.data._source import Data, Source, assemble, walk
from cotrain.errors import DataError, did_you_mean
from cotrain.resolve import AnyConfig, build
from cotrain.seeds import derive_seed


class SelectTasksConfig(Config):
    """The same data with the same splits, for some of their tasks only: what a single-task baseline learns from."""

    kind: ClassVar[str] = "cotrain.data.select_tasks"
    data: AnyConfig
    tasks: tuple[str, ...]  # that are kept


class ShuffledConfig(Config):
    """Data whose training and validation targets are permuted over images, for some tasks."""

    kind: ClassVar[str] = "cotrain.data.shuffled"
    data: AnyConfig
    tasks: tuple[str, ...]  # whose targets are permuted


def select_tasks(config: SelectTasksConfig, *, seed: int) -> Data:
    """Build `config.data` and keep some tasks.

    Raises:
        DataError: A task is named that the data lack.
    """
    data: Data = build(config.data, seed=seed)
    _require_tasks(data, config.tasks)
    return assemble({split: {task: held[task] for task in config.tasks} for split, held in data.splits.items()})


def shuffled(config: ShuffledConfig, *, seed: int) -> Data:
    """Build `config.data` and permute targets over images within the training and the validation split.

    The test split keeps its pairs: a model that learnt from shuffled pairs is asked what the true ones were, and
    scores near zero. Marginal statistics of the responses stay as they are.

    Raises:
        DataError: A task is named that the data lack, or none is named.
    """
    if not config.tasks:
        raise DataError("shuffled: name at least one task; without, this is no control.")
    data: Data = build(config.data, seed=seed)
    _require_tasks(data, config.tasks)
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in data.splits}
    for split, task, session, source in walk(data.splits):
        if task in config.tasks and split != "test":
            generator = torch.Generator().manual_seed(derive_seed(seed, "noise", "shuffle", split, task, session))
            order = torch.randperm(len(source), generator=generator)
            _, targets = source.batch(order)
            repeats = None if source.repeats is None else source.repeats[order]
            source = replace(source, targets=targets, repeats=repeats)
        splits[split].setdefault(task, {})[session] = source
    return assemble(splits)


def _require_tasks(data: Data, tasks: tuple[str, ...]) -> None:
    for task in tasks:
        if task not in data.info.tasks:
            raise DataError(f"The data have no task {task!r}.{did_you_mean(task, list(data.info.tasks))}")
