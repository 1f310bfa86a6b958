"""How classification holds when images are noisy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MinLen

from cotrain.config import Config
from cotrain.data import AugmentConfig, Data
from cotrain.evaluations._noise import BATCH, noisy
from cotrain.models import MultiTaskModel
from cotrain.training import evaluate


class NoiseAccuracyConfig(Config):
    """Accuracy of all classification tasks on test images with Gaussian noise."""

    kind: ClassVar[str] = "cotrain.evaluations.noise_accuracy"
    std: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (0.0, 0.04, 0.08, 0.12, 0.18, 0.26)
    """Standard deviations of the noise, in units of the range 0..1 of pixels, to which noisy images are clamped."""


@dataclass(frozen=True)
class NoiseAccuracy:
    """Accuracy at one level of noise.

    Args:
        task: A classification.
        level: Place of the level in the config, counted from 0.
        std: Of the noise.
        accuracy: Share of images whose highest score is their label's, 0 to 1.
        top5: Share of images whose label is among the 5 highest; NaN of 5 classes or fewer.
    """

    task: str
    level: int
    std: float
    accuracy: float
    top5: float


def noise_accuracy(
    model: MultiTaskModel, data: Data, config: NoiseAccuracyConfig, *, device: torch.device, seed: int
) -> list[NoiseAccuracy]:
    """Score each classification at each level; empty for data without one.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: The levels.
        device: Where scores are computed, in float32. The noise is drawn on the CPU: it is the same on all.
        seed: Of the noise, which all levels share but for its size.
    """
    found = []
    for task, sessions in data.splits["test"].items():
        if data.info.tasks[task].kind != "classification" or task not in model.objectives:
            continue
        for level, std in enumerate(config.std):
            seen = noisy(AugmentConfig(noise=((std, 1.0),) if std else ()), seed, task)
            scores = evaluate(model, "test", {task: sessions}, epoch=0, device=device, seen=seen, batch_size=BATCH)
            by_metric = {score.metric: score.value for score in scores}
            found.append(NoiseAccuracy(task, level, std, by_metric["accuracy"], by_metric.get("top5", math.nan)))
    return found
