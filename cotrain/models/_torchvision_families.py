"""The families of torchvision's classification networks: where they begin, where they end, how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

Draw = Callable[[nn.Conv2d], None]


def _drawn(conv: nn.Conv2d, draw: Callable[..., Any], **settings: Any) -> None:
    draw(conv.weight, **settings)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _as_torch_does(conv: nn.Conv2d) -> None:
    """A convolution is drawn when it is made."""


def _by_fan_in(conv: nn.Conv2d) -> None:
    fan_in = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]
    _drawn(conv, nn.init.trunc_normal_, std=math.sqrt(1 / fan_in))


def _truncated(std: float) -> Draw:
    return partial(_drawn, draw=nn.init.trunc_normal_, std=std)


HE_FAN_OUT: Draw = partial(_drawn, draw=nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


@dataclass(frozen=True)
class Family:
    """What the networks of one family have in common."""

    prefixes: tuple[str, ...]  # of the names
    entry: str  # path of the convolution that sees the image
    draw: Draw  # gives that convolution the initialisation that torchvision gives it
    small: tuple[int, int] | None = None  # its (kernel size, stride) for small images
    pool: str = ""  # path of the max pool that small images skip
    classifier: str = "classifier"
    settings: dict[str, Any] = field(default_factory=dict)  # for torchvision's builder
    dropout: str = ""  # the builder's own argument for dropout; without one, it follows each activation
    sized: bool = False  # built for one size of images
    cuts_patches: bool = False  # a ViT: the size must be a multiple of the patch
    lazy: bool = False  # the classifier holds most of the weights, so it is never drawn
    small_already: bool = False  # small images need no other stem


FAMILIES = (
    Family(("alexnet",), "features.0", _as_torch_does, small=(5, 1), lazy=True),
    Family(("vgg",), "features.0", HE_FAN_OUT, lazy=True, small_already=True),
    Family(("resnet", "resnext", "wide_resnet"), "conv1", HE_FAN_OUT, (3, 1), "maxpool", "fc"),
    Family(("densenet",), "features.conv0", partial(_drawn, draw=nn.init.kaiming_normal_), (3, 1), "features.pool0"),
    Family(("squeezenet",), "features.0", partial(_drawn, draw=nn.init.kaiming_uniform_), (3, 1), "features.2"),
    Family(("efficientnet", "mobilenet"), "features.0.0", HE_FAN_OUT, (3, 1)),
    Family(("mnasnet",), "layers.0", HE_FAN_OUT, (3, 1)),
    Family(("regnet",), "stem.0", HE_FAN_OUT, (3, 1), classifier="fc"),
    Family(("shufflenet",), "conv1.0", _as_torch_does, (3, 1), "maxpool", "fc"),
    Family(("convnext",), "features.0.0", _truncated(0.02), (2, 2)),
    Family(
        ("googlenet",),
        "conv1.conv",
        _truncated(0.01),
        (3, 1),
        "maxpool1",
        "fc",
        {"aux_logits": False, "init_weights": True},
    ),
    Family(
        ("inception",),
        "Conv2d_1a_3x3.conv",
        _truncated(0.1),
        (3, 1),
        "maxpool1",
        "fc",
        {"aux_logits": False, "init_weights": True},
    ),
    Family(("swin",), "features.0.0", _as_torch_does, (2, 2), classifier="head", dropout="dropout"),
    Family(("vit",), "conv_proj", _by_fan_in, (4, 4), "", "heads", dropout="dropout", sized=True, cuts_patches=True),
    Family(("maxvit",), "stem.0.0", partial(_drawn, draw=nn.init.normal_, std=0.02), dropout="mlp_dropout", sized=True),
)


def family_of(name: str) -> Family | None:
    """The family of a network; None for one that came with a later torchvision and is unknown here.

    >>> family_of("wide_resnet50_2").entry
    'conv1'
    """
    return next((family for family in FAMILIES if name.startswith(family.prefixes)), None)


def small_patch(patch: int) -> int:
    """Side of a ViT's patches for small images: a quarter, in powers of two.

    >>> small_patch(16), small_patch(32), small_patch(14)
    (4, 8, 4)
    """
    return int(2 ** round(math.log2(patch / 4)))
