"""Any NPZ file of images with labels, responses or RDMs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import AddedLater, Config
from cotrain.data._duplicates import duplicate_groups
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data._neural_targets import neural_targets
from cotrain.data._rdm_arrays import Names, RdmArrayConfig, rdm_sources
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups
from cotrain.dissimilarity import stored_rdm
from cotrain.errors import DataError, did_you_mean
from cotrain.settings import data_folder
from cotrain.tasks import SPLITS

Index = Mapping[str, NDArray[np.int64]]


class LabelArrayConfig(Config):
    """A classification task from an array of labels."""

    kind: ClassVar[str] = "cotrain.data.LabelArrayConfig"
    task: str  # name of the task
    labels: str = "labels"  # integers from 0, one an image
    test_labels: str = ""  # those of `test_images`, where the file holds a given test set
    class_names: str = "class_names"  # text, one a class


class ResponseArrayConfig(Config):
    """One session of a neural task from an array of responses."""

    kind: ClassVar[str] = "cotrain.data.ResponseArrayConfig"
    task: str
    session: str
    responses: str  # (images, neurons), or (images, repeats, neurons) with NaN where a repeat is missing
    standardise: bool = True  # z-score each neuron with mean and standard deviation of the training images


class ResponseRdmConfig(Config):
    """An RDM task whose dissimilarities are those of recorded responses: 1 - Pearson over neurons.

    Each neuron is z-scored with the training images first, so that the neurons with the highest rates do not
    decide alone.
    """

    kind: ClassVar[str] = "cotrain.data.ResponseRdmConfig"
    task: str
    responses: str  # as in ResponseArrayConfig


class ArraysConfig(Config):
    """An NPZ file: one array of images, and a target array a task. All tasks share one split of the images."""

    kind: ClassVar[str] = "cotrain.data.arrays"
    path: str  # relative to the data folder (COTRAIN_DATA), so that the key is the same on every machine
    tasks: tuple[LabelArrayConfig | ResponseArrayConfig | RdmArrayConfig | ResponseRdmConfig, ...]
    images: str = "images"
    test_images: str = ""  # a given test set; the split's test share must then be 0
    size: Annotated[int, Ge(0)] = 0  # scale images to this many pixels; 0: as stored
    grey: bool = False  # colour to grey
    split: SplitConfig = SplitConfig()
    given_split: Annotated[str, AddedLater(neutral="")] = ""
    """Array of text, "train", "validation" or "test" for each image; the split's shares say what it leaves open."""
    image_ids: Annotated[str, AddedLater(neutral="")] = ""
    """Array that names the images, by which RDM tasks with `ids` find their rows: text or whole numbers, all
    different."""


def arrays(config: ArraysConfig, *, seed: int) -> Data:
    """Read the file, split by image content (equal images stay together, classes in equal shares, or groups of an RDM).

    Raises:
        DataError: The file or an array is missing or damaged, lengths differ, pixels are NaN, labels leave their
            range, ids do not fit, or a split is empty; says which.
    """
    if not config.tasks:
        raise DataError(f"{config.path}: name at least one task.")
    held = read_arrays(config.path, _names(config))
    images = _images(held, config, config.images)
    labels = [held[task.labels] for task in config.tasks if isinstance(task, LabelArrayConfig)]
    for array in labels:
        if array.shape != (len(images),):
            raise DataError(
                f"{config.path}: {len(images)} images but labels of shape {array.shape}. Each image needs one label."
            )
    grouped = [held[task.groups] for task in config.tasks if isinstance(task, RdmArrayConfig) and task.groups]
    # a group needs images in every split; arrays that do not fit are refused with their task
    fitting = [np.unique(array, return_inverse=True)[1] for array in grouped if array.shape == (len(images),)]
    strata = next(iter([*labels, *fitting]), None)
    given = _given_split(held[config.given_split], len(images), config) if config.given_split else None
    if config.test_images:
        if given is not None:
            raise DataError(f"{config.path}: give either `test_images` or `given_split`.")
        images, given, strata = _with_test_images(images, held, config)
    if (given is None or "test" not in given) == (not config.split.test and not config.split.folds):
        raise DataError(f"{config.path}: give either a test set with a test share of 0, or a test share above 0.")
    groups = duplicate_groups(images, near=config.split.near_duplicates)
    index = split_groups(groups, config.split, seed=seed, strata=strata, given=given)
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in index}
    for task in config.tasks:
        if task.task in splits["train"] and not isinstance(task, ResponseArrayConfig):
            raise DataError(f"{config.path}: the task {task.task!r} is named twice. Rename one.")
        for session, parts in _sessions(task, images, held, index, config).items():
            for split, source in parts.items():
                if session in (sessions := splits[split].setdefault(task.task, {})):
                    raise DataError(f"{config.path}: the task {task.task!r} is named twice. Rename one.")
                sessions[session] = source
    return assemble(splits)


