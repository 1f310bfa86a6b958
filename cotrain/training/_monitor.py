"""Which epoch is best, and when to stop: one rule for both, from validation scores alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

from cotrain.config import AddedLater, Config
from cotrain.errors import TrainingError, did_you_mean
from cotrain.tasks import PRIMARY_METRIC, DataInfo
from cotrain.training._sinks import Score


class MonitorConfig(Config):
    """Which epoch is better than the best one so far, by the tasks' validation scores.

    A task's score is its primary one (`cotrain.tasks.PRIMARY_METRIC`: accuracy, median correlation, Spearman of the
    RDM, capacity) unless `metrics` names another; it is to grow, "loss" is to fall. An epoch is better by the rule

    | rule | when | example: two tasks with best scores .60, .30 and no tolerance |
    |---|---|---|
    | `mean` | the weighted mean has grown | .50, .50 is better (.50 > .45) |
    | `all` | each task is better than at the best epoch | .61, .31 is, .90, .30 is not |
    | `any` | some task is better than its own best, whichever epoch that was of | .10, .31 is |
    | `pareto` | none is worse than at the best epoch, and some task is better | .60, .31 is, .90, .29 is not |
    | `last` | always, so that training of one length is kept to its end | .10, .10 is |

    Better and worse mean by more than the tolerance. A best score changes only with a score that is better than it, so
    that many small gains add up to one that counts. The first epoch is always better. An epoch with an undefined
    score is not, but by `any` its other tasks still count. `last` is for controls whose validation means nothing, and
    for what is compared with them; patience never runs out by it.
    """

    kind: ClassVar[str] = "cotrain.training.MonitorConfig"
    tasks: tuple[tuple[str, Annotated[float, Gt(0)]], ...] = ()  # (task, weight in the mean); empty: all tasks alike
    patience: Annotated[int, Ge(1)] | None = None  # epochs without a better score before training stops; None: never
    tolerance: Annotated[float, Ge(0)] = 0.0  # an epoch is better only by more than this
    rule: Annotated[Literal["mean", "all", "any", "pareto", "last"], AddedLater(neutral="mean")] = "mean"
    minimum_epochs: Annotated[Annotated[int, Ge(0)], AddedLater(neutral=0)] = 0  # patience ends no shorter training
    metrics: Annotated[tuple[tuple[str, str], ...], AddedLater(neutral=())] = ()
    """(task, metric) of tasks of which another than the primary score is followed, such as ("v1", "loss")."""
    tolerance_is: Annotated[Literal["absolute", "relative"], AddedLater(neutral="absolute")] = "absolute"
    """In the unit of the scores, or as a share of the best score's size."""


class Monitor:
    """Follows the monitored scores; its state is in every checkpoint.

    Attributes:
        best: The monitored score, `value`, of the best epoch; minus infinity where it was undefined.
        best_epoch: Counted from 1; 0 before the first.
        epoch: The last one.
    """

    def __init__(self, config: MonitorConfig, info: DataInfo) -> None:
        self.config = config
        if len(dict(config.tasks)) < len(config.tasks):
            raise TrainingError("monitor names a task twice; give each one weight.")
        self.weights = dict(config.tasks) or dict.fromkeys(info.tasks, 1.0)
        for task in self.weights:
            if task not in info.tasks:
                raise TrainingError(
                    f"monitor names the task {task!r}, which the data lack.{did_you_mean(task, list(info.tasks))}"
                )
        if len(dict(config.metrics)) < len(config.metrics):
            raise TrainingError("monitor.metrics names a task twice; one metric of each is followed.")
        self.metric = {task: PRIMARY_METRIC[info.tasks[task].kind] for task in self.weights}
        for task, metric in config.metrics:
            if task not in self.metric:
                raise TrainingError(
                    f"monitor.metrics names the task {task!r}, which is not monitored."
                    f"{did_you_mean(task, list(self.metric))}"
                )
            self.metric[task] = metric
        self.best = -math.inf
        self.best_epoch = 0
        self.epoch = 0
        self.bests = dict.fromkeys(self.weights, -math.inf)

    def value(self, scores: Sequence[Score]) -> float:
        """The monitored score of one epoch: the weighted mean, in which losses are negative; NaN if a part of it is."""
        return self._mean(self._followed(scores))

    def better(self, epoch: int, scores: Sequence[Score]) -> bool:
        """Take note of an epoch; whether it is the best so far.

        Raises:
            TrainingError: A metric that is to be followed is not among the scores.
        """
        found = self._followed(scores)
        value = self._mean(found)
        first, self.epoch = self.best_epoch == 0, epoch
        grown = {task for task, new in found.items() if self._beats(new, self.bests[task])}
        if not first and not self._rule(found, value, grown):
            return False
        if first or self.config.rule != "any":
            grown = set(found)
        self.bests.update({task: _or_lowest(found[task]) for task in grown})
        self.best, self.best_epoch = _or_lowest(value), epoch
        return True

    def stops(self) -> bool:
        """Whether patience has run out."""
        patience = self.config.patience
        return (
            patience is not None
            and self.epoch >= self.config.minimum_epochs
            and self.epoch - self.best_epoch >= patience
        )

    def forget(self) -> None:
        """Begin anew: the next epoch is better than none, whatever those before it scored."""
        self.best, self.best_epoch = -math.inf, 0

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"best": self.best, "best_epoch": self.best_epoch, "epoch": self.epoch, "bests": dict(self.bests)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stood."""
        self.best, self.best_epoch, self.epoch = state["best"], state["best_epoch"], state["epoch"]
        self.bests = dict(state["bests"])

    def _rule(self, found: Mapping[str, float], value: float, grown: set[str]) -> bool:
        match self.config.rule:
            case "last":
                return True
            case "mean":
                return self._beats(value, self.best)
            case "all":
                return len(grown) == len(found)
            case "any":
                return bool(grown)
            case "pareto":
                return bool(grown) and all(self._holds(new, self.bests[task]) for task, new in found.items())

    def _beats(self, new: float, best: float) -> bool:
        return new > best + self._margin(best)

    def _holds(self, new: float, best: float) -> bool:
        return new >= best - self._margin(best)

    def _margin(self, best: float) -> float:
        if math.isinf(best):
            return 0.0
        return self.config.tolerance * (abs(best) if self.config.tolerance_is == "relative" else 1.0)

    def _followed(self, scores: Iterable[Score]) -> dict[str, float]:
        """{task: its score}, all of them to grow."""
        found = {(s.task, s.metric): s.value for s in scores if s.split == "validation" and s.session == ""}
        for task, metric in self.metric.items():
            if (task, metric) not in found:
                known = [name for owner, name in found if owner == task]
                raise TrainingError(
                    f"monitor follows {metric!r} of task {task!r}, which validation does not give."
                    f"{did_you_mean(metric, known)}"
                )
        return {
            task: -found[task, metric] if metric == "loss" else found[task, metric]
            for task, metric in self.metric.items()
        }

    def _mean(self, found: Mapping[str, float]) -> float:
        total = sum(weight * found[task] for task, weight in self.weights.items())
        return total / sum(self.weights.values())


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value
