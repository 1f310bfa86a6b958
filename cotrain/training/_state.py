"""Everything that changes while training, and what a batch and an optimiser step do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cotrain.data import Augmentation, Batch, Data, MixingLoader
from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed
from cotrain.training._checkpoint import RunFolder
from cotrain.training._device import reading_threads, resident
from cotrain.training._durations import Timeline
from cotrain.training._evaluation import evaluate
from cotrain.training._hooks import Hook, Training, overriding
from cotrain.training._loss_sums import LossSums
from cotrain.training._monitor import Monitor
from cotrain.training._parts import build_part
from cotrain.training._precision import as_float32, half_precision
from cotrain.training._ranks import ALONE, Ranks
from cotrain.training._schedules import RateSchedule
from cotrain.training._sinks import Score
from cotrain.training._task_gradients import task_gradients
from cotrain.training._together import Together, joint_places
from cotrain.training._writer import copied

if TYPE_CHECKING:
    from cotrain.training._trainer import TrainerConfig

FORMAT = 2  # of checkpoints


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
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.model, self.device, self.folder, self.seed = config, model, device, folder, seed
        self.ranks = ranks
        self.own_path: tuple[str | int, ...] = ("rank", ranks.rank) if ranks.several else ()  # of seeds
        self.together: Together | None = None
        self.splits = resident(data, device)
        if ranks.several:
            joint = joint_places(model, self.splits["train"])
            self.together = Together(ranks, config.mixing, joint, seed, device)
        self.loader = MixingLoader(
            self.splits["train"],
            config.mixing,
            seed=seed,
            rank=ranks.rank,
            world_size=ranks.world_size,
            whole=() if self.together is None else self.together.joint,
            workers=reading_threads(self.splits["train"], device) if config.workers is None else config.workers,
            pin_memory=device.type == "cuda",
        )
        if config.channels_last:
            model.use_channels_last()
        if config.compile:
            model.compile_backbone()
        self.monitor = Monitor(config.monitor, data.info)
        self.optimiser = build_part(config.optimiser, "optimiser", torch.optim.Optimizer, model)
        self.augmentation = _augmentation(config, data)
        self.gradients = task_gradients(
            config.weighting, model, list(data.info.tasks), main=config.mixing.main, scores=config.gradient_scores
        )
        self.half = half_precision(config.precision, device)
        if self.half is not None and self.half.scaler is not None and self.gradients is not None:
            raise TrainingError(
                "precision='float16' scales gradients, which weightings and scores of gradients would take for their "
                "own size. Use 'bfloat16' or 'float32' with them."
            )
        schedule = self.loader.schedule
        self.timeline = Timeline(config.epochs, schedule.steps, schedule.samples_a_step)
        self.rate: RateSchedule = build_part(config.schedule, "schedule", RateSchedule, self.timeline)
        self.hooks: list[Hook] = [build_part(held, "hooks", Hook) for held in config.hooks]
        own = folder.path if ranks.first else folder.path / f"rank-{ranks.rank}"
        parts = model, self.optimiser, self.timeline
        training = Training(*parts, seed, device, data.info, self.monitor, own, config.precision)
        for hook in self.hooks:
            hook.start(training)
        self.base_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.on_images, self.on_term, self.on_gradients, self.on_step_end = (
            overriding(self.hooks, event) for event in ("images", "term", "gradients", "step_end")
        )
        self.step = 0
        self.done = False  # by the schedule, before the last epoch
        self.best: dict[str, Tensor] | None = None  # the model's state after the best epoch, on the CPU
        self.history: list[Score] = []
        self.sums = LossSums(
            ((task, session) for task, held in self.splits["train"].items() for session in held), device, ranks
        )

    def state_dict(self) -> dict[str, Any]:
        """The one checkpoint object: plain values and tensors of its own, readable with `weights_only=True`."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        state: dict[str, Any] = copied(
            {
                "format": FORMAT,
                "step": self.step,
                "done": self.done,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "mixing": self.loader.state_dict(),
                "monitor": self.monitor.state_dict(),
                "schedule": self.rate.state_dict(),
                "hooks": [hook.state_dict() for hook in self.hooks],
                "gradients": None if self.gradients is None else self.gradients.state_dict(),
                "precision": None if self.half is None else self.half.state_dict(),
                "sums": self.sums.state(),
                "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            }
        )
        return {**state, "history": [list(score) for score in self.history], "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if state.get("format") != FORMAT:
            raise TrainingError("The checkpoint was written by another release of cotrain; use that, or resume=False.")
        self.loader.require_same_batches(len(state.get("ranks") or ("one",)))
        self.step, self.done, self.best = state["step"], state["done"], state["best"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loader.load_state_dict(state["mixing"])
        self.monitor.load_state_dict(state["monitor"])
        self.rate.load_state_dict(state["schedule"])
        for hook, held in zip(self.hooks, state["hooks"], strict=True):
            hook.load_state_dict(held)
        if self.gradients is not None:
            self.gradients.load_state_dict(state["gradients"])
        if self.half is not None:
            self.half.load_state_dict(state["precision"])
        self.sums.load_state(state["sums"])
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
        if self.together is not None:
            self.together.load(state, self.sums)
        self.history = [Score(*score) for score in state["history"]]

    def micro_step(self, batch: Batch) -> None:
        """Add the gradients of one batch."""
        images, targets, seed = self.received(batch)
        loss, term = self.losses(batch, images, targets, seed)
        self.backward(batch.task, term)
        self.sums.add((batch.task, batch.session), loss)

    def received(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """Images as the network is to see them, and targets, on the device; and the batch's own seed."""
        images = batch.images.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        augment = self.augmentation.get(batch.task)
        if augment is None and not self.hooks:
            return images, targets, 0
        seed = derive_seed(self.seed, "augmentation", *self.loader.state_dict().values(), *self.own_path)
        if augment is not None:
            images = augment(images, seed)
        for change in self.on_images:
            images = change(images, batch, seed)
        return images, targets, seed

    def losses(self, batch: Batch, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The unweighted loss, and the term of it that is differentiated."""
        objective = self.model.objectives[batch.task]
        if self.half is None:
            output = self.model(images, batch.task, batch.session)
        else:
            with self.half.autocast():
                output = self.model(images, batch.task, batch.session)
            output = as_float32(output)
        loss: Tensor
        if self.together is None:
            loss = objective.loss(output, targets, batch.session)  # type: ignore[operator]
        else:
            loss = self.together.loss(objective, output, targets, (batch.task, batch.session))
        term: Tensor = objective.weighted(loss)  # type: ignore[operator]
        for change in self.on_term:
            term = change(term, images, batch, seed)
        if self.config.mixing.accumulate > 1:  # a step is as long as one of a single batch
            term = term / self.config.mixing.accumulate
        return loss, term

    def backward(self, task: str, term: Tensor) -> None:
        """Add the gradients of a term; those of different tasks are kept apart where they are weighted."""
        if not term.requires_grad:  # all that it depends on is frozen
            return
        if self.half is not None and self.half.scaler is not None:
            self.half.scaler.scale(term).backward()
        elif self.gradients is None:
            term.backward()
        else:
            self.gradients.backward(task, term)

    def optimiser_step(self, seen: set[tuple[str, str]]) -> None:
        """One step with the gradients of a group of batches, whose (task, session) were `seen`."""
        if self.together is None:
            self._step(seen)
        else:
            with self.together.alike():
                self._step(seen)

    def _step(self, seen: set[tuple[str, str]]) -> None:
        scaler = None if self.half is None else self.half.scaler
        if self.gradients is not None and self.together is None:
            self.gradients.join()
        penalties = [self.model.heads[task].penalty(session) for task, session in sorted(seen)]  # type: ignore[operator]
        if known := [penalty for penalty in penalties if penalty is not None and penalty.requires_grad]:
            penalty = torch.stack(known).sum()
            (penalty if scaler is None else scaler.scale(penalty)).backward()
        if self.together is not None:
            self._average(self.together)
        if scaler is not None:
            scaler.unscale_(self.optimiser)
        for change in self.on_gradients:
            change()
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm, foreach=True)
        factor = self.rate.factor(self.step)
        for group, rate in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        if scaler is None:
            self.optimiser.step()
        else:
            scaler.step(self.optimiser)
            scaler.update()
        self.optimiser.zero_grad()
        self.step += 1
        for end in self.on_step_end:
            end(self.step)

    def _average(self, together: Together) -> None:
        """The gradients of all ranks' stimuli, by one collective."""
        tensors = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if self.gradients is None:
            together.average(tensors)
        else:
            together.average([*tensors, *self.gradients.of_this_step()])
            self.gradients.join()

    def training_scores(self, epoch: int) -> list[Score]:
        """The mean unweighted loss over the batches of the epoch, as they were met, and what objectives learnt."""
        sums = self.sums.require_finite(self.model, epoch, self.history)
        scores, means = [], dict[str, float]()
        for task, held in self.sums.means(sums, epoch).items():
            scores += held
            if held:
                means[task] = held[-1].value
            objective = self.model.objectives[task]
            weight = torch.as_tensor(objective.weight()).item()  # type: ignore[operator]
            learnt = [("weight", weight), *objective.parameters_as_scores()]  # type: ignore[operator]
            scores += [Score(epoch, task, "", "train", name, value) for name, value in learnt]
        if self.gradients is not None:
            told = self.gradients.end_epoch(means, pairs=self.config.gradient_scores)
            scores += [Score(epoch, task, "", "train", metric, value) for task, metric, value in told]
        scores.append(Score(epoch, "", "", "train", "learning_rate", self.optimiser.param_groups[0]["lr"]))
        self.sums.clear()
        return scores

    def alike(self) -> AbstractContextManager[None]:
        """Around what must change all ranks alike, though it may draw random numbers."""
        return nullcontext() if self.together is None else self.together.alike()

    def validate(self, epoch: int) -> list[Score]:
        """The scores of the validation split."""
        held = self.splits["validation"]
        return evaluate(self.model, "validation", held, epoch=epoch, device=self.device, ranks=self.ranks)


def _augmentation(config: TrainerConfig, data: Data) -> dict[str, Augmentation]:
    found = {task: build_part(held, "augmentation", Callable) for task, held in config.augmentation}
    if unknown := set(found) - set(data.info.tasks):
        raise TrainingError(f"augmentation names tasks that the data lack: {', '.join(sorted(unknown))}.")
    if len(found) < len(config.augmentation):
        raise TrainingError("augmentation names a task twice; only one of its entries would be used.")
    return found
