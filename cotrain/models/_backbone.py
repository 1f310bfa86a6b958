"""What is asked of any backbone: its input channels, and its features at a tap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cotrain.errors import ModelError, did_you_mean
from cotrain.models._channels_last import channels_last


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
        {tap: features} as the modules give them: maps (images, channels, height, width), tokens of a ViT (images, 1 +
        height * width, channels) with the class token first, or vectors (images, features). The maps of modules that
        work on (images, height, width, channels), as in a Swin, are turned to channels first. Of a module that the
        backbone uses several times, what it gives first.

    Raises:
        ModelError: A tap is no module of the backbone, or was not reached.
    """
    return pass_to(backbone, images, places(backbone, taps))


Places = list[tuple[str, nn.Module, bool]]
"""(tap, its module, whether its maps have their channels last)."""


def places(backbone: nn.Module, taps: Sequence[str]) -> Places:
    """Where taps are, each once; looked up before many passes, since a look-up costs as much as a small layer.

    Raises:
        ModelError: A tap is no module of the backbone.
    """
    return [(tap, find_tap(backbone, tap), channels_last(backbone, tap)) for tap in dict.fromkeys(taps)]


def pass_to(backbone: nn.Module, images: Tensor, wanted: Places) -> dict[str, Tensor]:
    """What `tapped` gives, at places that were looked up.

    Raises:
        ModelError: A tap was not reached, or gives no tensor.
    """
    found = dict[str, Tensor]()
    handles: list[RemovableHandle] = []

    def keep(tap: str, turn: bool, output: Any) -> None:
        if tap in found:
            return
        if not isinstance(output, Tensor):
            raise ModelError(f"the tap {tap!r} gives no features but a {type(output).__name__}; tap elsewhere.")
        if turn and output.ndim == 4:
            output = output.permute(0, 3, 1, 2)
        last = len(found) + 1 == len(wanted)
        found[tap] = output if last else output.clone()  # ResNets go on by adding to some outputs in place
        if last:
            raise _Reached

    try:
        for tap, module, turn in wanted:
            handles.append(
                module.register_forward_hook(lambda _m, _i, output, tap=tap, turn=turn: keep(tap, turn, output))
            )
        backbone(images)
    except _Reached:
        return found
    finally:
        for handle in handles:
            handle.remove()
    missing = sorted(tap for tap, *_ in wanted if tap not in found)
    raise ModelError(f"The forward pass never reached {', '.join(missing)}.")


def find_tap(backbone: nn.Module, tap: str) -> nn.Module:
    """The module at a path; an error that names near paths where there is none."""
    try:
        if tap:
            return backbone.get_submodule(tap)
    except AttributeError:
        pass
    paths = [path for path, _ in backbone.named_modules() if path and path.count(".") <= max(1, tap.count("."))]
    raise ModelError(f"The backbone has no tap {tap!r}.{did_you_mean(tap, paths)}")
