"""How all tasks of a model hold when images are corrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from cotrain.config import Config, NotIdentity
from cotrain.data import Data
from cotrain.data.corruptions import CORRUPTIONS_VERSION, Preset, corrupt_batch
from cotrain.errors import ConfigError, DataError
from cotrain.evaluations._journal import Condition
from cotrain.evaluations._robustness import (
    CLEAN,
    Done,
    Names,
    RobustnessScore,
    Severities,
    Tasks,
    conditions_of,
    first_images,
    nothing,
    scores_under,
    under_each,
    weights_digest,
)
from cotrain.models import MultiTaskModel
from cotrain.training import as_they_are


class CorruptionsConfig(Config):
    """Scores of all tasks on held-out images that are corrupted on the fly, and on clean ones."""

    kind: ClassVar[str] = "cotrain.evaluations.corruptions"
    preset: Preset = "imagenet_c"  # which published table of severities
    corruptions: Names = ("common",)  # names; "common": the 15 of the benchmark, "extra": the 4 others
    severities: Severities = (1, 2, 3, 4, 5)
    tasks: tuple[str, ...] = ()  # only these, of those that a run has; none: all
    split: Literal["test", "validation"] = "test"  # "validation" for whatever is chosen by the scores
    images: Annotated[int, Ge(3)] | None = None  # only so many, the first ones of each source; none: all
    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = (
        0  # of the corruptions: the same for all runs, so that they can be paired
    )
    version: Annotated[int, Ge(1)] = CORRUPTIONS_VERSION  # of the corruptions' code; only the present one is computed
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 256  # images at once


def corruptions(
    model: MultiTaskModel,
    data: Data,
    config: CorruptionsConfig,
    *,
    device: torch.device,
    seed: int = 0,  # noqa: ARG001 every evaluation is given the run's
    journal: Path | None = None,
    on_condition: Done = nothing,
) -> list[RobustnessScore]:
    """Score all tasks on clean images, then under each corruption at each severity; empty for a run without the tasks.

    Images are corrupted batch by batch on the device, and only the scores of a condition are kept. What is drawn for
    an image depends on `config.seed`, on its row in its source and on the corruption: it is the same for all models
    and severities, for every batch size and on every device.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where, in float32.
        seed: Not used: runs of all seeds see the same corruptions, those of `config.seed`.
        journal: File that keeps each finished condition, from which another call with the same model, data and config
            goes on. It is left there; delete it when the scores are stored.
        on_condition: Is called after each condition.

    Raises:
        ConfigError: The config is of another version of the corruptions' code.
        DataError: Images are too small, or the journal is of something else or in use.
    """
    require_present_version(config)
    tasks: Tasks = {
        task: {session: first_images(source, config.images) for session, source in sessions.items()}
        for task, sessions in data.splits[config.split].items()
        if task in model.objectives and (not config.tasks or task in config.tasks)
    }
    if not tasks:
        return []
    conditions = conditions_of(config.corruptions, config.severities)
    _try(conditions, tasks, config)

    def scores(condition: Condition) -> list[RobustnessScore]:
        def seen(images: Tensor, rows: Tensor) -> Tensor:
            return corrupt_batch(images, *condition, seed=config.seed, indices=rows, preset=config.preset)

        return scores_under(
            condition,
            model,
            tasks,
            split=config.split,
            device=device,
            batch_size=config.batch_size,
            seen=as_they_are if condition == CLEAN else seen,
        )

    def heading() -> dict[str, str]:
        return {"evaluation": config.key(), "weights": weights_digest(model), "data": data.info.fingerprint}

    return under_each(conditions, scores, journal=journal, heading=heading, on_condition=on_condition)


def require_present_version(config: CorruptionsConfig) -> None:
    """Refuse to compute what another release's corruptions gave.

    Raises:
        ConfigError: Names both versions.
    """
    if config.version != CORRUPTIONS_VERSION:
        raise ConfigError(
            f"{config.kind}: version {config.version} of the corruptions gave other pixels than version "
            f"{CORRUPTIONS_VERSION}, which this release has. Leave version out to evaluate anew; scores of version "
            f"{config.version} that are stored stay what they are."
        )


def _try(conditions: tuple[Condition, ...], tasks: Tasks, config: CorruptionsConfig) -> None:
    """Refuse before anything is computed what an image of each task shows to be impossible."""
    for task, sessions in tasks.items():
        black = torch.zeros(1, *next(iter(sessions.values())).images.shape[1:], dtype=torch.uint8)
        for condition in conditions[1 :: len(config.severities)]:
            try:
                corrupt_batch(
                    black, *condition, seed=0, indices=torch.zeros(1, dtype=torch.int64), preset=config.preset
                )
            except DataError as error:
                others = " Leave the task out: tasks names those that are wanted." if len(tasks) > 1 else ""
                raise DataError(f"Task {task!r}: {error}{others}") from None
