"""What the likelihoods of neural responses share: unknown responses, positive predictions, parameters a session."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import ModelError, did_you_mean
from cotrain.tasks import TaskInfo

SMALLEST = 1e-6  # mean response that is told from none


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """Over what is known. The values must be finite elsewhere too: the gradient of a NaN that is left out is NaN."""
    return torch.where(known, values, 0).sum() / known.sum().clamp_min(1)


def positive(output: Tensor) -> Tensor:
    """`output`, at least `SMALLEST`; the gradient passes, or a neuron predicted silent would stay silent for ever."""
    return output + (SMALLEST - output).clamp_min(0).detach()


def require_not_negative(task: TaskInfo, config: Config, what: str) -> None:
    """Refuse a task with responses below 0.

    Raises:
        ModelError: Some are; the sessions are named.
    """
    below = {name: held.lowest_response for name, held in task.sessions.items() if held.lowest_response < 0}
    if below:
        raise ModelError(
            f"{config.kind} needs {what}, which are never below 0; found responses as low as {below}. "
            "Use counts (standardise=False), or cotrain.losses.gaussian."
        )


def by_session(modules: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """{session: its parameters}, as a part of a model."""
    return nn.ModuleDict({_key(name): module for name, module in modules.items()})


def of_session(modules: nn.ModuleDict, session: str) -> nn.Module:
    """The parameters of one session.

    Raises:
        ModelError: There are none of that name.
    """
    if _key(session) not in modules:
        raise ModelError(
            f"The objective has parameters for each session, but none for session {session!r}; pass the session that "
            f"the responses are of.{did_you_mean(session, list(modules))}"
        )
    return modules[_key(session)]


def _key(session: str) -> str:
    """An empty name can be no module's."""
    return session or "only"
