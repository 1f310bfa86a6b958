"""Balanced batches: so many stimuli of each of so many groups, a function of the seed and the number of the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cotrain.data._source import Source
from cotrain.errors import DataError
from cotrain.seeds import derive_seed


class BalancedBatches:
    """The groups of one session of a task, and the stimuli of any of its batches.

    Groups take turns: round after round all of them come in an order of its own, and none stands twice in a batch. So
    after each cycle of rounds and batches that end together, all came equally often. The stimuli of a group are drawn
    anew for each batch.

    Args:
        labels: int64 (stimuli,), the group of each; numbers that do not occur are no groups.
        each: Stimuli of each group in a batch.
        seed: The experiment's seed; draws use its `order` children.
        place: Task and session.
    """

    def __init__(self, labels: Tensor, each: int, *, seed: int, place: tuple[str, str]) -> None:
        self.each, self.seed, self.place = each, seed, place
        self.members = [(labels == group).nonzero().flatten() for group in labels.unique()]
        self._cycle: tuple[int, int, Tensor] | None = None

    def stimuli(self, number: int, groups: int) -> Tensor:
        """Positions of the stimuli of batch `number`: int64 (groups * each,), ordered by group.

        Args:
            number: Of the batch, from 0.
            groups: How many of the groups a batch holds.
        """
        generator = self._generator("stimuli", number)
        drawn = []
        for group in self._groups(number, groups):
            members = self.members[int(group)]
            drawn.append(members[torch.randperm(len(members), generator=generator)[: self.each]])
        return torch.cat(drawn)

    def _groups(self, number: int, groups: int) -> Tensor:
        """Those of batch `number`, in the order in which they stand in it."""
        cycle, batch = divmod(number, math.lcm(len(self.members), groups) // groups)
        if self._cycle is None or self._cycle[:2] != (cycle, groups):
            self._cycle = cycle, groups, self._draw_cycle(cycle, groups)
        return self._cycle[2][batch]

    def _draw_cycle(self, cycle: int, groups: int) -> Tensor:
        """(batches, groups): the fewest whole rounds that are whole batches."""
        generator, count = self._generator("groups", groups, cycle), len(self.members)
        rounds: list[Tensor] = []
        begun = torch.empty(0, dtype=torch.int64)  # groups that a batch has from the round before
        for _ in range(math.lcm(count, groups) // count):
            order = torch.randperm(count, generator=generator)
            if len(begun):  # what fills this batch is none of them
                others = order[~torch.isin(order, begun)][: groups - len(begun)]
                order = torch.cat([others, order[~torch.isin(order, others)]])
            rounds.append(order)
            begun = order[count - (count * len(rounds)) % groups :]
        return torch.cat(rounds).view(-1, groups)

    def _generator(self, *path: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "order", *self.place, "balanced", *path))


def balanced_batches(
    sources: Mapping[str, Mapping[str, Source]], balanced: tuple[tuple[str, int], ...], *, seed: int
) -> dict[tuple[str, str], BalancedBatches]:
    """{(task, session): its groups} of the tasks whose batches are balanced.

    Args:
        sources: {task: {session: source}} of the training split.
        balanced: (task, stimuli of each group in a batch); tasks that `sources` lack are passed over.
        seed: The experiment's seed.

    Raises:
        DataError: A task has no groups, a group has too few stimuli, or a task that needs balanced batches is not
            named.
    """
    wanted, found = dict(balanced), {}
    for task, sessions in sources.items():
        for session, source in sessions.items():
            where = f"{task}/{session}" if session else task
            needs = source.kind == "manifolds" or source.groups is not None
            if task not in wanted:
                if needs:
                    what = "class manifolds" if source.kind == "manifolds" else "an RDM among groups"
                    raise DataError(
                        f"The task {task!r} is one of {what}: its batches need the same number of stimuli of each. "
                        f"Write balanced=(({task!r}, 4),) in the mixing for 4 stimuli of each."
                    )
                continue
            if not needs and source.kind != "classification":
                raise DataError(
                    f"balanced names the task {task!r} of kind {source.kind}, which has no groups of stimuli. It is "
                    "for classifications, class manifolds and RDMs among groups."
                )
            each = wanted[task]
            if source.kind == "manifolds" and each < 2:
                raise DataError(f"balanced: a single stimulus is no manifold; give {task!r} 2 or more of each class.")
            held = BalancedBatches(_labels(source), each, seed=seed, place=(task, session))
            fewest = min(held.members, key=len)
            if len(fewest) < each:
                group = int(_labels(source)[fewest[0]])
                name = f"class {source.class_names[group]!r}" if source.class_names else f"group {group}"
                raise DataError(
                    f"{where}: balanced asks for {each} stimuli of each group, but the {name} has {len(fewest)} for "
                    f"training. Ask for at most {len(fewest)}."
                )
            found[task, session] = held
    return found


def _labels(source: Source) -> Tensor:
    return (source.targets if source.groups is None else source.groups).cpu()
