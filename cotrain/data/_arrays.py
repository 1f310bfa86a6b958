"""Any NPZ file of images with labels, responses or RDMs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import Config
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, duplicate_groups, split_groups
from cotrain.dissimilarity import stored_rdm
from cotrain.errors import DataError, did_you_mean
from cotrain.settings import data_folder

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


class RdmArrayConfig(Config):
    """An RDM task from a matrix of dissimilarities among the images."""

    kind: ClassVar[str] = "cotrain.data.RdmArrayConfig"
    task: str
    rdm: str  # (images, images)


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


def arrays(config: ArraysConfig, *, seed: int) -> Data:
    """Read the file, split by image content (equal images stay together, classes in equal shares).

    Raises:
        DataError: The file or an array is missing or damaged, lengths differ, pixels are NaN, labels leave their
            range, or a split is empty; says which.
    """
    if not config.tasks:
        raise DataError(f"{config.path}: name at least one task.")
    held = _read(config)
    images = _images(held, config, config.images)
    labels = [held[task.labels] for task in config.tasks if isinstance(task, LabelArrayConfig)]
    for array in labels:
        if array.shape != (len(images),):
            raise DataError(
                f"{config.path}: {len(images)} images but labels of shape {array.shape}. Each image needs one label."
            )
    strata = labels[0] if labels else None
    index = split_groups(duplicate_groups(images), config.split, seed=seed, strata=strata)
    given = _images(held, config, config.test_images) if config.test_images else None
    if (given is None) == (len(index["test"]) == 0):
        raise DataError(f"{config.path}: give either `test_images` with a test share of 0, or a test share above 0.")
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in index}
    for task in config.tasks:
        session = task.session if isinstance(task, ResponseArrayConfig) else ""
        for split, source in _sources(task, images, given, held, index, config).items():
            if session in (sessions := splits[split].setdefault(task.task, {})):
                raise DataError(f"{config.path}: the task {task.task!r} is named twice. Rename one.")
            sessions[session] = source
    return assemble(splits)


def _read(config: ArraysConfig) -> dict[str, NDArray[Any]]:
    place = data_folder() / config.path
    if not place.is_file():
        raise DataError(f"There is no data file {place}. Set COTRAIN_DATA to the folder that holds {place.name}.")
    try:
        with place.open("rb") as opened:  # numpy.load alone leaves a truncated file open
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{place} is no NPZ file: it holds one array. Write it with numpy.savez.")
            return {name: _array(file, name, config.path) for name in _names(config)}
    except DAMAGE as error:
        raise DataError(f"{place} is no readable NPZ file: {error}") from None


def _names(config: ArraysConfig) -> list[str]:
    names = [config.images, config.test_images]
    for task in config.tasks:
        names += [value for field, value in task.record().items() if field in TARGET_FIELDS]
    return [name for name in dict.fromkeys(names) if name]


DAMAGE = (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
TARGET_FIELDS = ("labels", "test_labels", "class_names", "responses", "rdm")


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


def _sources(
    task: Config,
    images: Tensor,
    given: Tensor | None,
    held: Mapping[str, NDArray[Any]],
    index: Index,
    config: ArraysConfig,
) -> dict[str, Source]:
    where = f"{config.path}, task {getattr(task, 'task', '')!r}"
    rows = {split: torch.from_numpy(positions) for split, positions in index.items()}
    if isinstance(task, LabelArrayConfig):
        if held[task.class_names].ndim != 1:
            raise DataError(f"{where}: class names must be a list, found shape {held[task.class_names].shape}.")
        names = tuple(str(name) for name in held[task.class_names])
        whole = Source("classification", images, _labels(held[task.labels], where), class_names=names)
        sources = {split: whole.subset(row) for split, row in rows.items()}
        if given is not None:
            if not task.test_labels:
                raise DataError(f"{where}: `test_images` are given, so name `test_labels` too.")
            sources["test"] = Source("classification", given, _labels(held[task.test_labels], where), names)
        elif task.test_labels:
            raise DataError(f"{where}: `test_labels` are named, so name `test_images` too.")
        return sources
    if given is not None:
        raise DataError(f"{where}: a given test set is read for labels only.")
    if isinstance(task, RdmArrayConfig):
        matrix = _numbers(held[task.rdm], where)
        if matrix.shape != (len(images), len(images)):
            raise DataError(f"{where}: {len(images)} images but an RDM of shape {matrix.shape}.")
        whole = Source("rdm", images, torch.from_numpy(matrix))
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
    mean, trials = responses(repeats, rows["train"], standardise=standardise)
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


def responses(recorded: NDArray[np.float32], train: Tensor, *, standardise: bool) -> tuple[Tensor, Tensor | None]:
    """Mean over repeats, and the repeats, in common units.

    Args:
        recorded: (images, neurons), or (images, repeats, neurons) with NaN where a repeat is missing.
        train: Positions of the training images: the only ones that statistics are taken from.
        standardise: Subtract each neuron's training mean and divide by its standard deviation (those of the mean
            over repeats). A neuron that is constant in training is only centred.

    Returns:
        float32 (images, neurons), and float32 (images, repeats, neurons) or None.
    """
    trials = torch.from_numpy(recorded).float()
    mean = trials.nanmean(1) if trials.ndim == 3 else trials
    if standardise:
        known = mean[train].double()
        centre = known.nanmean(0)
        spread = (known - centre).square().nanmean(0).sqrt()
        spread = torch.where(spread < 1e-8, 1.0, spread)
        mean = ((mean - centre) / spread).float()
        trials = ((trials - centre) / spread).float()
    return mean, trials if trials.ndim == 3 else None
