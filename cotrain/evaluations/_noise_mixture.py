"""How classification holds inside and outside the domain of training: clean images, and a mixture of noise levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import field_validator

from cotrain.config import Config
from cotrain.data import AugmentConfig, Data
from cotrain.evaluations._noise import BATCH, noisy
from cotrain.models import MultiTaskModel
from cotrain.training import as_they_are, evaluate

Level = tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0), Le(1)]]


class NoiseMixtureConfig(Config):
    """Accuracy of all classifications on clean images and on ones of which each has noise of some level, or none.

    Of a model that was trained on clean images, clean ones are inside the domain and the mixture is outside; of one
    that was trained with this noise it is the other way round. Both are computed of every model.
    """

    kind: ClassVar[str] = "cotrain.evaluations.noise_mixture"
    noise: Annotated[tuple[Level, ...], MinLen(1)] = ((0.08, 0.1), (0.12, 0.1), (0.18, 0.1), (0.26, 0.1), (0.38, 0.1))
    """(standard deviation, share of the images): Gaussian, of the range 0..1 of pixels; the rest is clean."""
    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 0  # of the noise: the same for all runs, so that they can be paired

    @field_validator("noise")
    @classmethod
    def _shares(cls, noise: tuple[Level, ...]) -> tuple[Level, ...]:
        if (total := math.fsum(share for _, share in noise)) > 1 + 1e-9:  # ten times 0.1 is 1
            raise ValueError(f"the shares must sum to 1 or less (the rest is clean), not {total}")
        return noise


@dataclass(frozen=True)
class NoiseMixture:
    """One score of one classification.

    Args:
        task: A classification.
        split: validation or test.
        shown: "clean" images, or "mixture".
        metric: accuracy, top5 or loss.
        value: NaN where it is undefined.
    """

    task: str
    split: str
    shown: Literal["clean", "mixture"]
    metric: str
    value: float


def noise_mixture(
    model: MultiTaskModel,
    data: Data,
    config: NoiseMixtureConfig,
    *,
    device: torch.device,
    seed: int = 0,  # noqa: ARG001 every evaluation is given the run's
) -> list[NoiseMixture]:
    """Score each classification on validation and test images; empty for data without one.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where scores are computed, in float32. The noise is drawn on the CPU: it is the same on all.
        seed: Not used: runs of all seeds see the same noise, that of `config.seed`.
    """
    mixture = AugmentConfig(noise=config.noise)
    found: list[NoiseMixture] = []
    for split in ("validation", "test"):
        for task, sessions in data.splits[split].items():
            if data.info.tasks[task].kind != "classification" or task not in model.objectives:
                continue
            seen = noisy(mixture, config.seed, task, split)
            for shown, given in (("clean", as_they_are), ("mixture", seen)):
                scores = evaluate(model, split, {task: sessions}, epoch=0, device=device, seen=given, batch_size=BATCH)
                found += [NoiseMixture(task, split, shown, score.metric, score.value) for score in scores]
    return found
