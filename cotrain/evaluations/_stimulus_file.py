"""Pictures beside a run's data, with RDMs, responses or labels: an NPZ file in the data folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import MinLen
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import AddedLater, Config
from cotrain.data import Data, image_tensor, prepared, read_arrays
from cotrain.errors import DataError


class StimulusFileConfig(Config):
    """Images of an NPZ file, and what is known of them; its arrays are named here.

    What the pictures show is the user's business: whether the run was trained on some of them is not looked at.
    """

    kind: ClassVar[str] = "cotrain.evaluations.StimulusFileConfig"
    name: Annotated[str, MinLen(1)]  # stands in the table in the place of a task's
    path: Annotated[str, MinLen(1)]  # relative to the data folder (COTRAIN_DATA)
    images: str = "images"  # uint8, or floats in 0..1, (images, height, width[, 1 or 3])
    rdm: str = ""
    """(images, images); or (subjects, images, images); of further axes behind that of the subjects, as sessions, the
    mean is taken."""
    holds: Literal["distance", "similarity"] = "distance"  # what `rdm` holds
    responses: str = ""  # (images, neurons), or (images, repeats, neurons) with NaN where a repeat is missing
    labels: str = ""  # of the images' objects: whole numbers or text
    label_names: str = ""  # text: the names of the labels 0, 1, ...; "": labels are names themselves
    areas: Annotated[str, AddedLater(neutral="")] = ""  # of the responses: (neurons,), text
    subjects: Annotated[str, AddedLater(neutral="")] = ""  # whose neurons these are: (neurons,), text or whole numbers


@dataclass(frozen=True)
class Stimuli:
    """What was read of a file; None where no array is named.

    Args:
        images: uint8 (images, channels, height, width), as the model takes them.
        rdms: float64 (subjects, images, images).
        responses: float64 (images, repeats, neurons).
        labels: (images,), text.
        areas, subjects: (neurons,), text.
    """

    images: Tensor
    rdms: Tensor | None
    responses: Tensor | None
    labels: NDArray[np.str_] | None
    areas: NDArray[np.str_] | None = None
    subjects: NDArray[np.str_] | None = None


def require_own_names(files: Sequence[StimulusFileConfig], data: Data, what: str) -> None:
    """Refuse files that could not be told from each other, or from the data's tasks, in a table.

    Args:
        files: That are evaluated beside the data.
        data: Of the run.
        what: Two of which would have one name, in words.

    Raises:
        DataError: Two have one name.
    """
    names = [file.name for file in files]
    if double := sorted({name for name in names if name in data.info.tasks or names.count(name) > 1}):
        raise DataError(f"Two {what} are called {', '.join(double)}. Give each file a name of its own.")


def read_stimuli(config: StimulusFileConfig, image_shape: tuple[int, int, int]) -> Stimuli:
    """Read a file; images become grey or colour, and as large, as the model's are.

    Args:
        config: The file and its arrays.
        image_shape: (channels, height, width) of the images of the model.

    Raises:
        DataError: The file or an array is missing or damaged, or is not one of these images; says which.
    """
    of_images = (config.images, config.rdm, config.responses, config.labels, config.label_names)
    held = read_arrays(config.path, [name for name in (*of_images, config.areas, config.subjects) if name])
    images = image_tensor(held[config.images], f"{config.path}, {config.images!r}")
    channels, height, width = image_shape
    responses = None
    if config.responses:
        responses = _responses(held[config.responses], len(images), f"{config.path}, {config.responses!r}")
    neurons = 0 if responses is None else responses.shape[2]
    return Stimuli(
        prepared(images, channels, (height, width)),
        _rdms(held[config.rdm], len(images), f"{config.path}, {config.rdm!r}") if config.rdm else None,
        responses,
        _labels(held, config, len(images)) if config.labels else None,
        _of_neurons(held[config.areas], neurons, f"{config.path}, {config.areas!r}") if config.areas else None,
        _of_neurons(held[config.subjects], neurons, f"{config.path}, {config.subjects!r}") if config.subjects else None,
    )


def _of_neurons(array: NDArray[Any], neurons: int, where: str) -> NDArray[np.str_]:
    if array.shape != (neurons,) or array.dtype.kind not in "iuUS":
        raise DataError(
            f"{where}: expected text or a whole number for each of {neurons} neurons, found {array.dtype} "
            f"{array.shape}."
        )
    return array.astype(np.str_)


def _numbers(array: NDArray[Any], where: str) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected numbers, found {array.dtype}.")
    return torch.from_numpy(array.astype(np.float64))


def _rdms(array: NDArray[Any], images: int, where: str) -> Tensor:
    held = _numbers(array, where)
    if held.ndim < 2 or held.shape[-2:] != (images, images):
        raise DataError(
            f"{where}: expected ({images}, {images}) as there are {images} images, or with subjects before, found "
            f"{tuple(held.shape)}."
        )
    if held.ndim == 2:
        return held[None]
    return held.flatten(1, -3).mean(1) if held.ndim > 3 else held


def _responses(array: NDArray[Any], images: int, where: str) -> Tensor:
    held = _numbers(array, where)
    if held.ndim not in (2, 3) or len(held) != images:
        raise DataError(
            f"{where}: expected ({images}, neurons) or ({images}, repeats, neurons), found {tuple(held.shape)}."
        )
    return held[:, None] if held.ndim == 2 else held


def _labels(held: Mapping[str, NDArray[Any]], config: StimulusFileConfig, images: int) -> NDArray[np.str_]:
    array, where = held[config.labels], f"{config.path}, {config.labels!r}"
    if array.shape != (images,) or array.dtype.kind not in "iuUS":
        raise DataError(
            f"{where}: expected a label, text or a whole number, for each of {images} images, found {array.dtype} "
            f"{array.shape}."
        )
    if not config.label_names:
        return array.astype(np.str_)
    names = held[config.label_names]
    if array.dtype.kind not in "iu" or names.ndim != 1 or not 0 <= array.min() <= array.max() < len(names):
        raise DataError(
            f"{where}: with {config.label_names!r} of shape {names.shape}, labels must be whole numbers that count in "
            f"it from 0; found {array.dtype}: {array[:5].tolist()} ..."
        )
    found: NDArray[np.str_] = names.astype(np.str_)[array]
    return found
