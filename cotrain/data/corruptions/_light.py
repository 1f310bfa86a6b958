"""Brightness, contrast and saturation: what a camera's settings change."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from cotrain.data.corruptions._corruption import Corruption, Draws
from cotrain.data.corruptions._pixels import divided

# Hexcone model (Smith 1978, SIGGRAPH): value is the largest channel, saturation the range of channels over the value.
# Changing either moves each channel along a line, so no hue need be computed.


def _apply_brightness(images: Tensor, parameters: float, draws: Draws) -> Tensor:  # noqa: ARG001
    table = _brightness_table(parameters, images.device)
    places = images.amax(1, keepdim=True).to(torch.int32).mul_(256) + images
    return table.index_select(0, places.flatten()).view(images.shape)


@functools.lru_cache
def _brightness_table(added: float, device: torch.device) -> Tensor:
    """What a channel becomes, at 256 * largest channel + channel: uint8 (65536,)."""
    value, channel = np.arange(256)[:, None] / 255, np.arange(256) / 255
    saturation = np.divide(value - channel, value, where=value > 0, out=np.zeros((256, 256)))
    found = np.clip(value + added, 0, 1) * (1 - saturation)
    return torch.from_numpy((np.clip(found, 0, 1) * 255).astype(np.uint8).ravel()).to(device)


def _apply_contrast(images: Tensor, parameters: float, draws: Draws) -> Tensor:  # noqa: ARG001
    pixels = images.shape[2] * images.shape[3]
    means = divided(images.sum((2, 3), keepdim=True, dtype=torch.int64).double(), pixels * 255).float()
    values = divided(images.float(), 255).sub_(means).mul_(parameters).add_(means)
    return values.clamp_(0, 1).mul_(255).to(torch.uint8)


def _apply_saturate(images: Tensor, parameters: tuple[float, float], draws: Draws) -> Tensor:  # noqa: ARG001
    if images.shape[1] == 1:
        return images.clone()  # no colour to change
    high, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    places = high.to(torch.int32).mul_(256).add_(low).flatten()
    kept = _saturation_table(*parameters, images.device).index_select(0, places).view(high.shape)
    # a grey pixel counts as red where saturation is added: its other two channels fall
    below = high.float() - images
    grey = (high == low) * high.float()
    below[:, 1:] += grey
    return (high.float() - below * kept).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache
def _saturation_table(factor: float, added: float, device: torch.device) -> Tensor:
    """How much further from the largest channel the others move, at 256 * largest + smallest: float32 (65536,).

    Of grey pixels, the new saturation.
    """
    high, low = np.arange(256.0)[:, None], np.arange(256.0)
    old = np.divide(high - low, high, where=(high > low), out=np.zeros((256, 256)))
    new = np.clip(old * factor + added, 0, 1)
    kept = np.divide(new, old, where=old > 0, out=new.copy())
    return torch.from_numpy(kept.astype(np.float32).ravel()).to(device)


# parameters: added to the value, of the range 0..1
brightness = Corruption(_apply_brightness)
# parameters: what is left of the difference to the channel's mean
contrast = Corruption(_apply_contrast)
# parameters: factor of the saturation, and what is added to it
saturate = Corruption(_apply_saturate)
