"""Corrupt images by a corruption's name and severity."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from cotrain._tensors import tensor_of
from cotrain.data.corruptions._corruption import Corruption
from cotrain.data.corruptions._defocus_blur import defocus_blur
from cotrain.data.corruptions._elastic import elastic_transform
from cotrain.data.corruptions._fog import fog
from cotrain.data.corruptions._frost import frost, frost_from
from cotrain.data.corruptions._gaussian_blur import gaussian_blur
from cotrain.data.corruptions._glass import glass_blur
from cotrain.data.corruptions._jpeg import jpeg_compression
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
AT_ONCE = {"cpu": 2**19, "cuda": 2**25}  # values of pixels: bounds the memory, changes no pixel
SMALLEST = 32  # pixels a side
CHANNELS = (1, 3)

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
    "jpeg_compression": jpeg_compression,
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
    """Corrupt images, as ImageNet-C does.

    Random numbers depend on `seed`, the corruption's name and the index of the image alone: not on the batch, nor the
    machine, nor the severity, so that the same noise grows. Equal arguments give equal pixels on every device.

    Args:
        images: uint8 (images, height, width, channels), NumPy or torch, on any device; 1 or 3 channels, sides of 32
            pixels or more. They are not changed.
        name: Of the corruption (`corruption_names`).
        severity: 1 to 5.
        seed: 0 or larger.
        first_index: Of the first image in its data set, 0 or larger; the others follow.
        preset: Which table of severities: `imagenet_c`, made for 224 pixels and what `imagecorruptions` applies to any
            size; or the milder `tiny_imagenet_c`, made for 64, and `cifar_c`, for 32.
        frost_folder: Of the benchmark's six pictures of frost (docs/corruptions.md), or None for our own. It changes
            `frost` alone; store `frost_identity(frost_folder)` with scores.

    Returns:
        The same kind of array, on the same device. It is new, also where a corruption leaves an image as it is.

    Raises:
        DataError: These are no such images; or name, severity, first index or preset are unknown; or files of
                `frost_folder` are missing.
        ConfigError: The seed is negative or no whole number.

    >>> corrupt(np.zeros((2, 32, 32, 3), dtype=np.uint8), "gaussian_noise", 3, seed=0).shape
    (2, 32, 32, 3)
    """
    _check_images(images, "(images, height, width, channels)", (1, 2, 3))
    if not _is_whole(first_index) or first_index < 0:
        raise DataError(f"The index of the first image is a whole number, 0 or larger, found {first_index!r}.")
    tensor: Any = images
    if isinstance(images, np.ndarray):
        tensor = tensor_of(images)
    indices = torch.arange(int(first_index), int(first_index) + len(tensor))
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
    """Corrupt images whose channels come first, any of a data set in any order.

    Args:
        images: uint8 (images, channels, height, width), on any device.
        indices: Of these images in their data set, whole numbers (images,), on any device. Equal ones get equal noise.
        name, severity, seed, preset, frost_folder: As of `corrupt`.

    Returns:
        Corrupted ones, contiguous, of the same shape and on the same device.

    Raises:
        DataError, ConfigError: As `corrupt`, or the indices are not one whole number an image.

    >>> images = torch.zeros(2, 1, 40, 32, dtype=torch.uint8)
    >>> corrupt_batch(images, "brightness", 5, seed=0, indices=torch.tensor([7, 3])).float().mean().item()
    127.0
    """
    corruption, parameters = _chosen(name, severity, preset)
    if name == "frost" and frost_folder is not None:
        corruption = frost_from(Path(frost_folder))
    _check_images(images, "(images, channels, height, width)", (2, 3, 1))
    _check_indices(indices, len(images))
    seed = derive_seed(seed, "corruption", name)
    if not len(images):
        return images.clone()
    shape = (images.shape[1], images.shape[2], images.shape[3])
    count = max(1, AT_ONCE.get(images.device.type, AT_ONCE["cpu"]) // torch.Size(shape).numel())
    found = []
    for part, places in zip(images.split(count), indices.to(images.device, torch.int64).split(count), strict=True):
        draws = corruption.draw(ImageRandom(seed, places), shape, parameters)
        found.append(corruption.apply(part.contiguous(), parameters, draws))
    return torch.cat(found).contiguous()


def _chosen(name: str, severity: int, preset: Preset) -> tuple[Corruption, Any]:
    if not isinstance(name, str) or name not in CORRUPTIONS:
        raise DataError(f"There is no corruption {name!r}.{did_you_mean(str(name), list(CORRUPTIONS))}")
    if preset not in PRESETS:
        raise DataError(f"There is no preset {preset!r} of corruptions.{did_you_mean(str(preset), PRESETS)}")
    if not _is_whole(severity) or not 1 <= severity <= 5:
        raise DataError(f"The severity of a corruption is 1, 2, 3, 4 or 5, found {severity!r}.")
    return CORRUPTIONS[name], PARAMETERS[name][preset][severity - 1]


def _check_images(images: Any, layout: str, axes: tuple[int, int, int]) -> None:
    """Axes: those of height, width and channels."""
    if not isinstance(images, Tensor | np.ndarray):
        raise DataError(f"Corruptions take NumPy arrays or torch tensors, found {type(images).__name__}.")
    shape = tuple(images.shape)
    if images.dtype not in (torch.uint8, np.uint8) or len(shape) != 4 or shape[axes[2]] not in CHANNELS:
        raise DataError(
            f"Corruptions take images as uint8 {layout} with 1 or 3 channels, found {images.dtype} of shape {shape}."
        )
    if min(shape[axes[0]], shape[axes[1]]) < SMALLEST:
        raise DataError(
            f"Corruptions are defined from {SMALLEST} pixels a side, found {shape[axes[0]]} x {shape[axes[1]]}."
        )


def _check_indices(indices: Tensor, count: int) -> None:
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.dtype == torch.bool:
        found = str(indices.dtype) if isinstance(indices, Tensor) else type(indices).__name__
        raise DataError(f"The indices of images are a tensor of whole numbers, found {found}.")
    if indices.shape != (count,):
        raise DataError(f"Each image needs its index: {count} images, indices of shape {tuple(indices.shape)}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
