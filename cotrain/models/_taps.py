"""Taps by depth: the module at a fraction of the way through a backbone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from cotrain.errors import ModelError
from cotrain.models._backbone import find_tap

DEPTH = "depth:"
NO_DEPTHS = "The backbone has no blocks, so it has no depths; name a module path as the tap."
NO_BLOCKS = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten, nn.Identity)


def resolve_tap(backbone: nn.Module, tap: str, image_shape: tuple[int, ...]) -> str:
    """The module path that a tap names.

    `depth:f` with f in 0..1 is the first block at which the share f of all blocks is done, that is number ceil(f n) of
    n, and the first one for f = 0. The blocks are those of `blocks`.

    Args:
        backbone: Any module that takes images.
        tap: A module path, or a depth such as "depth:0.5".
        image_shape: (channels, height, width) as the backbone takes them, for a trial pass that finds the order.

    Raises:
        ModelError: There is no module of that path, no such depth, or the images do not pass.
    """
    if not is_depth(tap):
        find_tap(backbone, tap)
        return tap
    depth = _depth(tap)  # a wrong one needs no pass
    return _at(depth, blocks(backbone, image_shape))


def is_depth(tap: str) -> bool:
    """Whether a tap is written as a depth, right or wrong."""
    return tap.startswith(DEPTH)


def at_depth(tap: str, known: Sequence[str]) -> str:
    """The block that a depth such as "depth:0.5" names, of blocks in the order of a pass; see `resolve_tap`.

    Raises:
        ModelError: It is no depth, or there are no blocks.
    """
    depth = _depth(tap)
    if not known:
        raise ModelError(NO_DEPTHS)
    return _at(depth, known)


def _depth(tap: str) -> float:
    try:
        depth = float(tap.removeprefix(DEPTH))
    except ValueError:
        depth = math.nan
    if not 0 <= depth <= 1:
        raise ModelError(f"A depth is written as 'depth:0.5', with a number from 0 to 1, found {tap!r}.")
    return depth


def _at(depth: float, known: Sequence[str]) -> str:
    return known[max(1, math.ceil(round(depth * len(known), 9))) - 1]  # 0.28 * 25 is 7.000000000000001


def blocks(backbone: nn.Module, image_shape: tuple[int, ...]) -> list[str]:
    """Paths of the backbone's blocks in the order in which a forward pass enters them.

    The backbone's children are its blocks; a container is replaced by its own children. Containers are module lists,
    the encoder of a ViT, and Sequentials that hold more than one convolution or anything that has children itself. So
    the blocks of a VGG are its single layers, those of a ResNet its stem's layers and its residual blocks, those of a
    ViT its patch embedding, encoder blocks and last norm. What pools, flattens or drops at the end is no block, nor is
    what the pass never enters.
    """
    visited: list[str] = []
    handles: list[RemovableHandle] = []

    def visit(path: str) -> None:
        if path not in visited:
            visited.append(path)

    was_training = backbone.training
    backbone.eval()
    try:
        for path in block_paths(backbone):
            handles.append(backbone.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: visit(path)))
        first = next(backbone.parameters(), torch.zeros(()))
        with torch.no_grad():
            backbone(torch.zeros(1, *image_shape, device=first.device, dtype=first.dtype))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(
            f"Images of {image_shape} do not pass through the backbone, so its depths are unknown: {error} "
            f"{'Set its image_size' if isinstance(error, AssertionError) else 'Take larger ones'}, or name a module "
            "path as the tap."
        ) from None
    finally:
        backbone.train(was_training)
        for handle in handles:
            handle.remove()
    if not visited:
        raise ModelError(NO_DEPTHS)
    return visited


def block_paths(backbone: nn.Module) -> list[str]:
    """Paths of all that `blocks` would find if a pass entered all of it, in the order in which they were defined."""
    return [path for path, _ in _candidates(backbone, "")]


def _candidates(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        if _is_container(child):
            yield from _candidates(child, below)
        elif not isinstance(child, NO_BLOCKS) and type(child).__name__ != "Permute":
            yield below, child


def _is_container(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential):
        children = list(module.children())
        convolutions = sum(isinstance(child, nn.Conv2d) for child in children)
        return convolutions > 1 or any(next(child.children(), None) is not None for child in children)
    kind = type(module)
    return isinstance(module, nn.ModuleList) or (
        kind.__name__ == "Encoder" and kind.__module__ == "torchvision.models.vision_transformer"
    )
