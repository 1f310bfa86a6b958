"""Try an experiment out before it is trained: build everything, run one batch a task, estimate the time."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

from cotrain.data import MicroStep, MixingLoader
from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.tasks import DataInfo
from cotrain.training._trainer import Trainer, pick_device, resident

TRIES = 3


@dataclass(frozen=True)
class TaskCheck:
    """One task as it would be trained.

    Args:
        name, tap: Its name, and the place where it reads the backbone.
        batch: Stimuli a batch.
        batches: Batches in the first epoch.
        loss: Of one batch, before training.
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
    model.to(device).train()
    build(trainer.config.optimiser, model)
    loader = MixingLoader(resident(data, device)["train"], trainer.config.mixing, seed=experiment.seed)
    counts: dict[str, int] = {}
    first: dict[str, MicroStep] = {}
    for micro_step in loader.schedule.epoch(1):
        counts[micro_step.task] = counts.get(micro_step.task, 0) + 1
        first.setdefault(micro_step.task, micro_step)
    tasks = []
    for name, micro_step in first.items():
        source = loader.sources[name][micro_step.session]
        images, targets = source.batch(loader.indices(micro_step).to(source.images.device))
        times = []
        for _ in range(TRIES):
            started = time.perf_counter()
            objective = model.objectives[name]
            loss = objective(model(images.to(device), name, micro_step.session), targets.to(device))
            loss.backward()
            value = loss.item()
            times.append(time.perf_counter() - started)
        if not math.isfinite(value):
            raise TrainingError(f"The loss of task {name!r} is {value} in the first batch.")
        tasks.append(TaskCheck(name, model.taps[name], len(images), counts[name], value, statistics.median(times)))
    epochs = trainer.config.epochs
    seconds = epochs * sum(task.batches * task.seconds for task in tasks)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Check(data.info, parameters, str(device), epochs, tasks, seconds)
