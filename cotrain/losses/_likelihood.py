"""Likelihoods of responses of any unit: Gaussian and Laplace."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.config import Config
from cotrain.losses._objective import Objective, Weight
from cotrain.losses._responses import mean_of_known
from cotrain.tasks import TaskInfo, require_kind


class GaussianConfig(Config):
    """Squared error of responses, in squared units of the responses."""

    kind: ClassVar[str] = "cotrain.losses.gaussian"
    weight: Weight = "learned"


class LaplaceConfig(Config):
    """Absolute error of responses, in their units: outliers pull less than with squared errors."""

    kind: ClassVar[str] = "cotrain.losses.laplace"
    weight: Weight = "learned"


class Gaussian(Objective):
    """Mean squared error over images and neurons; responses that are NaN are left out."""

    precision: ClassVar[float] = 0.5

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Squared units of the responses."""
        known = ~torch.isnan(target)
        return mean_of_known((output - torch.where(known, target, 0)).square(), known)


class Laplace(Objective):
    """Mean absolute error over images and neurons; responses that are NaN are left out.

    A Laplace distribution of variance exp(s) has the scale b = sqrt(exp(s) / 2) and the negative log-likelihood
    |y - f| / b + log(2 b), that is `sqrt(2) exp(-s / 2) * loss + s / 2` but for a constant; at its optimum b is the
    mean absolute error.
    """

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Units of the responses."""
        known = ~torch.isnan(target)
        return mean_of_known((output - torch.where(known, target, 0)).abs(), known)

    def weight(self) -> float | Tensor:
        """1 / b."""
        if self.fixed_weight is not None:
            return self.fixed_weight
        return math.sqrt(2) * torch.exp(-self.log_variance.clamp(max=20) / 2)


def gaussian(task: TaskInfo, config: GaussianConfig) -> Gaussian:
    """The objective of a neural task with responses of any unit."""
    require_kind(task, "neural", config)
    return Gaussian(config.weight)


def laplace(task: TaskInfo, config: LaplaceConfig) -> Laplace:
    """The objective of a neural task with responses of any unit, some of them far out.

    Raises:
        ModelError: The task is of another kind.
    """
    require_kind(task, "neural", config)
    return Laplace(config.weight)
