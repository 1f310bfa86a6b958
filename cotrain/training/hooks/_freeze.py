"""Freezing: parameters that training leaves as they are, for some epochs or for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen
from torch import nn

from cotrain.config import Config
from cotrain.errors import ModelError, TrainingError
from cotrain.models import chosen_batch_norms, chosen_parameters
from cotrain.training._durations import Duration, Timeline
from cotrain.training._hooks import Hook, Training
from cotrain.training._sinks import Score
from cotrain.training.hooks._fixed_statistics import FixedStatistics

Patterns = Annotated[tuple[str, ...], MinLen(1)]


class FreezeConfig(Config):
    """Parameters get no gradient, no weight decay and no momentum; they may be thawed at an epoch's end.

    Example: FreezeConfig(parameters=("backbone",), until="5ep") trains the heads alone for five epochs.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.freeze"
    parameters: Patterns  # shell patterns over the model's names: "backbone", "backbone.layer1", "heads.v4", "*.bias"
    until: Duration | None = None  # whole epochs, at whose end they are thawed; None: never
    batch_norm: bool = False  # whether batch norms in frozen modules also keep their statistics, and normalise by them


class Freeze(Hook):
    """What has several such hooks is thawed when the last of them lets go."""

    def __init__(self, config: FreezeConfig) -> None:
        self.config = config
        self.frozen = False
        self.statistics: FixedStatistics | None = None

    def start(self, training: Training) -> None:
        """Find the parameters.

        Raises:
            ModelError: A pattern chooses nothing.
            TrainingError: All that is chosen is frozen by the model's own config, or `until` is not whole epochs.
        """
        self.last = None if self.config.until is None else whole_epochs(self.config.until, training.timeline, "until")
        trained = {id(p) for group in training.optimiser.param_groups for p in group["params"]}
        chosen = chosen_parameters(training.model, self.config.parameters, what="freeze")
        # what the model's own config froze is not in the optimiser, and must not be thawed
        self.parameters = [parameter for parameter in chosen.values() if id(parameter) in trained]
        if not self.parameters:
            raise TrainingError(
                f"freeze: {', '.join(self.config.parameters)} chooses only parameters that the model's own config "
                "froze. Leave the hook out, or do not freeze them there."
            )
        if self.config.batch_norm:
            self.statistics = FixedStatistics(_norms(training.model, self.config.parameters))

    def epoch_start(self, epoch: int) -> None:
        """Freeze, unless they were thawed; again in each epoch, since another hook may have thawed some of them."""
        if self.last is None or epoch <= self.last:
            self._freeze()

    def epoch_end(self, epoch: int) -> Sequence[Score]:
        """Thaw, at the end: hooks that still freeze some do so at the next epoch's start."""
        if epoch == self.last:
            self._thaw()
        return ()

    def close(self) -> None:
        """The model is as others expect it."""
        self._thaw()

    def state_dict(self) -> dict[str, Any]:
        """Whether they are frozen."""
        return {"frozen": self.frozen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Freeze them again in the middle of an epoch."""
        if state["frozen"]:
            self._freeze()

    def _freeze(self) -> None:
        self.frozen = True
        for parameter in self.parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
        if self.statistics is not None:
            self.statistics.fix()

    def _thaw(self) -> None:
        if self.frozen:
            for parameter in self.parameters:
                parameter.requires_grad_(True)
            if self.statistics is not None:
                self.statistics.release()
        self.frozen = False


def whole_epochs(duration: str, timeline: Timeline, field: str) -> int:
    """A duration as a number of epochs.

    Raises:
        TrainingError: It is not a whole number of them.
    """
    epochs, rest = divmod(timeline.in_steps(duration), timeline.steps_an_epoch)
    if rest:
        raise TrainingError(
            f"{field}: {duration!r} is {epochs} epochs and {rest} steps, but it must be whole epochs of "
            f"{timeline.steps_an_epoch} steps. Write it as '{epochs + 1}ep'."
        )
    return epochs


def _norms(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Batch norms within what patterns choose; those of a head have none."""
    found: dict[str, nn.Module] = {}
    for pattern in patterns:
        try:
            found |= chosen_batch_norms(model, [pattern], what="freeze")
        except ModelError:
            continue
    if not found:
        raise TrainingError(
            f"freeze: batch_norm=True, but there is no batch norm in {', '.join(patterns)}. Leave batch_norm out."
        )
    return list(found.values())


def freeze(config: FreezeConfig) -> Hook:
    """The hook of a config."""
    return Freeze(config)