def read_arrays(path: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an NPZ file in the data folder, by name.

    Raises:
        DataError: The file or an array is missing or damaged; says which.
    """
    place = data_folder() / path
    if not place.is_file():
        raise DataError(f"There is no data file {place}. Set COTRAIN_DATA to the folder that holds {place.name}.")
    try:
        with place.open("rb") as opened:  # numpy.load alone leaves a truncated file open
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{place} is no NPZ file: it holds one array. Write it with numpy.savez.")
            return {name: _array(file, name, path) for name in names}
    except DAMAGE as error:
        raise DataError(f"{place} is no readable NPZ file: {error}") from None


def _names(config: ArraysConfig) -> list[str]:
    names = [config.images, config.test_images, config.given_split, config.image_ids]
    for task in config.tasks:
        elsewhere = ("rdm", "ids") if isinstance(task, RdmArrayConfig) and task.rdm_path else ()
        names += [value for field, value in task.record().items() if field in TARGET_FIELDS and field not in elsewhere]
    return [name for name in dict.fromkeys(names) if name]


DAMAGE = (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
TARGET_FIELDS = ("labels", "test_labels", "class_names", "responses", "rdm", "ids", "groups")


def _array(file: Any, name: str, path: str) -> NDArray[Any]:
    if name not in file.files:
        raise DataError(f"{path} holds no array {name!r}.{did_you_mean(name, file.files)}")
    try:
        found: NDArray[Any] = file[name]
    except DAMAGE as error:
        raise DataError(f"{path}: the array {name!r} cannot be read: {error}") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: {name!r} is a file of another kind, no NumPy array.")
    return found


def _images(held: Mapping[str, NDArray[Any]], config: ArraysConfig, name: str) -> Tensor:
    images = image_tensor(held[name], f"{config.path}, {name!r}")
    return resized(grey(images) if config.grey else images, config.size)


def _given_split(array: NDArray[Any], count: int, config: ArraysConfig) -> list[str]:
    given = [str(value) for value in array.tolist()] if array.ndim == 1 else []
    if len(given) != count or not set(given) <= set(SPLITS):
        raise DataError(
            f"{config.path}, {config.given_split!r}: expected {count} times {', '.join(SPLITS)}; found {array.dtype} "
            f"{array.shape}, {sorted(set(given))[:5]}."
        )
    return given


def _with_test_images(
    images: Tensor, held: Mapping[str, NDArray[Any]], config: ArraysConfig
) -> tuple[Tensor, list[str], NDArray[Any]]:
    """All images, their given split, and their labels."""
    more = _images(held, config, config.test_images)
    if more.shape[1:] != images.shape[1:]:
        raise DataError(
            f"{config.path}: images of {tuple(images.shape[1:])}, but test images of {tuple(more.shape[1:])}."
        )
    labels = []
    for task in config.tasks:
        where = f"{config.path}, task {getattr(task, 'task', '')!r}"
        if not isinstance(task, LabelArrayConfig):
            raise DataError(f"{where}: `test_images` are read for labels only; for other tasks use `given_split`.")
        if not task.test_labels:
            raise DataError(f"{where}: `test_images` are given, so name `test_labels` too.")
        if held[task.test_labels].shape != (len(more),):
            raise DataError(f"{where}: {len(more)} test images but labels of shape {held[task.test_labels].shape}.")
        labels.append(np.concatenate([held[task.labels], held[task.test_labels]]))
    return torch.cat([images, more]), ["train"] * len(images) + ["test"] * len(more), labels[0]


def _sessions(
    task: Config,
    images: Tensor,
    held: Mapping[str, NDArray[Any]],
    index: Index,
    config: ArraysConfig,
) -> dict[str, dict[str, Source]]:
    """{session: {split: source}} of a task."""
    where = f"{config.path}, task {getattr(task, 'task', '')!r}"
    rows = {split: torch.from_numpy(positions) for split, positions in index.items()}
    if not isinstance(task, RdmArrayConfig):
        session = task.session if isinstance(task, ResponseArrayConfig) else ""
        return {session: _sources(task, images, held, rows, config, where)}
    if task.rdm_path and not task.ids:
        raise DataError(f"{where}: the RDM is in another file, {task.rdm_path}, so name `ids`, which name its rows.")
    if task.ids and not (task.groups or config.image_ids):
        raise DataError(f"{where}: `ids` name the rows of the RDM, so name the images' `image_ids` too, or `groups`.")
    rdms = read_arrays(task.rdm_path, [task.rdm, task.ids]) if task.rdm_path else held
    none: NDArray[Any] = np.empty(0, np.str_)
    names = Names(rdms.get(task.ids, none), held.get(config.image_ids, none), held.get(task.groups, none))
    matrices = _numbers(rdms[task.rdm], where)
    return rdm_sources(task, images, matrices, names, rows, where)


def _sources(
    task: Config,
    images: Tensor,
    held: Mapping[str, NDArray[Any]],
    rows: Mapping[str, Tensor],
    config: ArraysConfig,
    where: str,
) -> dict[str, Source]:
    if isinstance(task, LabelArrayConfig):
        if held[task.class_names].ndim != 1:
            raise DataError(f"{where}: class names must be a list, found shape {held[task.class_names].shape}.")
        names = tuple(str(name) for name in held[task.class_names])
        if task.test_labels and not config.test_images:
            raise DataError(f"{where}: `test_labels` are named, so name `test_images` too.")
        labels = [_labels(held[name], where) for name in (task.labels, task.test_labels) if name]
        whole = Source("classification", images, torch.cat(labels), class_names=names)
        return {split: whole.subset(row) for split, row in rows.items()}
    assert isinstance(task, (ResponseArrayConfig, ResponseRdmConfig))
    repeats = _numbers(held[task.responses], where)
    if repeats.ndim not in (2, 3) or len(repeats) != len(images):
        raise DataError(
            f"{where}: {len(images)} images but responses of shape {repeats.shape}. "
            "Expected (images, neurons) or (images, repeats, neurons)."
        )
    if np.isinf(repeats).any():
        raise DataError(f"{where}: responses hold infinite values. Write NaN where a response is missing.")
    standardise = isinstance(task, ResponseRdmConfig) or task.standardise
    mean, trials = neural_targets(repeats, rows["train"], standardise=standardise, where=where)
    if isinstance(task, ResponseRdmConfig):
        if torch.isnan(mean).any():
            raise DataError(f"{where}: an RDM needs the response of every neuron to every image; some are NaN.")
        return {split: Source("rdm", images[row], stored_rdm(mean[row])) for split, row in rows.items()}
    whole = Source("neural", images, mean, repeats=trials)
    return {split: whole.subset(row) for split, row in rows.items()}


def _labels(array: NDArray[Any], where: str) -> Tensor:
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{where}: labels must be whole numbers, one an image; found {array.dtype} {array.shape}.")
    return torch.from_numpy(array.astype(np.int64))


def _numbers(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise DataError(f"{where}: expected numbers, found {array.dtype}.")
    return array.astype(np.float32)
