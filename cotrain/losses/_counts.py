"""Likelihoods of spike counts: quasi-Poisson, Poisson and negative binomial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.dissimilarity import full_precision
from cotrain.losses._bounded import bounded
from cotrain.losses._objective import FixedWeight, Objective, Weight
from cotrain.losses._responses import (
    by_session,
    mean_of_known,
    of_session,
    positive,
    require_not_negative,
)
from cotrain.tasks import SessionInfo, TaskInfo, require_kind

LARGEST = 10.0  # of the logarithm of a dispersion, either way


class QuasiPoissonConfig(Config):
    """Poisson deviance of spike counts; the learned variance is their dispersion (about 1 for Poisson counts)."""

    kind: ClassVar[str] = "cotrain.losses.quasi_poisson"
    weight: Weight = "learned"


class PoissonConfig(Config):
    """Poisson likelihood of spike counts, in nats; its weight is a number (learned weights: `quasi_poisson`)."""

    kind: ClassVar[str] = "cotrain.losses.poisson"
    weight: FixedWeight = 1.0


class NegativeBinomialConfig(Config):
    """Negative binomial likelihood of spike counts, in nats: variance = mean + dispersion * mean squared, learnt."""

    kind: ClassVar[str] = "cotrain.losses.negative_binomial"
    weight: FixedWeight = 1.0
    dispersion: Literal["neuron", "session"] = "neuron"  # one learnt for each neuron, or one for each session


class QuasiPoisson(Objective):
    """Mean Poisson deviance over images and neurons: D = 2 [y log(y / m) - (y - m)], never negative.

    McCullagh & Nelder 1989, Generalized Linear Models, section 2.3. The raw Poisson loss must not get a learned
    weight: it is unbounded below. Responses that are NaN are left out.
    """

    precision: ClassVar[float] = 0.5
    needs_positive_output: ClassVar[bool] = True
    variance_name: ClassVar[str] = "dispersion"

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats, doubled as the deviance is."""
        known = ~torch.isnan(target)
        count = torch.where(known, target, 0)
        mean = positive(output)
        deviance = 2 * (torch.xlogy(count, count) - torch.xlogy(count, mean) - count + mean)
        return mean_of_known(deviance, known)


class Poisson(Objective):
    """Mean negative log-likelihood over images and neurons: m - y log m + log y!.

    Counts that are means of repeats are taken too (y! by the gamma function); NaN is left out.
    """

    needs_positive_output: ClassVar[bool] = True

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats."""
        known = ~torch.isnan(target)
        count = torch.where(known, target, 0)
        mean = positive(full_precision(output))
        return mean_of_known(mean - torch.xlogy(count, mean) + torch.lgamma(count + 1), known)


class Dispersion(nn.Module):
    """The learnt dispersion of one session's neurons: exp(`log_dispersion`), from 1, within exp(-10) and exp(10)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_dispersion = nn.Parameter(torch.zeros(shape))


class NegativeBinomial(Objective):
    """Mean negative log-likelihood over images and neurons, with variance m + a m^2 of a count of mean m.

    Hilbe 2011, Negative Binomial Regression, chapter 8 (NB2), with r = 1 / a: lgamma(r) - lgamma(y + r) +
    log y! + (y + r) log(1 + m / r) - y log(m / r). Its gradient is that of Poisson divided by 1 + a m; the dispersion
    a is a neuron's (or a session's), not a weight of the task. Responses that are NaN are left out.
    """

    needs_positive_output: ClassVar[bool] = True

    def __init__(self, weight: float, sessions: dict[str, SessionInfo], dispersion: str) -> None:
        super().__init__(weight)
        shapes = {name: (held.neurons,) if dispersion == "neuron" else () for name, held in sessions.items()}
        self.sessions = by_session({name: Dispersion(shape) for name, shape in shapes.items()})

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats."""
        held = cast("Dispersion", of_session(self.sessions, session))
        known = ~torch.isnan(target)
        # float64: where r is large, nearly equal numbers are subtracted
        count = torch.where(known, target, 0).double()
        mean = positive(full_precision(output)).double()
        # the predictions of an evaluation are on the CPU, wherever the model is
        r = torch.exp(-bounded(held.log_dispersion, -LARGEST, LARGEST).to(count))
        choices = torch.lgamma(r) - torch.lgamma(count + r) + torch.lgamma(count + 1)
        surprise = choices + (count + r) * torch.log1p(mean / r) - torch.xlogy(count, mean / r)
        return mean_of_known(surprise, known).to(full_precision(output).dtype)

    def parameters_as_scores(self) -> Iterator[tuple[str, float]]:
        """("dispersion", median over neurons or sessions); 0 is Poisson's."""
        yield from super().parameters_as_scores()
        held = [cast("Dispersion", session).log_dispersion.detach().flatten() for session in self.sessions.values()]
        yield "dispersion", torch.cat(held).clamp(-LARGEST, LARGEST).exp().median().item()


def quasi_poisson(task: TaskInfo, config: QuasiPoissonConfig) -> QuasiPoisson:
    """The objective of a neural task with spike counts.

    Raises:
        ModelError: The task is of another kind, or its responses are no counts.
    """
    require_kind(task, "neural", config)
    require_not_negative(task, config, "spike counts")
    return QuasiPoisson(config.weight)


def poisson(task: TaskInfo, config: PoissonConfig) -> Poisson:
    """The objective of a neural task with spike counts that vary as Poisson's do.

    Raises:
        ModelError: The task is of another kind, or its responses are no counts.
    """
    require_kind(task, "neural", config)
    require_not_negative(task, config, "spike counts")
    return Poisson(config.weight)


def negative_binomial(task: TaskInfo, config: NegativeBinomialConfig) -> NegativeBinomial:
    """The objective of a neural task with spike counts that vary more than Poisson's do.

    Raises:
        ModelError: The task is of another kind, or its responses are no counts.
    """
    require_kind(task, "neural", config)
    require_not_negative(task, config, "spike counts")
    return NegativeBinomial(config.weight, dict(task.sessions), config.dispersion)
