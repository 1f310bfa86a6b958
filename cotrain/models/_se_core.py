"""A core of depth-separable convolutions with squeeze and excitation, for models of V1."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor, nn

from cotrain.config import Config

Positive = Annotated[int, Ge(1)]


class SeCoreConfig(Config):
    """Depth-separable convolutions with squeeze and excitation after the last ones; taps `layer1` to `layer<n>`."""

    kind: ClassVar[str] = "cotrain.models.se_core"
    channels: Annotated[tuple[Positive, ...], MinLen(1)] = (64, 64, 64, 64)  # a layer
    first_kernel: Positive = 9  # of layer1, a full convolution: filters on the image
    kernel: Positive = 7  # of later layers, which are depth-separable
    stride: Positive = 1  # of layer1
    se_layers: Annotated[int, Ge(0)] = 2  # how many of the last layers end in squeeze and excitation
    reduction: Positive = 16  # channels by the width of the squeeze
    activation: Literal["elu", "relu"] = "elu"
    input_channels: Literal[1, 3] = 1  # grey or colour; images of the other sort are converted

    @model_validator(mode="after")
    def _check_layers(self) -> SeCoreConfig:
        if self.se_layers > len(self.channels):
            raise ValueError(f"se_layers must not exceed the {len(self.channels)} layers, found {self.se_layers}")
        return self


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole map holds (Hu et al. 2018, CVPR, equations 2 to 4).

    Args:
        channels: Of the maps.
        reduction: The squeeze has `channels / reduction` units, at least one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        width = max(1, channels // reduction)
        self.squeeze, self.excite = nn.Linear(channels, width), nn.Linear(width, channels)

    def forward(
        self, maps: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """Maps, each multiplied by a weight in 0..1."""
        weights: Tensor = self.excite(self.squeeze(maps.mean((2, 3))).relu()).sigmoid()
        return maps * weights[:, :, None, None]


class SeLayer(nn.Module):
    """Convolution, batch norm, activation and, if asked for, squeeze and excitation."""

    def __init__(self, before: int, channels: int, config: SeCoreConfig, *, first: bool, se: bool) -> None:
        super().__init__()
        kernel = config.first_kernel if first else config.kernel
        self.depthwise: nn.Module = nn.Identity()
        if first:
            self.conv = nn.Conv2d(before, channels, kernel, config.stride, kernel // 2, bias=False)
        else:  # in space, then across channels (Chollet 2017, CVPR)
            self.depthwise = nn.Conv2d(before, before, kernel, padding=kernel // 2, groups=before, bias=False)
            self.conv = nn.Conv2d(before, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.ELU() if config.activation == "elu" else nn.ReLU()
        self.se = SqueezeExcitation(channels, config.reduction) if se else nn.Identity()

    def forward(
        self, maps: Float[Tensor, "images before height width"]
    ) -> Float[Tensor, "images channels new_height new_width"]:
        """Maps of the layer; only a stride, or an even kernel, changes their size."""
        return self.se(self.activation(self.norm(self.conv(self.depthwise(maps)))))  # type: ignore[no-any-return]


def se_core(config: SeCoreConfig) -> nn.Sequential:
    """One full convolution, then depth-separable ones; the last `se_layers` end in squeeze and excitation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before, number = int(config.input_channels), len(config.channels)
    for place, channels in enumerate(config.channels):
        se = place >= number - config.se_layers
        layers[f"layer{place + 1}"] = SeLayer(before, channels, config, first=place == 0, se=se)
        before = channels
    return nn.Sequential(layers)
