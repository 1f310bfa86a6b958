"""How much each task's gradient counts where tasks meet: in the shared backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.losses._objective import LEAST


class Weighting(ABC):
    """Gives the weights by which the tasks' gradients are summed, asked once an optimiser step.

    Args:
        tasks: All tasks, the main one first.

    `compares_losses` says that losses are compared by their ratios, which needs fixed weights in the objectives and
    losses that are never negative.
    """

    compares_losses: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    @abstractmethod
    def weights(
        self, present: Sequence[int], losses: Float[Tensor, " present"], gramian: Float[Tensor, "present present"]
    ) -> Float[Tensor, " present"]:
        """The weights of one optimiser step.

        Args:
            present: Positions in `tasks` of those that had a batch since the last step.
            losses: Their weighted losses, each the mean over its batches of this step.
            gramian: Products of their gradients, float64.
        """

    def end_epoch(self, losses: Mapping[str, float]) -> None:  # noqa: B027 - most need not know
        """Told at the end of each epoch: {task: mean unweighted training loss}, of the tasks that had a batch."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most have none
        """Go on where `state` was taken."""


class RandomWeightsConfig(Config):
    """Weights drawn anew for each step: a baseline for all others.

    Lin et al. 2022 (TMLR, Reasonable effectiveness of random weighting): the softmax of standard normal numbers, times
    the number of tasks in the step.
    """

    kind: ClassVar[str] = "cotrain.losses.random_weights"


class GeometricMeanConfig(Config):
    """The geometric mean of the losses is minimised, whatever their units (Chennupati et al. 2019, CVPR workshops).

    The gradient of a task counts as the geometric mean divided by the number of tasks and by its own loss.
    """

    kind: ClassVar[str] = "cotrain.losses.geometric_mean"


class DynamicWeightAverageConfig(Config):
    """Tasks whose loss falls more slowly count more (Liu, Johns & Davison 2019, CVPR, section 4.2).

    From the third epoch on: the number of tasks times the softmax of the ratios of the mean training losses of the last
    two epochs, divided by `temperature`; 1 before.
    """

    kind: ClassVar[str] = "cotrain.losses.dynamic_weight_average"
    temperature: Annotated[float, Gt(0)] = 2.0  # the larger, the more equal


class GradNormConfig(Config):
    """Gradients are brought to norms that follow how fast tasks learn (Chen et al. 2018, ICML, Algorithm 1).

    The norm is that of the whole backbone's gradient. Weights are learnt as logarithms, with the mean norm as the unit,
    so that `rate` has no unit and weights stay positive; their mean over the tasks of a step is kept. The wanted norms
    are scaled to the mean of the present ones: unscaled, no weights reach them.
    """

    kind: ClassVar[str] = "cotrain.losses.gradnorm"
    asymmetry: Annotated[float, Ge(0)] = 1.5  # 0: equal norms; the larger, the more those behind are pulled up
    rate: Annotated[float, Gt(0)] = 0.025  # of learning the weights, a step


class RandomWeights(Weighting):
    """Weights of a `RandomWeightsConfig`, from torch's global generator."""

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """Positive, mean 1."""
        return len(present) * torch.softmax(torch.randn(len(present), dtype=torch.float64), 0)


class GeometricMean(Weighting):
    """Weights of a `GeometricMeanConfig`."""

    compares_losses: ClassVar[bool] = True

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """The derivative of the geometric mean by each loss."""
        known = losses.clamp_min(LEAST)
        return known.log().mean().exp() / (len(present) * known)


