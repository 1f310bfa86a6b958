"""Overhead of the training loop on a small model: python benchmarks/step_overhead.py

Side by side, in turn, in one process: a plain torch loop over the same network and batches, and the trainer's own
micro-steps and optimiser steps with mixing on and the loss summed. Ratio of process CPU times, median of several.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from cotrain.data import DigitsConfig, MixingConfig
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import ConstantConfig, RunFolder, SgdConfig, TrainerConfig
from cotrain.training._trainer import TrainingState

EPOCHS, ROUNDS, BATCH = 5, 7, 32

torch.set_num_threads(1)
data = build(DigitsConfig(size=16), seed=0)
config = SharedBackboneConfig(
    batch_norm="shared",
    backbone=SmallCnnConfig(layers=((16, 3, 2), (32, 3, 2))),
    tasks=(TaskConfig(name="digits", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0)),),
)
trainer = TrainerConfig(
    optimiser=SgdConfig(lr=0.01), schedule=ConstantConfig(), mixing=MixingConfig(main="digits", batch_size=BATCH)
)
source = data.splits["train"]["digits"][""]
batches = len(source) // BATCH


def plain() -> float:
    """A hand-written loop: shuffle, normalise, forward, backward, step, sum the loss."""
    model = build(config, data.info, seed=0)
    network = torch.nn.Sequential(model.inputs["digits"], model.backbone, torch.nn.AdaptiveAvgPool2d(1))
    network = torch.nn.Sequential(network, torch.nn.Flatten(), model.heads["digits"].linear).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    total = torch.zeros(())
    started = time.process_time()
    for _ in range(EPOCHS):
        for index in torch.randperm(len(source)).split(BATCH)[:batches]:
            loss = torch.nn.functional.cross_entropy(network(source.images[index]), source.targets[index])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            total += loss.detach()
    return time.process_time() - started


def cotrained() -> float:
    """The trainer's steps over the same number of batches."""
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingState(
            trainer, build(config, data.info, seed=0), data, 0, torch.device("cpu"), RunFolder(Path(folder))
        )
        run.model.train()
        started = time.process_time()
        for _ in range(EPOCHS):
            for batch in run.loader:
                run._micro_step(batch)
                if batch.step_ends:
                    run._optimiser_step({(batch.task, batch.session)})
        return time.process_time() - started


plain(), cotrained()
ratios, ours = [], []
for _ in range(ROUNDS):
    other, own = plain(), cotrained()
    ratios.append(own / other)
    ours.append(own)
steps = EPOCHS * batches
print(f"{1e6 * statistics.median(ours) / steps:.0f} us a step (batch {BATCH}, CPU, one thread)")
spread = f"range {min(ratios):.3f} to {max(ratios):.3f}"
print(f"cotrain / plain torch: {statistics.median(ratios):.3f} ({spread}; limit 1.10)")
