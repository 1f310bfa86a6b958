"""Corrupt images by a corruption's name and severity."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption
from cotrain.data.corruptions._defocus_blur import defocus_blur
from cotrain.data.corruptions._elastic import elastic_transform
from cotrain.data.corruptions._fog import fog
from cotrain.data.corruptions._frost import frost, frost_from
from cotrain.data.corruptions._gaussian_blur import gaussian_blur
from cotrain.data.corruptions._glass import glass_blur
from cotrain.data.corruptions._light import brightness, contrast, saturate
from cotrain.data.corruptions._motion_blur import motion_blur
from cotrain.data.corruptions._noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from cotrain.data.corruptions._pixelate import pixelate
from cotrain.data.corruptions._presets import PARAMETERS, PRESETS, Preset
from cotrain.data.corruptions._random import ImageRandom
from cotrain.data.corruptions._snow import snow
from cotrain.data.corruptions._spatter import spatter
from cotrain.data.corruptions._zoom_blur import zoom_blur
from cotrain.errors import DataError, did_you_mean
from cotrain.seeds import derive_seed

CORRUPTIONS_VERSION = 1  # raised when any corruption gives other pixels than before; stored with every score
CHUNK = 128  # images at once: bounds the memory, changes no pixel
SMALLEST = 32  # pixels a side

# the order of the benchmark, then the four extra ones that its authors keep for development
COMMON: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
}
EXTRA: dict[str, Corruption] = {
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}
CORRUPTIONS = COMMON | EXTRA

Array = TypeVar("Array", Tensor, np.ndarray)


def corruption_names(*, extra: bool = False) -> tuple[str, ...]:
    """Names of the 15 common corruptions, and with `extra` of the 4 others after them."""
    return tuple(CORRUPTIONS if extra else COMMON)


def corrupt(
    images: Array,
    name: str,
    severity: int,
    *,
    seed: int,
    first_index: int = 0,
    preset: Preset = "imagenet_c",
    frost_folder: Path | str | None = None,
) -> Array:
    """Corrupt images.

    Args:
        images: uint8 (images, height, width, channels), NumPy or torch, on any device; 1 or 3 channels, sides of 32
            pixels or more.
        name: Of the corruption (`corruption_names`).
        severity: 1 to 5.
        seed: 0 or larger. Random numbers depend on it, on the image's index and on the corruption alone.
        first_index: Of the first image in its data set; the others follow.
        preset: Which table of severities.
        frost_folder: Of the benchmark's six pictures of frost (docs/corruptions.md), or None for our own. It changes
            `frost` alone; store `frost_identity(frost_folder)` with scores.

    Returns:
        The same kind of array, on the same device.

    Raises:
        DataError: These are no such images, or name, severity or preset are unknown.

    >>> corrupt(np.zeros((2, 32, 32, 3), dtype=np.uint8), "gaussian_noise", 3, seed=0).shape
    (2, 32, 32, 3)
    """
    tensor = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    if tensor.ndim != 4:
        raise DataError(f"corrupt: expected images (images, height, width, channels), found {tuple(tensor.shape)}.")
    indices = torch.arange(first_index, first_index + len(tensor))
    batch = tensor.permute(0, 3, 1, 2)
    found = corrupt_batch(batch, name, severity, seed=seed, indices=indices, preset=preset, frost_folder=frost_folder)
    found = found.permute(0, 2, 3, 1).contiguous()
    return found.numpy() if isinstance(images, np.ndarray) else found


@torch.no_grad()
def corrupt_batch(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int,
    indices: Tensor,
    preset: Preset = "imagenet_c",
    frost_folder: Path | str | None = None,
) -> Tensor:
    """Corrupt images whose channels come first, any of a data set.

    Args:
        images: uint8 (images, channels, height, width).
        indices: Of these images in their data set, int64 (images,).
        name, severity, seed, preset, frost_folder: As of `corrupt`.

    Returns:
        Corrupted ones, of the same shape and on the same device.

    Raises:
        DataError: As `corrupt`.
    """
    corruption, parameters = _chosen(name, severity, preset)
    if name == "frost" and frost_folder is not None:
        corruption = frost_from(Path(frost_folder))
    _check(images, indices)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    found = [images[:0]]
    for part, places in zip(images.split(CHUNK), indices.to(images.device).split(CHUNK), strict=True):
        random = ImageRandom(derive_seed(seed, "corruption", name), places)
        found.append(corruption.apply(part.contiguous(), parameters, corruption.draw(random, shape, parameters)))
    return torch.cat(found)


def _chosen(name: str, severity: int, preset: Preset) -> tuple[Corruption, object]:
    if name not in CORRUPTIONS:
        raise DataError(f"There is no corruption {name!r}.{did_you_mean(name, list(CORRUPTIONS))}")
    if preset not in PRESETS:
        raise DataError(f"There is no preset {preset!r} of corruptions.{did_you_mean(preset, PRESETS)}")
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise DataError(f"The severity of a corruption is 1, 2, 3, 4 or 5, found {severity!r}.")
    return CORRUPTIONS[name], PARAMETERS[name][preset][severity - 1]


def _check(images: Tensor, indices: Tensor) -> None:
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise DataError(
            "Corruptions take images as uint8 with 1 or 3 channels, found "
            f"{tuple(images.shape)} (images, channels, height, width) as {images.dtype}."
        )
    if min(images.shape[2:]) < SMALLEST:
        raise DataError(f"Corruptions are defined from {SMALLEST} pixels a side, found {tuple(images.shape[2:])}.")
    if len(indices) != len(images):
        raise DataError(f"Each image needs its index: {len(images)} images, {len(indices)} indices.")
