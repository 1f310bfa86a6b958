"""Backbones: the trunk that tasks share, and how features are read from it at a tap."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cotrain.config import Config
from cotrain.errors import ModelError, did_you_mean

Positive = Annotated[int, Ge(1)]


class SmallCnnConfig(Config):
    """A small convolutional network for CPUs and early visual areas; taps `layer1`, `layer2` and so on."""

    kind: ClassVar[str] = "cotrain.models.small_cnn"
    layers: Annotated[tuple[tuple[Positive, Positive, Positive], ...], MinLen(1)] = ((32, 5, 2), (64, 3, 2), (64, 3, 1))
    """(channels, kernel size, stride) a layer."""
    activation: Literal["relu", "elu"] = "relu"
    input_channels: Literal[1, 3] = 1  # grey or colour; images of the other sort are converted


class TorchvisionBackboneConfig(Config):
    """A VGG or ResNet of torchvision without its classifier, initialised at random; taps by module path."""

    kind: ClassVar[str] = "cotrain.models.torchvision_backbone"
    name: str  # as in torchvision.models, for example "vgg11_bn" or "resnet18"


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


def torchvision_backbone(config: TorchvisionBackboneConfig) -> nn.Module:
    """The network up to its classifier, which is left out.

    Raises:
        ModelError: torchvision has no VGG or ResNet of that name.
    """
    from torchvision.models import get_model, list_models

    known = [name for name in list_models() if name.startswith(("vgg", "resnet", "resnext", "wide_resnet"))]
    if config.name not in known:
        raise ModelError(f"torchvision has no VGG or ResNet {config.name!r}.{did_you_mean(config.name, known)}")
    network: nn.Module = get_model(config.name, weights=None)
    setattr(network, "fc" if hasattr(network, "fc") else "classifier", nn.Identity())
    return network


def input_channels(backbone: nn.Module) -> int:
    """How many channels its first convolution takes."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ModelError("The backbone has no convolution, so the channels of its images are unknown.")


class _Reached(Exception):
    """Ends a forward pass at its last tap."""


def tapped(backbone: nn.Module, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
    """The outputs of some modules for a batch of images; no layer is computed after the last of them.

    Args:
        backbone: Any module that takes images.
        images: (images, channels, height, width).
        taps: Module paths, as in `backbone.named_modules()`.

    Returns:
        {tap: features}; of a module that the backbone uses several times, what it gives first.

    Raises:
        ModelError: A tap is no module of the backbone, or was not reached.
    """
    wanted, found = set(taps), dict[str, Tensor]()
    handles: list[RemovableHandle] = []

    def keep(tap: str, output: Any) -> None:
        if tap in found:
            return
        if not isinstance(output, Tensor):
            raise ModelError(f"the tap {tap!r} gives no features but a {type(output).__name__}; tap elsewhere.")
        last = len(found) + 1 == len(wanted)
        found[tap] = output if last else output.clone()  # ResNets go on by adding to some outputs in place
        if last:
            raise _Reached

    try:
        for tap in wanted:
            module = find_tap(backbone, tap)
            handles.append(module.register_forward_hook(lambda _m, _i, output, tap=tap: keep(tap, output)))
        backbone(images)
    except _Reached:
        return found
    finally:
        for handle in handles:
            handle.remove()
    raise ModelError(f"The forward pass never reached {', '.join(sorted(wanted - set(found)))}.")


def find_tap(backbone: nn.Module, tap: str) -> nn.Module:
    """The module at a path; an error that names near paths where there is none."""
    try:
        if tap:
            return backbone.get_submodule(tap)
    except AttributeError:
        pass
    paths = [path for path, _ in backbone.named_modules() if path and path.count(".") <= max(1, tap.count("."))]
    raise ModelError(f"The backbone has no tap {tap!r}.{did_you_mean(tap, paths)}")
