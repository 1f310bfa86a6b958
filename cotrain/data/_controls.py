"""Data for comparisons: some tasks or classes only, and controls whose responses no longer belong to the images."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from cotrain.config import Config
from cotrain.data._source import Data, Source, assemble, require_tasks, walk
from cotrain.errors import DataError, did_you_mean
from cotrain.resolve import AnyConfig, build
from cotrain.seeds import derive_seed


class SelectTasksConfig(Config):
    """The same data with the same splits, for some of their tasks only: what a single-task baseline learns from."""

    kind: ClassVar[str] = "cotrain.data.select_tasks"
    data: AnyConfig
    tasks: tuple[str, ...]  # that are kept


class ShuffledConfig(Config):
    """Data whose training and validation targets are permuted over images, or groups of them, for some tasks."""

    kind: ClassVar[str] = "cotrain.data.shuffled"
    data: AnyConfig
    tasks: tuple[str, ...]  # whose targets are permuted


class SelectClassesConfig(Config):
    """The same data, with some classes only of a classification task; their labels are counted anew."""

    kind: ClassVar[str] = "cotrain.data.select_classes"
    data: AnyConfig
    task: str  # of kind classification
    classes: tuple[str, ...]  # that are kept, in the order of their new labels


class GaussianSurrogateConfig(Config):
    """Data whose training and validation responses are drawn from a Gaussian with their mean and covariance."""

    kind: ClassVar[str] = "cotrain.data.gaussian_surrogate"
    data: AnyConfig
    tasks: tuple[str, ...]  # neural tasks whose responses are exchanged


def select_tasks(config: SelectTasksConfig, *, seed: int) -> Data:
    """Build `config.data` and keep some tasks.

    Raises:
        DataError: A task is named that the data lack.
    """
    data: Data = build(config.data, seed=seed)
    require_tasks(data, config.tasks)
    return assemble({split: {task: held[task] for task in config.tasks} for split, held in data.splits.items()})


def shuffled(config: ShuffledConfig, *, seed: int) -> Data:
    """Build `config.data` and permute targets over images within the training and the validation split.

    The test split keeps its pairs: a model that learnt from shuffled pairs is asked what the true ones were, and
    scores near zero. Marginal statistics of the responses stay as they are. Of an RDM among groups the groups are
    permuted; of very few, a permutation may well leave most where they were.

    Raises:
        DataError: A task is named that the data lack, or none is named.
    """
    if not config.tasks:
        raise DataError("shuffled: name at least one task; without, this is no control.")
    data: Data = build(config.data, seed=seed)
    require_tasks(data, config.tasks)
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in data.splits}
    for split, task, session, source in walk(data.splits):
        if task in config.tasks and split != "test":
            generator = torch.Generator().manual_seed(derive_seed(seed, "noise", "shuffle", split, task, session))
            order = torch.randperm(len(source.targets), generator=generator)
            targets = source.targets[order]
            if source.kind == "rdm":
                targets = targets[:, order]
            repeats = None if source.repeats is None else source.repeats[order]
            source = replace(source, targets=targets, repeats=repeats)
        splits[split].setdefault(task, {})[session] = source
    return assemble(splits)


def select_classes(config: SelectClassesConfig, *, seed: int) -> Data:
    """Build `config.data` and keep the images of some classes.

    Raises:
        DataError: The task is no classification, or a class is unknown or named twice.
    """
    data: Data = build(config.data, seed=seed)
    require_tasks(data, (config.task,))
    info = data.info.tasks[config.task]
    if info.kind != "classification":
        raise DataError(f"select_classes: the task {config.task!r} is of kind {info.kind}; it has no classes.")
    for name in config.classes:
        if name not in info.class_names:
            raise DataError(f"The task {config.task!r} has no class {name!r}.{did_you_mean(name, info.class_names)}")
    if len(config.classes) < 2 or len(set(config.classes)) < len(config.classes):
        raise DataError(f"select_classes: name two or more classes, each once, found {list(config.classes)}.")
    new = torch.full((len(info.class_names),), -1)
    for label, name in enumerate(config.classes):
        new[info.class_names.index(name)] = label
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in data.splits}
    for split, task, session, source in walk(data.splits):
        if task == config.task:
            labels = new[source.targets]
            rows = (labels >= 0).nonzero().flatten()
            source = replace(source.subset(rows), targets=labels[rows], class_names=config.classes)
        splits[split].setdefault(task, {})[session] = source
    return assemble(splits)


def gaussian_surrogate(config: GaussianSurrogateConfig, *, seed: int) -> Data:
    """Build `config.data` and draw other responses, within the training and the validation split.

    Each session's responses become draws from the Gaussian with the mean and covariance of its training responses
    (over images, averaged over repeats): neurons keep their correlations with each other and lose those with images.
    The test split keeps its responses, as in `shuffled`. Missing responses stay missing. Repeats go, for a draw has
    none.

    Raises:
        DataError: A task is unknown or not neural, none is named, or a session's responses leave no covariance.
    """
    if not config.tasks:
        raise DataError("gaussian_surrogate: name at least one task; without, this is no control.")
    data: Data = build(config.data, seed=seed)
    require_tasks(data, config.tasks)
    for task in config.tasks:
        if (kind := data.info.tasks[task].kind) != "neural":
            raise DataError(f"gaussian_surrogate: the task {task!r} is of kind {kind}; it needs neural ones.")
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in data.splits}
    for split, task, session, source in walk(data.splits):
        if task in config.tasks and split != "test":
            child = derive_seed(seed, "noise", "gaussian_surrogate", split, task, session)
            drawn = _gaussian_like(data.splits["train"][task][session].targets, len(source), child, f"{task}/{session}")
            targets = torch.where(torch.isnan(source.targets), torch.nan, drawn)
            source = replace(source, targets=targets, repeats=None)
        splits[split].setdefault(task, {})[session] = source
    return assemble(splits)


def _gaussian_like(responses: Tensor, count: int, seed: int, where: str) -> Tensor:
    """Draws with the mean and covariance of (images, neurons), from the images to which every neuron responded."""
    known = responses[~torch.isnan(responses).any(1)].double()
    if len(known) < 2:
        raise DataError(f"gaussian_surrogate: {where}: fewer than two training images have responses of all neurons.")
    centred = known - known.mean(0)
    # with QR the centred responses, R'R is (n - 1) times their covariance, of whatever rank
    root = torch.linalg.qr(centred, mode="r").R / (len(known) - 1) ** 0.5
    generator = torch.Generator().manual_seed(seed)
    drawn: Tensor = known.mean(0) + torch.randn(count, len(root), generator=generator, dtype=torch.float64) @ root
    return drawn.float()
