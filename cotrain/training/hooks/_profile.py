"""A profile of some training steps: which operations take the time, and a trace of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor
from torch.profiler import ProfilerActivity

from cotrain.config import Config
from cotrain.data import Batch
from cotrain.training._hooks import Hook, Training

log = logging.getLogger(__name__)

ROWS = 10


class ProfileConfig(Config):
    """Some optimiser steps are profiled, once a run, by `torch.profiler`.

    The folder `profile/` of the run gets a trace, which chrome://tracing and ui.perfetto.dev show, and a table of the
    most expensive operations, which is logged too (with `-v`). What is computed stays the same.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.profile"
    wait: Annotated[int, Ge(0)] = 10  # steps before, from the start or from where training goes on
    warm_up: Annotated[int, Ge(0)] = 2  # steps in which the profiler runs and nothing is kept
    active: Annotated[int, Ge(1)] = 5  # steps that are kept


class Profile(Hook):
    """Begins with the first batch, so that trying an experiment out profiles nothing."""

    def __init__(self, config: ProfileConfig) -> None:
        self.config = config
        self.profiler: Any = None
        self.done = False

    def start(self, training: Training) -> None:
        """Say where the trace goes."""
        self.folder, self.on_gpu = training.folder / "profile", training.device.type == "cuda"
        self.left = self.config.wait + self.config.warm_up + self.config.active

    def images(self, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """Begin."""
        if self.profiler is None and not self.done:
            config = self.config
            self.profiler = torch.profiler.profile(
                activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_gpu else [])],
                schedule=torch.profiler.schedule(
                    wait=config.wait, warmup=config.warm_up, active=config.active, repeat=1
                ),
                on_trace_ready=self._write,
                acc_events=True,
            )
            self.profiler.start()
        return images

    def step_end(self, step: int) -> None:
        """Count."""
        if self.profiler is not None:
            self.profiler.step()
            self.left -= 1
            if self.left == 0:
                self.done = True
                self._stop()

    def close(self) -> None:
        """Of a profile that is not finished nothing is kept."""
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """Whether there is a profile."""
        return {"done": self.done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make no second one."""
        self.done = state["done"]

    def _stop(self) -> None:
        if self.profiler is not None:
            self.profiler.stop()
        self.profiler = None

    def _write(self, profiler: Any) -> None:
        if self.left > 1:  # stopped before its end
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        trace: Path = self.folder / "trace.json"
        profiler.export_chrome_trace(str(trace))
        by = "self_cuda_time_total" if self.on_gpu else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=ROWS)
        (self.folder / "operations.txt").write_text(table)
        log.info("The %d most expensive operations of %d steps (%s):\n%s", ROWS, self.config.active, trace, table)


def profile(config: ProfileConfig) -> Hook:
    """The hook of a config."""
    return Profile(config)
