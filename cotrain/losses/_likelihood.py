"""Likelihoods of labels and of neural responses."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.losses._objective import Objective, Weight
from cotrain.tasks import TaskInfo, require_kind


class CrossEntropyConfig(Config):
    """Cross-entropy of class scores, in nats."""

    kind: ClassVar[str] = "cotrain.losses.cross_entropy"
    weight: Weight = "learned"


class GaussianConfig(Config):
    """Squared error of responses, in squared units of the responses."""

    kind: ClassVar[str] = "cotrain.losses.gaussian"
    weight: Weight = "learned"


class QuasiPoissonConfig(Config):
    """Poisson deviance of spike counts; the learned variance is their dispersion (about 1 for Poisson counts)."""

    kind: ClassVar[str] = "cotrain.losses.quasi_poisson"
    weight: Weight = "learned"


class CrossEntropy(Objective):
    """Mean cross-entropy over images; its weight is the inverse temperature of Kendall et al., equation 10."""

    def loss(self, output: Float[Tensor, "images classes"], target: Int[Tensor, " images"]) -> Float[Tensor, ""]:
        """Nats an image."""
        return nn.functional.cross_entropy(output, target)


class Gaussian(Objective):
    """Mean squared error over images and neurons; responses that are NaN are left out."""

    precision: ClassVar[float] = 0.5

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"]
    ) -> Float[Tensor, ""]:
        """Squared units of the responses."""
        known = ~torch.isnan(target)
        return _mean((output - torch.where(known, target, 0)).square(), known)


class QuasiPoisson(Objective):
    """Mean Poisson deviance over images and neurons: D = 2 [y log(y / m) - (y - m)], never negative.

    McCullagh & Nelder 1989, Generalized Linear Models, section 2.3. The raw Poisson loss must not get a learned
    weight: it is unbounded below. Responses that are NaN are left out.
    """

    precision: ClassVar[float] = 0.5
    needs_positive_output: ClassVar[bool] = True

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"]
    ) -> Float[Tensor, ""]:
        """Nats, doubled as the deviance is."""
        known = ~torch.isnan(target)
        count = torch.where(known, target, 0)
        # at least 1e-6; the gradient passes, or a neuron that is predicted silent would stay silent for ever
        mean = output + (1e-6 - output).clamp_min(0).detach()
        deviance = 2 * (torch.xlogy(count, count) - torch.xlogy(count, mean) - count + mean)
        return _mean(deviance, known)


def cross_entropy(task: TaskInfo, config: CrossEntropyConfig) -> CrossEntropy:
    """The objective of a classification task."""
    require_kind(task, "classification", config)
    return CrossEntropy(config.weight)


def gaussian(task: TaskInfo, config: GaussianConfig) -> Gaussian:
    """The objective of a neural task with responses of any unit."""
    require_kind(task, "neural", config)
    return Gaussian(config.weight)


def quasi_poisson(task: TaskInfo, config: QuasiPoissonConfig) -> QuasiPoisson:
    """The objective of a neural task with spike counts.

    Raises:
        ModelError: The task is of another kind, or its responses are no counts.
    """
    require_kind(task, "neural", config)
    below = {name: held.lowest_response for name, held in task.sessions.items() if held.lowest_response < 0}
    if below:
        raise ModelError(
            f"{config.kind} needs spike counts, which are never below 0; found responses as low as {below}. "
            "Use counts (standardise=False), or cotrain.losses.gaussian."
        )
    return QuasiPoisson(config.weight)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Over what is known. The values must be finite elsewhere too: the gradient of a NaN that is left out is NaN."""
    return torch.where(known, values, 0).sum() / known.sum().clamp_min(1)
