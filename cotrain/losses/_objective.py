"""The weight of a task: fixed, or learnt as the variance of its likelihood."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

Weight = Literal["learned"] | Annotated[float, Gt(0)]
LEAST = math.exp(-10)


class Objective(nn.Module, ABC):
    """A task's loss with its weight. The weight's parameter is part of the model, so every checkpoint holds it.

    With a learned weight the objective is that of a likelihood of variance exp(s), s learnt from 0:
    `precision * exp(-s) * loss + s / 2` (Kendall, Gal & Cipolla 2018, CVPR, equations 7 and 10; `precision` is 1/2
    where the loss is a squared error or a deviance). At its optimum exp(s) is the mean loss (times 2 `precision`),
    whatever the unit of the targets. `LEAST` is added to the loss, so that s stays above -10 where a task is learnt
    perfectly. With a fixed weight it is `weight * loss`.
    """

    precision: ClassVar[float] = 1.0
    needs_positive_output: ClassVar[bool] = False

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.fixed_weight = None if weight == "learned" else float(weight)
        if self.fixed_weight is None:
            self.log_variance = nn.Parameter(torch.zeros(()))

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, mean over what is predicted: a scalar."""

    def weight(self) -> float | Tensor:
        """What the unweighted loss is multiplied by at present."""
        if self.fixed_weight is not None:
            return self.fixed_weight
        # no bound below: there s would feel the loss no more, and sink for ever
        return self.precision * torch.exp(-self.log_variance.clamp(max=10))

    def weighted(self, loss: Tensor) -> Tensor:
        """The term that is minimised, from the unweighted loss."""
        if self.fixed_weight is not None:
            return self.fixed_weight * loss
        return self.weight() * (loss + LEAST) + self.log_variance / 2

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The term that is minimised."""
        return self.weighted(self.loss(output, target))
