"""How fast an experiment trains here, where the time goes, and what limits it."""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from cotrain.data import Batch
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.seeds import derive_seed
from cotrain.training._checkpoint import RunFolder
from cotrain.training._device import own_randomness, pick_device
from cotrain.training._environment import algorithms
from cotrain.training._sinks import JournalSink
from cotrain.training._state import TrainingState
from cotrain.training._trainer import Trainer

WARM_UP = 3  # optimiser steps: caches fill, kernels are chosen and compiled
MATRIX = {"cpu": 1024, "cuda": 8192}  # rows of the square matrices whose product measures the peak
TRIES = 5
T = TypeVar("T")
PHASES = ("data", "forward", "backward", "optimiser")
HOST_BOUND = 0.9  # of a step's time spent on giving the GPU work
DATA_BOUND = 0.25  # of a step's time spent on waiting for batches


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Args:
        device: Its name.
        precision: Of the forward pass.
        steps: Optimiser steps that were timed.
        micro_steps: Batches in them, by task.
        samples: Stimuli in them, of all tasks.
        step_seconds: Of an optimiser step with its group of batches, in a stretch without any waiting for the device
            in between.
        phases: {phase: seconds a step}, each waited for, so that on a GPU their sum is more than `step_seconds`.
        host_share: Of `step_seconds`, what the host needs to give a GPU its work; 1 on a CPU.
        flops: Floating-point operations of a step, multiplications and additions counted apart, as counted by torch.
        peak_flops: A second, of a large matrix product in that precision, measured here.
        validation_seconds, copy_seconds, write_seconds: Once an epoch: scores of the validation split, copy of the
            state (training waits for it), journal and checkpoint on the disk (training goes on).
        epoch_steps, epochs: What the experiment trains.
        memory: Peak bytes: those that torch held on a GPU, those of the whole process on a CPU.
    """

    device: str
    precision: str
    steps: int
    micro_steps: dict[str, int]
    samples: int
    step_seconds: float
    phases: dict[str, float]
    host_share: float
    flops: float
    peak_flops: float
    validation_seconds: float
    copy_seconds: float
    write_seconds: float
    epoch_steps: int
    epochs: int
    memory: int

    @property
    def samples_a_second(self) -> float:
        """Stimuli of all tasks."""
        return self.samples / self.steps / self.step_seconds

    @property
    def peak_share(self) -> float:
        """Of the device's measured peak, 0..1."""
        return self.flops / self.step_seconds / self.peak_flops

    @property
    def epoch_seconds(self) -> float:
        """Training, validation and the copy of the state."""
        return self.epoch_steps * self.step_seconds + self.validation_seconds + self.copy_seconds

    def limit(self) -> str:
        """What to look at first, in a sentence."""
        whole = sum(self.phases.values())
        share = {name: seconds / whole for name, seconds in self.phases.items()}
        if share["data"] > DATA_BOUND:
            return f"reading data: {share['data']:.0%} of a step waits for batches; give more workers or a cache"
        if self.write_seconds > self.epoch_seconds:
            return "the disk: writing a checkpoint takes longer than an epoch"
        if self.validation_seconds > self.epoch_steps * self.step_seconds:
            return "validation: it takes longer than the training of an epoch"
        if self.host_share > HOST_BOUND and not self.device.startswith("cpu"):
            return "the host: the GPU waits for Python; give larger batches or compile the backbone"
        if share["optimiser"] > max(share["forward"], share["backward"]):
            return "the optimiser: its step takes longer than a pass; give larger batches, or accumulate"
        return (
            f"the device: {share['forward'] + share['backward']:.0%} of a step is forward and backward passes, at "
            f"{self.peak_share:.0%} of its peak"
        )


