"""What is added to training where several processes share each batch: losses, gradients, randomness, stops."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cotrain.data import MixingConfig, Source
from cotrain.errors import TrainingError
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed
from cotrain.training._loss_sums import LossSums
from cotrain.training._ranks import Ranks
from cotrain.training._stopping import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Place = tuple[str, str]


def joint_places(model: MultiTaskModel, sources: Mapping[str, Mapping[str, Source]]) -> frozenset[Place]:
    """(task, session) whose loss is not the mean of the losses of parts of a batch, and so is computed from all of it.

    Those are the losses that say so themselves, and means over known responses where some are unknown.
    """
    return frozenset(
        (task, session)
        for task, sessions in sources.items()
        for session, source in sessions.items()
        if getattr(model.objectives[task], "of_whole_batch", False)
        or (source.kind == "neural" and bool(source.targets.isnan().any()))
    )


class Together:
    """One rank's part in training.

    Args:
        ranks: Who they are.
        mixing: Says which batches are balanced.
        joint: The places whose loss is of the whole batch.
        seed: The experiment's.
        device: Where the model is.

    `own_stop` is what signals asked of this rank, `stop` what all have agreed on.
    """

    def __init__(
        self, ranks: Ranks, mixing: MixingConfig, joint: frozenset[Place], seed: int, device: torch.device
    ) -> None:
        self.ranks, self.joint, self.seed, self.device = ranks, joint, seed, device
        self.each = dict(mixing.balanced)
        self.stop, self.own_stop = StopRequest(), StopRequest()
        self._checked = False
        self._pending: tuple[Tensor, torch.cuda.Event] | None = None
        # what must be drawn alike on all ranks, as one process would draw it
        common = derive_seed(seed, "noise")
        self._common = [torch.Generator(place).manual_seed(common).get_state() for place in self._places()]

    @contextmanager
    def alike(self) -> Iterator[None]:
        """Within, torch's global generators draw the same on all ranks."""
        own = self._states()
        self._set(self._common)
        try:
            yield
        finally:
            self._common = self._states()
            self._set(own)

    def loss(self, objective: Any, output: Any, targets: Tensor, place: Place) -> Tensor:
        """The unweighted loss of a batch: of this rank's share, or of all stimuli, equal on all ranks."""
        if place not in self.joint:
            return objective.loss(output, targets, place[1])  # type: ignore[no-any-return]
        each = self.each.get(place[0], 1)
        layers = [self.ranks.gather(layer, each) for layer in ([output] if isinstance(output, Tensor) else output)]
        with self.alike():
            return objective.loss(  # type: ignore[no-any-return]
                layers[0] if isinstance(output, Tensor) else tuple(layers), targets, place[1]
            )

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace gradients by their means over ranks, and ask in the same breath whether a rank is to stop."""
        if not self._checked:
            layouts = self.ranks.told([tensor.shape for tensor in tensors])
            for rank, layout in enumerate(layouts):
                if layout != layouts[0]:
                    sizes = [sum(shape.numel() for shape in layouts[0]), sum(shape.numel() for shape in layout)]
                    raise TrainingError(
                        f"Rank {rank} has gradients of {len(layout)} tensors with {sizes[1]} numbers, rank 0 of "
                        f"{len(layouts[0])} with {sizes[0]}: they train different models. Start all with the same "
                        "experiment, release and settings."
                    )
            self._checked = True
        told = torch.tensor(self._own_answer()).to(self.device)
        self.ranks.average([*tensors, told])
        self._note(self._read(told))

    def ask(self) -> None:
        """Ask whether a rank is to stop, between two steps."""
        self._pending = None
        answers = self.ranks.told(self._own_answer())
        self._note([max(held) for held in zip(*answers, strict=True)])

    def state(self, sums: LossSums) -> dict[str, Any]:
        """What of a checkpoint differs where there are several: a collective."""
        own: dict[str, Any] = {"random": _named(self._states()), "sums": sums.state()}
        held = self.ranks.told(own)
        return {"ranks": held, "random": _named(self._common), "sums": _mean_sums([told["sums"] for told in held])}

    def load(self, state: Mapping[str, Any], sums: LossSums) -> None:
        """Go on where `state` was taken, by as many ranks or by others; these draw other random numbers."""
        held = state.get("ranks") or ()
        self._common = _listed(state["random"])[: len(self._common)]
        if len(held) == self.ranks.world_size:
            own = held[self.ranks.rank]
            self._set(_listed(own["random"]))
            sums.load_state(own["sums"])
        else:
            fresh = derive_seed(self.seed, "noise", "rank", self.ranks.rank, state["step"])
            self._set([torch.Generator(place).manual_seed(fresh).get_state() for place in self._places()])

    def _read(self, told: Tensor) -> list[float]:
        """The answer; of a GPU that of the step before, for which nothing needs to wait."""
        if told.device.type == "cpu":
            return told.tolist()
        before = self._pending
        copy = torch.empty(told.shape, pin_memory=True).copy_(told, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending = copy, event
        if before is None:
            return [0.0] * len(SIGNALS)
        before[1].synchronize()
        return before[0].tolist()

    def _own_answer(self) -> list[float]:
        return [float(self.own_stop.signal == number) for number in SIGNALS]

    def _note(self, asked: list[float]) -> None:
        for number, answer in zip(SIGNALS, asked, strict=True):
            if answer and self.stop.signal is None:
                self.stop.signal = number

    def _places(self) -> list[str]:
        return ["cpu", str(self.device)] if self.device.type == "cuda" else ["cpu"]

    def _states(self) -> list[Tensor]:
        gpu = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *gpu]

    def _set(self, states: Sequence[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self.device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)


def _named(states: Sequence[Tensor]) -> dict[str, Tensor | None]:
    return {"cpu": states[0], "cuda": states[1] if len(states) > 1 else None}


def _listed(states: Mapping[str, Tensor | None]) -> list[Tensor]:
    return [state for state in (states["cpu"], states["cuda"]) if state is not None]


def _mean_sums(held: Sequence[Sequence[Any]]) -> list[Any]:
    """What `LossSums.state` gives of each rank, as one."""
    places = zip(*held, strict=True)
    return [[*rows[0][:2], torch.stack([row[2] for row in rows]).mean(0)] for rows in places]
