"""RDMs of responses are those of NumPy, of each split's own stimuli, for each subject, all together or groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain.data import (
    ArraysConfig,
    Data,
    DigitsConfig,
    GaussianSurrogateConfig,
    LabelArrayConfig,
    MixingConfig,
    MixingLoader,
    MultiTaskConfig,
    RdmOfResponsesConfig,
    ResponseArrayConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SimulatedV1Config,
    SplitConfig,
    rdm_of_responses,
)
from cotrain.dissimilarity import pairs
from cotrain.errors import DataError
from cotrain.resolve import build
from cotrain.tasks import SPLITS

NUMBER, NEURONS, REPEATS = 60, 7, 4
OBJECTS = LabelArrayConfig(task="objects")
V4 = tuple(
    ResponseArrayConfig(task="v4", session=name, responses=f"spikes_{name}", standardise=False) for name in ("a", "b")
)


def content() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(NUMBER) % 3
    means = random.normal(5, 2, (2, NUMBER, 1, NEURONS)) + 3 * random.normal(size=(3, 1, NEURONS))[labels]
    spikes = means + random.normal(size=(2, NUMBER, REPEATS, NEURONS))
    return {
        "images": random.integers(0, 256, (NUMBER, 6, 6), np.uint8),
        "labels": labels,
        "class_names": np.array(["cat", "dog", "fish"]),
        "spikes_a": spikes[0],
        "spikes_b": 3 * spikes[1],  # another scale
    }


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Data with an RDM task of the arrays, some of them changed."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))

    def make(changes=None, tasks=(OBJECTS, *V4), seed=0, **fields) -> Data:
        np.savez(tmp_path / "some.npz", **content() | (changes or {}))
        below = ArraysConfig(path="some.npz", tasks=tasks, split=SplitConfig(validation=0.2, test=0.2))
        return build(RdmOfResponsesConfig(data=below, **{"task": "v4", "name": "geometry", **fields}), seed=seed)

    return make


def targets(data: Data, split: str, session: str = "", task: str = "geometry") -> np.ndarray:
    return data.splits[split][task][session].targets.numpy()


def responses(data: Data, split: str, session: str) -> np.ndarray:
    return targets(data, split, session, "v4").astype(float)


def crossnobis_by_loop(trials: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Of (stimuli, repeats, neurons), over all ordered pairs of different repeats."""
    count, times = trials.shape[:2]
    found = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            difference = (trials[i] - trials[j]) / sd
            products = [difference[a] @ difference[b] for a in range(times) for b in range(times) if a != b]
            found[i, j] = np.mean(products) / trials.shape[2]
    return found


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(0)