def bench(experiment: Experiment, *, steps: int = 30, progress: bool = False) -> Bench:
    """Train some optimiser steps and measure them; nothing is kept.

    Args:
        experiment: Any; its data and model are built.
        steps: That are timed, twice: as a whole, then phase by phase.
        progress: Show a progress bar.

    Raises:
        CotrainError: Whatever would stop the run before its first epoch.
    """
    data = build(experiment.data, seed=experiment.seed)
    model: MultiTaskModel = build(experiment.model, data.info, seed=experiment.seed)
    trainer: Trainer = build(experiment.trainer)
    config, device = trainer.config, pick_device(trainer.config.device)
    with (
        tempfile.TemporaryDirectory() as place,
        algorithms(device, deterministic=config.deterministic),
        own_randomness(derive_seed(experiment.seed, "noise"), device),
        tqdm(total=WARM_UP + 2 * steps, unit="step", disable=not progress) as bar,
    ):
        folder = RunFolder(Path(place))
        folder.checkpoints.mkdir()
        state = TrainingState(config, model.to(device), data, experiment.seed, device, folder)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        model.train()
        groups = _groups(state)
        for group in itertools.islice(groups, WARM_UP):
            _train(state, group)
            bar.update()
        met, started = list[Batch](), _now(device)
        for group in itertools.islice(_counted(groups, met), steps):
            _train(state, group)
            bar.update()
        host = time.perf_counter() - started
        whole = _now(device) - started
        phases = _phases(state, groups, steps, bar)
        flops = _flops(state, met) / steps
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()
        validation, scores = _timed(device, lambda: state.validate(1))
        copy, held = _timed(device, state.state_dict)
        journal = JournalSink(folder.journal)
        write = _timed(device, lambda: journal.epoch(1, scores, 0.0))[0]
        write += _timed(device, lambda: folder.save_checkpoint(1, held))[0]
    return Bench(
        device=_name(device),
        precision=config.precision,
        steps=steps,
        micro_steps=dict(Counter(batch.task for batch in met)),
        samples=sum(len(batch.images) for batch in met),
        step_seconds=whole / steps,
        phases=phases,
        host_share=host / whole,
        flops=flops,
        peak_flops=_peak(device, getattr(torch, config.precision)),
        validation_seconds=validation,
        copy_seconds=copy,
        write_seconds=write,
        epoch_steps=state.timeline.steps_an_epoch,
        epochs=config.epochs,
        memory=memory,
    )


def _groups(state: TrainingState) -> Iterator[Iterator[Batch]]:
    """Groups of batches without end, each up to the optimiser's step; read as they are asked for."""
    batches = state.loader.endless()

    def group() -> Iterator[Batch]:
        for batch in batches:
            yield batch
            if batch.step_ends:
                return

    while True:
        yield group()


def _counted(groups: Iterator[Iterator[Batch]], met: list[Batch]) -> Iterator[Iterator[Batch]]:
    for group in groups:
        yield (met.append(batch) or batch for batch in group)  # type: ignore[func-returns-value]


def _train(state: TrainingState, group: Iterator[Batch]) -> None:
    seen = set()
    for batch in group:
        state.micro_step(batch)
        seen.add((batch.task, batch.session))
    state.optimiser_step(seen)


def _phases(state: TrainingState, groups: Iterator[Iterator[Batch]], steps: int, bar: tqdm) -> dict[str, float]:  # type: ignore[type-arg]
    """Mean seconds a step of each phase, the device waited for after each."""
    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        started = _now(state.device)
        yield
        spent[name] += _now(state.device) - started

    for group in itertools.islice(groups, steps):
        seen = set()
        while True:
            with phase("data"):
                batch = next(group, None)
                if batch is not None:
                    images, targets, seed = state.received(batch)
            if batch is None:
                break
            with phase("forward"):
                loss, term = state.losses(batch, images, targets, seed)
            with phase("backward"):
                state.backward(batch.task, term)
                state.sums.add((batch.task, batch.session), loss)
            seen.add((batch.task, batch.session))
        with phase("optimiser"):
            state.optimiser_step(seen)
        bar.update()
    return {name: spent[name] / steps for name in PHASES}


def _flops(state: TrainingState, met: list[Batch]) -> float:
    """Operations of these batches, forward and backward, one batch of each sort counted."""
    sorts = Counter((batch.task, batch.session, len(batch.images)) for batch in met)
    first = {(batch.task, batch.session, len(batch.images)): batch for batch in met}
    total = 0.0
    for sort, count in sorts.items():
        with FlopCounterMode(display=False) as counter:
            state.micro_step(first[sort])
        total += count * counter.get_total_flops()
        state.optimiser.zero_grad()
    return total


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large product of matrices, best of several."""
    size = MATRIX[device.type]
    matrix = torch.randn(size, size, device=device).to(dtype)
    best = min(_timed(device, lambda: matrix @ matrix)[0] for _ in range(TRIES))
    return 2 * size**3 / best


def _timed(device: torch.device, work: Callable[[], T]) -> tuple[float, T]:
    started = _now(device)
    result = work()
    return _now(device) - started, result


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _name(device: torch.device) -> str:
    threads = torch.get_num_threads()
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {threads} thread{'s' * (threads > 1)}"
    )


def _resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux kilobytes
