"""The simulated recording says that it is one, follows its seed, and shares no pixel between splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain.data import Data, SimulatedV1Config, SplitConfig, simulated_v1
from cotrain.data._gabor_population import mean_responses, sample_population, spike_counts
from cotrain.data._natural_patches import natural_patches
from cotrain.errors import ConfigError, DataError
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS

CONFIG = SimulatedV1Config(
    sessions=3, neurons=7, stimuli=90, repeats=5, rdm_task="geometry", rdm_neurons=30, rdm_stimuli=70, size=16
)
SEED = 4


@pytest.fixture(scope="module")
def data() -> Data:
    return simulated_v1(CONFIG, seed=SEED)


def sources(data):
    for split in SPLITS:
        for task, sessions in data.splits[split].items():
            for session, source in sessions.items():
                yield split, task, session, source


def test_shapes(data):
    total: dict[str, int] = {}
    for _, task, session, source in sources(data):
        number = len(source)
        total[task + session] = total.get(task + session, 0) + number
        assert source.images.shape == (number, 1, 16, 16)
        if task == "geometry":
            assert source.targets.shape == (number, number)
        else:
            assert source.repeats.shape == (number, 5, 7)
            torch.testing.assert_close(source.repeats.mean(1), source.targets)
            assert torch.equal(source.repeats, source.repeats.round()) and source.repeats.min() >= 0  # counts
    sessions = [f"simulated_v1simulated{number}" for number in (1, 2, 3)]
    assert total == dict.fromkeys(sessions, 90) | {"geometry": 70}


def test_no_name_takes_it_for_a_recording(data):
    assert "simulated" in SimulatedV1Config.kind
    assert "simulated" in SimulatedV1Config().task
    assert SimulatedV1Config().rdm_task == ""
    assert all("simulated" in session for session in data.info.task("simulated_v1").sessions)


def test_the_seed_decides_everything(data):
    assert simulated_v1(CONFIG, seed=SEED).info.fingerprint == data.info.fingerprint
    other = simulated_v1(CONFIG, seed=SEED + 1)
    for split, task, session, source in sources(data):
        held = other.splits[split][task][session]
        assert held.images.shape != source.images.shape or not torch.equal(held.images, source.images)
        assert held.targets.shape != source.targets.shape or not torch.equal(held.targets, source.targets)


def test_splits_share_no_pixel(data):
    patches = natural_patches(3 * 90 + 70, 16, seed=derive_seed(SEED, "noise", "patches"))
    region = {image.tobytes(): place for image, place in zip(patches.images, patches.region.tolist(), strict=True)}
    held: dict[str, set[int]] = {split: set() for split in SPLITS}
    for split, _, _, source in sources(data):
        held[split] |= {region[image.numpy().tobytes()] for image in source.images}
    # patches of other regions share no pixel: test_natural_patches
    assert not (held["train"] & held["validation"] or held["train"] & held["test"] or held["validation"] & held["test"])
    assert set.union(*held.values()) == set(region.values())


def test_sessions_have_patches_and_neurons_of_their_own(data):
    images = [image.numpy().tobytes() for *_, source in sources(data) for image in source.images]
    assert len(set(images)) == len(images) == 3 * 90 + 70
    means = [session.mean_response for session in data.info.task("simulated_v1").sessions.values()]
    assert len({mean for session in means for mean in session}) == 21


def test_counts_are_those_of_the_population(data):
    population = sample_population(7, seed=derive_seed(SEED, "noise", "neurons", 1))
    source = data.splits["test"]["simulated_v1"]["simulated2"]
    means = mean_responses(population, source.images.numpy())
    counts = spike_counts(means, 5, seed=derive_seed(SEED, "noise", "spikes", 1, "test"))
    np.testing.assert_array_equal(source.repeats, counts)


def test_the_rdm_is_one_minus_the_correlation_of_mean_counts(data):
    population = sample_population(30, seed=derive_seed(SEED, "noise", "neurons", 3))
    for split in SPLITS:
        source = data.splits[split]["geometry"][""]
        means = mean_responses(population, source.images.numpy())
        counts = spike_counts(means, 5, seed=derive_seed(SEED, "noise", "spikes", 3, split)).mean(1)
        np.testing.assert_allclose(source.targets, 1 - np.corrcoef(counts), atol=1e-5)


def test_either_task_may_be_left_out():
    config = SimulatedV1Config(task="", rdm_task="geometry", rdm_stimuli=60, rdm_neurons=5, size=16)
    assert list(simulated_v1(config, seed=0).info.tasks) == ["geometry"]
    config = SimulatedV1Config(sessions=1, stimuli=60, neurons=3, size=16, repeats=1)
    data = simulated_v1(config, seed=0)
    assert list(data.info.tasks) == ["simulated_v1"]
    assert data.splits["train"]["simulated_v1"]["simulated1"].repeats.shape[1] == 1
    with pytest.raises(DataError, match="simulated_v1: name a neural task, an RDM task, or both"):
        simulated_v1(SimulatedV1Config(task=""), seed=0)


def test_the_split_does_not_depend_on_neurons_or_repeats():
    few, many = (
        simulated_v1(SimulatedV1Config(sessions=1, stimuli=60, neurons=n, repeats=n, size=16), seed=1) for n in (2, 9)
    )
    for split, task, session, source in sources(few):
        assert torch.equal(source.images, many.splits[split][task][session].images)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"rdm_task": "simulated_v1"}, "simulated_v1: the neural and the RDM task need names of their own"),
        ({"stimuli": 100_000}, "patches of 16 pixels were asked for, .* ask for at most"),
        ({"task": "no name"}, "Task 'no name': expected 1 to 32 letters"),
        ({"split": SplitConfig(validation=0.5, test=0.6)}, "leave no stimuli for training"),
        ({"split": SplitConfig(test=0.0)}, "simulated_v1: session 0 has no test stimuli; ask for more"),
        (
            {"task": "", "rdm_task": "it", "rdm_stimuli": 20, "split": SplitConfig(test=0.05)},
            "at least 3 stimuli|no test",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused(fields, text):
    with pytest.raises(DataError, match=text):
        simulated_v1(SimulatedV1Config(**{"size": 16, "stimuli": 40, "neurons": 3, **fields}), seed=0)


@pytest.mark.parametrize("field", ["sessions", "neurons", "stimuli", "repeats", "rdm_neurons", "rdm_stimuli", "size"])
def test_numbers_out_of_range_are_refused(field):
    with pytest.raises(ConfigError, match=rf"cotrain\.data\.simulated_v1: {field}: input should be greater than or"):
        SimulatedV1Config(**{field: 0})
