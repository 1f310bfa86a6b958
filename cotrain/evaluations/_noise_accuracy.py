"""How classification holds when images are noisy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MinLen

from cotrain.config import Config
from cotrain.data import AugmentConfig, Data, augment
from cotrain.metrics import classification_scores
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed

BATCH = 256


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
    """

    task: str
    level: int
    std: float
    accuracy: float


@torch.no_grad()
def noise_accuracy(
    model: MultiTaskModel, data: Data, config: NoiseAccuracyConfig, *, device: torch.device, seed: int
) -> list[NoiseAccuracy]:
    """Score each classification at each level; empty for data without one.

    Args:
        model: On `device`, in evaluation mode.
        data: Those that it was trained on.
        device: Where scores are computed, in float32. The noise is drawn on the CPU: it is the same on all.
        seed: Of the noise, which all levels share but for its size.
    """
    found = []
    for task, sessions in data.splits["test"].items():
        for session, source in sessions.items():
            if source.kind != "classification" or task not in model.objectives:
                continue
            for level, std in enumerate(config.std):
                add = augment(AugmentConfig(noise=((std, 1.0),) if std else ()))
                outputs = [
                    model(add(batch.cpu(), derive_seed(seed, "noise", task, str(place))).to(device), task, session)
                    for place, batch in enumerate(source.images.split(BATCH))
                ]
                scores = dict(classification_scores(torch.cat(outputs).float().cpu(), source.targets.cpu()))
                found.append(NoiseAccuracy(task, level, std, scores["accuracy"]))
    return found
