"""Hooks: what may be added to the training loop, and when each of their events comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cotrain.data import Batch
from cotrain.models import MultiTaskModel
from cotrain.tasks import DataInfo
from cotrain.training._durations import Timeline
from cotrain.training._monitor import Monitor
from cotrain.training._precision import PrecisionName
from cotrain.training._sinks import Score


@dataclass(frozen=True)
class Training:
    """What a hook may look at and change.

    Args:
        model: On its device; its parameters are those of the optimiser.
        optimiser: Before its first step; a hook may add a group of parameters of its own in `start`.
        timeline: How long training is.
        seed: The experiment's.
        device: Where the model is.
        info: What the model was told of the data.
        monitor: It decides which epoch is best; a hook may make it `forget` those so far.
        folder: The run's; nothing may be written there before the first batch.
        precision: Of forward passes.
    """

    model: MultiTaskModel
    optimiser: torch.optim.Optimizer
    timeline: Timeline
    seed: int
    device: torch.device
    info: DataInfo
    monitor: Monitor
    folder: Path
    precision: PrecisionName


class Hook:
    """Base of all hooks. Override what you need; every event does nothing by itself.

    | event | when | may |
    |---|---|---|
    | `start` | before the first step; on resuming too, before the state is loaded | keep the model; refuse |
    | `epoch_start` | before an epoch's first batch; not again when an epoch is gone on with | change weights, freeze |
    | `images` | a batch is on the device and was augmented | change what the network sees |
    | `term` | after the forward pass of a batch | add to the term that is differentiated |
    | `gradients` | those of a group are summed; before clipping | change them, those of frozen parameters are None |
    | `step_end` | after the optimiser's step | change weights |
    | `epoch_end` | after an epoch's last step, before validation | give scores |
    | `evaluating` | around each validation, and the copy of the best weights | exchange weights for a while |
    | `close` | at the very end, also when training fails | let go of resources |

    Hooks act in the order in which the config names them. All that changes in a hook belongs in its state, so that
    training goes on exactly; what a hook draws comes from a child of the seed and from the step, or from torch's global
    generator, whose state is saved. Weights are changed in place (`parameter.copy_`), never exchanged.

    Where several ranks share each batch, hooks run on every one and must decide alike. `images` and `term` see the
    rank's own share, and what they draw is for it; `gradients` comes after the average over ranks, and like all other
    events it draws the same on all. The first rank's state is saved.

    A lab's own hook is such a class, a config, and a builder `def shrink_head(config: ShrinkHeadConfig) -> Hook` (see
    docs/concepts.md, Names):

    >>> class ShrinkHead(Hook):
    ...     "Pulls a head's weights towards 0 after each step, less and less."
    ...     def __init__(self, task: str, share: float) -> None:
    ...         self.task, self.share = task, share
    ...     def start(self, training: Training) -> None:
    ...         self.head = training.model.heads[self.task]
    ...     @torch.no_grad()
    ...     def step_end(self, step: int) -> None:
    ...         for parameter in self.head.parameters():
    ...             parameter.mul_(1 - self.share)
    ...     def epoch_end(self, epoch: int) -> Sequence[Score]:
    ...         self.share /= 2
    ...         return [Score(epoch, self.task, "", "train", "shrinking", self.share)]
    ...     def state_dict(self) -> dict[str, Any]:
    ...         return {"share": self.share}
    ...     def load_state_dict(self, state: Mapping[str, Any]) -> None:
    ...         self.share = state["share"]
    >>> hook = ShrinkHead("digits", share=0.01)
    >>> hook.epoch_end(1)[0].value, hook.state_dict(), len(overriding([hook], "gradients"))
    (0.005, {'share': 0.005}, 0)
    """

    def start(self, training: Training) -> None:
        """Training is about to begin, or to go on."""

    def epoch_start(self, epoch: int) -> None:
        """An epoch, counted from 1, begins."""

    def images(self, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """What the network is to see: images as uint8 or float in 0..1; `seed` is the batch's own."""
        return images

    def term(self, term: Tensor, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """The weighted loss of a batch, or something in its place; `images` are those that the network saw."""
        return term

    def gradients(self) -> None:
        """The gradients of a group are in the parameters' `grad`."""

    def step_end(self, step: int) -> None:
        """The optimiser has made `step` steps, this one included."""

    def epoch_end(self, epoch: int) -> Sequence[Score]:
        """An epoch's last step was made; scores to be recorded with it."""
        return ()

    def evaluating(self) -> AbstractContextManager[None]:
        """Entered before a validation and before the best weights are copied, left after it."""
        return nullcontext()

    def close(self) -> None:
        """Nothing more comes."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes: plain values and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; what the hook did to other objects (freezing) is done again."""


def overriding(hooks: Sequence[Hook], event: str) -> tuple[Any, ...]:
    """The bound methods of those hooks that do something in an event."""
    return tuple(getattr(hook, event) for hook in hooks if getattr(type(hook), event) is not getattr(Hook, event))
