"""Batch norms whose statistics stay as they are from some epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from torch import nn

from cotrain.config import Config
from cotrain.models import chosen_batch_norms
from cotrain.training._hooks import Hook, Training
from cotrain.training.hooks._fixed_statistics import FixedStatistics
from cotrain.training.hooks._freeze import Patterns


class FreezeBatchNormConfig(Config):
    """Batch norms normalise by their running statistics, in training too, and no longer change them."""

    kind: ClassVar[str] = "cotrain.training.hooks.freeze_batch_norm"
    modules: Patterns = ("backbone",)  # shell patterns over the model's module paths; all batch norms in them
    from_epoch: Annotated[int, Ge(1)] = 1
    affine: bool = False  # whether gains and biases stay as well


class FreezeBatchNorm(Hook):
    """Statistics are fixed from an epoch on, for ever."""

    def __init__(self, config: FreezeBatchNormConfig) -> None:
        self.config = config
        self.frozen = False

    def start(self, training: Training) -> None:
        """Find the norms.

        Raises:
            ModelError: A pattern chooses none.
        """
        norms = list(chosen_batch_norms(training.model, self.config.modules, what="freeze_batch_norm").values())
        self.statistics = FixedStatistics(norms)
        affine = [p for norm in norms for p in norm.parameters() if p.requires_grad]
        self.affine: list[nn.Parameter] = affine if self.config.affine else []

    def epoch_start(self, epoch: int) -> None:
        """Freeze them when it is time, gains and biases again in each epoch: another hook may have thawed them."""
        if epoch >= self.config.from_epoch:
            self._freeze()

    def close(self) -> None:
        """The model is as others expect it."""
        if self.frozen:
            self.statistics.release()
            for parameter in self.affine:
                parameter.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        """Whether they are frozen."""
        return {"frozen": self.frozen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Freeze them again in the middle of an epoch."""
        if state["frozen"]:
            self._freeze()

    def _freeze(self) -> None:
        self.frozen = True
        self.statistics.fix()
        for parameter in self.affine:
            parameter.requires_grad_(False)
            parameter.grad = None


def freeze_batch_norm(config: FreezeBatchNormConfig) -> Hook:
    """The hook of a config."""
    return FreezeBatchNorm(config)
