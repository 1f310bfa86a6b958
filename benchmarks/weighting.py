"""Cost of weighting the tasks' gradients: python benchmarks/weighting.py

An optimiser step of two tasks that share a VGG-11 with batch norm (32 x 32 pixels, a batch of 32 each): with plain
gradients, with scores of the gradients, and with each weighting. They take turns in one process, on one thread; process
CPU times, the median of several of the ratio to the plain step of the same turn.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from pathlib import Path

import torch

from cotrain.data import ClassManifoldsConfig, DigitsConfig, MixingConfig
from cotrain.losses import (
    CrossEntropyConfig,
    GeometricMeanConfig,
    GradientAggregationConfig,
    GradNormConfig,
    MmcrConfig,
    NashBargainingConfig,
)
from cotrain.models import LinearHeadConfig, ManifoldHeadConfig, SharedBackboneConfig, TorchvisionBackboneConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import RunFolder, SgdConfig, TrainerConfig
from cotrain.training._state import TrainingState

STEPS, ROUNDS, BATCH = 2, 3, 32
MEANS = {
    "plain": {},
    "scores of gradients": {"gradient_scores": True},
    "geometric mean": {"weighting": GeometricMeanConfig()},
    "GradNorm": {"weighting": GradNormConfig()},
    "Nash": {"weighting": NashBargainingConfig()},
}
if importlib.util.find_spec("torchjd"):
    for method in ("PCGrad", "UPGrad", "MGDA", "AlignedMTL"):
        MEANS[method] = {"weighting": GradientAggregationConfig(method=method)}

torch.set_num_threads(1)
data = build(ClassManifoldsConfig(data=DigitsConfig(size=32), task="digits", name="shapes"), seed=0)
model = SharedBackboneConfig(
    batch_norm="shared",
    backbone=TorchvisionBackboneConfig(name="vgg11_bn"),
    tasks=(
        TaskConfig(name="digits", tap="depth:1", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0)),
        TaskConfig(name="shapes", tap="depth:1", head=ManifoldHeadConfig(), objective=MmcrConfig()),
    ),
)
mixing = MixingConfig(main="digits", ratios=((1, (("shapes", 1.0),)),), batch_size=BATCH, balanced=(("shapes", 4),))


def steps(**fields: object) -> float:
    """CPU seconds of some optimiser steps, the first one left out."""
    trainer = TrainerConfig(optimiser=SgdConfig(lr=0.01), mixing=mixing, device="cpu").replace(**fields)
    with tempfile.TemporaryDirectory() as folder:
        held = build(model, data.info, seed=0).train()
        run = TrainingState(trainer, held, data, 0, torch.device("cpu"), RunFolder(Path(folder)))
        started, done = 0.0, 0
        for batch in run.loader:
            run.micro_step(batch)
            if batch.step_ends:
                run.optimiser_step({(batch.task, batch.session)})
                done += 1
                if done == 1:
                    started = time.process_time()
                if done == STEPS + 1:
                    return time.process_time() - started
    raise AssertionError("an epoch has more steps than these")


times: dict[str, list[float]] = {name: [] for name in MEANS}
for _ in range(ROUNDS):
    for name, fields in MEANS.items():
        times[name].append(steps(**fields))
print(f"a plain step: {1e3 * statistics.median(times['plain']) / STEPS:.0f} ms")
for name, found in times.items():
    ratios = [own / plain for own, plain in zip(found, times["plain"], strict=True)]
    print(f"  {name:<20} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
