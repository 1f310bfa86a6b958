"""The classes of a classification as manifolds that are to be told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from cotrain.config import Config
from cotrain.data._source import Data, assemble, require_tasks
from cotrain.errors import DataError
from cotrain.resolve import AnyConfig, build


class ClassManifoldsConfig(Config):
    """Data with one more task, of kind "manifolds": the images and labels of a classification.

    The classification stays beside it. Let `MixingConfig.balanced` give the new task batches with several images of
    each of some classes.
    """

    kind: ClassVar[str] = "cotrain.data.class_manifolds"
    data: AnyConfig
    task: str  # of kind classification
    name: str  # of the new task


def class_manifolds(config: ClassManifoldsConfig, *, seed: int) -> Data:
    """Build `config.data` and add the task; the images are shared, not copied.

    Raises:
        DataError: The task is no classification or unknown, or the new name is taken or cannot be a task's.
    """
    data: Data = build(config.data, seed=seed)
    require_tasks(data, (config.task,))
    if (kind := data.info.tasks[config.task].kind) != "classification":
        raise DataError(f"class_manifolds: the task {config.task!r} is of kind {kind}; it needs a classification.")
    if config.name in data.info.tasks:
        raise DataError(f"class_manifolds: the data hold a task {config.name!r} already. Choose another name.")
    return assemble(
        {
            split: {
                **tasks,
                config.name: {name: replace(source, kind="manifolds") for name, source in tasks[config.task].items()},
            }
            for split, tasks in data.splits.items()
        }
    )
