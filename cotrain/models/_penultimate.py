"""What the last layer of a known network sees: the features whose geometry brains and networks are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from cotrain.config import Config
from cotrain.errors import ModelError, did_you_mean
from cotrain.models._backbone import pass_to, places
from cotrain.models._weights import load_partial, read_weights

LastFeatures = Literal["published", "before_relu", "after_relu"]
# of colour images in 0..1, with which networks for ImageNet and the usual ones for CIFAR were trained
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised_as_imagenet(images: Tensor) -> Tensor:
    """Images as networks of ImageNet expect them: in colour, of mean 0 and deviation 1 over that set.

    Args:
        images: Floats in 0..1, (images, 1 or 3 channels, height, width).
    """
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (images.expand(-1, 3, -1, -1) - mean) / std


@dataclass(frozen=True)
class Ending:
    """Where a family of networks ends.

    Args:
        before, after: Module paths of the last features before and after their rectification.
        published: Which of them neural finetuning took.
    """

    before: str
    after: str
    published: Literal["before_relu", "after_relu"]


ALEXNET = Ending("classifier.4", "classifier.5", "before_relu")
VGG = Ending("classifier.3", "classifier.4", "before_relu")
RESNET = Ending("avgpool", "avgpool", "after_relu")
DENSENET = Ending("features", "classifier", "before_relu")
SQUEEZENET = Ending("features", "features", "after_relu")

PENULTIMATE: Mapping[str, tuple[Ending, int]] = {
    "alexnet": (ALEXNET, 4096),
    **{f"vgg{depth}{norm}": (VGG, 4096) for norm in ("", "_bn") for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": (RESNET, 512 if depth < 50 else 2048) for depth in (18, 34, 50, 101, 152)},
    "squeezenet1_0": (SQUEEZENET, 512),
    "squeezenet1_1": (SQUEEZENET, 512),
    "densenet121": (DENSENET, 1024),
    "densenet169": (DENSENET, 1664),
    "densenet201": (DENSENET, 1920),
    "densenet161": (DENSENET, 2208),
}
"""{name in torchvision: (its ending, features)}: the 20 networks of the published table, in its order."""


class PenultimateConfig(Config):
    """The last features of one of 20 networks of torchvision, as a vector an image. A teacher, no backbone.

    `readout` says which: "published" as they were once compared, in some families before and in some after the last
    rectification, so that their numbers are not of one kind; "before_relu" and "after_relu" alike in all of them.
    """

    kind: ClassVar[str] = "cotrain.models.penultimate"
    name: str  # one of `cotrain.models.penultimate_sizes()`
    weights: str = ""
    """Empty: random. Else a name of torchvision's weights ("IMAGENET1K_V1"), or a file of a state dict, relative to the
    data folder (COTRAIN_DATA)."""
    readout: LastFeatures = "published"


class Penultimate(nn.Module):
    """A network up to its last features.

    Args:
        network: The whole one.
        layer: Path of the module in it whose output, averaged over space, are the features.
        features: How many.
    """

    def __init__(self, network: nn.Module, layer: str, features: int) -> None:
        super().__init__()
        self.network, self.layer, self.features = network, layer, features

    def forward(self, images: Tensor) -> Tensor:
        """(images, features) of colour images (images, 3, height, width), normalised as the network expects it."""
        found = pass_to(self.network, images, places(self.network, [self.layer]))[self.layer]
        return found.flatten(2).mean(2) if found.ndim > 2 else found


def penultimate_sizes() -> dict[str, int]:
    """{name in torchvision: features} of the 20 networks whose last features are known, in the published order.

    >>> penultimate_sizes()["resnet18"]
    512
    """
    return {name: features for name, (_, features) in PENULTIMATE.items()}


def penultimate(config: PenultimateConfig) -> Penultimate:
    """Build a network of torchvision, with weights if there are any, for its last features.

    Raises:
        ModelError: The name is not among the 20, or the weights are missing or of another network.
    """
    from torchvision.models import get_model

    if config.name not in PENULTIMATE:
        raise ModelError(
            f"The last layer of {config.name!r} is not known here.{did_you_mean(config.name, list(PENULTIMATE))} Known "
            f"are {', '.join(PENULTIMATE)}."
        )
    ending, features = PENULTIMATE[config.name]
    network: nn.Module = get_model(config.name, weights=None)
    if config.weights:
        load_partial(network, read_weights(config.name, config.weights), strict=True)
    readout = ending.published if config.readout == "published" else config.readout
    if readout == "after_relu":
        if ending is DENSENET:  # it rectifies by a function, after its last module but for the classifier
            network.classifier = nn.Identity()
        return Penultimate(network, ending.after, features)
    if ending is RESNET:  # it rectifies within its last block
        stage = network.get_submodule("layer4")
        assert isinstance(stage, nn.Sequential)
        stage[-1] = _Unrectified(stage[-1])
    elif ending is SQUEEZENET:
        last = network.get_submodule("features.12")
        last.add_module("expand1x1_activation", nn.Identity())
        last.add_module("expand3x3_activation", nn.Identity())
    return Penultimate(network, ending.before, features)


class _Unrectified(nn.Module):
    """A residual block of torchvision that gives the sum of its branch and its shortcut as it is."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        held = dict(self.block.named_children())
        last = sum(name.startswith("conv") for name in held)
        inner = maps
        for number in range(1, last + 1):
            inner = held[f"bn{number}"](held[f"conv{number}"](inner))
            inner = relu(inner) if number < last else inner
        shortcut: Tensor = held["downsample"](maps) if held.get("downsample") is not None else maps
        return inner + shortcut
