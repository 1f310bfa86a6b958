"""Weights from files and from torchvision, loaded where they fit, with a report of what did."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cotrain.errors import ModelError, did_you_mean
from cotrain.settings import data_folder

log = logging.getLogger(__name__)

CONTAINERS = ("state_dict", "model", "backbone", "model_state_dict")
PREFIXES = ("module.", "state_dict.", "model.", "backbone.", "_orig_mod.")
COUNTER = "num_batches_tracked"  # used by no batch norm that has a momentum, and unknown to old files


@dataclass(frozen=True)
class LoadReport:
    """What became of a file's tensors and of a module's; all names are the module's where it has one."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the module only: they stay as they were
    unexpected: tuple[str, ...]  # in the file only
    wrong_shape: tuple[str, ...]  # "name: (4, 3, 7, 7) in the file, (4, 3, 3, 3) in the module"; they stay too

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors loaded"]
        for name in ("missing", "unexpected", "wrong_shape"):
            held = getattr(self, name)
            if held:
                more = f" and {len(held) - 3} more" if len(held) > 3 else ""
                parts.append(
                    f"{len(held)} {name.replace('wrong_shape', 'of another shape')} ({', '.join(held[:3])}{more})"
                )
        return "; ".join(parts)


def load_partial(module: nn.Module, state: Mapping[str, Any], *, strict: bool = False) -> LoadReport:
    """Copy into a module the tensors of a state that have its names and shapes; the rest stays as it is.

    Prefixes that wrappers add ("module.", "model.", "backbone.") are taken off, and a checkpoint that holds its state
    under "state_dict", "model" or "backbone" is opened. Two shapes are adapted:

    - A first convolution of three input channels loads into one of one channel as the sum over its input channels:
      a grey image gets the answers that it would get as a colour image with three equal channels.
    - Position embeddings (1, 1 + tokens, channels) of square images are interpolated bicubically to another number of
      tokens; the class token's stays (Dosovitskiy et al. 2021, ICLR, section 3.2).

    Args:
        module: Changed in place.
        state: A state dict, or a checkpoint around one.
        strict: Refuse anything missing, unexpected or of another shape.

    Returns:
        What was loaded and what was not; its text is also logged.

    Raises:
        ModelError: Nothing fits, or with `strict`, something does not. The module may then be half loaded.
    """
    targets = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    given, unexpected = _aligned(_opened(state), targets)
    first = next((f"{path}.weight" for path, m in module.named_modules() if isinstance(m, nn.Conv2d)), "")
    matched, wrong = [], []
    with torch.no_grad():
        for name, value in given.items():
            fitted = _fitted(name, value, targets[name].shape, is_first=name == first)
            if fitted is None:
                here = tuple(targets[name].shape)
                wrong.append(f"{name}: {tuple(value.shape)} in the file, {here} in the module")
            else:
                targets[name].copy_(fitted)
                matched.append(name)
    missing = [name for name in targets if name not in given and not name.endswith(COUNTER)]
    report = LoadReport(tuple(matched), tuple(missing), tuple(unexpected), tuple(wrong))
    if not matched:
        raise ModelError(
            f"The weights are of another architecture, none fits: they have {_some([*unexpected, *wrong])}; the module "
            f"has {_some(list(targets))}."
        )
    if strict and (missing or unexpected or wrong):
        raise ModelError(f"The weights do not fit exactly: {report}. Load them without strict=True to keep what fits.")
    log.log(logging.WARNING if missing or wrong else logging.INFO, "Weights: %s.", report)
    return report


def read_weights(network: str, weights: str) -> Mapping[str, Any]:
    """The state that `weights` names.

    Args:
        network: A name of torchvision, whose weights are looked up first.
        weights: A name of torchvision's weights, such as "IMAGENET1K_V1", or the path of a file, relative to the data
            folder. Files are read with `weights_only`: tensors and plain containers, no code.

    Raises:
        ModelError: There are no such weights and no such file, or they cannot be read.
    """
    from torchvision.models import get_model_weights

    known = list(get_model_weights(network).__members__)
    if weights in known:
        chosen = get_model_weights(network)[weights]
        try:
            return dict(chosen.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except (OSError, RuntimeError) as error:  # no network, or another hash
            raise ModelError(
                f"{chosen.url} cannot be loaded: {error}. Without a network, put the file into the folder "
                f"{torch.hub.get_dir()}/checkpoints."
            ) from None
    if not (data_folder() / weights).is_file():
        raise ModelError(
            f"torchvision has no weights {weights!r} of {network}, and there is no file {data_folder() / weights}."
            f"{did_you_mean(weights, known)} Paths start from the folder that COTRAIN_DATA names."
        )
    return read_weights_file(weights)


def read_weights_file(weights: str) -> Mapping[str, Any]:
    """The state in a file of weights: tensors and plain containers, no code.

    Args:
        weights: Path, relative to the data folder.

    Raises:
        ModelError: There is no such file, or it cannot be read.
    """
    path = data_folder() / weights
    if not path.is_file():
        raise ModelError(f"There is no file of weights {path}. Paths start from the folder that COTRAIN_DATA names.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as weights: {reason} Expected what torch.save(module.state_dict(), path) writes."
        ) from None
    if not isinstance(state, Mapping):
        raise ModelError(
            f"{path} holds a {type(state).__name__}, expected a state dict: torch.save(module.state_dict(), path)."
        )
    return state


def _opened(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state, which may lie within a checkpoint."""
    while not any(isinstance(value, Tensor) for value in state.values()):
        inner = next((state[key] for key in CONTAINERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            raise ModelError(
                f"Expected a state dict, {{name: tensor}}, or a checkpoint that holds one under "
                f"{' or '.join(CONTAINERS)}; found {_some(list(map(str, state)))}."
            )
        state = inner
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _aligned(state: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """({the module's name: tensor}, names that the module lacks)."""
    given: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for full, value in state.items():
        name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", full)  # as DenseNets were once saved
        while name not in targets and (prefix := next((p for p in PREFIXES if name.startswith(p)), "")):
            name = name.removeprefix(prefix)
        if name in targets and name not in given:
            given[name] = value
        else:
            unexpected.append(full)
    return given, unexpected


def _fitted(name: str, value: Tensor, shape: torch.Size, *, is_first: bool) -> Tensor | None:
    """The tensor in the shape wanted; None where it has another and cannot be adapted."""
    if value.shape == shape:
        return value
    if is_first and value.ndim == 4 and (value.shape[1], shape[1]) == (3, 1):
        value = value.sum(1, keepdim=True)
        return value if value.shape == shape else None
    if name.endswith("pos_embedding") and value.ndim == 3 and (value.shape[0], value.shape[2]) == (1, shape[2]):
        before, after = (round((tokens - 1) ** 0.5) for tokens in (value.shape[1], shape[1]))
        if (before**2 + 1, after**2 + 1) == (value.shape[1], shape[1]):
            grid = value[:, 1:].float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
            grid = interpolate(grid, (after, after), mode="bicubic", align_corners=True)
            return torch.cat([value[:, :1].float(), grid.flatten(2).transpose(1, 2)], 1)
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
