"""The training loop: batches of tasks in turn, one optimiser step a group, exact to resume."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from tqdm import tqdm

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import (
    Augmentation,
    Batch,
    Data,
    MixingConfig,
    MixingLoader,
)
from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig
from cotrain.seeds import derive_seed
from cotrain.training._checkpoint import RunFolder, load_state
from cotrain.training._device import own_randomness, pick_device, reading_threads, resident
from cotrain.training._evaluation import evaluate
from cotrain.training._finite import not_finite
from cotrain.training._monitor import Monitor, MonitorConfig
from cotrain.training._optimisers import AdamWConfig, CosineConfig, RateSchedule
from cotrain.training._parts import build_part
from cotrain.training._sinks import Score, ScoreSink
from cotrain.training._stopping import StopRequest, stop_requests
from cotrain.training._task_gradients import task_gradients

log = logging.getLogger(__name__)


class TrainerConfig(Config):
    """How a model is trained."""

    kind: ClassVar[str] = "cotrain.training.trainer"
    mixing: MixingConfig
    epochs: Annotated[int, Ge(1)] = 30  # passes over the main task
    optimiser: AnyConfig = AdamWConfig()
    schedule: AnyConfig = CosineConfig()
    monitor: MonitorConfig = MonitorConfig()
    augmentation: tuple[tuple[str, AnyConfig], ...] = ()  # (task, config) for tasks whose training images are varied
    clip_norm: Annotated[float, Gt(0)] | None = None  # largest norm of the summed gradient of a group; None: any
    weighting: Annotated[AnyConfig | None, AddedLater(neutral=None)] = None
    """Of the tasks' gradients in the backbone, on top of the objectives' weights; None: each counts 1."""
    gradient_scores: Annotated[bool, AddedLater(neutral=False)] = False
    """Whether norms of the tasks' gradients, and cosine and norm ratio of each pair, are among the scores."""
    device: Annotated[str, NotIdentity()] = "auto"  # "auto" is a GPU where there is one; or "cpu", "cuda:1" ...
    checkpoint_steps: Annotated[int, Ge(0), NotIdentity()] = 0
    """Besides each epoch's end, a checkpoint is written every so many optimiser steps; 0: not."""
    workers: Annotated[Annotated[int, Ge(0)] | None, NotIdentity()] = None
    """Threads that read batches ahead, the same batches for any number; None: as many as the data gain from."""


@dataclass(frozen=True)
class Fit:
    """What training came to.

    Args:
        best_epoch: The epoch whose weights the model now has.
        scores: All of them; those of the test split are of the best epoch.
    """

    best_epoch: int
    scores: list[Score]


