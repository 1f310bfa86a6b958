"""How a classification holds on corrupted pictures that somebody has published as files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, MinLen

from cotrain.config import Config, NotIdentity
from cotrain.data import Data, FileImages, ImageRows, Preparation, Source, find_pictures
from cotrain.errors import DataError
from cotrain.evaluations._journal import Condition
from cotrain.evaluations._robustness import (
    CLEAN,
    Done,
    Names,
    RobustnessScore,
    Severities,
    conditions_of,
    first_images,
    nothing,
    scores_under,
    under_each,
    weights_digest,
)
from cotrain.models import MultiTaskModel
from cotrain.settings import data_folder

log = logging.getLogger(__name__)

SHOWN = 5  # names in an error


class CorruptedFoldersConfig(Config):
    """Scores of one classification on folders of corrupted pictures, laid out as ImageNet-C and Tiny-ImageNet-C are.

    A picture lies in <path>/<corruption>/<severity>/<class>/, the class under the name that it has in the run's data.
    Classes of the folders that a run does not know are left out. "clean" is the run's own test split: of published
    sets it may be other pictures than those that were corrupted.
    """

    kind: ClassVar[str] = "cotrain.evaluations.corrupted_folders"
    path: Annotated[str, MinLen(1)]  # relative to the data folder (COTRAIN_DATA)
    task: str = ""  # the classification; "": the only one of a run
    corruptions: Names = ("common",)  # names; "common": the 15 of the benchmark, "extra": the 4 others
    severities: Severities = (1, 2, 3, 4, 5)
    fit: Literal["crop", "stretch"] = "crop"  # of pictures that are no squares: cut the longer side's ends, or distort
    images: Annotated[int, Ge(3)] | None = None  # only so many a condition, of all classes in turn; none: all
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 256  # pictures at once


def corrupted_folders(
    model: MultiTaskModel,
    data: Data,
    config: CorruptedFoldersConfig,
    *,
    device: torch.device,
    seed: int = 0,  # noqa: ARG001 nothing is random
    journal: Path | None = None,
    on_condition: Done = nothing,
) -> list[RobustnessScore]:
    """Score a classification on clean test images, then on the pictures of each folder; empty for a run without one.

    Pictures are read while the model works; they are made grey or colour, and as large, as the run's images are.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where, in float32.
        seed: Not used.
        journal: As of `corruptions`; whether the pictures are still the same is not looked at.
        on_condition: Is called after each condition.

    Raises:
        DataError: A folder or a class is missing, a picture is damaged, or the run's images are no squares; names it.
    """
    task = _task(data, model, config.task)
    if task is None:
        return []
    root = data_folder() / config.path
    clean = next(iter(data.splits["test"][task].values()))
    conditions = conditions_of(config.corruptions, config.severities)
    _check_folders(root, conditions, clean.class_names)

    def scores(condition: Condition) -> list[RobustnessScore]:
        shown = first_images(clean, config.images) if condition == CLEAN else _pictures(root, condition, clean, config)
        tasks = {task: {"": shown}}
        return scores_under(condition, model, tasks, split="test", device=device, batch_size=config.batch_size)

    def heading() -> dict[str, str]:
        return {"evaluation": config.key(), "weights": weights_digest(model), "data": data.info.fingerprint}

    return under_each(conditions, scores, journal=journal, heading=heading, on_condition=on_condition)


def _task(data: Data, model: MultiTaskModel, name: str) -> str | None:
    """The name of the classification that is meant, if the run has it."""
    held = [
        task for task, info in data.info.tasks.items() if info.kind == "classification" and task in model.objectives
    ]
    if name:
        return name if name in held else None
    if len(held) > 1:
        raise DataError(f"The run has several classifications: {', '.join(held)}. Name one as task.")
    return held[0] if held else None


def _folder(root: Path, condition: Condition) -> Path:
    return root / condition.corruption / str(condition.severity)


def _check_folders(root: Path, conditions: tuple[Condition, ...], class_names: tuple[str, ...]) -> None:
    """Refuse before anything is computed what folders lack."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Set COTRAIN_DATA to the folder that its path starts from.")
    lacking = [
        f"{name}/{severity}"
        for name, severity in conditions[1:]
        if not _folder(root, Condition(name, severity)).is_dir()
    ]
    if lacking:
        present = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise DataError(
            f"{root} lacks {len(lacking)} of {len(conditions) - 1} folders <corruption>/<severity>: {_some(lacking)}. "
            f"It has {_some(present) or 'none'}. Name what it has as corruptions and severities."
        )
    for condition in conditions[1:]:
        folder = _folder(root, condition)
        present = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if absent := sorted(set(class_names) - set(present)):
            raise DataError(
                f"{folder} lacks {len(absent)} of the run's {len(class_names)} classes: {_some(absent)}. It has "
                f"{_some(present) or 'no folders'}. Classes are matched by their names."
            )
        if condition == conditions[1] and (others := len(set(present) - set(class_names))):
            log.info("%s: %d classes that the run does not know are left out", root, others)


def _pictures(root: Path, condition: Condition, clean: Source, config: CorruptedFoldersConfig) -> Source:
    """The pictures of a condition, classes in turn, so that the first ones are of all classes."""
    _, channels, height, width = clean.images.shape
    if height != width:
        raise DataError(f"Pictures are prepared as squares, and the run's images have {height}x{width} pixels.")
    found: list[tuple[int, int, Path]] = []
    for label, name in enumerate(clean.class_names):
        folder = _folder(root, condition) / name
        paths = find_pictures(folder)
        if not paths:
            raise DataError(f"{folder} holds no pictures.")
        found += [(place, label, path) for place, path in enumerate(paths)]
    found = sorted(found)[: config.images]
    stack = FileImages(
        [path for _, _, path in found],
        Preparation((0, 0, 0, 0), channels, height, config.fit),
        (channels, height, width),
    )
    return Source(
        "classification",
        ImageRows(stack, torch.arange(len(found))),
        torch.tensor([label for _, label, _ in found]),
        class_names=clean.class_names,
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
