"""What *simulated* neurons of V1 respond to the images of any data. No animal was recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge

from cotrain.config import Config
from cotrain.data._added_task import shown_sources, with_task
from cotrain.data._gabor_population import GaborPopulation, mean_responses, sample_population, spike_counts
from cotrain.data._images import grey
from cotrain.data._neural_targets import neural_targets
from cotrain.data._source import Data, Source
from cotrain.resolve import AnyConfig, build
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS

Count = Annotated[int, Ge(1)]
SESSION = "simulated"
METADATA = ("x", "y", "orientation", "frequency", "complexity")  # of each neuron, as in `GaborPopulation`
IMAGES_AT_ONCE = 1024  # read from a source whose images are files


class SimulatedV1ResponsesConfig(Config):
    """Data with a further neural task: responses of simulated V1 neurons to the images of one of their tasks.

    So a labelled set gets V1-like responses to every image of it, as a model of V1 would predict them. The neurons are
    those of `SimulatedV1Config`: Gabor energy with divisive normalisation. They see images in grey.
    """

    kind: ClassVar[str] = "cotrain.data.simulated_v1_responses"
    data: AnyConfig
    shown: str  # the task of these data whose images the neurons see
    task: str = "simulated_v1"  # name of the new task
    neurons: Count = 100
    repeats: Annotated[int, Ge(0)] = 0  # presentations of each image, with Poisson counts; 0: expected counts, no noise
    standardise: bool = True  # z-score each neuron with mean and standard deviation of the training images


def simulated_v1_responses(config: SimulatedV1ResponsesConfig, *, seed: int) -> Data:
    """Build `config.data` and add the responses to a task's images as a task with the session "simulated".

    Targets are spikes in about 100 ms, mean over repeats, or z-scores of that. The neurons and their counts are drawn
    by `noise` children of the seed, by the name of the task: another seed is another animal.

    Raises:
        DataError: The task to be shown is unknown or has several sessions, the new one is there already, or images
            have fewer than 12 pixels a side, too few for the finest receptive fields.
    """
    data: Data = build(config.data, seed=seed)
    shown = shown_sources(data, config.shown, config.task)
    population = sample_population(config.neurons, seed=derive_seed(seed, "noise", config.task, "neurons"))
    parts = [
        _responses(population, shown[split], config.repeats, derive_seed(seed, "noise", config.task, "spikes", split))
        for split in SPLITS
    ]
    targets, trials = neural_targets(
        np.concatenate(parts),
        torch.arange(len(parts[0])),  # training comes first
        standardise=config.standardise,
        where=f"task {config.task}",
    )
    what = "spike counts" if config.repeats else "expected spike counts"
    added, start = {}, 0
    for split, part in zip(SPLITS, parts, strict=True):
        rows = slice(start, start + len(part))
        start = rows.stop
        source = Source(
            "neural",
            shown[split].images,
            targets[rows],
            unit=f"simulated {what}{', z-scored' if config.standardise else ''}",
            neuron_metadata={name: tuple(getattr(population, name).tolist()) for name in METADATA},
        )
        added[split] = {SESSION: source if trials is None else replace(source, repeats=trials[rows])}
    return with_task(data, config.task, added)


def _responses(population: GaborPopulation, shown: Source, repeats: int, seed: int) -> np.ndarray:
    """float32 (images, neurons), or with repeats (images, repeats, neurons)."""
    means = np.concatenate(
        [mean_responses(population, grey(images).numpy()) for images in shown.images.split(IMAGES_AT_ONCE)]
    )
    return spike_counts(means, repeats, seed=seed) if repeats else means.astype(np.float32)
