"""Mixing: the order in which batches of tasks come, exact for any ratio, and where it stands as two numbers.

The order is a function of (seed, epoch, micro-step) alone. So a loader that is restored from two integers goes on
exactly where it stopped, whatever it had prefetched, and every rank knows which task the others are at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from pydantic import StringConstraints
from torch import Tensor

from cotrain.config import AddedLater, Config
from cotrain.data._balanced import balanced_batches
from cotrain.data._prefetch import in_order
from cotrain.data._source import Source
from cotrain.errors import DataError, did_you_mean
from cotrain.seeds import derive_seed

Ratio = Annotated[float, Ge(0)] | Annotated[str, StringConstraints(pattern=r"^[0-9]+/[1-9][0-9]*$")]


class MixingConfig(Config):
    """Batches of several tasks in turn: after the batches that the ratios say, one of the main task, then a step.

    The gradients of such a group are summed, so a task's pull grows with its ratio.

    Example: MixingConfig(main="objects", ratios=((1, (("v4", 1.0),)), (20, (("v4", 0.3),)))) gives a V4 batch for
    each batch of objects, and from epoch 20 on 3 for 10.
    """

    kind: ClassVar[str] = "cotrain.data.MixingConfig"
    main: str  # the task whose pass over its images is an epoch; its ratio is 1
    ratios: tuple[tuple[Annotated[int, Ge(1)], tuple[tuple[str, Ratio], ...]], ...] = ()
    """(from epoch, ((task, batches for each main batch), ...)): a number is taken as the decimal that it is written
    as, "1/3" as a fraction; a task that an entry leaves out rests until the next entry."""
    batch_size: Annotated[int, Ge(1)] = 64
    batch_sizes: tuple[tuple[str, Annotated[int, Ge(1)]], ...] = ()  # those of tasks that need another
    sessions: Literal["rotation", "by_size"] = "rotation"  # in turn, or as often as their stimuli fill batches
    balanced: Annotated[tuple[tuple[str, Annotated[int, Ge(1)]], ...], AddedLater(neutral=())] = ()
    """(task, stimuli of each group in a batch): batches hold so many of each of (batch size / so many) classes, or
    groups of an RDM, ordered by group; of all, where there are fewer. Class manifolds and RDMs among groups need it."""
    accumulate: Annotated[Annotated[int, Ge(1)], AddedLater(neutral=1)] = 1
    """Main batches before a step, with those of other tasks that their ratios say. Gradients are summed and divided by
    it: a step is one of batches so many times as large, in the memory of one."""


@dataclass(frozen=True)
class Batch:
    """One micro-step.

    Args:
        task, session: Whose stimuli these are; the session is "" for a task without sessions.
        images: uint8 (stimuli, channels, height, width).
        targets: As in `Source`; of the whole batch, not of this rank's share, where its loss is of all stimuli.
        step_ends: Whether the optimiser steps after this batch.
    """

    task: str
    session: str
    images: Tensor
    targets: Tensor
    step_ends: bool


@dataclass(frozen=True)
class MicroStep:
    """Which batch comes: the `number`-th one of a session since training began."""

    task: str
    session: str
    number: int
    step_ends: bool


class Schedule:
    """The order of batches as a pure function of the epoch.

    Args:
        config: The ratios.
        stimuli: {task: {session: number of training stimuli}}.
        world_size: Ranks that share each batch.
        groups: {(task, session): number of groups} of the tasks that are balanced; their ranks share whole groups.

    Raises:
        DataError: A task is unknown, unused or named twice, epochs are out of order, a session is smaller than
            the ranks need, or a balanced batch holds no whole number of groups.
    """

    def __init__(
        self,
        config: MixingConfig,
        stimuli: Mapping[str, Mapping[str, int]],
        *,
        world_size: int = 1,
        groups: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.config, self.stimuli = config, stimuli
        self._check()
        sizes, self.of_each = dict(config.batch_sizes), dict(config.balanced)
        self.batch_size = {}
        for task, sessions in stimuli.items():
            # a session smaller than a batch gives what it has
            whole, each = sizes.get(task, config.batch_size), self.of_each.get(task, 1)
            if whole % each:
                raise DataError(
                    f"balanced: {each} stimuli of each group do not fill the batch of {whole} of {task!r}. Give "
                    f"`batch_sizes` a multiple of {each} for it, for example {max(1, whole // each) * each}."
                )
            for session, count in sessions.items():
                parts = min(whole // each, (groups or {}).get((task, session), count // each))
                self.batch_size[task, session] = parts // world_size * world_size * each
        for (task, session), size in self.batch_size.items():
            if size == 0:
                where, whole = f"{task}/{session}" if session else task, sizes.get(task, config.batch_size)
                of_each = f", {self.of_each[task]} of each group" if task in self.of_each else ""
                raise DataError(
                    f"{where}: {world_size} ranks cannot share a batch of {whole}{of_each}; "
                    f"the session has {stimuli[task][session]} stimuli."
                )

    @cached_property
    def main_batches(self) -> int:
        """Batches of the main task in an epoch; what would fill no whole step comes first in the next pass."""
        whole = sum(self._batches(self.config.main, session) for session in self.stimuli[self.config.main])
        if whole < self.config.accumulate:
            raise DataError(
                f"accumulate: {self.config.accumulate} batches of {self.config.main!r} make a step, but a pass over "
                f"its stimuli has {whole}. Use smaller batches, or fewer of them."
            )
        return whole // self.config.accumulate * self.config.accumulate

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch."""
        return self.main_batches // self.config.accumulate

    @property
    def samples_a_step(self) -> float:
        """Stimuli of the main task in an optimiser step, of all ranks; the mean where sessions differ in size."""
        main = self.config.main
        batches = {session: self._batches(main, session) for session in self.stimuli[main]}
        stimuli = sum(count * self.batch_size[main, session] for session, count in batches.items())
        return stimuli / sum(batches.values()) * self.config.accumulate

    def ratio(self, task: str, epoch: int) -> Fraction:
        """Batches of a task for each main batch, in an epoch (counted from 1)."""
        if task == self.config.main:
            return Fraction(1)
        current = [ratios for start, ratios in self.config.ratios if start <= epoch]
        return _exact(dict(current[-1]).get(task, 0.0)) if current else Fraction(0)

    def batches_until(self, task: str, epoch: int, main_batch: int) -> int:
        """How many batches of a task have come before main batch `main_batch` (from 0) of `epoch`.

        What is due after n main batches of ratio r is r n, summed over stretches of other ratios and over epochs; what
        has come is its whole part (Bresenham's line). So batches are evenly spread, never more than one behind, and
        the smallest ratio is met in time.
        """
        return int(self._due(task, epoch) + self.ratio(task, epoch) * main_batch)

    def _due(self, task: str, epoch: int) -> Fraction:
        """Batches of a task that are due before `epoch`."""
        starts = [1, *(start for start, _ in self.config.ratios if 1 < start < epoch), epoch]
        spans = ((start, (end - start) * self.main_batches) for start, end in pairwise(starts))
        return sum((self.ratio(task, start) * main_batches for start, main_batches in spans), Fraction(0))

    def epoch(self, epoch: int) -> Iterator[MicroStep]:
        """Yield the micro-steps of an epoch: in each group the other tasks in the order of the data, main last."""
        lines = []
        for task in self.stimuli:
            before, ratio = self._due(task, epoch), self.ratio(task, epoch)
            if task != self.config.main and ratio > 0:
                # whole numbers over one denominator: a Fraction made in each step would cost more than the step
                shared = before.denominator * ratio.denominator
                lines.append((task, int(before * shared), int(ratio * shared), shared))
        done, accumulate = [due // shared for _, due, _, shared in lines], self.config.accumulate
        for main_batch in range(self.main_batches):
            for place, (task, due, an_each, shared) in enumerate(lines):
                until = (due + an_each * (main_batch + 1)) // shared
                for number in range(done[place], until):
                    yield self._micro_step(task, number, step_ends=False)
                done[place] = until
            number = (epoch - 1) * self.main_batches + main_batch
            yield self._micro_step(self.config.main, number, step_ends=(main_batch + 1) % accumulate == 0)

    def micro_steps(self, epoch: int) -> int:
        """How many micro-steps `epoch` yields."""
        return sum(
            self.batches_until(task, epoch, self.main_batches) - self.batches_until(task, epoch, 0)
            for task in self.stimuli
        )

    def _micro_step(self, task: str, number: int, *, step_ends: bool) -> MicroStep:
        turns = self._turns[task]
        rounds, turn = divmod(number, len(turns))
        session, before, share = turns[turn]
        return MicroStep(task, session, rounds * share + before, step_ends)

    @cached_property
    def _turns(self) -> dict[str, list[tuple[str, int, int]]]:
        """For each task one round over its sessions: (session, times it came before in the round, times in all)."""
        rounds = {}
        for task, sessions in self.stimuli.items():
            by_size = self.config.sessions == "by_size" or task == self.config.main
            share = {session: self._batches(task, session) if by_size else 1 for session in sessions}
            # spread each session evenly over the round
            order = sorted(
                ((turn + 0.5) / count, place, session, turn)
                for place, (session, count) in enumerate(share.items())
                for turn in range(count)
            )
            rounds[task] = [(session, turn, share[session]) for _, _, session, turn in order]
        return rounds

    def _batches(self, task: str, session: str) -> int:
        """Full batches in one pass over a session."""
        return self.stimuli[task][session] // self.batch_size[task, session]

    def _check(self) -> None:
        config, tasks = self.config, list(self.stimuli)
        named = [task for _, ratios in config.ratios for task, _ in ratios]
        of_fields = {name: [task for task, _ in getattr(config, name)] for name in ("batch_sizes", "balanced")}
        for task in (config.main, *named, *(task for held in of_fields.values() for task in held)):
            if task not in tasks:
                raise DataError(f"mixing names the task {task!r}, which the data lack.{did_you_mean(task, tasks)}")
        for unused in set(tasks) - {config.main, *named}:
            raise DataError(f"mixing gives the task {unused!r} no ratio: name one, or leave the task out of the data.")
        for field, held in of_fields.items():
            if len(set(held)) < len(held):
                raise DataError(f"{field}: name each task once, found {held}.")
        starts = [start for start, _ in config.ratios]
        if starts != sorted(set(starts)) or (starts and starts[0] != 1):
            raise DataError(f"ratios must begin at epoch 1 and go upwards, found epochs {starts}.")
        for start, ratios in config.ratios:
            in_entry = [task for task, _ in ratios]
            if config.main in in_entry or len(set(in_entry)) < len(in_entry):
                raise DataError(f"ratios from epoch {start}: name each other task once, found {in_entry}.")


def _exact(ratio: float | str) -> Fraction:
    """0.3 is 3/10, not the binary number nearest to it."""
    return Fraction(ratio if isinstance(ratio, str) else repr(ratio))


class MixingLoader:
    """Yields the batches of one epoch after the other; its state is two integers.

    Args:
        sources: {task: {session: source}} of the training split.
        config: The mixing.
        seed: The experiment's seed; stimuli are shuffled by its `order` child, anew for each pass over a session.
        rank, world_size: Of several processes each gets its own share of every batch; of a balanced one, whole groups.
        workers: Threads that read batches ahead; the batches are the same for any number.
        whole: (task, session) whose targets are to be those of the whole batch on each rank.
        pin_memory: Whether to lay batches where a GPU copies them from while it computes.
    """

    def __init__(
        self,
        sources: Mapping[str, Mapping[str, Source]],
        config: MixingConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        whole: Collection[tuple[str, str]] = (),
        pin_memory: bool = False,
    ) -> None:
        stimuli = {task: {name: len(source) for name, source in held.items()} for task, held in sources.items()}
        self._balanced = balanced_batches(sources, config.balanced, seed=seed)
        groups = {place: len(held.members) for place, held in self._balanced.items()}
        self.schedule = Schedule(config, stimuli, world_size=world_size, groups=groups)
        self._groups, self.whole = groups, frozenset(whole)
        for (task, session), size in self.schedule.batch_size.items():
            rows = size // world_size // self.schedule.of_each.get(task, 1)
            if (kind := sources[task][session].kind) == "rdm" and rows < 3:
                what = "stimuli" if sources[task][session].groups is None else "groups"
                raise DataError(f"{task}: {rows} {what} a batch and rank make no RDM; 3 or more do.")
            if kind == "manifolds" and rows < 2:
                raise DataError(f"{task}: {rows} class a batch and rank leaves nothing to separate; 2 or more do.")
        self.sources, self.seed, self.rank, self.world_size = sources, seed, rank, world_size
        self.workers, self.pin_memory = workers, pin_memory
        self.epoch, self.micro_step = 1, 0
        self._orders: dict[tuple[str, str], tuple[int, Tensor]] = {}

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch, then stand at the beginning of the next."""
        rest = islice(self.schedule.epoch(self.epoch), self.micro_step, None)
        # orders are drawn here, in turn; what threads do after that depends on nothing but its arguments
        work = ((micro_step, self._drawn(micro_step)) for micro_step in rest)
        for batch in in_order(self._batch, work, workers=self.workers):
            self.micro_step += 1
            yield batch
        self.epoch, self.micro_step = self.epoch + 1, 0

    def endless(self) -> Iterator[Batch]:
        """Yield epoch after epoch."""
        while True:
            yield from self

    def __len__(self) -> int:
        """Micro-steps that the current epoch still has."""
        return self.schedule.micro_steps(self.epoch) - self.micro_step

    def state_dict(self) -> dict[str, int]:
        """Where it stands: after how many micro-steps of which epoch."""
        return {"epoch": self.epoch, "micro_step": self.micro_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader of the same sources, config and seed stood."""
        self.epoch, self.micro_step = int(state["epoch"]), int(state["micro_step"])

    def indices(self, micro_step: MicroStep) -> Tensor:
        """The stimuli of this rank in a batch."""
        return self._share(micro_step.task, self._drawn(micro_step))

    def require_same_batches(self, world_size: int) -> None:
        """Refuse to go on where as many ranks stood, if these share batches of other sizes.

        Raises:
            DataError: They do: the same number of batches would be another stretch of training.
        """
        other = Schedule(self.schedule.config, self.schedule.stimuli, world_size=world_size, groups=self._groups)
        if other.batch_size != self.schedule.batch_size:
            raise DataError(
                f"Training began with {world_size} rank(s), whose batches have other sizes than those that "
                f"{self.world_size} rank(s) share evenly. Go on with {world_size}, or choose batch sizes that both "
                "divide."
            )

    def _drawn(self, micro_step: MicroStep) -> Tensor:
        """The stimuli of all ranks in a batch."""
        where = micro_step.task, micro_step.session
        size, count = self.schedule.batch_size[where], self.schedule.stimuli[where[0]][where[1]]
        if (balanced := self._balanced.get(where)) is not None:
            return balanced.stimuli(micro_step.number, size // balanced.each)
        number_of_pass, batch = divmod(micro_step.number, count // size)
        held = self._orders.get(where)
        if held is None or held[0] != number_of_pass:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", *where, number_of_pass))
            held = self._orders[where] = number_of_pass, torch.randperm(count, generator=generator)
        return held[1][batch * size : (batch + 1) * size]

    def _share(self, task: str, index: Tensor) -> Tensor:
        """Of a batch's stimuli those of this rank, whole groups of a balanced one."""
        if self.world_size == 1:
            return index
        return index.view(-1, self.schedule.of_each.get(task, 1))[self.rank :: self.world_size].flatten()

    def _batch(self, work: tuple[MicroStep, Tensor]) -> Batch:
        micro_step, drawn = work
        source = self.sources[micro_step.task][micro_step.session]
        images, targets = source.batch(self._share(micro_step.task, drawn))
        if self.world_size > 1 and (micro_step.task, micro_step.session) in self.whole:
            targets = source.targets_of(drawn)
        if self.pin_memory and images.device.type == "cpu":
            images, targets = images.pin_memory(), targets.cpu().pin_memory()
        return Batch(micro_step.task, micro_step.session, images, targets, micro_step.step_ends)
