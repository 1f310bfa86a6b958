"""Learning-rate schedules: a factor for each optimiser step, and what an epoch without a better score leads to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.resolve import AnyConfig
from cotrain.training._durations import Duration, Interval, Timeline
from cotrain.training._parts import build_part


class Verdict(Enum):
    """What a schedule says at an epoch's end."""

    GO_ON = "go on"
    RESTORE = "restore"  # go back to the best weights, then go on
    STOP = "stop"


class RateSchedule(ABC):
    """Base of all schedules; a builder of one is `(timeline, config) -> RateSchedule`.

    All that changes belongs in the state: the factor is a function of state and step alone, and training goes on
    exactly.

    >>> class Halved(RateSchedule):
    ...     def factor(self, step: int) -> float:
    ...         return 1.0 if step < 100 else 0.5
    >>> Halved().factor(100), Halved().epoch_end(better=False)
    (0.5, <Verdict.GO_ON: 'go on'>)
    """

    @abstractmethod
    def factor(self, step: int) -> float:
        """Of the learning rate, 0 or larger, for the optimiser step `step`, counted from 0."""

    def epoch_end(self, better: bool) -> Verdict:
        """Called after each epoch; `better`: the monitor found it the best so far."""
        return Verdict.GO_ON

    def state_dict(self) -> dict[str, Any]:
        """All that changes: plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - without a state it does nothing
        """Go on where `state` was taken."""


class _Formula(RateSchedule):
    def __init__(self, formula: Callable[[int], float]) -> None:
        self.formula = formula

    def factor(self, step: int) -> float:
        return self.formula(step)


class ConstantConfig(Config):
    """The learning rate stays."""

    kind: ClassVar[str] = "cotrain.training.constant"


def constant(timeline: Timeline, config: ConstantConfig) -> RateSchedule:  # noqa: ARG001 - the signature of schedules
    """Factor 1 throughout."""
    return _Formula(lambda _: 1.0)


class CosineConfig(Config):
    """Linear warm-up, then half a cosine that ends one step short of `floor` (Loshchilov & Hutter 2017, ICLR)."""

    kind: ClassVar[str] = "cotrain.training.cosine"
    warm_up: Annotated[float, Ge(0), Lt(1)] = 0.1  # share of all steps
    floor: Annotated[float, Ge(0), Le(1)] = 0.01  # share of the learning rate


def cosine(timeline: Timeline, config: CosineConfig) -> RateSchedule:
    """Warm-up and cosine over all of training."""
    steps = timeline.steps
    warm_up = round(config.warm_up * steps)

    def factor(step: int) -> float:
        if step < warm_up:
            return _risen(step, warm_up)
        done = min(1.0, (step - warm_up) / max(1, steps - warm_up))
        return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * done)) / 2

    return _Formula(factor)


class StepConfig(Config):
    """The learning rate is multiplied by `factor` again and again, always after `every`."""

    kind: ClassVar[str] = "cotrain.training.step"
    every: Interval
    factor: Annotated[float, Gt(0), Le(1)] = 0.1


def step(timeline: Timeline, config: StepConfig) -> RateSchedule:
    """A staircase of equal lengths."""
    every = timeline.in_steps(config.every)
    return _Formula(lambda step: config.factor ** (step // every))


class MilestonesConfig(Config):
    """The learning rate is multiplied by `factor` at each of some moments."""

    kind: ClassVar[str] = "cotrain.training.milestones"
    at: Annotated[tuple[Interval, ...], MinLen(1)]  # increasing, counted from the start of training
    factor: Annotated[float, Gt(0), Le(1)] = 0.1
    restore_best: bool = False  # first go back to the best weights so far; milestones are ends of epochs then


def milestones(timeline: Timeline, config: MilestonesConfig) -> RateSchedule:
    """A staircase with steps of your own.

    Raises:
        TrainingError: Milestones do not increase, or `restore_best` is asked for at one within an epoch.
    """
    at = [timeline.in_steps(duration) for duration in config.at]
    for (one, earlier), (other, later) in pairwise(zip(config.at, at, strict=True)):
        if earlier >= later:
            raise TrainingError(
                f"milestones: {other!r} (step {later}) does not come after {one!r} (step {earlier}); order them."
            )
    epochs = set[int]()
    if config.restore_best:
        for duration, held in zip(config.at, at, strict=True):
            epoch, rest = divmod(timeline.before + held, timeline.steps_an_epoch)
            if rest:
                raise TrainingError(
                    f"milestones: with restore_best each is the end of an epoch ({timeline.steps_an_epoch} steps), but "
                    f"{duration!r} is step {timeline.before + held} of training. Write it in epochs, such as '10ep'."
                )
            epochs.add(epoch)
    return _Milestones(at, config.factor, epochs)


class _Milestones(RateSchedule):
    def __init__(self, at: list[int], factor: float, restored: set[int]) -> None:
        self.at, self.by, self.restored, self.epoch = at, factor, restored, 0

    def factor(self, step: int) -> float:
        return self.by ** bisect_right(self.at, step)

    def epoch_end(self, better: bool) -> Verdict:
        self.epoch += 1
        return Verdict.RESTORE if self.epoch in self.restored else Verdict.GO_ON

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]


class OneCycleConfig(Config):
    """The learning rate rises to its full value, then falls far below where it began (Smith & Topin 2019).

    "Super-convergence", arXiv 1708.07120, in the two-phase form of torch's `OneCycleLR`; momentum stays.
    """

    kind: ClassVar[str] = "cotrain.training.one_cycle"
    rise: Annotated[float, Ge(0), Lt(1)] = 0.3  # share of all steps
    start_divisor: Annotated[float, Ge(1)] = 25.0  # full rate / rate of the first step
    end_divisor: Annotated[float, Ge(1)] = 1e4  # rate of the first step / rate of the last
    shape: Literal["cosine", "linear"] = "cosine"


def one_cycle(timeline: Timeline, config: OneCycleConfig) -> RateSchedule:
    """One rise and one fall over all of training; the last step has the lowest rate."""
    top, last = config.rise * timeline.steps - 1, timeline.steps - 1
    start = 1 / config.start_divisor
    end = start / config.end_divisor

    def between(one: float, other: float, done: float) -> float:
        if config.shape == "cosine":
            return other + (one - other) * (1 + math.cos(math.pi * done)) / 2
        return one + (other - one) * done

    def factor(step: int) -> float:
        if step < top:
            return between(start, 1.0, step / top)
        return between(1.0, end, min(1.0, (step - top) / (last - top)))

    return _Formula(factor)


class PlateauConfig(Config):
    """The learning rate is lowered when epochs have brought nothing better for some time.

    What is better is the monitor's verdict (`MonitorConfig`), whose own patience must be longer or None.
    `restore_best=True, rounds=5` are decay rounds: each begins from the best weights, and the fifth time that patience
    runs out ends training.
    """

    kind: ClassVar[str] = "cotrain.training.plateau"
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1
    patience: Annotated[int, Ge(1)] = 10  # epochs without a better one before the rate is lowered
    rounds: Annotated[int, Ge(1)] | None = None  # patience may run out so often: the last time training stops
    restore_best: bool = False  # go back to the best weights so far each time
    cooldown: Annotated[int, Ge(0)] = 0  # epochs after a lowering in which patience is not used up
    floor: Annotated[float, Ge(0), Le(1)] = 0.0  # share of the learning rate below which it does not fall


def plateau(timeline: Timeline, config: PlateauConfig) -> RateSchedule:  # noqa: ARG001 - the signature of schedules
    """Lowered by what the monitor finds."""
    return _Plateau(config)


class _Plateau(RateSchedule):
    def __init__(self, config: PlateauConfig) -> None:
        self.config = config
        self.waited = self.cooling = self.lowered = 0

    def factor(self, step: int) -> float:
        return max(self.config.floor, self.config.factor**self.lowered)

    def epoch_end(self, better: bool) -> Verdict:
        self.waited = 0 if better or self.cooling else self.waited + 1
        self.cooling = max(0, self.cooling - 1)
        if self.waited < self.config.patience:
            return Verdict.GO_ON
        self.waited, self.cooling = 0, self.config.cooldown
        self.lowered += 1
        if self.lowered == self.config.rounds:
            return Verdict.STOP
        return Verdict.RESTORE if self.config.restore_best else Verdict.GO_ON

    def state_dict(self) -> dict[str, Any]:
        return {"waited": self.waited, "cooling": self.cooling, "lowered": self.lowered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.waited, self.cooling, self.lowered = state["waited"], state["cooling"], state["lowered"]


class WarmUpConfig(Config):
    """The learning rate rises in a line over `over`, then follows another schedule.

    That schedule is of what is left of training: its steps, and durations in its config, are counted from the end of
    the warm-up. It hears of every epoch, those of the warm-up too.
    """

    kind: ClassVar[str] = "cotrain.training.warm_up"
    over: Duration
    then: AnyConfig = ConstantConfig()  # of any schedule


def warm_up(timeline: Timeline, config: WarmUpConfig) -> RateSchedule:
    """A warm-up before any schedule.

    Raises:
        TrainingError: The warm-up is as long as training, or what should follow is no schedule.
    """
    over = timeline.in_steps(config.over)
    if over >= timeline.steps:
        raise TrainingError(
            f"warm_up: over={config.over!r} is {over} steps, and training has {timeline.steps}. "
            "Make it shorter, or train for more epochs."
        )
    return _WarmUp(over, build_part(config.then, "schedule.then", RateSchedule, timeline.after(over)))


class _WarmUp(RateSchedule):
    def __init__(self, over: int, then: RateSchedule) -> None:
        self.over, self.then = over, then

    def factor(self, step: int) -> float:
        return _risen(step, self.over) if step < self.over else self.then.factor(step - self.over)

    def epoch_end(self, better: bool) -> Verdict:
        return self.then.epoch_end(better)

    def state_dict(self) -> dict[str, Any]:
        return self.then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.then.load_state_dict(state)


def _risen(step: int, steps: int) -> float:
    """On the line that reaches 1 after `steps` steps and does not begin at 0, where a step would be lost."""
    return (step + 1) / (steps + 1)