def directions(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


REFERENCES = {
    "correlation": lambda x: 1 - np.corrcoef(x),
    "cosine": lambda x: 1 - directions(x) @ directions(x).T,
    "centred_cosine": lambda x: 1 - directions(centred(x)) @ directions(centred(x)).T,
    "squared_euclidean": lambda x: ((x[:, None] - x) ** 2).mean(2),
}


@pytest.mark.parametrize("dissimilarity", REFERENCES)
def test_each_session_has_the_rdm_of_its_responses(made, dissimilarity):
    data = made(dissimilarity=dissimilarity)
    assert list(data.info.tasks) == ["objects", "v4", "geometry"]
    assert (data.info.task("geometry").kind, list(data.info.task("geometry").sessions)) == ("rdm", ["a", "b"])
    for split in SPLITS:
        for session in "ab":
            source = data.splits[split]["geometry"][session]
            assert torch.equal(source.images, data.splits[split]["v4"][session].images)
            assert torch.equal(source.targets, source.targets.T)
            expected = REFERENCES[dissimilarity](responses(data, split, session))
            np.testing.assert_allclose(source.targets, expected, atol=1e-5 * max(1, expected.max()))


@pytest.mark.parametrize("whitening", ["none", "diagonal"])
def test_crossnobis_of_the_repeats_that_all_stimuli_have(made, whitening):
    spikes = content()["spikes_a"]
    spikes[3, 0] = np.nan  # the first repeat is missing: the other three count
    spikes[5, 2, 1] = np.nan  # a repeat counts where all neurons were recorded
    data = made({"spikes_a": spikes}, dissimilarity="crossnobis", whitening=whitening)
    for split in SPLITS:
        trials = data.splits[split]["v4"]["a"].repeats.numpy().astype(float)
        known = [stimulus[~np.isnan(stimulus).any(1)] for stimulus in trials]
        fewest = min(map(len, known))
        same = np.stack([stimulus[:fewest] for stimulus in known])
        assert fewest >= 3
        within = same - same.mean(1, keepdims=True)
        within -= within.mean(0)
        free = (len(same) - 1) * (fewest - 1)
        sd = np.ones(NEURONS) if whitening == "none" else np.sqrt((within**2).sum((0, 1)) / free)
        np.testing.assert_allclose(targets(data, split, "a"), crossnobis_by_loop(same, sd), atol=1e-4)


def test_neurons_of_all_sessions_side_by_side(made):
    data = made(subjects="joint")
    for split in SPLITS:
        both = np.concatenate([responses(data, split, session) for session in "ab"], 1)
        np.testing.assert_allclose(targets(data, split), 1 - np.corrcoef(both), atol=1e-5)
    crossed = made({"spikes_b": content()["spikes_b"][:, :2]}, subjects="joint", dissimilarity="crossnobis")
    assert list(crossed.info.task("geometry").sessions) == [""]


def naive_mean(rdms: list[np.ndarray]) -> np.ndarray:
    upper = np.triu_indices(len(rdms[0]), 1)
    spreads = [rdm[upper].std() for rdm in rdms]
    return np.mean([rdm / spread for rdm, spread in zip(rdms, spreads, strict=True)], 0) * np.mean(spreads)


@pytest.mark.parametrize("dissimilarity", ["correlation", "squared_euclidean"])
def test_the_mean_counts_each_subject_alike(made, dissimilarity):
    data = made(subjects="mean", dissimilarity=dissimilarity)
    for split in SPLITS:
        every = [REFERENCES[dissimilarity](responses(data, split, session)) for session in "ab"]
        np.testing.assert_allclose(targets(data, split), naive_mean(every), rtol=1e-4, atol=1e-5)
    again = made({"spikes_b": 10 * content()["spikes_b"]}, subjects="mean", dissimilarity=dissimilarity)
    one, other = (pairs(held.splits["train"]["geometry"][""].targets) for held in (data, again))
    np.testing.assert_allclose(np.corrcoef(one, other)[0, 1], 1, atol=1e-6)  # whatever the units of a subject


def two_orders(data: Data, order: torch.Tensor) -> Data:
    """The same data with the training stimuli of session b in another order."""
    splits = {split: {task: dict(held) for task, held in tasks.items()} for split, tasks in data.splits.items()}
    splits["train"]["v4"]["b"] = splits["train"]["v4"]["b"].subset(order)
    return Data(splits, data.info)


@pytest.mark.parametrize("subjects", ["mean", "joint"])
def test_sessions_are_matched_by_their_images(made, monkeypatch, subjects):
    expected = made(subjects=subjects)
    below = build(expected_below(), seed=0)
    order = torch.randperm(len(below.splits["train"]["v4"]["b"]), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("cotrain.data._rdm_of_responses.build", lambda *_, **__: two_orders(below, order))
    config = RdmOfResponsesConfig(data=expected_below(), task="v4", name="geometry", subjects=subjects)
    found = rdm_of_responses(config, seed=0)
    torch.testing.assert_close(
        found.splits["train"]["geometry"][""].targets, expected.splits["train"]["geometry"][""].targets
    )


def expected_below() -> ArraysConfig:
    return ArraysConfig(path="some.npz", tasks=(OBJECTS, *V4), split=SplitConfig(validation=0.2, test=0.2))


def test_groups_are_the_classes_of_the_same_images(made):
    data = made(groups_of="objects", keep=False)
    assert list(data.info.tasks) == ["objects", "geometry"]
    file = content()
    place = {image.tobytes(): row for row, image in enumerate(file["images"])}
    for split in SPLITS:
        for session in "ab":
            source = data.splits[split]["geometry"][session]
            rows = [place[image.tobytes()] for image in source.images[:, 0].numpy()]
            np.testing.assert_array_equal(source.groups, file["labels"][rows])
            spikes = file[f"spikes_{session}"].mean(1)[rows]
            means = np.stack([spikes[file["labels"][rows] == group].mean(0) for group in range(3)])
            np.testing.assert_allclose(source.targets, 1 - np.corrcoef(means), atol=1e-5)
    mixing = MixingConfig(main="geometry", batch_size=6, balanced=(("geometry", 2),))
    sources = {"geometry": data.splits["train"]["geometry"]}
    batch = next(iter(MixingLoader(sources, mixing, seed=0)))
    assert batch.images.shape[0] == 6 and batch.targets.shape == (3, 3)


@pytest.mark.parametrize("subjects", ["each", "mean", "joint"])
@pytest.mark.parametrize("dissimilarity", ["crossnobis", "squared_euclidean"])
def test_groups_go_with_all_subjects_and_dissimilarities(made, subjects, dissimilarity):
    data = made(groups_of="objects", subjects=subjects, dissimilarity=dissimilarity)
    for split in SPLITS:
        for source in data.splits[split]["geometry"].values():
            assert source.targets.shape == (3, 3) and len(source.groups) == len(source)
    if (subjects, dissimilarity) == ("each", "crossnobis"):
        trials = data.splits["train"]["v4"]["a"].repeats.double()
        groups = data.splits["train"]["geometry"]["a"].groups
        means = torch.stack([trials[groups == group].mean(0) for group in range(3)]).numpy()
        within = means - means.mean(1, keepdims=True)
        within -= within.mean(0)
        sd = np.sqrt((within**2).sum((0, 1)) / (2 * (REPEATS - 1)))
        np.testing.assert_allclose(targets(data, "train", "a"), crossnobis_by_loop(means, sd), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("subjects", ["each", "mean", "joint"])
@pytest.mark.parametrize("groups_of", ["", "objects"])
def test_no_split_knows_the_responses_of_another(made, subjects, groups_of):
    standardised = (OBJECTS, *(task.replace(standardise=True) for task in V4))
    fields = {"subjects": subjects, "groups_of": groups_of, "tasks": standardised}
    data = made(**fields)
    place = {image.tobytes(): row for row, image in enumerate(content()["images"])}
    test = [place[image.tobytes()] for image in data.splits["test"]["v4"]["a"].images[:, 0].numpy()]
    others = {name: content()[name].copy() for name in ("spikes_a", "spikes_b")}
    for spikes in others.values():
        spikes[test] = np.random.default_rng(1).normal(50, 20, spikes[test].shape)
    again = made(others, **fields)
    for split in SPLITS:
        for session in data.splits[split]["geometry"]:
            is_same = np.array_equal(targets(data, split, session), targets(again, split, session))
            assert is_same == (split != "test")


def test_simulated_recordings_and_their_controls():
    simulated = SimulatedV1Config(task="v1", neurons=6, stimuli=80, size=16, repeats=2)
    data = build(RdmOfResponsesConfig(data=simulated, task="v1", name="geometry"), seed=0)
    surrogate = GaussianSurrogateConfig(data=simulated, tasks=("v1",))
    control = build(RdmOfResponsesConfig(data=surrogate, task="v1", name="geometry"), seed=0)
    for session in ("simulated1", "simulated2"):
        one, other = (pairs(held.splits["train"]["geometry"][session].targets) for held in (data, control))
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.3
    geometry = RdmOfResponsesConfig(data=simulated, task="v1", name="geometry")
    alone = build(SelectTasksConfig(data=geometry, tasks=("geometry",)), seed=0)
    assert list(alone.info.tasks) == ["geometry"]


def test_the_shuffled_control_permutes_groups(made):
    config = RdmOfResponsesConfig(data=expected_below(), task="v4", name="geometry", groups_of="objects")
    data = made(groups_of="objects", seed=2)
    control = build(ShuffledConfig(data=config, tasks=("geometry",)), seed=2)
    moved = 0
    for split in SPLITS:
        for session in "ab":
            one, other = (held.splits[split]["geometry"][session] for held in (data, control))
            assert torch.equal(one.groups, other.groups) and torch.equal(one.images, other.images)
            torch.testing.assert_close(pairs(one.targets).sort().values, pairs(other.targets).sort().values)
            assert torch.equal(other.targets, other.targets.T)
            moved += not torch.equal(one.targets, other.targets)
            assert split != "test" or torch.equal(one.targets, other.targets)
    assert moved >= 2


def test_the_seed_and_the_targets_decide_the_fingerprint(made):
    prints = [made(seed=seed, groups_of=of).info.fingerprint for seed in (0, 1) for of in ("", "objects")]
    assert len(set(prints)) == 4 and made().info.fingerprint == prints[0]


def without(spikes: str, rows: int, repeats=slice(None), neurons=slice(None)) -> dict[str, np.ndarray]:
    changed = content()[spikes]
    changed[:rows, repeats, neurons] = np.nan
    return {spikes: changed}


@pytest.mark.parametrize(
    ("changes", "fields", "text"),
    [
        ({}, {"task": "v5"}, r"The data have no task 'v5'\. Known: objects, v4"),
        ({}, {"task": "objects"}, "rdm_of_responses: 'objects' is of kind classification; name a neural task"),
        ({}, {"groups_of": "v4"}, "rdm_of_responses: 'v4' is of kind neural; name a classification task"),
        ({}, {"groups_of": "object"}, r"The data have no task 'object'\. Did you mean 'objects'\?"),
        ({}, {"name": "objects"}, "The data have a task 'objects' already. Give the new one another name"),
        (
            without("spikes_b", 50, neurons=2),
            {},
            r"v4/b: an RDM needs the response of every neuron to every stimulus; \d+ of \d+ .* of 1 neurons and",
        ),
        (
            {"spikes_a": content()["spikes_a"][:, 0]},
            {"dissimilarity": "crossnobis"},
            "train/v4/a: crossnobis needs repeats of each stimulus, the data hold one response only",
        ),
        (
            without("spikes_b", 60, slice(1, None)),
            {"dissimilarity": "crossnobis"},
            r"v4/b: crossnobis needs 2 repeats .*; 36 of 36 stimuli have fewer in which all neurons were recorded",
        ),
        (
            {"spikes_a": content()["spikes_a"][..., :1]},
            {},
            r"train/v4/a: all dissimilarities of the RDM are 1; there is no geometry to learn",
        ),
    ],
)
def test_what_makes_no_rdm_is_refused(made, changes, fields, text):
    with pytest.raises(DataError, match=text):
        made(changes, **fields)


def test_an_rdm_that_would_fill_the_memory_is_refused(made, monkeypatch):
    monkeypatch.setattr("cotrain.data._rdm_of_responses.MOST_ROWS", 20)
    with pytest.raises(DataError, match=r"train/v4/a: an RDM among 36 stimuli would take 0\.0 GB, .*; 20 is the limit"):
        made()
    assert made(groups_of="objects").info.task("geometry").kind == "rdm"


@pytest.mark.parametrize("subjects", ["mean", "joint"])
def test_sessions_of_other_images_share_no_rdm(subjects):
    simulated = SimulatedV1Config(task="v1", neurons=6, stimuli=80, size=16, repeats=2)
    config = RdmOfResponsesConfig(data=simulated, task="v1", name="geometry", subjects=subjects)
    text = r"train/v1/simulated2 shows \d+ images, train/v1/simulated1 \d+\. .*subjects='each'|Images of train/v1/simul"
    with pytest.raises(DataError, match=text):
        build(config, seed=0)


def test_images_without_a_class_are_refused():
    simulated = SimulatedV1Config(task="v1", neurons=6, stimuli=80, size=16, repeats=2)
    both = MultiTaskConfig(parts=(DigitsConfig(), simulated))
    config = RdmOfResponsesConfig(data=both, task="v1", name="geometry", groups_of="digits")
    text = r"Images of train/v1/simulated1 among those of 'digits': (\d+) of \1 images are not there \(rows \[0, 1, 2"
    with pytest.raises(DataError, match=text):
        build(config, seed=0)


def test_classes_that_a_split_lacks_are_named(made):
    labels = np.zeros(NUMBER, int)
    labels[:30], labels[30:58], labels[58:] = 0, 1, 2  # two of a class cannot be in three splits
    with pytest.raises(DataError, match=r"not the classes of 'objects' that training has; the difference: fish"):
        made({"labels": labels}, groups_of="objects")
