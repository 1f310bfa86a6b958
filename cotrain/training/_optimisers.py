"""Optimisers over groups of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt, MinLen
from torch import nn

from cotrain.config import AddedLater, Config
from cotrain.errors import TrainingError
from cotrain.models import chosen_parameters

Betas = tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]]


class ParameterGroupConfig(Config):
    """Parameters with a learning rate or a weight decay of their own."""

    kind: ClassVar[str] = "cotrain.training.ParameterGroupConfig"
    parameters: Annotated[tuple[str, ...], MinLen(1)]
    """Paths in the model as shell patterns, with `*` for any text: "backbone.layer1" is all that is in it, "heads.*",
    "*.bias". Heads and objectives count too."""
    lr_factor: Annotated[float, Gt(0)] = 1.0  # of the optimiser's learning rate
    weight_decay: Annotated[float, Ge(0)] | None = None  # of those that decay at all; None: as the optimiser's


Groups = tuple[ParameterGroupConfig, ...]


class SgdConfig(Config):
    """Stochastic gradient descent with momentum."""

    kind: ClassVar[str] = "cotrain.training.sgd"
    lr: Annotated[float, Gt(0)] = 0.1
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    groups: Annotated[Groups, AddedLater(neutral=())] = ()  # a parameter takes the first that fits


class AdamConfig(Config):
    """Adam (Kingma & Ba 2015, ICLR, arXiv 1412.6980); weight decay is added to the gradient, as an L2 penalty would be.

    So it is divided by the gradient's size, unlike that of AdamW: one number means much less here.
    """

    kind: ClassVar[str] = "cotrain.training.adam"
    lr: Annotated[float, Gt(0)] = 1e-3
    betas: Betas = (0.9, 0.999)
    weight_decay: Annotated[float, Ge(0)] = 0.0
    groups: Groups = ()  # a parameter takes the first that fits


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, ICLR)."""

    kind: ClassVar[str] = "cotrain.training.adamw"
    lr: Annotated[float, Gt(0)] = 2e-3
    betas: Betas = (0.9, 0.999)
    weight_decay: Annotated[float, Ge(0)] = 1e-2
    groups: Annotated[Groups, AddedLater(neutral=())] = ()  # a parameter takes the first that fits


def sgd(model: nn.Module, config: SgdConfig) -> torch.optim.Optimizer:
    """SGD over the parameters of a model.

    Raises:
        ModelError: A pattern of a group chooses nothing.
        TrainingError: It chooses nothing that is trained, or that earlier groups left.
    """
    groups = parameter_groups(model, config.weight_decay, lr=config.lr, groups=config.groups)
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=_fused(groups)
    )


def adam(model: nn.Module, config: AdamConfig) -> torch.optim.Optimizer:
    """Adam over the parameters of a model; raises as `sgd` does."""
    groups = parameter_groups(model, config.weight_decay, lr=config.lr, groups=config.groups)
    return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=_fused(groups))


def adamw(model: nn.Module, config: AdamWConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters of a model; raises as `sgd` does."""
    groups = parameter_groups(model, config.weight_decay, lr=config.lr, groups=config.groups)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=_fused(groups))


def parameter_groups(
    model: nn.Module, weight_decay: float, *, lr: float | None = None, groups: Groups = ()
) -> list[dict[str, Any]]:
    """Parameters with and without weight decay, as torch's optimisers take them.

    Only weights of layers decay. Biases and gains of normalisations would lose their scale, a readout's places are
    coordinates, and the learned weight of a task would be pulled to 1. Frozen parameters are in no group.

    Args:
        model: Whose parameters.
        weight_decay: Of those that decay.
        lr: The learning rate, needed where a group has a factor of it.
        groups: Parameters apart from the others.

    Returns:
        Two groups, with and without decay, and for each of `groups` as many of these two as are not empty.

    Raises:
        ModelError: A pattern chooses nothing.
        TrainingError: It chooses only frozen parameters, or only such as earlier groups took; or a group has a weight
            decay, and none of its parameters decays.
    """
    taken = _taken(model, groups)
    found = _with_and_without_decay(
        {name: p for name, p in model.named_parameters() if p.requires_grad and name not in taken}, weight_decay
    )
    for number, group in enumerate(groups):
        own = {name: p for name, p in model.named_parameters() if taken.get(name) == number}
        parts = _with_and_without_decay(own, weight_decay if group.weight_decay is None else group.weight_decay)
        if group.weight_decay and not parts[0]["params"]:
            raise TrainingError(
                f"groups: weight_decay={group.weight_decay} has no effect on {', '.join(group.parameters)}. Biases, "
                "gains, places of readouts and parameters of objectives never decay; leave it out."
            )
        if group.lr_factor != 1.0:
            if lr is None:
                raise TrainingError("groups: lr_factor needs the learning rate; give parameter_groups its `lr`.")
            parts = [{**part, "lr": lr * group.lr_factor} for part in parts]
        found += [part for part in parts if part["params"]]
    return found


def _with_and_without_decay(parameters: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        exempt = parameter.ndim <= 1 or name.startswith("objectives.") or name.endswith((".mu", ".sigma"))
        (stays if exempt else decays).append(parameter)
    return [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]


def _taken(model: nn.Module, groups: Sequence[ParameterGroupConfig]) -> dict[str, int]:
    """{name of a parameter: number of the first group that fits it}."""
    taken: dict[str, int] = {}
    for number, group in enumerate(groups):
        for pattern in group.parameters:
            fits = chosen_parameters(model, [pattern], what="groups")
            trained = [name for name, parameter in fits.items() if parameter.requires_grad]
            if not trained:
                first = next(iter(fits))
                raise TrainingError(f"groups: all parameters that fit {pattern!r} are frozen, such as {first!r}.")
            for name in trained:
                taken.setdefault(name, number)
            if all(taken[name] != number for name in trained):
                raise TrainingError(
                    f"groups: earlier groups took all that fits {pattern!r}, such as {trained[0]!r}. "
                    "A parameter takes the first group that fits: put the narrower patterns first."
                )
    return taken


def _fused(groups: list[dict[str, Any]]) -> bool | None:
    """Whether one kernel may make the whole step; None leaves the choice to torch."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    return True if parameters and all(parameter.is_cuda for parameter in parameters) else None
