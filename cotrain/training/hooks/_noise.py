"""Noise on the training images, a level drawn for each image."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator
from torch import Tensor

from cotrain.config import Config
from cotrain.data import Augmentation, AugmentConfig, Batch, augment
from cotrain.errors import TrainingError, did_you_mean
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed
from cotrain.training._hooks import Hook, Training

Mixture = tuple[tuple[float, float], ...]


class NoiseConfig(Config):
    """Gaussian noise on the images of some tasks or of all, after what else varies them, clamped to 0..1.

    The levels are those of `cotrain.data.augment`, which does the same for one task. A share of the images has each
    level; the rest is clean.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.noise"
    std: Mixture = ()  # (standard deviation, share of the images), in units of the range 0..1
    snr: Mixture = ()  # (signal to noise ratio, share): noise has the variance of the image's pixels divided by it
    tasks: tuple[str, ...] = ()  # empty: all

    @model_validator(mode="after")
    def _fits(self) -> Self:
        levels(self.std, self.snr)
        return self


def levels(std: Mixture, snr: Mixture) -> AugmentConfig:
    """Levels of noise as an augmentation that does nothing else; at least one must be given."""
    if not (std or snr):
        raise ValueError("give at least one level of noise, as in std=((0.1, 1.0),) or snr=((4.0, 0.5),)")
    return AugmentConfig(noise=std, noise_snr=snr)


def noise_of(std: Mixture, snr: Mixture, use: str) -> Augmentation:
    """Noise whose draws are independent of the batch's other augmentation, and of another use of noise."""
    add = augment(levels(std, snr))
    return lambda images, seed: add(images, derive_seed(seed, "noise", use))


def known_tasks(tasks: tuple[str, ...], model: MultiTaskModel, hook: str) -> frozenset[str]:
    """The tasks that a hook names, all where it names none.

    Raises:
        TrainingError: The model lacks one.
    """
    for task in tasks:
        if task not in model.taps:
            raise TrainingError(f"{hook}: there is no task {task!r}.{did_you_mean(task, list(model.taps))}")
    return frozenset(tasks or model.taps)


class Noise(Hook):
    """It has no state: what is drawn depends on the batch's seed."""

    def __init__(self, config: NoiseConfig) -> None:
        self.config = config
        self.add = noise_of(config.std, config.snr, "images")

    def start(self, training: Training) -> None:
        """Refuse tasks that there are not."""
        self.tasks = known_tasks(self.config.tasks, training.model, "noise")

    def images(self, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """Make some noisy."""
        return self.add(images, seed) if batch.task in self.tasks else images


def noise(config: NoiseConfig) -> Hook:
    """The hook of a config."""
    return Noise(config)
