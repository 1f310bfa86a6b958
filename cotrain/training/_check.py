"""Try an experiment out before it is trained: build everything, run one batch a task, estimate the time."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cotrain.data import MicroStep
from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.seeds import derive_seed
from cotrain.tasks import DataInfo
from cotrain.training._checkpoint import RunFolder
from cotrain.training._device import own_randomness, pick_device
from cotrain.training._state import TrainingState
from cotrain.training._trainer import Trainer

TRIES = 3


@dataclass(frozen=True)
class TaskCheck:
    """One task as it would be trained.

    Args:
        name, tap: Its name, and the place or places where it reads the backbone.
        batch: Stimuli a batch.
        batches: Batches in the first epoch.
        loss: Of one batch, before training; unweighted, as in the scores.
        seconds: Of one batch, forward and backward, median of some tries.
    """

    name: str
    tap: str
    batch: int
    batches: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Check:
    """What would be trained, and for how long."""

    info: DataInfo
    parameters: int
    device: str
    epochs: int
    tasks: list[TaskCheck]
    seconds: float


def check(experiment: Experiment) -> Check:
    """Build everything and run one batch of each task forward and backward; nothing is written.

    Raises:
        CotrainError: Whatever would stop the run before its first epoch.
    """
    data = build(experiment.data, seed=experiment.seed)
    model: MultiTaskModel = build(experiment.model, data.info, seed=experiment.seed)
    trainer: Trainer = build(experiment.trainer)
    device = pick_device(trainer.config.device)
    # the folder is not touched before training starts
    state = TrainingState(trainer.config, model.to(device).train(), data, experiment.seed, device, RunFolder(Path()))
    loader, schedule, epochs = state.loader, state.loader.schedule, trainer.config.epochs
    tasks, seconds = [], 0.0
    with own_randomness(derive_seed(experiment.seed, "noise"), device):
        for name, sessions in loader.sources.items():
            session, source = next(iter(sessions.items()))
            index = loader.indices(MicroStep(name, session, 0, step_ends=False))
            images, targets = source.batch(index.to(source.images.device))
            times = []
            for _ in range(TRIES):
                started = time.perf_counter()
                objective = model.objectives[name]
                output = model(images.to(device), name, session)
                loss: Tensor = objective.loss(output, targets.to(device), session)  # type: ignore[operator]
                objective.weighted(loss).backward()  # type: ignore[operator]
                value = loss.item()
                times.append(time.perf_counter() - started)
            if not math.isfinite(value):
                raise TrainingError(f"The loss of task {name!r} is {value} in the first batch.")
            in_first, in_all = (schedule.batches_until(name, epoch, schedule.main_batches) for epoch in (1, epochs))
            seconds += in_all * statistics.median(times)
            tasks.append(
                TaskCheck(name, ", ".join(model.taps[name]), len(images), in_first, value, statistics.median(times))
            )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Check(data.info, parameters, str(device), epochs, tasks, seconds)
