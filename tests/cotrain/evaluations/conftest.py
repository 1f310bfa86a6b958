"""A model of all kinds of task that was never trained, and data in memory: what counts is that numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cotrain import build
from cotrain.data import Data, Source, assemble
from cotrain.losses import CrossEntropyConfig, GaussianConfig, RdmMatchConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    MultiTaskModel,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
)
from cotrain.tasks import TaskConfig

SIZE, CLASSES, NEURONS = 32, ("ant", "bee", "cow", "dog", "elk", "fox", "gnu"), 4
STIMULI = {"train": 40, "validation": 20, "test": 30}
TASKS = (
    TaskConfig(name="animals", tap="layer2", head=LinearHeadConfig(pool="flatten"), objective=CrossEntropyConfig()),
    TaskConfig(name="cells", tap="layer1", head=GaussianReadoutConfig(), objective=GaussianConfig()),
    TaskConfig(name="geometry", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig()),
)


def stimuli(random: np.random.Generator, count: int) -> torch.Tensor:
    """Smooth grey images, so that noise changes them."""
    coarse = torch.from_numpy(random.integers(0, 256, (count, 1, 6, 6)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear").byte()


@pytest.fixture(scope="session")
def data() -> Data:
    """Seven classes, two sessions of neurons, one RDM."""
    random = np.random.default_rng(0)

    def split(count: int) -> dict[str, dict[str, Source]]:
        def responses() -> torch.Tensor:
            return torch.from_numpy(random.normal(size=(count, NEURONS)).astype(np.float32))

        labels = torch.from_numpy(np.arange(count) % len(CLASSES))
        points = random.normal(size=(count, 5))
        rdm = torch.from_numpy((1 - np.corrcoef(points)).astype(np.float32))
        return {
            "animals": {"": Source("classification", stimuli(random, count), labels, class_names=CLASSES)},
            "cells": {name: Source("neural", stimuli(random, count), responses()) for name in ("first", "second")},
            "geometry": {"": Source("rdm", stimuli(random, count), (rdm + rdm.T) / 2)},
        }

    return assemble({name: split(count) for name, count in STIMULI.items()})


@pytest.fixture(scope="session")
def model_of(data: Data) -> Callable[..., MultiTaskModel]:
    """A function that makes a model of some of the tasks."""

    def make(*names: str) -> MultiTaskModel:
        tasks = tuple(task for task in TASKS if task.name in names)
        backbone = SmallCnnConfig(layers=((8, 5, 2), (8, 3, 1)))
        info = replace(data.info, tasks={name: held for name, held in data.info.tasks.items() if name in names})
        return build(SharedBackboneConfig(backbone=backbone, tasks=tasks), info, seed=0)

    return make


@pytest.fixture(scope="session")
def model(model_of: Callable[..., MultiTaskModel]) -> MultiTaskModel:
    """One of all tasks, with random weights."""
    return model_of("animals", "cells", "geometry")
