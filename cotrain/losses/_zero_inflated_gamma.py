"""The likelihood of deconvolved calcium traces: often exactly zero, else positive and skewed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.dissimilarity import full_precision
from cotrain.losses._bounded import bounded
from cotrain.losses._objective import FixedWeight, Objective
from cotrain.losses._responses import (
    SMALLEST,
    by_session,
    mean_of_known,
    of_session,
    positive,
    require_not_negative,
)
from cotrain.tasks import SessionInfo, TaskInfo, require_kind

LARGEST = 10.0  # of the logarithms of shape and of event size (in mean responses), either way


class ZeroInflatedGammaConfig(Config):
    """Zero-inflated gamma likelihood of responses that are never below 0; shape and share of zeros learnt a neuron."""

    kind: ClassVar[str] = "cotrain.losses.zero_inflated_gamma"
    weight: FixedWeight = 1.0


class ZeroInflatedGammaSession(nn.Module):
    """The learnt shape k = exp(`log_shape`) and event size c = mean response * exp(`log_size`) of a session's neurons.

    Both start from 1 (in mean responses for c), and stay within exp(-10) and exp(10).
    """

    mean: Tensor

    def __init__(self, session: SessionInfo) -> None:
        super().__init__()
        self.log_shape = nn.Parameter(torch.zeros(session.neurons))
        self.log_size = nn.Parameter(torch.zeros(session.neurons))
        # of the data, and so rebuilt with the model: checkpoints need not hold it
        self.register_buffer("mean", torch.tensor(session.mean_response).clamp_min(SMALLEST), persistent=False)


class ZeroInflatedGamma(Objective):
    """Mean negative log-likelihood over images and neurons of a response that is 0 or gamma distributed.

    After Wei et al. 2020 (A zero-inflated gamma model for post-deconvolved calcium imaging traces; NBDT), where
    a network gives three numbers a response. Here it gives one, the mean m, and two parameters a neuron are learnt:

        P(y = 0) = c / (c + m),    y given y > 0: gamma of shape k and mean c + m

    The mean of y is then m for every k and c, and both kinds of response teach the network: its zeros say that m is
    small beside c, the typical size of the neuron's smallest events; c towards 0 leaves a pure gamma likelihood.
    Responses up to 0 count as zeros; those that are NaN are left out.
    """

    needs_positive_output: ClassVar[bool] = True
    may_be_negative: ClassVar[bool] = True  # a density may be larger than 1

    def __init__(self, weight: float, sessions: dict[str, SessionInfo]) -> None:
        super().__init__(weight)
        self.sessions = by_session({name: ZeroInflatedGammaSession(held) for name, held in sessions.items()})

    def loss(
        self, output: Float[Tensor, "images neurons"], target: Float[Tensor, "images neurons"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats; that of a density where the response is above 0, so it may be negative."""
        held = cast("ZeroInflatedGammaSession", of_session(self.sessions, session))
        known, active = ~torch.isnan(target), target > 0
        response = torch.where(active, target, 1).double()
        mean = positive(full_precision(output)).double()
        # the predictions of an evaluation are on the CPU, wherever the model is
        shape = torch.exp(bounded(held.log_shape, -LARGEST, LARGEST).to(response))
        size = held.mean.to(response) * torch.exp(bounded(held.log_size, -LARGEST, LARGEST).to(response))
        rate = shape / (size + mean)
        gamma = torch.lgamma(shape) - shape * rate.log() - (shape - 1) * response.log() + rate * response
        surprise = torch.where(active, torch.log1p(size / mean) + gamma, torch.log1p(mean / size))
        return mean_of_known(surprise, known).to(full_precision(output).dtype)

    def parameters_as_scores(self) -> Iterator[tuple[str, float]]:
        """("shape", k) and ("zero_probability", of a neuron at its mean response): medians over neurons."""
        yield from super().parameters_as_scores()
        held = [cast("ZeroInflatedGammaSession", session) for session in self.sessions.values()]
        shape = torch.cat([session.log_shape.detach() for session in held]).clamp(-LARGEST, LARGEST).exp()
        size = torch.cat([session.log_size.detach() for session in held]).clamp(-LARGEST, LARGEST)
        yield "shape", shape.median().item()
        yield "zero_probability", size.sigmoid().median().item()


def zero_inflated_gamma(task: TaskInfo, config: ZeroInflatedGammaConfig) -> ZeroInflatedGamma:
    """The objective of a neural task with deconvolved calcium traces.

    Raises:
        ModelError: The task is of another kind, or has responses below 0.
    """
    require_kind(task, "neural", config)
    require_not_negative(task, config, "event rates or amplitudes")
    return ZeroInflatedGamma(config.weight, dict(task.sessions))
