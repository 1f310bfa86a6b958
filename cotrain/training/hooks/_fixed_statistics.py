"""Batch norms that work as in evaluation while the model trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle


class FixedStatistics:
    """Batch norms that normalise by their running statistics, and keep them, although the model trains."""

    def __init__(self, norms: Sequence[nn.Module]) -> None:
        self.norms = norms
        self._handles: list[RemovableHandle] = []

    def fix(self) -> None:
        """From the next pass on; `model.train()` does not undo it."""
        if not self._handles:
            self._handles = [norm.register_forward_pre_hook(_evaluates) for norm in self.norms]

    def release(self) -> None:
        """As before, from the next `model.train()` on, which begins each epoch."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _evaluates(norm: nn.Module, _: Any) -> None:
    norm.training = False
