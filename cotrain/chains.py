"""Experiments that need another's result: how they name it, and what must be trained before them.

A run is named by its key, or held as its configs (`RunOfConfig`). Held, it takes the seed of the experiment that names
it, so that a recipe with several seeds makes a chain for each of them.
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Lt
from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from cotrain._fields import find_mark
from cotrain.config import Config, NotIdentity
from cotrain.recipe import PARTS, Experiment
from cotrain.resolve import AnyConfig

__all__ = ["NeededRun", "RunKey", "RunOfConfig", "RunReference", "chain", "experiment_of", "needed_runs", "run_of"]

KEY_PATTERN = r"^[0-9a-f]{32}$"


@dataclass(frozen=True)
class NamesRun:
    """Marks text that is the key of a run, so that it is found in any config."""


RunKey = Annotated[str, StringConstraints(pattern=KEY_PATTERN), NamesRun()]


class RunOfConfig(Config):
    """The run of an experiment, for fields that need a finished run. `run_of` makes it.

    Recipes need no keys with it: what is needed is trained first, with the same seed.
    """

    kind: ClassVar[str] = "cotrain.training.RunOfConfig"
    data: AnyConfig
    model: AnyConfig
    trainer: AnyConfig
    seed: Annotated[int, Ge(0), Lt(2**31)] | None = None  # None: that of the experiment that names this run
    label: Annotated[str, StringConstraints(max_length=128), NotIdentity()] = ""  # what people call it


def _reference(value: Any) -> Any:
    """One error for what is neither, where pydantic would list one for each."""
    if isinstance(value, (RunOfConfig, Mapping)) or (isinstance(value, str) and re.fullmatch(KEY_PATTERN, value)):
        return value
    text = "expected the key of a run (32 hexadecimal digits) or run_of(its experiment), found {found}"
    raise PydanticCustomError("config", text, {"found": repr(value)})


RunReference = Annotated[RunKey | RunOfConfig, BeforeValidator(_reference)]
"""Annotation of a field that names a finished run: by its key (`cotrain ls` or `cotrain key` show it), or by what it
is of."""


@dataclass(frozen=True)
class NeededRun:
    """A run that must be finished before another begins.

    Args:
        key: Its key.
        experiment: What it is of; None where it is named by a key alone.
    """

    key: str
    experiment: Experiment | None = None

    def __str__(self) -> str:
        if self.experiment is None:
            return self.key
        return f"{self.key} ({self.experiment.label!r}, seed {self.experiment.seed})"


def run_of(experiment: Experiment, *, seed: int | None = None) -> RunOfConfig:
    """The run of an experiment, as another experiment's config holds it.

    Args:
        experiment: Whose run is meant. Its own seed does not count: in a recipe the seeds come later.
        seed: The run's seed; None: that of the experiment that names it.

    >>> from cotrain.data import DigitsConfig, MixingConfig
    >>> from cotrain.losses import CrossEntropyConfig
    >>> from cotrain.models import LinearHeadConfig, SharedBackboneConfig
    >>> from cotrain.tasks import TaskConfig
    >>> from cotrain.training import StartFromConfig, TrainerConfig
    >>> task = TaskConfig(name="digits", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig())
    >>> first = Experiment(
    ...     "first",
    ...     data=DigitsConfig(),
    ...     model=SharedBackboneConfig(tasks=(task,)),
    ...     trainer=TrainerConfig(mixing=MixingConfig(main="digits")),
    ... )
    >>> second = first.vary("second", model=StartFromConfig(model=first.model, run=run_of(first)), seed=7)
    >>> [needed.experiment.seed for needed in needed_runs(second)]
    [7]
    """
    parts = {part: getattr(experiment, part) for part in PARTS}
    return RunOfConfig(**parts, seed=seed, label=experiment.label)


def experiment_of(reference: RunOfConfig, *, seed: int) -> Experiment:
    """The experiment whose run is meant, where an experiment with this seed names it."""
    parts = {part: getattr(reference, part) for part in PARTS}
    own = seed if reference.seed is None else reference.seed
    return Experiment(reference.label.strip() or "unnamed", **parts, seed=own)


def resolved(reference: str | RunOfConfig, *, seed: int) -> NeededRun:
    """The run that a field names, where an experiment with this seed holds the field."""
    if isinstance(reference, str):
        return NeededRun(reference)
    experiment = experiment_of(reference, seed=seed)
    return NeededRun(experiment.key(), experiment)


def needed_runs(experiment: Experiment) -> tuple[NeededRun, ...]:
    """The runs that an experiment's own configs name, at any depth, each once.

    In the order of its fields: data, model, trainer. What these runs need themselves is not among them (see `chain`).
    """
    found: dict[str, NeededRun] = {}
    for part in PARTS:
        for reference in _references(getattr(experiment, part)):
            needed = resolved(reference, seed=experiment.seed)
            if found.setdefault(needed.key, needed).experiment is None:
                found[needed.key] = needed  # an experiment says more than a key
    return tuple(found.values())


def chain(
    experiment: Experiment,
    known: Mapping[str, Experiment] | None = None,
    *,
    finished: Callable[[str], bool] = lambda key: False,  # noqa: ARG005
) -> tuple[NeededRun, ...]:
    """All that must be trained before an experiment, each run after those that it needs itself.

    Args:
        experiment: What is to be trained in the end; it is not among them.
        known: {key: experiment}, for what is named by its key alone, and for labels.
        finished: Whether the run of a key is; it is then not among them, nor is what only finished runs need.
    """
    found: dict[str, NeededRun] = {}

    def add(needed: NeededRun) -> None:
        if needed.key in found or finished(needed.key):
            return
        needed = NeededRun(needed.key, (known or {}).get(needed.key, needed.experiment))
        if needed.experiment is not None:
            for earlier in needed_runs(needed.experiment):
                add(earlier)
        found[needed.key] = needed

    # no circle can arise: a config holds what it needs by value, or by a key, which is a hash of all that it names
    for needed in needed_runs(experiment):
        add(needed)
    return tuple(found.values())


def _references(value: Any, *, names_runs: bool = False) -> Iterator[str | RunOfConfig]:
    """Every reference within a value. Those that a `RunOfConfig` holds are its own."""
    if isinstance(value, RunOfConfig):
        yield value
    elif isinstance(value, Config):
        for name in type(value).model_fields:
            yield from _references(getattr(value, name), names_runs=name in _naming_fields(type(value)))
    elif isinstance(value, tuple):
        for part in value:
            yield from _references(part, names_runs=names_runs)
    elif names_runs and isinstance(value, str) and re.fullmatch(KEY_PATTERN, value):
        yield value


@functools.cache
def _naming_fields(cls: type[Config]) -> frozenset[str]:
    """The fields of a class that may hold the key of a run."""
    return frozenset(
        name
        for name, field in cls.model_fields.items()
        if find_mark(field.metadata, NamesRun) or _is_marked(field.annotation)
    )


def _is_marked(annotation: Any) -> bool:
    if find_mark(getattr(annotation, "__metadata__", ()), NamesRun):
        return True
    return any(_is_marked(part) for part in typing.get_args(annotation))
