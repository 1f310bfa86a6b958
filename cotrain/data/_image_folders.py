"""Labelled pictures in folders: one folder a class, or the layout of Tiny ImageNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from cotrain.config import Config, NotIdentity
from cotrain.data._image_cache import decode
from cotrain.data._image_files import PICTURES, ImageFiles, Preparation, find_pictures
from cotrain.data._labelled import labelled_data
from cotrain.data._source import Data
from cotrain.data._splits import SplitConfig
from cotrain.errors import DataError, did_you_mean
from cotrain.settings import data_folder

Storage = Annotated[Literal["memory_map", "files"], NotIdentity()]


class ImageFolderConfig(Config):
    """A classification task from a folder that holds one folder of pictures a class."""

    kind: ClassVar[str] = "cotrain.data.image_folder"
    path: str  # relative to the data folder (COTRAIN_DATA); classes are its folders, in the order of their names
    test_path: str = ""  # another such folder, as given test set; without, the split's test share is drawn
    task: str = "objects"  # name of the classification task
    classes: tuple[str, ...] = ()  # only these, labelled in this order; none: all
    size: Annotated[int, Ge(1)] = 64  # pixels a side
    fit: Literal["crop", "stretch"] = "crop"  # of pictures that are no squares: cut the longer side's ends, or distort
    grey: bool = False  # colour to grey
    split: SplitConfig = SplitConfig()
    damaged: Literal["stop", "skip"] = "stop"  # at a picture that cannot be read
    storage: Storage = "memory_map"  # decoded once into the cache, or each time a picture is used ("files")


class TinyImageNetConfig(Config):
    """Tiny ImageNet (200 classes, 64x64 pixels) as it is published; its validation pictures are the test set."""

    kind: ClassVar[str] = "cotrain.data.tiny_imagenet"
    path: str = "tiny_imagenet/tiny-imagenet-200"  # relative to the data folder (COTRAIN_DATA)
    task: str = "objects"  # name of the classification task
    classes: tuple[str, ...] = ()  # only these (WordNet ids such as n01443537), in this order; none: all
    size: Annotated[int, Ge(1)] = 64  # pixels a side
    grey: bool = False  # colour to grey
    split: SplitConfig = SplitConfig(validation=0.1, test=0.0)  # validation is drawn from the training pictures
    damaged: Literal["stop", "skip"] = "stop"  # at a picture that cannot be read
    storage: Storage = "memory_map"  # decoded once into the cache, or each time a picture is used ("files")


@dataclass(frozen=True)
class LabelledFiles:
    """Pictures in files with the names of their classes."""

    paths: tuple[Path, ...]
    classes: tuple[str, ...]


def image_folder(config: ImageFolderConfig, *, seed: int) -> Data:
    """Read the pictures; a given test set keeps its pictures, and training pictures that equal one are left out.

    Raises:
        DataError: A folder or class is missing or empty, a picture is damaged; names it.
    """
    parts = {"train": _class_folders(data_folder() / config.path)}
    if config.test_path:
        if config.split.test:
            raise DataError(f"{config.path}: with a test_path, set the split's test share to 0.")
        parts["test"] = _class_folders(data_folder() / config.test_path)
    return from_files(config, parts, fit=config.fit, seed=seed)


def tiny_imagenet(config: TinyImageNetConfig, *, seed: int) -> Data:
    """Read `train/<class>/images` and, as test set, `val/images` with `val_annotations.txt`.

    Raises:
        DataError: A file or class is missing, or a picture is damaged; names it.
    """
    if config.split.test:
        raise DataError("tiny_imagenet: its published validation pictures are the test set; set the test share to 0.")
    root = data_folder() / config.path
    train = _class_folders(root / "train", inside="images")
    annotations = root / "val" / "val_annotations.txt"
    try:
        lines = [line.split("\t") for line in annotations.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{annotations} cannot be read: {error}") from None
    if broken := [number for number, line in enumerate(lines, 1) if len(line) < 2 and line != [""]]:
        raise DataError(f"{annotations}, line {broken[0]}: expected file name, tab, class.")
    named = [(root / "val" / "images" / line[0], line[1].strip()) for line in lines if line != [""]]
    test = LabelledFiles(tuple(path for path, _ in named), tuple(name for _, name in named))
    return from_files(config, {"train": train, "test": test}, fit="crop", seed=seed)


def from_files(
    config: ImageFolderConfig | TinyImageNetConfig,
    parts: dict[str, LabelledFiles],
    *,
    fit: Literal["crop", "stretch"],
    seed: int,
) -> Data:
    """Decode all parts together and split them; `parts` are by given split.

    Raises:
        DataError: A class is unknown, or has no picture in a part; a picture is damaged.
    """
    known = sorted(set(parts["train"].classes))
    for name in config.classes:
        if name not in known:
            raise DataError(f"{config.path} has no class {name!r}.{did_you_mean(name, known)}")
    names = list(config.classes) or known
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{config.path}: expected two or more classes, each once, found {names}.")
    label = {name: number for number, name in enumerate(names)}
    paths: list[Path] = []
    labels: list[int] = []
    given: list[str] = []
    for split, held in parts.items():
        if strange := sorted(set(held.classes) - set(known)):
            raise DataError(f"{config.path}: the {split} pictures have classes that training lacks: {strange[:5]}.")
        if absent := sorted(set(names) - set(held.classes)):
            raise DataError(f"{config.path}: the {split} pictures lack the classes {absent[:5]}.")
        chosen = [(path, label[name]) for path, name in zip(held.paths, held.classes, strict=True) if name in label]
        paths += [path for path, _ in chosen]
        labels += [number for _, number in chosen]
        given += [split] * len(chosen)
    decoded = decode(
        ImageFiles(tuple(paths)),
        Preparation(channels=1 if config.grey else 3, size=config.size, fit=fit),
        storage=config.storage,
        damaged=config.damaged,
    )
    read, split_of = np.array(labels)[decoded.kept], np.array(given)[decoded.kept]
    for split in parts:
        if gone := sorted(set(names) - {names[number] for number in read[split_of == split]}):
            raise DataError(f"{config.path}: of the {split} pictures of the classes {gone[:5]} none can be read.")
    given_split = split_of.tolist() if len(parts) > 1 else None
    return labelled_data(config.task, decoded.images, read, names, config.split, seed=seed, given=given_split)


def _class_folders(root: Path, inside: str = "") -> LabelledFiles:
    """Each folder of `root` is a class; its pictures, in its folder `inside` and all folders below, are sorted."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Set COTRAIN_DATA to the folder that its path starts from.")
    paths: list[Path] = []
    classes: list[str] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = find_pictures(folder / inside)
        if not found:
            raise DataError(f"{folder / inside} holds no pictures ({', '.join(PICTURES)}). Remove it, or fill it.")
        paths += found
        classes += [folder.name] * len(found)
    if not paths:
        raise DataError(f"{root} holds no folders: expected one a class.")
    return LabelledFiles(tuple(paths), tuple(classes))