class DynamicWeightAverage(Weighting):
    """Weights of a `DynamicWeightAverageConfig`."""

    compares_losses: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[str], temperature: float) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        self.last_losses: list[dict[str, float]] = []  # of the last two epochs

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """Positive, mean 1 over all tasks."""
        return self._of_all()[list(present)]

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Remember; a task that rested keeps the loss that it had."""
        before = self.last_losses[-1] if self.last_losses else {}
        self.last_losses = [*self.last_losses, {**before, **losses}][-2:]

    def state_dict(self) -> dict[str, Any]:
        """The mean losses of the last two epochs."""
        return {"last_losses": self.last_losses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.last_losses = [dict(losses) for losses in state["last_losses"]]

    def _of_all(self) -> Tensor:
        ratios = torch.ones(len(self.tasks), dtype=torch.float64)
        if len(self.last_losses) == 2:
            older, newer = self.last_losses
            for place, task in enumerate(self.tasks):
                if task in older:
                    ratios[place] = (newer[task] + LEAST) / (older[task] + LEAST)
        return len(self.tasks) * torch.softmax(ratios / self.temperature, 0)


class GradNorm(Weighting):
    """Weights of a `GradNormConfig`."""

    compares_losses: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[str], asymmetry: float, rate: float) -> None:
        super().__init__(tasks)
        self.asymmetry, self.rate = asymmetry, rate
        self.weight = torch.ones(len(tasks), dtype=torch.float64)
        self.first_loss = torch.full((len(tasks),), torch.nan, dtype=torch.float64)

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """Positive, mean 1 over tasks that come in every step; they are learnt from each step for the next one."""
        where = list(present)
        self.weight, self.first_loss = self.weight.to(losses.device), self.first_loss.to(losses.device)
        used, known = self.weight[where], losses.double() + LEAST
        first = self.first_loss[where]
        first = torch.where(first.isnan(), known, first)
        pull = used * gramian.diagonal().sqrt()
        mean_pull = pull.mean().clamp_min(torch.finfo(torch.float64).tiny)
        pace = known / first
        wanted = pace**self.asymmetry
        wanted = mean_pull * wanted / wanted.mean()
        learnt = used * torch.exp(-self.rate * torch.sign(pull - wanted) * pull / mean_pull)
        self.first_loss[where] = first
        self.weight[where] = learnt * used.sum() / learnt.sum()
        return used

    def state_dict(self) -> dict[str, Any]:
        """Weights, and the first loss of each task."""
        return {"weight": self.weight.cpu(), "first_loss": self.first_loss.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.weight, self.first_loss = state["weight"].clone(), state["first_loss"].clone()


def random_weights(tasks: Sequence[str], config: RandomWeightsConfig) -> RandomWeights:  # noqa: ARG001 - no options
    """Random weights for tasks."""
    return RandomWeights(tasks)


def geometric_mean(tasks: Sequence[str], config: GeometricMeanConfig) -> GeometricMean:  # noqa: ARG001 - no options
    """The geometric mean of the losses of tasks."""
    return GeometricMean(tasks)


def dynamic_weight_average(tasks: Sequence[str], config: DynamicWeightAverageConfig) -> DynamicWeightAverage:
    """Dynamic weight average of tasks."""
    return DynamicWeightAverage(tasks, config.temperature)


def gradnorm(tasks: Sequence[str], config: GradNormConfig) -> GradNorm:
    """GradNorm for tasks."""
    return GradNorm(tasks, config.asymmetry, config.rate)


def require_comparable_losses(weighting: Weighting, objectives: Mapping[str, Any]) -> None:
    """Refuse, before training, losses that a weighting cannot compare.

    Args:
        weighting: Of the gradients.
        objectives: {task: its objective}.

    Raises:
        TrainingError: The weighting compares losses, and one may be negative or has a learned weight.
    """
    if not weighting.compares_losses:
        return
    name = type(weighting).__name__
    for task, objective in objectives.items():
        if objective.may_be_negative:
            raise TrainingError(
                f"{name} compares losses by their ratios, but that of task {task!r} ({type(objective).__name__}) may "
                "be negative. Take another likelihood, or weights from gradients (cotrain.losses.gradient_aggregation)."
            )
        if objective.fixed_weight is None:
            raise TrainingError(
                f"{name} sets the weights itself, but the objective of task {task!r} learns one. Give it a number: "
                "weight=1.0."
            )
