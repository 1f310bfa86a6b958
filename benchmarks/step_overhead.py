"""Overhead of the training loop on a small model: python benchmarks/step_overhead.py

Side by side, in turn, in one process, on one thread: a plain torch loop, the trainer's own micro-steps and optimiser
steps with mixing on (and, at each epoch's end, the losses read and a line of the journal written), and, where they are
installed (`pip install lightning`), Lightning Fabric and Lightning's Trainer with everything switched off
(`barebones=True`). All train the same network on batches of the same size of the same images with the same optimiser,
and draw, normalise and sum in the step. Ratio of process CPU times to the plain loop of the same turn, median of
several turns; on a busy machine the ratio of the fastest turns is the surer one.
"""

from __future__ import annotations

import importlib.util
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from _steps import end_of_epoch, epoch, in_turn, to_first, training_state
from torch import Tensor
from torch.nn.functional import cross_entropy

from cotrain.data import DigitsConfig, MixingConfig
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import ConstantConfig, JournalSink, SgdConfig, TrainerConfig

EPOCHS, ROUNDS, BATCH = 5, 7, 32
LIMIT = 1.10

torch.set_num_threads(1)
data = build(DigitsConfig(size=16), seed=0)
config = SharedBackboneConfig(
    batch_norm="shared",
    backbone=SmallCnnConfig(layers=((16, 3, 2), (32, 3, 2))),
    tasks=(TaskConfig(name="digits", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0)),),
)
trainer = TrainerConfig(
    optimiser=SgdConfig(lr=0.01),
    schedule=ConstantConfig(),
    mixing=MixingConfig(main="digits", batch_size=BATCH),
    device="cpu",
)
source = data.splits["train"]["digits"][""]


class Batches:
    """An epoch's batches, drawn anew on each pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(len(source)).split(BATCH)[: len(self)]:
            yield source.images[index], source.targets[index]

    def __len__(self) -> int:
        return len(source) // BATCH


def network() -> torch.nn.Module:
    """The model's own modules in a row."""
    model = build(config, data.info, seed=0)
    parts = model.inputs["digits"], model.backbone, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return torch.nn.Sequential(*parts, model.heads["digits"].linear).train()


def sgd(held: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all sides."""
    return torch.optim.SGD(held.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)


def loop(held: torch.nn.Module, optimiser: Any, backward: Callable[[Tensor], Any]) -> float:
    """A hand-written loop: draw, normalise, forward, backward, step, sum the loss."""
    total = torch.zeros(())
    started = time.process_time()
    for _ in range(EPOCHS):
        for images, targets in Batches():
            loss = cross_entropy(held(images), targets)
            backward(loss)
            optimiser.step()
            optimiser.zero_grad()
            total += loss.detach()
    return time.process_time() - started


def plain() -> float:
    """Torch alone."""
    held = network()
    return loop(held, sgd(held), torch.Tensor.backward)


def cotrained() -> float:
    """The trainer's steps over the same number of batches, and a line of the journal an epoch."""
    with training_state(trainer, config, data) as run:
        journal = JournalSink(run.folder.journal)
        journal.start([], None)
        started = time.process_time()
        for _ in range(EPOCHS):
            epoch(run)
            end_of_epoch(run, journal)
        return time.process_time() - started


def fabric() -> float:
    """The plain loop with what Fabric makes of model, optimiser and backward pass."""
    from lightning.fabric import Fabric

    held = network()
    made = Fabric(accelerator="cpu", devices=1)
    wrapped, optimiser = made.setup(held, sgd(held))
    return loop(wrapped, optimiser, made.backward)


def lightning_trainer() -> float:
    """Lightning's Trainer, from the start of the first epoch to the end of the last."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.held, self.total = network(), torch.zeros(())

        def on_train_start(self) -> None:
            self.started = time.process_time()

        def on_train_end(self) -> None:
            self.seconds = time.process_time() - self.started

        def training_step(self, batch: tuple[Tensor, Tensor], _number: int) -> Tensor:
            loss = cross_entropy(self.held(batch[0]), batch[1])
            self.total += loss.detach()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.held)

    module = Module()
    with warnings.catch_warnings():  # that batches come from no DataLoader, and that it has few workers
        warnings.simplefilter("ignore")
        lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", devices=1, barebones=True).fit(module, Batches())
    return module.seconds


def main() -> None:
    """Measure and print."""
    sides = {"plain torch": plain, "cotrain": cotrained}
    if importlib.util.find_spec("lightning"):
        import lightning  # noqa: F401 - importing it sets the levels that are set here

        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        sides |= {"Lightning Fabric": fabric, "Lightning Trainer": lightning_trainer}
    else:
        print("Lightning is left out: pip install lightning, then run this again.")
    in_turn(sides, 1)
    times = in_turn(sides, ROUNDS)
    steps = EPOCHS * len(Batches())
    for name in sides:
        ratio, low, high = to_first(times, name)
        limit = f"; limit {LIMIT:.2f}" if name == "cotrain" else ""
        us = 1e6 * statistics.median(times[name]) / steps
        least = min(times[name]) / min(times["plain torch"])
        spread = f"{low:.3f} to {high:.3f}; of the fastest turns {least:.3f}"
        print(f"{name}: {us:.0f} us a step, {ratio:.3f} of plain torch ({spread}{limit})")


if __name__ == "__main__":
    main()
