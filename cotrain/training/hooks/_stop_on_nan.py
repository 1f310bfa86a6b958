"""Gradients that are no numbers any more end training, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.training._hooks import Hook, Training
from cotrain.training._sinks import Score

NAMED = 5


class StopOnNanConfig(Config):
    """Training ends with an error that names the parameters whose gradients were not finite.

    Losses are checked without it, before each checkpoint; a gradient may be lost where the loss is not. Flags stay on
    the device and are read once in `every` steps and at each epoch's end, so that a GPU need not wait.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.stop_on_nan"
    every: Annotated[int, Ge(1)] = 50  # optimiser steps between two looks


class StopOnNan(Hook):
    """One flag a parameter: 0 as long as all is well, then NaN."""

    def __init__(self, config: StopOnNanConfig) -> None:
        self.config = config

    def start(self, training: Training) -> None:
        """Make the flags.

        Raises:
            TrainingError: With float16, whose scale is found by gradients that are not finite.
        """
        if training.precision == "float16":
            raise TrainingError(
                "stop_on_nan: with precision='float16' some gradients overflow on purpose, and their steps are left "
                "out. Leave the hook out, or use 'bfloat16'."
            )
        self.parameters = dict(training.model.named_parameters())
        self.flags = {name: torch.zeros((), device=training.device) for name in self.parameters}

    @torch.no_grad()
    def gradients(self) -> None:
        """Look at all entries, on the device."""
        held = [(p.grad, self.flags[name]) for name, p in self.parameters.items() if p.grad is not None]
        if held:
            largest = torch._foreach_norm([grad for grad, _ in held], float("inf"))
            torch._foreach_mul_(largest, 0.0)  # 0, but NaN for what is not finite
            torch._foreach_add_([flag for _, flag in held], [value.float() for value in largest])

    def step_end(self, step: int) -> None:
        """Read the flags when it is time."""
        if step % self.config.every == 0:
            self._require_finite(f"by step {step}")

    def epoch_end(self, epoch: int) -> Sequence[Score]:
        """Read them before the epoch's checkpoint."""
        self._require_finite(f"in epoch {epoch}")
        return ()

    def state_dict(self) -> dict[str, Any]:
        """The flags."""
        return {"flags": self.flags}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name, flag in self.flags.items():
            flag.copy_(state["flags"][name])

    def _require_finite(self, when: str) -> None:
        finite = torch.stack(list(self.flags.values())).isfinite().tolist()
        broken = [name for name, fine in zip(self.flags, finite, strict=True) if not fine]
        if broken:
            more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
            raise TrainingError(
                f"Gradients that are not finite came up {when}, of {', '.join(broken[:NAMED])}{more}. Training stops; "
                "earlier checkpoints are kept. Lower the learning rate, or set clip_norm."
            )


def stop_on_nan(config: StopOnNanConfig) -> Hook:
    """The hook of a config."""
    return StopOnNan(config)
