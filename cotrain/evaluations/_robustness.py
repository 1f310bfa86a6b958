"""What evaluations under corrupted images share: conditions, one row a score, and a journal that they go on from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import MinLen
from pydantic import AfterValidator

from cotrain.data import Source
from cotrain.data.corruptions import corruption_names
from cotrain.errors import did_you_mean
from cotrain.evaluations._journal import Condition, Line, opened
from cotrain.models import MultiTaskModel
from cotrain.training import Seen, as_they_are, evaluate

CLEAN = Condition("clean", 0)  # the images as they are
GROUPS = ("common", "extra")  # what stands for several corruptions in a config

Tasks = Mapping[str, Mapping[str, Source]]
Done = Callable[[], None]  # is called after each condition


def nothing() -> None:
    """Tell nobody that a condition is done."""


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    known = (*GROUPS, *corruption_names(extra=True))
    for name in names:
        if name not in known:
            raise ValueError(f"there is no corruption {name!r}.{did_you_mean(name, known)}")
    return each_once(names)


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each is named once")
    return values


Names = Annotated[tuple[str, ...], MinLen(1), AfterValidator(_known)]
Severity = Literal[1, 2, 3, 4, 5]
Severities = Annotated[tuple[Severity, ...], MinLen(1), AfterValidator(each_once)]


@dataclass(frozen=True)
class RobustnessScore:
    """One score under one condition.

    Args:
        task, session: What was scored; the session "" is that of tasks without any, or all of a task together.
        corruption: Its name; "clean" for images as they are.
        severity: 1 to 5; 0 of clean images.
        metric: As in the scores of training: accuracy, top5, correlation, spearman, loss and others.
        value: NaN where it is undefined.
        images: How many were shown.
    """

    task: str
    session: str
    corruption: str
    severity: int
    metric: str
    value: float
    images: int


def conditions_of(names: Sequence[str], severities: Sequence[int]) -> tuple[Condition, ...]:
    """Clean images first, then each corruption at each severity; a group stands for its corruptions."""
    common = corruption_names()
    groups = {"common": common, "extra": corruption_names(extra=True)[len(common) :]}
    chosen = dict.fromkeys(single for name in names for single in groups.get(name, (name,)))
    return (CLEAN, *(Condition(name, severity) for name in chosen for severity in severities))


def first_images(source: Source, count: int | None) -> Source:
    """The first stimuli of a source, all if None; one whose RDM is among groups of stimuli stays whole."""
    if count is None or count >= len(source) or source.groups is not None:
        return source
    return source.subset(torch.arange(count))


def scores_under(
    condition: Condition,
    model: MultiTaskModel,
    tasks: Tasks,
    *,
    split: str,
    device: torch.device,
    batch_size: int,
    seen: Seen = as_they_are,
) -> list[RobustnessScore]:
    """All scores of training, of a model that is shown other images in place of the sources'."""
    found = evaluate(model, split, tasks, epoch=0, device=device, seen=seen, batch_size=batch_size)
    shown = {task: {session: len(source) for session, source in held.items()} for task, held in tasks.items()}
    return [
        RobustnessScore(
            score.task,
            score.session,
            condition.corruption,
            condition.severity,
            score.metric,
            score.value,
            shown[score.task].get(score.session, sum(shown[score.task].values())),
        )
        for score in found
    ]


def under_each(
    conditions: Sequence[Condition],
    scores: Callable[[Condition], list[RobustnessScore]],
    *,
    journal: Path | None,
    heading: Callable[[], dict[str, Any]],
    on_condition: Done,
) -> list[RobustnessScore]:
    """The scores under all conditions; those that a journal has are not computed again.

    Args:
        conditions: In the order of the rows.
        scores: Computes those of one condition.
        journal: The file; None: nothing is kept.
        heading: What the journal's first line says that the scores are of.
        on_condition: Is called after each condition, also after one that was in the journal.
    """
    found: list[RobustnessScore] = []
    with opened(journal, heading) as kept:
        for condition in conditions:
            if condition in kept.done:
                rows = list(_rows(condition, kept.done[condition]))
            else:
                rows = scores(condition)
                kept.add(condition, [(row.task, row.session, row.metric, row.value, row.images) for row in rows])
            found += rows
            on_condition()
    return found


def _rows(condition: Condition, lines: Sequence[Line]) -> Iterator[RobustnessScore]:
    for task, session, metric, value, images in lines:
        yield RobustnessScore(task, session, condition.corruption, condition.severity, metric, value, images)


def weights_digest(model: torch.nn.Module) -> str:
    """Hash of all parameters and buffers with their names, 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for name, held in model.state_dict().items():
        if isinstance(held, torch.Tensor):  # a module may keep other state beside
            total.update(f"{name} {tuple(held.shape)} {held.dtype}".encode())
            total.update(held.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
