"""Tasks: the one place that knows which kinds there are, what a model builder needs to know of each, and its score.

A task's *name* is the user's; nothing in cotrain spells one.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from annotated_types import MinLen
from pydantic import field_validator

from cotrain.config import Config
from cotrain.errors import DataError, ModelError, did_you_mean
from cotrain.resolve import AnyConfig

Kind = Literal["classification", "neural", "rdm", "manifolds"]
KINDS: tuple[str, ...] = get_args(Kind)

PRIMARY_METRIC: Mapping[str, str] = {
    "classification": "accuracy",
    "neural": "correlation",
    "rdm": "spearman",
    "manifolds": "capacity",
}
"""The metric of each kind that stands for a task where one number is wanted; all are better when larger."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SessionInfo:
    """What a readout needs to know of one session.

    Args:
        neurons: How many neurons (for an RDM task: 0).
        mean_response: Mean over the training stimuli, one a neuron, in the units of the targets.
        lowest_response: The smallest training target, in the same units: spike counts are never below 0.
        stimuli: How many stimuli each split holds.
        std_response: Standard deviation over the training stimuli, one a neuron, in the units of the targets.
        unit: Of the targets, for example "spikes in 100 ms, z-scored".
        neuron_metadata: {name: one value a neuron}, for example "area", "depth", "x", "y"; as the recording names them.
    """

    neurons: int
    mean_response: tuple[float, ...]
    lowest_response: float
    stimuli: Mapping[str, int]
    std_response: tuple[float, ...] = ()
    unit: str = ""
    neuron_metadata: Mapping[str, tuple[str, ...] | tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `DataInfo.record` wrote of a session; releases before wrote less."""
        listed = {name: tuple(record.get(name, ())) for name in ("mean_response", "std_response")}
        columns = {
            name: tuple(math.nan if value is None else value for value in values)
            for name, values in record.get("neuron_metadata", {}).items()
        }
        return cls(**{**record, **listed, "neuron_metadata": columns})


@dataclass(frozen=True)
class TaskInfo:
    """What a model builder needs to know of one task.

    Args:
        kind: One of `KINDS`.
        image_shape: (channels, height, width) in pixels.
        image_mean, image_std: One a channel, of the training images scaled to 0..1.
        class_names: The classes in the order of their labels; empty for other kinds.
        sessions: One entry a session; tasks without sessions have one that is called "".
    """

    kind: Kind
    image_shape: tuple[int, int, int]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    sessions: Mapping[str, SessionInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class DataInfo:
    """What a model builder needs to know of the data, and nothing more. Plain values; stored with every run.

    Args:
        tasks: One entry a task.
        fingerprint: Hash of every image and target of every split: two runs with the same fingerprint saw the
            same data, whatever the files were called.
    """

    tasks: Mapping[str, TaskInfo]
    fingerprint: str

    def record(self) -> dict[str, Any]:
        """JSON-ready values; NaN, for neurons without a value of their metadata, is None."""
        record = asdict(self)
        for task in record["tasks"].values():
            for session in task["sessions"].values():
                session["neuron_metadata"] = {
                    name: [None if value != value else value for value in values]
                    for name, values in session["neuron_metadata"].items()
                }
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `record` wrote."""
        tasks = {}
        for name, task in record["tasks"].items():
            channels, height, width = task["image_shape"]
            tasks[name] = TaskInfo(
                kind=task["kind"],
                image_shape=(channels, height, width),
                image_mean=tuple(task["image_mean"]),
                image_std=tuple(task["image_std"]),
                class_names=tuple(task["class_names"]),
                sessions={session: SessionInfo.from_record(held) for session, held in task["sessions"].items()},
            )
        return cls(tasks, record["fingerprint"])

    def task(self, name: str) -> TaskInfo:
        """The info of one task; a name that the data lack is an error that names those they have."""
        if name not in self.tasks:
            raise ModelError(f"The data have no task {name!r}.{did_you_mean(name, list(self.tasks))}")
        return self.tasks[name]


class TaskConfig(Config):
    """One task of a model: where it attaches to the backbone, its head, and its objective."""

    kind: ClassVar[str] = "cotrain.tasks.TaskConfig"
    name: str  # as in the data
    tap: str | Annotated[tuple[str, ...], MinLen(1)]
    """Module path in the backbone, for example "layer3" or "features.17"; several for an objective that combines
    layers. A single one means the same in a tuple and without."""
    head: AnyConfig  # of a head builder of the task's kind; with several taps, one head each
    objective: AnyConfig  # loss, with the task's weight

    @field_validator("tap")
    @classmethod
    def _each_tap_once(cls, tap: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(tap, str):
            return tap
        if len(set(tap)) < len(tap):
            raise ValueError("expected each layer once")
        return tap if len(tap) > 1 else tap[0]  # one meaning, one key

    @property
    def taps(self) -> tuple[str, ...]:
        """All of them, one or several."""
        return (self.tap,) if isinstance(self.tap, str) else self.tap


def require_kind(task: TaskInfo, kind: Kind, config: Config) -> None:
    """Refuse a head or an objective that is for another kind of task.

    Raises:
        ModelError: It is.
    """
    if task.kind != kind:
        raise ModelError(f"{config.kind} is for {kind} tasks, this one is of kind {task.kind}.")


def check_name(name: str, what: str) -> str:
    """A name of a task or session that can stand in files, tables and module paths.

    Raises:
        DataError: It cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise DataError(f"{what} {name!r}: expected 1 to 32 letters, digits, '_' or '-', the first no sign.")
    if name in _reserved():
        raise DataError(f"{what} {name!r}: torch.nn.ModuleDict keeps this name for itself. Choose another.")
    return name


@functools.cache
def _reserved() -> frozenset[str]:
    """The names that torch.nn.ModuleDict refuses: those of its own attributes."""
    from torch import nn  # slow to import, and whoever only reads configs does without

    return frozenset(dir(nn.ModuleDict()))
