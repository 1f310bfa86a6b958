"""A small convolutional network: some layers of convolution, batch norm and activation."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, MinLen
from torch import nn

from cotrain.config import Config

Positive = Annotated[int, Ge(1)]


class SmallCnnConfig(Config):
    """A small convolutional network for CPUs and early visual areas; taps `layer1`, `layer2` and so on."""

    kind: ClassVar[str] = "cotrain.models.small_cnn"
    layers: Annotated[tuple[tuple[Positive, Positive, Positive], ...], MinLen(1)] = ((32, 5, 2), (64, 3, 2), (64, 3, 1))
    """(channels, kernel size, stride) a layer."""
    activation: Literal["relu", "elu"] = "relu"
    input_channels: Literal[1, 3] = 1  # grey or colour; images of the other sort are converted


def small_cnn(config: SmallCnnConfig) -> nn.Sequential:
    """Convolution, batch norm and activation a layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = int(config.input_channels)
    for number, (channels, kernel, stride) in enumerate(config.layers, start=1):
        layers[f"layer{number}"] = nn.Sequential(
            nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU() if config.activation == "relu" else nn.ELU(),
        )
        before = channels
    return nn.Sequential(layers)
