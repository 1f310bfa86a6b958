"""An exponential average of the weights, which is what is validated, kept and tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from cotrain.config import Config
from cotrain.training._hooks import Hook, Training


class AverageWeightsConfig(Config):
    """Validation, best weights and test are of an exponential average of the parameters (Polyak & Juditsky 1992, SIAM
    J. Control Optim.); training itself goes on as without it.

    Running statistics of batch norms are not averaged: they are those of the weights that are trained.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.average_weights"
    decay: Annotated[float, Gt(0), Lt(1)] = 0.999  # share of the average that an update keeps
    every: Annotated[int, Ge(1)] = 1  # optimiser steps between updates


class AverageWeights(Hook):
    """The n-th update, from 0, keeps min(decay, (1 + n) / (10 + n)), so that first weights are soon forgotten."""

    def __init__(self, config: AverageWeightsConfig) -> None:
        self.config = config
        self.updates = 0

    def start(self, training: Training) -> None:
        """Begin with the first weights."""
        self.parameters: list[Tensor] = list(training.model.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def step_end(self, step: int) -> None:
        """Move the average towards the weights."""
        if step % self.config.every == 0:
            keep = min(self.config.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self.average, self.parameters, 1 - keep)
            self.updates += 1

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model has the averaged weights, then its own again."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Any]:
        """The average, and of how many updates it is."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.updates = state["updates"]
        for tensor, held in zip(self.average, state["average"], strict=True):
            tensor.copy_(held)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, values)


def average_weights(config: AverageWeightsConfig) -> Hook:
    """The hook of a config."""
    return AverageWeights(config)
