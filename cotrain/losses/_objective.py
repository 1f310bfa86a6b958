"""The weight of a task: fixed, or learnt as the variance of its likelihood."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

Weight = Literal["learned"] | Annotated[float, Gt(0)]
LEAST = math.exp(-10)


def _not_learned(value: Any) -> Any:
    if value == "learned":
        raise PydanticCustomError(
            "weight",
            "cannot be 'learned': this likelihood says itself how much responses vary. Divided by a learnt variance it "
            "is no likelihood any more, and where it is negative the weight would grow without bound. Give a number, "
            "or take cotrain.losses.quasi_poisson (counts) or cotrain.losses.gaussian, whose weights can be learnt",
        )
    return value


FixedWeight = Annotated[float, Gt(0), BeforeValidator(_not_learned)]
"""The weight of a likelihood that has no free variance."""


class Objective(nn.Module, ABC):
    """A task's loss with its weight. The weight's parameter is part of the model, so every checkpoint holds it.

    With a learned weight the objective is that of a likelihood of variance exp(s), s learnt from 0:
    `precision * exp(-s) * loss + s / 2` (Kendall, Gal & Cipolla 2018, CVPR, equations 7 and 10; `precision` is 1/2
    where the loss is a squared error or a deviance). At its optimum exp(s) is the mean loss (times 2 `precision`),
    whatever the unit of the targets. `LEAST` is added to the loss, so that s stays above -10 where a task is learnt
    perfectly; the weight is therefore bounded for every loss that is never negative. With a fixed weight it is
    `weight * loss`.

    `variance_name` is what exp(s) is called among the scores. `of_whole_batch` says that the loss is no mean over
    stimuli: processes that share a batch compute it from all of it.
    """

    precision: ClassVar[float] = 1.0
    of_whole_batch: ClassVar[bool] = False
    needs_positive_output: ClassVar[bool] = False
    may_be_negative: ClassVar[bool] = False  # its unweighted loss
    variance_name: ClassVar[str] = "variance"

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.fixed_weight = None if weight == "learned" else float(weight)
        if self.fixed_weight is None:
            self.log_variance = nn.Parameter(torch.zeros(()))

    @abstractmethod
    def loss(self, output: Any, target: Tensor, session: str = "") -> Tensor:
        """The unweighted loss, mean over what is predicted: a scalar.

        Args:
            output, target: Of one batch; the output is a tensor, or a tuple of one a layer.
            session: Whose parameters to use, where the objective has some of its own for each session.
        """

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

    def forward(self, output: Any, target: Tensor, session: str = "") -> Tensor:
        """The term that is minimised."""
        return self.weighted(self.loss(output, target, session))

    def parameters_as_scores(self) -> Iterator[tuple[str, float]]:
        """What the objective has learnt, as what it is: (name, value) pairs for the scores, beside the weight.

        A learned weight is told as the variance that it stands for, in squared units of the targets (a pure number
        where the loss is one). Objectives with more parameters tell their median over neurons.
        """
        if self.fixed_weight is None:
            yield self.variance_name, self.log_variance.detach().exp().item()
