"""Which epoch is best, and when to stop: one rule for both, from validation scores alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from cotrain.config import Config
from cotrain.errors import TrainingError, did_you_mean
from cotrain.tasks import PRIMARY_METRIC, DataInfo
from cotrain.training._sinks import Score


class MonitorConfig(Config):
    """The weighted mean of the tasks' primary validation scores is to grow.

    Primary scores (`cotrain.tasks.PRIMARY_METRIC`): accuracy, median correlation, Spearman of the RDM.
    """

    kind: ClassVar[str] = "cotrain.training.MonitorConfig"
    tasks: tuple[tuple[str, Annotated[float, Gt(0)]], ...] = ()  # (task, weight); empty: all tasks alike
    patience: Annotated[int, Ge(1)] | None = None  # epochs without a better score before training stops; None: never
    tolerance: Annotated[float, Ge(0)] = 0.0  # an epoch is better only by more than this


class Monitor:
    """Follows the monitored score; its state is in every checkpoint."""

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
        self.metric = {task: PRIMARY_METRIC[info.tasks[task].kind] for task in self.weights}
        self.best = -math.inf
        self.best_epoch = 0
        self.epoch = 0

    def value(self, scores: Sequence[Score]) -> float:
        """The monitored score of one epoch; NaN if one of its parts is."""
        found = {(s.task, s.metric): s.value for s in scores if s.split == "validation" and s.session == ""}
        total = sum(weight * found[task, self.metric[task]] for task, weight in self.weights.items())
        return total / sum(self.weights.values())

    def better(self, epoch: int, value: float) -> bool:
        """Take note of an epoch; whether it is the best so far. An undefined score is never better than one."""
        self.epoch = epoch
        first = self.best_epoch == 0
        if first or value > self.best + self.config.tolerance:
            self.best = -math.inf if math.isnan(value) else value
            self.best_epoch = epoch
            return True
        return False

    def stops(self) -> bool:
        """Whether patience has run out."""
        return self.config.patience is not None and self.epoch - self.best_epoch >= self.config.patience

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"best": self.best, "best_epoch": self.best_epoch, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stood."""
        self.best, self.best_epoch, self.epoch = state["best"], state["best_epoch"], state["epoch"]
