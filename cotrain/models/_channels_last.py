"""Which modules of torchvision's networks give maps as (images, height, width, channels)."""

from __future__ import annotations

from torch import nn


def channels_last(backbone: nn.Module, path: str) -> bool:
    """Whether four-dimensional outputs of the module at `path` have their channels last.

    So they have in a Swin, but for its patch embedding's convolution and what follows its last norm, and between the
    two permutations of a ConvNeXt block. Shapes alone cannot tell: (2, 8, 8, 8) may be either.
    """
    steps = path.split(".")
    for depth in range(len(steps)):
        owner, below = backbone.get_submodule(".".join(steps[:depth])), steps[depth:]
        if not type(owner).__module__.startswith("torchvision."):
            continue
        name = type(owner).__name__
        if name == "SwinTransformer" and below[0] in ("features", "norm"):
            return not isinstance(backbone.get_submodule(path), nn.Conv2d)
        if name == "CNBlock" and len(below) > 1:
            block = backbone.get_submodule(".".join([*steps[:depth], "block"]))
            turns = [key for key, child in block.named_children() if type(child).__name__ == "Permute"]
            order = [key for key, _ in block.named_children()]
            return order.index(turns[0]) <= order.index(below[1]) < order.index(turns[-1])
    return False
