"""What the scripts share: the trainer's steps without what surrounds them, and medians of what was timed in turn.

The one place here that reaches behind the face of `cotrain.training`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cotrain.config import Config
from cotrain.data import Data
from cotrain.resolve import build
from cotrain.training import JournalSink, RunFolder, TrainerConfig
from cotrain.training._state import TrainingState

Watch = Callable[[str], Any]
"""Name of a part -> a context that is timed."""


@contextmanager
def training_state(trainer: TrainerConfig, model: Config, data: Data) -> Iterator[TrainingState]:
    """A trainer about to take its first step, on the CPU, in a folder that goes away."""
    with TemporaryDirectory() as folder:
        built = build(model, data.info, seed=0)
        with (place := RunFolder(Path(folder))).locked():
            run = TrainingState(trainer, built, data, 0, torch.device("cpu"), place)
            run.model.train()
            yield run


def epoch(run: TrainingState, watch: Watch = lambda _: nullcontext()) -> None:
    """The micro-steps and optimiser steps of the loader's next epoch; the wait for each batch is the part "data"."""
    seen: set[tuple[str, str]] = set()
    batches = iter(run.loader)
    while True:
        with watch("data"):
            batch = next(batches, None)
        if batch is None:
            return
        run.micro_step(batch)
        seen.add((batch.task, batch.session))
        if batch.step_ends:
            run.optimiser_step(seen)
            seen.clear()


def end_of_epoch(run: TrainingState, journal: JournalSink, *, checkpoint: bool = False) -> None:
    """What follows the last step, but for validation: losses are read from the device, and written."""
    number = run.loader.epoch - 1
    journal.epoch(number, run.training_scores(number), 0.0)
    if checkpoint:
        run.folder.save_checkpoint(run.step, run.state_dict())


def in_turn(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """What each side gives, `rounds` times; they take turns, so that a busy machine slows all of them."""
    found: dict[str, list[Any]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def to_first(times: Mapping[str, Iterable[float]], name: str) -> tuple[float, float, float]:
    """Median, smallest and largest over turns of a side's time divided by that of the first side in the same turn."""
    first = next(iter(times.values()))
    ratios = [own / other for own, other in zip(times[name], first, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
