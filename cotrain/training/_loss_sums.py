"""The losses of an epoch so far: summed on the device, read once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.training._finite import not_finite
from cotrain.training._ranks import ALONE, Ranks
from cotrain.training._sinks import Score

Place = tuple[str, str]


class LossSums:
    """For each (task, session) the sum of the unweighted losses of its batches, and how many there were."""

    def __init__(self, places: Iterable[Place], device: torch.device, ranks: Ranks = ALONE) -> None:
        # each loss is one addition on the device, counts are Python's
        self.losses = {place: torch.zeros((), dtype=torch.float64, device=device) for place in places}
        self.batches = dict.fromkeys(self.losses, 0)
        self.ranks = ranks

    def add(self, place: Place, loss: Tensor) -> None:
        """Take note of one batch; no number is read, which would make a GPU wait."""
        self.losses[place].add_(loss.detach())
        self.batches[place] += 1

    def read(self) -> dict[Place, float]:
        """The sums, means over ranks, in one copy from the device."""
        sums = torch.stack([*self.losses.values()])
        self.ranks.average([sums])
        return dict(zip(self.losses, sums.tolist(), strict=True))

    def require_finite(self, model: MultiTaskModel, epoch: int, history: Sequence[Score]) -> dict[Place, float]:
        """The sums; before each checkpoint, since those of a lost model must not push out the good ones.

        Raises:
            TrainingError: A loss is not finite; it names where, and since when.
        """
        sums = self.read()
        for (task, session), value in sums.items():
            if not math.isfinite(value):
                raise TrainingError(not_finite(model, task, session, epoch, history))
        return sums

    def means(self, sums: Mapping[Place, float], epoch: int) -> dict[str, list[Score]]:
        """{task: scores}: the mean over batches of each session with a name and, last, of the task."""
        found: dict[str, list[Score]] = {task: [] for task, _ in self.losses}
        for task, scores in found.items():
            sessions = [session for held, session in self.losses if held == task]
            for session in sessions:
                if session and (count := self.batches[task, session]):
                    scores.append(Score(epoch, task, session, "train", "loss", sums[task, session] / count))
            if count := sum(self.batches[task, session] for session in sessions):
                total = sum(sums[task, session] for session in sessions)
                scores.append(Score(epoch, task, "", "train", "loss", total / count))
        return found

    def clear(self) -> None:
        """An epoch is over."""
        for place, loss in self.losses.items():
            loss.zero_()
            self.batches[place] = 0

    def state(self) -> list[Any]:
        """[task, session, tensor of sum and count] for each place."""
        return [
            [task, session, torch.stack([loss.cpu(), torch.tensor(self.batches[task, session], dtype=torch.float64)])]
            for (task, session), loss in self.losses.items()
        ]

    def load_state(self, state: Sequence[Any]) -> None:
        """Go on where `state` was taken."""
        for task, session, value in state:
            self.losses[task, session].copy_(value[0])
            self.batches[task, session] = int(value[1])
