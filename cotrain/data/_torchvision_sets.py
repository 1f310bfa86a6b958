"""Classification tasks from the data sets that torchvision reads."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge

from cotrain.config import Config, NotIdentity
from cotrain.data._image_cache import decode
from cotrain.data._image_files import ImageFiles, Preparation
from cotrain.data._images import grey, image_tensor, resized
from cotrain.data._labelled import labelled_data
from cotrain.data._source import Data
from cotrain.data._splits import SplitConfig
from cotrain.errors import DataError
from cotrain.settings import data_folder

# torchvision's class, and what it calls the two parts
PARTS: dict[str, tuple[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "cifar10": ("CIFAR10", ({"train": True}, {"train": False})),
    "cifar100": ("CIFAR100", ({"train": True}, {"train": False})),
    "fashion_mnist": ("FashionMNIST", ({"train": True}, {"train": False})),
    "imagenet": ("ImageNet", ({"split": "train"}, {"split": "val"})),
    "stl10": ("STL10", ({"split": "train"}, {"split": "test"})),
    "svhn": ("SVHN", ({"split": "train"}, {"split": "test"})),
}


DAMAGE = (
    AssertionError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError,
)  # fmt: skip
"""What torchvision raises for files that are missing, damaged, or something else."""


class TorchvisionConfig(Config):
    """A published classification set in the layout of torchvision; its published test pictures are the test set.

    For ImageNet, whose test labels are not published, these are its validation pictures.
    """

    kind: ClassVar[str] = "cotrain.data.torchvision_set"
    name: Literal["cifar10", "cifar100", "fashion_mnist", "imagenet", "stl10", "svhn"]
    path: str = ""  # relative to the data folder (COTRAIN_DATA); empty: the folder of the set's name
    task: str = "objects"  # name of the classification task
    size: Annotated[int, Ge(0)] = 0  # scale images to this many pixels a side; 0: as stored (ImageNet needs a size)
    grey: bool = False  # colour to grey
    split: SplitConfig = SplitConfig(validation=0.1, test=0.0)  # validation is drawn from the training pictures
    damaged: Literal["stop", "skip"] = "stop"  # at a picture of ImageNet that cannot be read
    storage: Annotated[Literal["memory_map", "files"], NotIdentity()] = "memory_map"  # of ImageNet, as in image_folder


def torchvision_set(config: TorchvisionConfig, *, seed: int) -> Data:
    """Read the set; training pictures that equal a test picture are left out with a warning.

    Raises:
        DataError: Its files are missing or damaged.
    """
    if config.split.test:
        raise DataError(f"{config.name} has a published test set; set the split's test share to 0.")
    train, test = (_read(config, part) for part in PARTS[config.name][1])
    if getattr(train, "wnids", None) != getattr(test, "wnids", None):  # torchvision numbers the folders of each part
        raise DataError(f"{config.name}: its training and its test pictures are not of the same classes.")
    counts = len(train), len(test)
    given = [name for name, count in zip(("train", "test"), counts, strict=True) for _ in range(count)]
    labels = np.concatenate([_labels(part) for part in (train, test)])
    names = _class_names(train)
    if hasattr(train, "samples"):  # pictures in files
        if not config.size:
            raise DataError(f"{config.name}: its pictures differ in size; give the size that all are scaled to.")
        decoded = decode(
            ImageFiles(tuple(path for part in (train, test) for path in _paths(part))),
            Preparation(channels=1 if config.grey else 3, size=config.size, fit="crop"),
            storage=config.storage,
            damaged=config.damaged,
        )
        kept = decoded.kept
        return labelled_data(
            config.task, decoded.images, labels[kept], names, config.split, seed=seed, given=[given[i] for i in kept]
        )
    images = torch.cat([image_tensor(np.asarray(part.data), config.name) for part in (train, test)])
    images = resized(grey(images) if config.grey else images, config.size)
    return labelled_data(config.task, images, labels, names, config.split, seed=seed, given=given)


def _read(config: TorchvisionConfig, part: dict[str, Any]) -> Any:
    from torchvision import datasets

    root = data_folder() / (config.path or config.name)
    advice = (
        "Get it from image-net.org, which asks for a registration, and lay its archives there."
        if config.name == "imagenet"
        else f"`cotrain data fetch {config.name}` puts it there."
    )
    try:
        return getattr(datasets, PARTS[config.name][0])(root=str(root), **part)
    except DAMAGE as error:
        raise DataError(f"{root} does not hold all of {config.name}: {error} {advice}") from None


def _labels(part: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = part.labels if hasattr(part, "labels") else part.targets
    return np.asarray(found).astype(np.int64)


def _paths(part: Any) -> list[Path]:
    return [Path(path) for path, _ in part.samples]


def _class_names(part: Any) -> list[str]:
    names = getattr(part, "classes", None)
    if names is None:  # SVHN: digits
        return [str(digit) for digit in range(int(_labels(part).max()) + 1)]
    if isinstance(names[0], str):
        return list(names)
    first = [name[0] for name in names]  # ImageNet gives all words for a class; two classes are called "crane"
    return [f"{name} {part.wnids[i]}" if first.count(name) > 1 else name for i, name in enumerate(first)]
