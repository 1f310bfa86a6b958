"""The learning-rate finder: a short sweep from low to high rates, and the loss on the way."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.seeds import derive_seed
from cotrain.training._checkpoint import RunFolder
from cotrain.training._device import own_randomness, pick_device
from cotrain.training._hooks import overriding
from cotrain.training._schedules import ConstantConfig
from cotrain.training._state import TrainingState
from cotrain.training._trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING = 0.9  # share of the mean loss so far that a step keeps
TOO_HIGH = 3.0  # the sweep ends where the loss lies so many first losses above its lowest value
FEWEST = 10


@dataclass(frozen=True)
class LearningRates:
    """What a sweep found.

    Args:
        rates: Of each optimiser step, growing by a constant factor; of the optimiser's first group of parameters.
        losses: Smoothed, at each rate: the sum over tasks of the weighted losses that are differentiated.
        suggestion: The rate at which the loss falls most steeply over the logarithm of the rate (Smith 2017, WACV,
            section 3.3, reads a range off the same curve by eye).
    """

    rates: list[float]
    losses: list[float]
    suggestion: float

    def plot(self, path: str | Path) -> None:
        """Draw loss over rate into a picture."""
        self._figure().savefig(path, dpi=150)

    def _figure(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color="#0072B2")
        axes.axvline(self.suggestion, color="#D55E00", linestyle="--", label=f"steepest descent: {self.suggestion:.2g}")
        first, lowest = self.losses[0], min(self.losses)
        if max(self.losses) > (top := first + max(0.5 * (first - lowest), 0.05 * abs(first))):  # the blow-up is cut off
            axes.set_ylim(lowest - 0.05 * (top - lowest), top)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("smoothed loss, all tasks")
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        return figure


def find_learning_rate(
    experiment: Experiment, *, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
) -> LearningRates:
    """Train for some optimiser steps with a learning rate that grows from step to step; no run is touched.

    The experiment's own mixing, optimiser, augmentation, clipping and hooks are used, its schedule is not. Where groups
    of parameters have rates of their own, their ratios stay. The sweep ends early where the loss is no longer finite
    or far above its lowest value. Neither validation nor test data are looked at.

    Args:
        experiment: What is to be trained.
        lowest, highest: Learning rates of the first and the last step, above 0.
        steps: Optimiser steps, 10 or more.

    Raises:
        TrainingError: The range or the number of steps is wrong, or the loss is lost in the first steps.
        CotrainError: Whatever would stop the run before its first epoch.
    """
    if not 0 < lowest < highest < math.inf:
        raise TrainingError(f"Learning rates must grow from above 0, found lowest={lowest:g}, highest={highest:g}.")
    if steps < FEWEST:
        raise TrainingError(f"A sweep needs {FEWEST} steps or more, found {steps}.")
    data = build(experiment.data, seed=experiment.seed)
    model: MultiTaskModel = build(experiment.model, data.info, seed=experiment.seed)
    trainer: Trainer = build(experiment.trainer)
    device = pick_device(trainer.config.device)
    config = trainer.config.replace(schedule=ConstantConfig())
    with tempfile.TemporaryDirectory() as folder, own_randomness(derive_seed(experiment.seed, "noise"), device):
        state = TrainingState(config, model.to(device), data, experiment.seed, device, RunFolder(Path(folder)))
        try:
            rates, losses = _sweep(state, lowest, highest, steps)
        finally:
            for hook in state.hooks:
                hook.close()
    first, half = _window(steps)
    if len(losses) <= first + 2 * half:
        raise TrainingError(
            f"The loss was lost after {len(losses)} steps, at learning rates from {lowest:g} on. Start from a "
            "lower one."
        )
    return LearningRates(rates, losses, _steepest(rates, losses, steps))


def _sweep(state: TrainingState, lowest: float, highest: float, steps: int) -> tuple[list[float], list[float]]:
    own = state.base_rates
    state.model.train()
    state.optimiser.zero_grad()
    for begin in overriding(state.hooks, "epoch_start"):
        begin(1)
    if state.gradients is not None:
        state.gradients.begin_epoch()
    means = dict[str, tuple[float, float]]()  # of each task: sum of losses, and of their weights, old ones less
    rates, losses = list[float](), list[float]()
    found = dict[str, list[Tensor]]()
    seen: set[tuple[str, str]] = set()
    for batch in state.loader.endless():
        rate = lowest * (highest / lowest) ** (len(rates) / (steps - 1))
        state.base_rates = [rate * group / own[0] for group in own]
        images, targets, seed = state.received(batch)
        _, term = state.losses(batch, images, targets, seed)
        state.backward(batch.task, term)
        found.setdefault(batch.task, []).append(term.detach())
        seen.add((batch.task, batch.session))
        if not batch.step_ends:
            continue
        for task, terms in found.items():
            value = float(torch.stack(terms).mean()) * state.config.mixing.accumulate
            if task not in means:  # one that is met late must not look like a rise of the loss
                losses = [loss + value for loss in losses]
            total, weight = means.get(task, (0.0, 0.0))
            means[task] = SMOOTHING * total + value, SMOOTHING * weight + 1
        loss = sum(total / weight for total, weight in means.values())
        if not math.isfinite(loss) or (losses and loss > min(losses) + TOO_HIGH * abs(losses[0])):
            break
        rates.append(rate)
        losses.append(loss)
        if len(rates) == steps:
            break
        state.optimiser_step(seen)
        found.clear()
        seen.clear()
    return rates, losses


def _window(steps: int) -> tuple[int, int]:
    """Steps that are left out at first, where the mean is of few batches; and half of what a slope is taken over."""
    return steps // 10, max(1, steps // 20)


def _steepest(rates: list[float], losses: list[float], steps: int) -> float:
    """The rate in the middle of the steepest fall."""
    first, half = _window(steps)
    middles = range(first + half, len(losses) - half)
    return rates[min(middles, key=lambda n: losses[n + half] - losses[n - half])]
