"""Simulated V1 looks at other data's images: responses are those of the population, and nothing else changes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data import (
    ArraysConfig,
    ImageFolderConfig,
    LabelArrayConfig,
    ResponseArrayConfig,
    ShuffledConfig,
    SimulatedV1ResponsesConfig,
    _simulated_v1_responses,
    prepared,
    simulated_v1_responses,
)
from cotrain.data._gabor_population import GaborPopulation, mean_responses, sample_population
from cotrain.errors import ConfigError, DataError
from cotrain.resolve import build
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS

PICTURES = ArraysConfig(path="pictures.npz", tasks=(LabelArrayConfig(task="objects"),))
CONFIG = SimulatedV1ResponsesConfig(data=PICTURES, shown="objects", task="v1", neurons=11)
SEED = 3


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """COTRAIN_DATA with 90 pictures of 18 x 16 pixels in colour, and 90 of 10 x 10."""
    folder, random = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name, shape in (("pictures", (90, 18, 16, 3)), ("tiny", (90, 10, 10, 3))):
        responses = {session: random.normal(size=(90, 2)).astype(np.float32) for session in ("a", "b")}
        images = random.integers(0, 256, shape, np.uint8)
        np.savez(
            folder / f"{name}.npz", images=images, labels=np.arange(90) % 2, class_names=["even", "odd"], **responses
        )
    for number in range(40):
        file = folder / "folder" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTRAIN_DATA", str(folder))
        patch.setenv("COTRAIN_CACHE", str(folder / "cache"))
        yield folder


@functools.cache
def built(config=CONFIG, seed=SEED):
    return simulated_v1_responses(config, seed=seed)


def responses(data, split, task="v1"):
    return data.splits[split][task]["simulated"]


def expected_counts(config=CONFIG, seed=SEED):
    """{split: what the population responds to the images in grey}."""
    population = sample_population(config.neurons, seed=derive_seed(seed, "noise", config.task, "neurons"))
    found = {}
    for split in SPLITS:
        images = build(config.data, seed=seed).splits[split]["objects"][""].images
        found[split] = mean_responses(population, prepared(images, 1, 0).numpy())
    return found


def test_targets_are_the_expected_counts_of_a_population():
    data = built(CONFIG.replace(standardise=False))
    for split, counts in expected_counts().items():
        np.testing.assert_allclose(responses(data, split).targets, counts, rtol=1e-5)
        assert responses(data, split).repeats is None
    session = data.info.task("v1").sessions["simulated"]
    assert session.neurons == 11 and session.lowest_response > 0 and session.unit == "simulated expected spike counts"


def test_z_scores_are_those_of_training():
    counts, data = expected_counts(), built()
    for split in SPLITS:
        scores = (counts[split] - counts["train"].mean(0)) / counts["train"].std(0)
        np.testing.assert_allclose(responses(data, split).targets, scores, rtol=1e-3, atol=1e-4)
    assert data.info.task("v1").sessions["simulated"].unit == "simulated expected spike counts, z-scored"


def test_the_images_and_their_own_task_stay():
    data, alone = built(), build(PICTURES, seed=SEED)
    assert list(data.info.tasks) == ["objects", "v1"]
    assert data.info.task("objects") == alone.info.task("objects")
    for split in SPLITS:
        assert torch.equal(data.splits[split]["objects"][""].targets, alone.splits[split]["objects"][""].targets)
        assert torch.equal(responses(data, split).images, alone.splits[split]["objects"][""].images)


def test_counts_scatter_around_what_is_expected_and_each_split_on_its_own():
    data, expected = built(CONFIG.replace(repeats=400, standardise=False)), expected_counts()
    scores = []
    for split in SPLITS:
        source = responses(data, split)
        assert source.repeats.shape == (len(source), 400, 11)
        assert torch.equal(source.repeats, source.repeats.round()) and source.repeats.min() == 0
        torch.testing.assert_close(source.repeats.mean(1), source.targets)
        # a Poisson count scatters around its mean by the root of it
        scores.append((source.targets.numpy() - expected[split]) / (expected[split] / 400) ** 0.5)
    together = np.concatenate(scores)
    assert abs(together.mean()) < 4.5 / together.size**0.5
    assert together.std() == pytest.approx(1, abs=0.1)
    first = [held[:10].ravel() for held in scores]
    assert np.abs(np.corrcoef(first) - np.eye(3)).max() < 4.5 / 110**0.5, "splits draw apart"
    assert data.info.task("v1").sessions["simulated"].unit == "simulated spike counts"


def test_the_seed_and_the_name_of_the_task_decide_the_neurons():
    assert simulated_v1_responses(CONFIG, seed=SEED).info.fingerprint == built().info.fingerprint
    metadata = [
        data.info.task(task).sessions["simulated"].neuron_metadata["frequency"]
        for data, task in ((built(), "v1"), (built(seed=4), "v1"), (built(CONFIG.replace(task="v1b")), "v1b"))
    ]
    assert len(set(metadata)) == 3
    twice = simulated_v1_responses(CONFIG.replace(data=CONFIG, task="v1b"), seed=SEED)
    assert list(twice.info.tasks) == ["objects", "v1", "v1b"]


def test_metadata_tell_how_each_neuron_is_tuned():
    metadata = built().info.task("v1").sessions["simulated"].neuron_metadata
    columns = {name: np.asarray(values) for name, values in metadata.items()}
    assert set(columns) == {"x", "y", "orientation", "frequency", "complexity"}
    known = sample_population(11, seed=derive_seed(SEED, "noise", "v1", "neurons"))
    assert isinstance(known, GaborPopulation)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, getattr(known, name))


@pytest.mark.parametrize("storage", ["memory_map", "files"])
def test_images_are_read_in_pieces_from_wherever_they_are(storage, monkeypatch):
    folder = ImageFolderConfig(path="folder", size=16, storage=storage)
    config = CONFIG.replace(data=folder)
    whole = simulated_v1_responses(config, seed=0)
    monkeypatch.setattr(_simulated_v1_responses, "IMAGES_AT_ONCE", 3)
    pieces = simulated_v1_responses(config, seed=0)
    for split in SPLITS:
        torch.testing.assert_close(responses(pieces, split).targets, responses(whole, split).targets)
        assert len(responses(pieces, split)) == len(pieces.splits[split]["objects"][""])


def test_the_shuffled_control_permutes_them():
    data = build(ShuffledConfig(data=CONFIG, tasks=("v1",)), seed=SEED)
    for split in SPLITS:
        true, mixed = (responses(held, split).targets for held in (built(), data))
        assert torch.equal(true, mixed) == (split == "test")
        torch.testing.assert_close(true.sort(0).values, mixed.sort(0).values)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shown": "object"}, r"no task 'object' to be shown\. Did you mean 'objects'"),
        ({"task": "objects"}, r"The data have a task 'objects' already\. Give the new one another name"),
        ({"data": PICTURES.replace(path="tiny.npz")}, r"images need at least 12 pixels a side .* found 10 x 10"),
        (
            {
                "data": PICTURES.replace(
                    tasks=tuple(ResponseArrayConfig(task="cells", session=name, responses=name) for name in "ab")
                ),
                "shown": "cells",
            },
            "The task 'cells' has 2 sessions; the images shown must be of one set",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, text):
    with pytest.raises(DataError, match=text):
        simulated_v1_responses(CONFIG.replace(**changes), seed=0)


@pytest.mark.parametrize("field", ["neurons", "repeats"])
def test_numbers_below_the_least_are_refused(field):
    with pytest.raises(ConfigError, match=field):
        CONFIG.replace(**{field: -1 if field == "repeats" else 0})
