"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from cotrain.config import Config


class SgdConfig(Config):
    """Stochastic gradient descent with momentum."""

    kind: ClassVar[str] = "cotrain.training.sgd"
    lr: Annotated[float, Gt(0)] = 0.1
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Ge(0)] = 5e-4


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, ICLR)."""

    kind: ClassVar[str] = "cotrain.training.adamw"
    lr: Annotated[float, Gt(0)] = 2e-3
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Ge(0)] = 1e-2


def sgd(model: nn.Module, config: SgdConfig) -> torch.optim.Optimizer:
    """SGD over the parameters of a model."""
    groups = parameter_groups(model, config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def adamw(model: nn.Module, config: AdamWConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters of a model."""
    return torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.lr, betas=config.betas)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay.

    Only weights of layers decay. Biases and gains of normalisations would lose their scale, a readout's places are
    coordinates, and the learned weight of a task would be pulled to 1. Frozen parameters are in no group.
    """
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # frozen
            continue
        exempt = parameter.ndim <= 1 or name.startswith("objectives.") or name.endswith((".mu", ".sigma"))
        (stays if exempt else decays).append(parameter)
    return [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]


class ConstantConfig(Config):
    """The learning rate stays."""

    kind: ClassVar[str] = "cotrain.training.constant"


class CosineConfig(Config):
    """Linear warm-up, then half a cosine that ends one step short of `floor` (Loshchilov & Hutter 2017, ICLR)."""

    kind: ClassVar[str] = "cotrain.training.cosine"
    warm_up: Annotated[float, Ge(0), Lt(1)] = 0.1  # share of all steps
    floor: Annotated[float, Ge(0), Le(1)] = 0.01  # share of the learning rate


RateSchedule = Callable[[int], float]
"""Optimiser step, counted from 0 -> factor of the learning rate; it has no state, so none can be lost."""


def constant(steps: int, config: ConstantConfig) -> RateSchedule:  # noqa: ARG001 - the signature of schedules
    """Factor 1 throughout."""
    return lambda _: 1.0


def cosine(steps: int, config: CosineConfig) -> RateSchedule:
    """Warm-up and cosine over `steps` optimiser steps."""
    warm_up = round(config.warm_up * steps)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        done = min(1.0, (step - warm_up) / max(1, steps - warm_up))
        return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * done)) / 2

    return factor
