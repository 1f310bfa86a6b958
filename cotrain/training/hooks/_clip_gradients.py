"""Gradient clipping of some parameters, by their norm or value by value."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from annotated_types import Gt
from pydantic import model_validator
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from cotrain.config import Config
from cotrain.models import chosen_parameters
from cotrain.training._hooks import Hook, Training
from cotrain.training.hooks._freeze import Patterns


class ClipGradientsConfig(Config):
    """The summed gradient of a group is made smaller where it is too large, before the trainer's own `clip_norm`.

    Several such hooks clip several parts of the model, each by its own norm.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.clip_gradients"
    parameters: Patterns = ("*",)  # shell patterns over the model's names
    norm: Annotated[float, Gt(0)] | None = None  # largest L2 norm of all these gradients together
    value: Annotated[float, Gt(0)] | None = None  # largest size of a single entry; comes first where both are set

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.norm is None and self.value is None:
            raise ValueError("set `norm`, `value` or both; nothing would be clipped")
        return self


class ClipGradients(Hook):
    """It has no state."""

    def __init__(self, config: ClipGradientsConfig) -> None:
        self.config = config

    def start(self, training: Training) -> None:
        """Find the parameters."""
        chosen = chosen_parameters(training.model, self.config.parameters, what="clip_gradients")
        self.parameters = list(chosen.values())

    def gradients(self) -> None:
        """Clip them."""
        if self.config.value is not None:
            clip_grad_value_(self.parameters, self.config.value, foreach=True)
        if self.config.norm is not None:
            clip_grad_norm_(self.parameters, self.config.norm, foreach=True)


def clip_gradients(config: ClipGradientsConfig) -> Hook:
    """The hook of a config."""
    return ClipGradients(config)