class Trainer:
    """Trains a model by a `TrainerConfig`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def fit(
        self,
        model: MultiTaskModel,
        data: Data,
        *,
        seed: int,
        folder: RunFolder,
        sinks: Sequence[ScoreSink] = (),
        resume: bool = True,
        progress: bool = False,
    ) -> Fit:
        """Train, choose the best epoch by validation, restore and test it.

        Args:
            model: Trained in place.
            data: Its training split is learnt from, its validation split chooses, its test split is read once at
                the end.
            seed: The experiment's seed.
            folder: Where checkpoints go; its lock must be held.
            sinks: Are told every score.
            resume: Go on from the folder's last checkpoint where there is one.
            progress: Show a progress bar.

        Raises:
            TrainingError: The loss is no longer finite, or the data do not fit the mixing.
            RunFolderError: A checkpoint cannot be written.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a checkpoint holds all up to the step before.
        """
        device = pick_device(self.config.device)
        run = TrainingState(self.config, model.to(device), data, seed, device, folder)
        checkpoint = folder.last_checkpoint() if resume else None
        with own_randomness(derive_seed(seed, "noise"), device), ExitStack() as ends:
            for sink in sinks:
                ends.callback(sink.close)  # each of them, whatever another does
            if checkpoint is not None:
                run.load_state_dict(checkpoint)
            resumed = None if checkpoint is None else max((s.epoch for s in run.history), default=None)
            for sink in sinks:
                sink.start(run.history, resumed)
            with stop_requests() as stop:
                return run.go(sinks, stop, progress=progress)


def trainer(config: TrainerConfig) -> Trainer:
    """The trainer of a config."""
    return Trainer(config)


class TrainingState:
    """Everything that changes while training: together, one checkpoint."""

    def __init__(
        self,
        config: TrainerConfig,
        model: MultiTaskModel,
        data: Data,
        seed: int,
        device: torch.device,
        folder: RunFolder,
    ) -> None:
        self.config, self.model, self.device, self.folder = config, model, device, folder
        self.splits = resident(data, device)
        self.loader = MixingLoader(
            self.splits["train"],
            config.mixing,
            seed=seed,
            workers=reading_threads(self.splits["train"], device) if config.workers is None else config.workers,
            pin_memory=device.type == "cuda",
        )
        self.monitor = Monitor(config.monitor, data.info)
        self.optimiser = build_part(config.optimiser, "optimiser", torch.optim.Optimizer, model)
        self.augmentation: dict[str, Augmentation] = {
            task: build_part(held, "augmentation", Callable) for task, held in config.augmentation
        }
        if unknown := set(self.augmentation) - set(data.info.tasks):
            raise TrainingError(f"augmentation names tasks that the data lack: {', '.join(sorted(unknown))}.")
        if len(self.augmentation) < len(config.augmentation):
            raise TrainingError("augmentation names a task twice; only one of its entries would be used.")
        self.gradients = task_gradients(
            config.weighting, model, list(data.info.tasks), main=config.mixing.main, scores=config.gradient_scores
        )
        self.seed = seed
        self.steps_an_epoch = self.loader.schedule.main_batches
        steps = config.epochs * self.steps_an_epoch
        self.rate: RateSchedule = build_part(config.schedule, "schedule", Callable, steps)
        self.base_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.step = 0
        self.history: list[Score] = []
        places = [(task, session) for task, sessions in self.splits["train"].items() for session in sessions]
        # of the epoch so far: each loss is one addition on the device, counts are Python's
        self.losses = {place: torch.zeros((), dtype=torch.float64, device=device) for place in places}
        self.batches = dict.fromkeys(places, 0)

    def state_dict(self) -> dict[str, Any]:
        """The one checkpoint object: plain values and tensors, readable with `weights_only=True`."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {
            "format": 1,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "mixing": self.loader.state_dict(),
            "monitor": self.monitor.state_dict(),
            "gradients": None if self.gradients is None else self.gradients.state_dict(),
            "sums": [
                [task, session, torch.tensor([loss.item(), self.batches[task, session]], dtype=torch.float64)]
                for (task, session), loss in self.losses.items()
            ],
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "history": [list(score) for score in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if state.get("format") != 1:
            raise TrainingError("The checkpoint was written by another release of cotrain; use that, or resume=False.")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loader.load_state_dict(state["mixing"])
        self.monitor.load_state_dict(state["monitor"])
        if self.gradients is not None:
            self.gradients.load_state_dict(state["gradients"])
        for task, session, value in state["sums"]:
            self.losses[task, session].copy_(value[0])
            self.batches[task, session] = int(value[1])
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
        self.history = [Score(*score) for score in state["history"]]

    def go(self, sinks: Sequence[ScoreSink], stop: StopRequest, *, progress: bool) -> Fit:
        """Train to the end, or until a stop is asked for: then to the end of the step, which a checkpoint holds."""
        total = self.config.epochs * self.steps_an_epoch
        with tqdm(total=total, initial=self.step, unit="step", disable=not progress, mininterval=0.5) as bar:
            if not self.history:
                self._close_epoch(0, self._validate(0), 0.0, sinks)
            while self.loader.epoch <= self.config.epochs and not self.monitor.stops():
                stop.obey()
                self._epoch(sinks, stop, bar)
        best = self.monitor.best_epoch
        self.model.load_state_dict(load_state(self.folder.best)["model"])
        test = evaluate(self.model, "test", self.splits["test"], epoch=best, device=self.device)
        for sink in sinks:
            sink.finish(best, test)
        return Fit(best, [*self.history, *test])

    def _epoch(self, sinks: Sequence[ScoreSink], stop: StopRequest, bar: Any) -> None:
        epoch, started = self.loader.epoch, time.perf_counter()
        bar.set_description(f"epoch {epoch}/{self.config.epochs}", refresh=False)
        self.model.train()
        seen: set[tuple[str, str]] = set()
        self.optimiser.zero_grad()
        for batch in self.loader:
            self._micro_step(batch)
            seen.add((batch.task, batch.session))
            if batch.step_ends:
                self._optimiser_step(seen)
                seen.clear()
                bar.update()
                every = self.config.checkpoint_steps
                due = stop or (every and self.step % every == 0)
                if due and self.step % self.steps_an_epoch:  # an epoch's last step is in the checkpoint of its end
                    self._require_finite(epoch)
                    self.folder.save_checkpoint(self.step, self.state_dict())
                    stop.obey()
        scores = [*self._training_scores(epoch), *self._validate(epoch)]
        value = self.monitor.value(scores)
        scores.append(Score(epoch, "", "", "validation", "monitored", value))
        if self.monitor.better(epoch, value):
            self.folder.save(self.folder.best, {"epoch": epoch, "model": self.model.state_dict()})
        bar.set_postfix_str(f"monitored {value:.3f}, best {self.monitor.best:.3f}", refresh=False)
        self._close_epoch(epoch, scores, time.perf_counter() - started, sinks)

    def _micro_step(self, batch: Batch) -> None:
        images = batch.images.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        if augment := self.augmentation.get(batch.task):
            where = self.loader.state_dict().values()
            images = augment(images, derive_seed(self.seed, "augmentation", *where))
        objective = self.model.objectives[batch.task]
        output = self.model(images, batch.task, batch.session)
        loss: Tensor = objective.loss(output, targets, batch.session)  # type: ignore[operator]
        term: Tensor = objective.weighted(loss)  # type: ignore[operator]
        if self.gradients is None:
            term.backward()
        else:
            self.gradients.backward(batch.task, term)
        # no .item() here: it would make the GPU wait in every step
        self.losses[batch.task, batch.session].add_(loss.detach())
        self.batches[batch.task, batch.session] += 1

    def _optimiser_step(self, seen: set[tuple[str, str]]) -> None:
        if self.gradients is not None:
            self.gradients.join()
        penalties = [self.model.heads[task].penalty(session) for task, session in sorted(seen)]  # type: ignore[operator]
        if known := [penalty for penalty in penalties if penalty is not None]:
            torch.stack(known).sum().backward()
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm, foreach=True)
        for group, rate in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * self.rate(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1

    def _require_finite(self, epoch: int) -> None:
        """Before each checkpoint: those of a lost model must not push out the good ones."""
        for (task, session), loss in self.losses.items():
            if not math.isfinite(loss.item()):
                raise TrainingError(not_finite(self.model, task, session, epoch, self.history))

    def _training_scores(self, epoch: int) -> list[Score]:
        """The mean unweighted loss over the batches of the epoch, as they were met, and what objectives learnt."""
        self._require_finite(epoch)
        scores, means = [], dict[str, float]()
        for task, sessions in self.splits["train"].items():
            sums = {session: (self.losses[task, session].item(), self.batches[task, session]) for session in sessions}
            for session, (total, count) in sums.items():
                if session and count:
                    scores.append(Score(epoch, task, session, "train", "loss", total / count))
            total, count = (sum(values) for values in zip(*sums.values(), strict=True))
            if count:
                means[task] = total / count
                scores.append(Score(epoch, task, "", "train", "loss", means[task]))
            objective = self.model.objectives[task]
            weight = torch.as_tensor(objective.weight()).item()  # type: ignore[operator]
            learnt = [("weight", weight), *objective.parameters_as_scores()]  # type: ignore[operator]
            scores += [Score(epoch, task, "", "train", name, value) for name, value in learnt]
        if self.gradients is not None:
            told = self.gradients.end_epoch(means, pairs=self.config.gradient_scores)
            scores += [Score(epoch, task, "", "train", metric, value) for task, metric, value in told]
        for place, loss_sum in self.losses.items():
            loss_sum.zero_()
            self.batches[place] = 0
        return scores

    def _validate(self, epoch: int) -> list[Score]:
        return evaluate(self.model, "validation", self.splits["validation"], epoch=epoch, device=self.device)

    def _close_epoch(self, epoch: int, scores: list[Score], seconds: float, sinks: Sequence[ScoreSink]) -> None:
        self.history += scores
        for sink in sinks:
            sink.epoch(epoch, scores, seconds)
        self.folder.save_checkpoint(self.step, self.state_dict())
