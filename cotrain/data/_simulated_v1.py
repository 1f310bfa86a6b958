"""A *simulated* recording from primary visual cortex, for demonstrations and tests. No animal was recorded."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le

from cotrain.config import Config
from cotrain.data._gabor_population import mean_responses, sample_population, spike_counts
from cotrain.data._natural_patches import natural_patches
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups
from cotrain.dissimilarity import stored_rdm
from cotrain.errors import DataError
from cotrain.seeds import derive_seed

Count = Annotated[int, Ge(1)]


class SimulatedV1Config(Config):
    """Simulated V1: Gabor-energy neurons with divisive normalisation see natural patches; Poisson spike counts.

    Each session has neurons and patches of its own. Targets are spike counts a presentation, mean over repeats.
    """

    kind: ClassVar[str] = "cotrain.data.simulated_v1"
    task: str = "simulated_v1"  # name of the neural task; "" for none
    sessions: Count = 2
    neurons: Count = 40  # a session
    stimuli: Annotated[int, Ge(10)] = 800  # patches a session
    repeats: Count = 4  # presentations of each patch
    rdm_task: str = ""  # name of an RDM task; "" for none
    rdm_neurons: Count = 200  # the population behind the RDM, other neurons than those of the sessions
    rdm_stimuli: Annotated[int, Ge(20)] = 400
    size: Annotated[int, Ge(12), Le(80)] = 32  # pixels; 6 cycles, the finest receptive fields, need 12
    split: SplitConfig = SplitConfig()  # by region of the photographs: no pixel stands in two splits


def simulated_v1(config: SimulatedV1Config, *, seed: int) -> Data:
    """Patches, spike counts and the RDM of a further population, for the seed.

    The neurons and patches are drawn by `noise` children of the seed, the split by its `split` child.
    """
    if not (config.task or config.rdm_task):
        raise DataError("simulated_v1: name a neural task, an RDM task, or both.")
    if config.task == config.rdm_task:
        raise DataError("simulated_v1: the neural and the RDM task need names of their own.")
    wanted = [config.stimuli] * config.sessions if config.task else []
    wanted += [config.rdm_stimuli] if config.rdm_task else []
    patches = natural_patches(sum(wanted), config.size, seed=derive_seed(seed, "noise", "patches"))
    split = split_groups(patches.region, config.split, seed=seed)
    splits: dict[str, dict[str, dict[str, Source]]] = {name: {} for name in split}
    # dealt out like cards, so that every session sees every region
    owner = _deal(patches.region, wanted)
    for number, _ in enumerate(wanted):
        is_rdm = bool(config.rdm_task) and number == len(wanted) - 1
        neurons = config.rdm_neurons if is_rdm else config.neurons
        population = sample_population(neurons, seed=derive_seed(seed, "noise", "neurons", number))
        for name, positions in split.items():
            own = positions[owner[positions] == number]
            if len(own) == 0:
                raise DataError(f"simulated_v1: session {number} has no {name} stimuli; ask for more.")
            means = mean_responses(population, patches.images[own])
            counts = spike_counts(means, config.repeats, seed=derive_seed(seed, "noise", "spikes", number, name))
            images, trials = torch.from_numpy(patches.images[own]), torch.from_numpy(counts)
            if is_rdm:
                splits[name].setdefault(config.rdm_task, {})[""] = Source("rdm", images, stored_rdm(trials.mean(1)))
            else:
                source = Source("neural", images, trials.mean(1), repeats=trials)
                splits[name].setdefault(config.task, {})[f"simulated{number + 1}"] = source
    return assemble(splits)


def _deal(region: np.ndarray, wanted: list[int]) -> np.ndarray:
    """Which session each patch belongs to: `wanted[i]` patches for session i, spread evenly over regions."""
    order = np.argsort(region, kind="stable")
    share = np.concatenate([(np.arange(n) + 0.5) / n for n in wanted])
    session = np.concatenate([np.full(n, i) for i, n in enumerate(wanted)])
    owner = np.empty(len(region), int)
    owner[order] = session[np.argsort(share, kind="stable")]
    return owner
