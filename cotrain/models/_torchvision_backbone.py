"""The classification networks of torchvision as backbones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn.functional import dropout

from cotrain.config import AddedLater, Config
from cotrain.errors import ModelError, did_you_mean
from cotrain.models._path_patterns import freeze, matching
from cotrain.models._torchvision_families import Family, family_of, small_patch
from cotrain.models._weights import load_partial, read_weights

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU)
IMAGE_SIZE = 224  # for which torchvision builds networks of one image size


class TorchvisionBackboneConfig(Config):
    """A classification network of torchvision without its classifier; taps by module path or depth."""

    kind: ClassVar[str] = "cotrain.models.torchvision_backbone"
    name: str  # as in torchvision.models, for example "vgg11_bn", "resnet18" or "vit_b_16"
    stem: Annotated[Literal["imagenet", "small"], AddedLater(neutral="imagenet")] = "imagenet"
    """`small` is for images of some 32 to 64 pixels: a first convolution of stride 1 and no max pool after it; patches
    of 2 x 2 (ConvNeXt, Swin) or a quarter of the side (ViT). VGGs need none and MaxViT has none."""
    image_size: Annotated[int, Ge(0), AddedLater(neutral=0)] = 0
    """Height and width of the images, for ViT and MaxViT only, which are built for one size; 0: 224."""
    input_channels: Annotated[Literal[1, 3], AddedLater(neutral=3)] = 3  # grey or colour; other images are converted
    weights: Annotated[str, AddedLater(neutral="")] = ""
    """Empty: random. Else a name of torchvision's weights ("IMAGENET1K_V1", or "DEFAULT", which may be others in
    another torchvision), or a file of a state dict, relative to the data folder (COTRAIN_DATA). What fits is loaded."""
    dropout: Annotated[float, Ge(0), Lt(1), AddedLater(neutral=0.0)] = 0.0
    """Share of values that training sets to 0 after each activation; in ViT, Swin and MaxViT where torchvision does."""
    freeze: Annotated[tuple[str, ...], AddedLater(neutral=())] = ()
    """Patterns of paths, such as "layer1" or "*.bias"; parameters that fit are not trained."""
    reset: Annotated[tuple[str, ...], AddedLater(neutral=())] = ()
    """Patterns of paths; what fits keeps its random start instead of `weights`."""


def torchvision_backbone(config: TorchvisionBackboneConfig) -> nn.Module:
    """The network up to its classifier, which is left out.

    Layers are initialised as torchvision does, from torch's generator. The classifiers of VGG and AlexNet, with most
    of their weights, are never drawn; other families draw theirs, so that their first layers are those of a whole
    network of the same seed. Dropout is a hook on activations, so that no path or name of the state changes; it leaves
    out the activations within squeeze-and-excitation, and the last one of a DenseNet, which is no module.

    Raises:
        ModelError: torchvision has no such classification network, or not with these settings, or weights or patterns
            do not fit it.
    """
    family = _family(config)
    network = _random_network(config, family)
    if config.stem == "small" or config.input_channels != 3:
        _new_entry(network, config, family)
    if config.dropout and not family.dropout:
        _add_dropout(network, config.dropout)
    if config.weights:
        state = network.state_dict()
        start = {name: state[name].clone() for name in matching(network, config.reset, what="reset")}
        try:
            load_partial(network, read_weights(config.name, config.weights))
        except ModelError as error:
            raise ModelError(f"{config.name}, weights={config.weights!r}: {error}") from None
        with torch.no_grad():
            for name, value in start.items():
                state[name].copy_(value)
    freeze(network, config.freeze)
    return network


def _family(config: TorchvisionBackboneConfig) -> Family:
    """The family of the network, once all settings are known to suit it."""
    from torchvision import models

    known = [name for name in models.list_models(module=models) if family_of(name)]
    family = family_of(config.name)
    if config.name not in known or family is None:
        raise ModelError(
            f"torchvision has no classification network {config.name!r} that is known here."
            f"{did_you_mean(config.name, known)}"
        )
    if config.stem == "small" and family.small is None:
        why = "its first convolution has stride 1 and no max pool follows" if family.small_already else "it has none"
        raise ModelError(f"stem='small' does not change {config.name}: {why}. Leave stem='imagenet'.")
    if config.image_size and not family.sized:
        raise ModelError(f"{config.name} takes images of any size: leave out image_size={config.image_size}.")
    if config.reset and not config.weights:
        raise ModelError("reset gives what `weights` loads its random start again, but there are no weights to load.")
    return family


def _random_network(config: TorchvisionBackboneConfig, family: Family) -> nn.Module:
    """As torchvision builds it, without its classifier."""
    from torchvision.models import get_model

    settings: dict[str, Any] = dict(family.settings)
    if config.dropout and family.dropout:
        settings[family.dropout] = config.dropout
    if family.sized:
        settings |= _size(config, family)
    if not family.lazy:
        try:
            network: nn.Module = get_model(config.name, weights=None, **settings)
        except ValueError as error:  # only MaxViT looks at its size so closely
            raise ModelError(
                f"{config.name}, image_size={config.image_size}: {error} Take a multiple of 224."
            ) from None
        setattr(network, family.classifier, nn.Identity())
        return network
    with torch.device("meta"):  # shapes without numbers
        network = get_model(config.name, weights=None, **settings)
    setattr(network, family.classifier, nn.Identity())
    network.to_empty(device=torch.get_default_device())
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d):
            family.draw(module)
    return network


def _size(config: TorchvisionBackboneConfig, family: Family) -> dict[str, Any]:
    """The size of images, as the family's builder takes it."""
    size = config.image_size or IMAGE_SIZE
    if not family.cuts_patches:
        return {"input_size": (size, size)}
    patch = usual = int(config.name.rpartition("_")[2])
    if config.stem == "small":
        patch = small_patch(usual)
    if size % patch:
        raise ModelError(f"{config.name} cuts patches of {patch} x {patch}: {size} is no multiple; change image_size.")
    return {"image_size": size // patch * usual}  # as many patches, hence position embeddings, as there will be


def _new_entry(network: nn.Module, config: TorchvisionBackboneConfig, family: Family) -> None:
    """Put a first convolution for small or grey images in the place of the usual one."""
    old = network.get_submodule(family.entry)
    assert isinstance(old, nn.Conv2d)  # so the table of families says
    shape: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    if config.stem == "small":
        side, step = (small_patch(old.kernel_size[0]),) * 2 if family.cuts_patches else family.small or (0, 0)
        shape = {"kernel_size": side, "stride": step, "padding": 0 if side == step else side // 2}  # patches: no margin
        if family.pool:
            _replace(network, family.pool, nn.Identity())
        if family.cuts_patches:  # the network checks the images by these
            network.patch_size, network.image_size = side, config.image_size or IMAGE_SIZE  # type: ignore[assignment]
    new = nn.Conv2d(config.input_channels, old.out_channels, **shape, bias=old.bias is not None)
    family.draw(new)
    _replace(network, family.entry, new)


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, name = path.rpartition(".")
    setattr(network.get_submodule(owner), name, module)


def _add_dropout(network: nn.Module, share: float) -> None:
    """Dropout (Srivastava et al. 2014, JMLR) on what activations give, by hooks that pickle and copy."""
    for path, module in network.named_modules():
        kind = type(module).__name__
        within = [type(network.get_submodule(owner)).__name__ for owner in _owners(path)]
        if "SqueezeExcitation" in within:
            continue
        if isinstance(module, ACTIVATIONS) or kind == "BasicConv2d":  # GoogLeNet's and Inception's end in a bare relu
            module.register_forward_hook(partial(_drop, share))


def _drop(share: float, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return dropout(output, share, module.training)


def _owners(path: str) -> Sequence[str]:
    steps = path.split(".")
    return [".".join(steps[:end]) for end in range(1, len(steps))]
