"""Macaque IT responses to the pictures of Majaj et al. 2015, in the HDF5 file of the course NX-414."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.data.recordings._recording import Recording, Session, Values, recording_from
from cotrain.errors import DataError

log = logging.getLogger(__name__)

ORIGIN = "Majaj, Hong, Solomon & DiCarlo 2015, Journal of Neuroscience 35(39): 13402; file of the EPFL course NX-414"
SPLIT_OF = {"train": "train", "val": "validation", "test": "test"}
CHUNK = 64  # pictures in memory as floats at a time
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
NORMALISED = -0.5  # pixels 0..1 that were interpolated may lie a little below 0; normalised ones reach -2.1
TOLERANCE = 0.01  # of the range 0..1 of a pixel, for rounding

FRUITS = frozenset(["apple", "apricot", "peach", "pear", "raspberry", "strawberry", "walnut", "watermelon"])
ANIMALS = frozenset(["bear", "cow", "dog", "elephant", "gorilla", "hedgehog", "lioness", "turtle"])
WORDS = {
    "airplane": "Planes",
    "car": "Cars",
    "chair": "Chairs",
    "face": "Faces",
    "ship": "Boats",
    "table": "Tables",
}


def read_majaj2015_h5(path: str | Path, *, progress: bool = False) -> Recording:
    """Macaque IT of Majaj, Hong, Solomon & DiCarlo 2015 in the file `IT_data.h5` of the course NX-414.

    The file's pictures are already normalised with ImageNet's mean and standard deviation; they become pixels 0..255
    again, so that a model's own normalisation is not the second one. What the file holds is told by its range: values
    below -0.5 (normalised, every pixel darker than 0.37) mean normalised; else values up to 1 are pixels 0..1, and
    values up to 255, or whole numbers, are pixels 0..255, which stay as they are. Whatever fits none is refused.

    Args:
        path: Holds for each of train, val and test `stimulus_<split>` (stimuli, 3, height, width), `object_<split>`
            (stimuli,) and, but for test, `spikes_<split>` (stimuli, sites): mean rates from 70 to 170 ms, averaged
            over trials.
        progress: Show a bar over pictures.

    Returns:
        One session "it". Stimuli without responses (the published file keeps those of test back) are left out with a
        warning in the log. Conditions are "object" (64 names) and "category" (8 names; "" for an unknown object). The
        file holds no repeats, so no noise ceiling can be had from it.

    Raises:
        DataError: The file is missing or damaged, lacks a part, or its pictures are in no range that is known.
    """
    path = Path(path)
    try:
        h5py: Any = importlib.import_module("h5py")
    except ModuleNotFoundError:
        raise DataError(f"{path} is an HDF5 file: install h5py to read it (pip install h5py).") from None
    try:
        with h5py.File(path, "r") as file:
            return recording_from(
                path,
                {"it": _session(file, path, progress)},
                unit="mean firing rate, averaged over trials",
                window_ms=(70.0, 170.0),
                origin=ORIGIN,
            )
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py's for damaged files
        raise DataError(f"{path} cannot be read: {error}") from None


def category_of(name: str) -> str:
    """The category, one of eight, of an object of Majaj et al. 2015; "" for a name that is none of its objects.

    >>> category_of("face3"), category_of("car_alfa"), category_of("pear"), category_of("teapot")
    ('Faces', 'Cars', 'Fruits', '')
    """
    if name in FRUITS:
        return "Fruits"
    if name in ANIMALS:
        return "Animals"
    return next((category for word, category in WORDS.items() if word in name), "")


def _session(file: Any, path: Path, progress: bool) -> Session:
    parts = [part for part in SPLIT_OF if part != "test" or f"spikes_{part}" in file]
    stimuli = [_dataset(file, f"stimulus_{part}", 4, path) for part in parts]
    spikes = [_dataset(file, f"spikes_{part}", 2, path) for part in parts]
    objects: list[str] = []
    for part, pictures, rates in zip(parts, stimuli, spikes, strict=True):
        names = [_text(name) for name in _dataset(file, f"object_{part}", 1, path)[()]]
        if not len(pictures) == len(rates) == len(names):
            raise DataError(
                f"{path}: stimulus_{part} has {len(pictures)} rows, spikes_{part} {len(rates)}, object_{part} "
                f"{len(names)}; they must be equal."
            )
        objects += names
    for what, found in (("spikes", {rates.shape[1] for rates in spikes}), ("stimulus", {p.shape[1:] for p in stimuli})):
        if len(found) > 1:
            raise DataError(f"{path}: the rows of {what}_train, _val and _test differ in shape: {sorted(found)}.")
    if stimuli[0].shape[1] != 3:
        raise DataError(f"{path}: pictures must be (stimuli, 3, height, width), found {stimuli[0].shape}.")
    if "spikes_test" not in file and "stimulus_test" in file:
        left_out = len(_dataset(file, "stimulus_test", 4, path))
        log.warning("%s has no spikes_test: %d test stimuli without responses are left out.", path, left_out)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        responses = np.concatenate([np.asarray(rates[()], np.float32) for rates in spikes])
    conditions: dict[str, Values] = {
        "object": tuple(objects),
        "category": tuple(category_of(name) for name in objects),
    }
    if unknown := sorted({name for name in objects if not category_of(name)}):
        log.warning('%s: %d objects have no known category, their "category" is "": %s', path, len(unknown), unknown)
    return Session(
        stimuli=tuple(f"{part}/{row}" for part, rates in zip(parts, spikes, strict=True) for row in range(len(rates))),
        responses=responses,
        images=_pictures(stimuli, path, progress),
        split=tuple(SPLIT_OF[part] for part, rates in zip(parts, spikes, strict=True) for _ in range(len(rates))),
        conditions=conditions,
        neurons={"area": ("IT",) * responses.shape[1]},
    )


def _pictures(datasets: Sequence[Any], path: Path, progress: bool) -> NDArray[np.uint8]:
    """All pictures as uint8 (stimuli, height, width, 3), a chunk at a time."""
    lowest, highest = _range(datasets, path)
    whole = any(dataset.dtype.kind in "iu" for dataset in datasets)
    normalised = lowest < NORMALISED and not whole
    pixel_range = 255.0 if whole or (not normalised and highest > 1 + TOLERANCE) else 1.0
    count = sum(len(dataset) for dataset in datasets)
    images = np.empty((count, *datasets[0].shape[2:], 3), np.uint8)
    row = 0
    with tqdm(total=count, desc=f"pictures of {path.name}", unit="picture", disable=not progress) as bar:
        for dataset, piece in _chunks(datasets):
            if not np.isfinite(piece).all():
                raise DataError(f"{path}: {dataset.name} holds pixels that are NaN or infinite.")
            if normalised:
                piece = piece * STD + MEAN
            low, high = float(piece.min()) / pixel_range, float(piece.max()) / pixel_range
            if low < -TOLERANCE or high > 1 + TOLERANCE:
                raise DataError(
                    f"{path}: the pixels of {dataset.name} are neither normalised with ImageNet's mean and standard "
                    f"deviation, nor between 0 and 1, nor between 0 and 255: they run from {lowest:.4g} to "
                    f"{highest:.4g} where looked at."
                )
            pixels = np.rint(piece * (255 / pixel_range)).clip(0, 255).astype(np.uint8)
            images[row : row + len(pixels)] = pixels.transpose(0, 2, 3, 1)
            row += len(pixels)
            bar.update(len(pixels))
    return images


def _range(datasets: Sequence[Any], path: Path) -> tuple[float, float]:
    """Smallest and largest pixel of all pictures; it stops at the first chunk that must be normalised."""
    lowest, highest = math.inf, -math.inf
    for dataset, piece in _chunks(datasets):
        if not np.isfinite(piece).all():
            raise DataError(f"{path}: {dataset.name} holds pixels that are NaN or infinite.")
        lowest, highest = min(lowest, float(piece.min())), max(highest, float(piece.max()))
        if lowest < NORMALISED:
            break
    return lowest, highest


def _chunks(datasets: Sequence[Any]) -> Iterator[tuple[Any, NDArray[np.float32]]]:
    for dataset in datasets:
        # whole HDF5 chunks: one that two reads share is decompressed twice
        rows = dataset.chunks[0] if dataset.chunks else 1
        step = rows * math.ceil(CHUNK / rows) if rows <= len(dataset) else max(len(dataset), 1)
        for begin in range(0, len(dataset), step):
            yield dataset, np.asarray(dataset[begin : begin + step], np.float32)


def _dataset(file: Any, name: str, axes: int, path: Path) -> Any:
    if name not in file:
        raise DataError(f"{path} lacks {name}; it has: {', '.join(sorted(map(str, file))) or 'nothing'}.")
    dataset = file[name]
    shape = getattr(dataset, "shape", None)
    if shape is None or len(shape) != axes or 0 in shape:
        raise DataError(f"{path}: {name} must be an array with {axes} axes, found {shape or 'a group'}.")
    if axes > 1 and dataset.dtype.kind not in "iuf":
        raise DataError(f"{path}: {name} must hold numbers, found {dataset.dtype}.")
    return dataset


def _text(name: Any) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
