"""Heads that begin anew while the backbone goes on: a representation that any new readout can use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from annotated_types import Ge, MinLen
from pydantic import model_validator

from cotrain.config import Config
from cotrain.errors import ModelError, TrainingError, did_you_mean
from cotrain.models import Head, Readout
from cotrain.seeds import derive_seed
from cotrain.training._hooks import Hook, Training


class ResetReadoutsConfig(Config):
    """Heads of some tasks get new first weights, as those of a new model, and the optimiser forgets the old ones.

    Example: ResetReadoutsConfig(tasks=("v1",), every=5) resets them before the epochs 6, 11, 16 ...
    """

    kind: ClassVar[str] = "cotrain.training.hooks.reset_readouts"
    tasks: Annotated[tuple[str, ...], MinLen(1)]
    sessions: tuple[str, ...] = ()  # of neural tasks: only these, and nothing that sessions share; empty: whole heads
    every: Annotated[int, Ge(1)] | None = None  # epochs between resets
    after: Annotated[int, Ge(0)] | None = None  # or one reset, after so many epochs

    @model_validator(mode="after")
    def _once_or_often(self) -> Self:
        if (self.every is None) == (self.after is None):
            raise ValueError("set either `every` (reset again and again) or `after` (once), one of the two")
        return self


class ResetReadouts(Hook):
    """It has no state: what is drawn depends on the seed and the epoch."""

    def __init__(self, config: ResetReadoutsConfig) -> None:
        self.config = config

    def start(self, training: Training) -> None:
        """Refuse tasks and sessions that there are not.

        Raises:
            TrainingError: There is no such task, or it has no parameters to be reset, or no such session.
        """
        self.model, self.optimiser, self.seed = training.model, training.optimiser, training.seed
        for task in self.config.tasks:
            if task not in self.model.taps:
                raise TrainingError(
                    f"reset_readouts: there is no task {task!r}.{did_you_mean(task, list(self.model.taps))}"
                )
            head = self.model.heads[task]
            if next(head.parameters(), None) is None:
                raise TrainingError(f"reset_readouts: the head of task {task!r} has no weights. Leave the task out.")
            for session in self.config.sessions:
                _part(head, task, session)

    def epoch_start(self, epoch: int) -> None:
        """Reset when it is time."""
        done, config = epoch - 1, self.config
        if done == config.after or (config.every is not None and done > 0 and done % config.every == 0):
            for task in config.tasks:
                for session in config.sessions or ("",):
                    self._reset(task, session, epoch)

    @torch.no_grad()
    def _reset(self, task: str, session: str, epoch: int) -> None:
        seed = derive_seed(self.seed, "initialisation", "reset", task, session, epoch)
        old: torch.nn.Module = self.model.heads[task]
        new: torch.nn.Module = self.model.fresh_head(task, seed=seed)
        if self.config.sessions:
            old, new = _part(old, task, session), _part(new, task, session)
        for parameter, first in zip(old.parameters(), new.parameters(), strict=True):
            parameter.copy_(first)
            self.optimiser.state.pop(parameter, None)


def _part(head: torch.nn.Module, task: str, session: str) -> torch.nn.Module:
    """A session's part of a head."""
    assert isinstance(head, Head)
    if not isinstance(head, Readout):
        raise TrainingError(f"reset_readouts: the head of task {task!r} has no sessions. Leave `sessions` empty.")
    try:
        return head.part(session)
    except ModelError as error:
        raise TrainingError(f"reset_readouts: task {task!r}: {error}") from None


def reset_readouts(config: ResetReadoutsConfig) -> Hook:
    """The hook of a config."""
    return ResetReadouts(config)
