"""An NPZ file becomes tasks with one split; whatever is wrong in it is named before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cotrain.data import (
    ArraysConfig,
    Data,
    LabelArrayConfig,
    RdmArrayConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    SplitConfig,
    arrays,
)
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

NUMBER = 60
OBJECTS = LabelArrayConfig(task="objects")
V4 = ResponseArrayConfig(task="v4", session="monday", responses="spikes")
IT = RdmArrayConfig(task="it", rdm="distances")
V4_RDM = ResponseRdmConfig(task="v4_rdm", responses="counts")
GIVEN = LabelArrayConfig(task="objects", test_labels="test_labels")
SAME = LabelArrayConfig(task="objects", test_labels="labels")
NO_TEST = SplitConfig(test=0.0)
TIERS = np.where(np.arange(NUMBER) % 4 == 0, "test", "train")


def content() -> dict[str, np.ndarray]:
    """Images of 3 classes with responses, single trials and an RDM."""
    random = np.random.default_rng(0)
    points = random.normal(size=(NUMBER, 4))
    trials = random.poisson(3.0, (NUMBER, 5, 6)).astype(np.float64)
    trials[::7, 3:] = np.nan
    return {
        "images": random.integers(0, 256, (NUMBER, 9, 8), np.uint8),
        "labels": np.arange(NUMBER) % 3,
        "class_names": np.array(["cat", "dog", "fish"]),
        "spikes": trials,
        "counts": random.normal(5.0, 2.0, (NUMBER, 6)),
        "distances": np.linalg.norm(points[:, None] - points[None], axis=2),
        "test_images": random.integers(0, 256, (12, 9, 8), np.uint8),
        "test_labels": np.arange(12) % 3,
    }


@pytest.fixture
def load(tmp_path, monkeypatch) -> Callable[..., Data]:
    """Write the arrays, some of them changed (None: left out), and read them as the tasks given."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))

    def write_and_read(*tasks, changes=None, seed=0, **fields) -> Data:
        held = {name: array for name, array in (content() | (changes or {})).items() if array is not None}
        np.savez(tmp_path / "some.npz", **held)
        return arrays(ArraysConfig(path="some.npz", tasks=tasks, **fields), seed=seed)

    return write_and_read


def whole(data: Data, task: str, session: str = "") -> dict[str, np.ndarray]:
    """Targets of each split by the bytes of their image."""
    return {
        image.tobytes(): (split, target)
        for split in SPLITS
        for source in [data.splits[split][task][session]]
        for image, target in zip(source.images.numpy(), source.targets.numpy(), strict=True)
    }


def rows_of(data: Data, split: str, task: str, session: str = "") -> list[int]:
    """Which images of the file stand in a split."""
    place = {image.tobytes(): row for row, image in enumerate(content()["images"])}
    return [place[image.tobytes()] for image in data.splits[split][task][session].images.numpy()]


def test_all_kinds_of_tasks_share_one_split(load):
    data, file = load(OBJECTS, V4, IT, V4_RDM), content()
    assert {task: info.kind for task, info in data.info.tasks.items()} == {
        "objects": "classification",
        "v4": "neural",
        "it": "rdm",
        "v4_rdm": "rdm",
    }
    assert data.info.task("objects").class_names == ("cat", "dog", "fish")
    assert data.info.task("v4").image_shape == (1, 9, 8)
    seen = []
    for split in SPLITS:
        rows = rows_of(data, split, "objects")
        seen += rows
        held = data.splits[split]
        for task in data.info.tasks:
            (source,) = held[task].values()
            assert torch.equal(source.images, held["objects"][""].images)
        np.testing.assert_array_equal(held["objects"][""].targets, file["labels"][rows])
        np.testing.assert_allclose(held["it"][""].targets, file["distances"][np.ix_(rows, rows)], rtol=1e-6)
    assert sorted(seen) == list(range(NUMBER))


def test_classes_are_split_in_equal_shares_and_by_the_seed(load):
    config = SplitConfig(validation=0.2, test=0.25)
    data = load(OBJECTS, split=config)
    for split, number in {"train": 11, "validation": 4, "test": 5}.items():
        assert data.splits[split]["objects"][""].targets.bincount().tolist() == [number] * 3
    assert load(OBJECTS, split=config).info.fingerprint == data.info.fingerprint
    assert load(OBJECTS, split=config, seed=1).info.fingerprint != data.info.fingerprint


def test_repeats_are_averaged_over_those_that_are_there(load):
    task = V4.replace(standardise=False)
    data, trials = load(task), content()["spikes"]
    for split in SPLITS:
        rows, source = rows_of(data, split, "v4", "monday"), data.splits[split]["v4"]["monday"]
        np.testing.assert_allclose(source.targets, np.nanmean(trials, axis=1)[rows], rtol=1e-6)
        np.testing.assert_array_equal(source.repeats, trials[rows])
    assert data.info.task("v4").sessions["monday"].lowest_response >= 0


def test_a_stimulus_without_any_repeat_stays_unknown(load):
    spikes = content()["spikes"]
    spikes[5, :, 2] = np.nan
    data = load(V4, changes={"spikes": spikes})
    held = {
        row: data.splits[s]["v4"]["monday"].targets[at]
        for s in SPLITS
        for at, row in enumerate(rows_of(data, s, "v4", "monday"))
    }
    assert held[5].isnan().tolist() == [False, False, True, False, False, False]
    assert sum(int(target.isnan().sum()) for target in held.values()) == 1


def test_standardised_responses_use_training_images_alone(load):
    spikes = content()["spikes"]
    spikes[:, :, 4] = 2.0  # a neuron that always fires alike is centred
    data = load(V4, changes={"spikes": spikes})
    train = np.nanmean(spikes, axis=1)[rows_of(data, "train", "v4", "monday")]
    mean, spread = train.mean(0), train.std(0)
    spread[4] = 1.0
    for split in SPLITS:
        rows, source = rows_of(data, split, "v4", "monday"), data.splits[split]["v4"]["monday"]
        expected = (spikes[rows] - mean) / spread
        np.testing.assert_allclose(source.repeats, expected, atol=1e-5)
        np.testing.assert_allclose(source.targets, np.nanmean(expected, axis=1), atol=1e-5)
    outliers = spikes.copy()
    outliers[rows_of(data, "test", "v4", "monday")] *= 1000
    again = load(V4, changes={"spikes": outliers})
    assert torch.equal(again.splits["train"]["v4"]["monday"].targets, data.splits["train"]["v4"]["monday"].targets)


def test_responses_with_and_without_an_axis_of_repeats(load):
    plain = ResponseArrayConfig(task="v4", session="monday", responses="counts")
    source = load(plain).splits["train"]["v4"]["monday"]
    assert source.repeats is None
    np.testing.assert_allclose(source.targets.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(source.targets.std(0, correction=0), 1, rtol=1e-5)
    integers = load(plain, changes={"counts": content()["counts"].astype(np.int16)})
    assert integers.splits["train"]["v4"]["monday"].targets.dtype == torch.float32


def test_the_rdm_of_responses_is_that_of_standardised_ones(load):
    data, counts = load(V4_RDM), content()["counts"]
    train = counts[rows_of(data, "train", "v4_rdm")]
    for split in SPLITS:
        rows = rows_of(data, split, "v4_rdm")
        expected = 1 - np.corrcoef((counts[rows] - train.mean(0)) / train.std(0))
        np.testing.assert_allclose(data.splits[split]["v4_rdm"][""].targets, expected, atol=1e-5)


def test_equal_images_stay_in_one_split(load):
    images = content()["images"]
    images[40:] = images[:20]
    data = load(V4, changes={"images": images})
    where = [{image.tobytes() for image in data.splits[split]["v4"]["monday"].images.numpy()} for split in SPLITS]
    assert sum(map(len, where)) == len(set.union(*where)) == 40
    assert sum(data.info.task("v4").sessions["monday"].stimuli.values()) == NUMBER


def test_a_given_split_is_kept_for_all_kinds_of_tasks(load):
    data = load(OBJECTS, V4, changes={"tiers": TIERS}, given_split="tiers", split=SplitConfig(validation=0.2, test=0))
    for task, session in (("objects", ""), ("v4", "monday")):
        assert rows_of(data, "test", task, session) == np.flatnonzero(TIERS == "test").tolist()
    shares = [len(data.splits[split]["objects"][""]) for split in ("train", "validation")]
    assert sum(shares) == (TIERS == "train").sum() and abs(shares[1] - 0.2 * sum(shares)) <= 1


def test_training_copies_of_given_test_images_are_left_out(load, caplog):
    held = content()
    copied = np.concatenate([held["test_images"][:3], held["images"][3:]])
    data = load(GIVEN, changes={"images": copied}, test_images="test_images", split=NO_TEST)
    assert "3 of 60 images of the given train split are (near) copies of images for test" in caplog.text
    assert len(data.splits["test"]["objects"][""]) == 12
    sizes = [len(data.splits[split]["objects"][""]) for split in ("train", "validation")]
    assert sum(sizes) == NUMBER - 3


def test_constant_neurons_are_counted(load, caplog):
    spikes = content()["counts"].copy()
    spikes[:, [1, 4]] = 2.5
    data = load(ResponseArrayConfig(task="v4", session="a", responses="counts"), changes={"counts": spikes})
    assert "2 of 6 neurons respond to all training images alike (1, 4)" in caplog.text
    assert bool((data.splits["test"]["v4"]["a"].targets[:, [1, 4]] == 0).all())


def test_images_that_only_become_equal_when_scaled_stay_together(load):
    images = np.repeat(content()["images"][:, :1, :1], 9, axis=1).repeat(8, axis=2)  # plain, with equal ones
    assert load(V4, changes={"images": images}, size=3).info.task("v4").image_shape == (1, 3, 3)


@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_colour_may_be_first_or_last_and_can_be_scaled_and_made_grey(load, layout):
    colour = np.random.default_rng(1).integers(0, 256, (NUMBER, 12, 12, 3), np.uint8)
    changes = {"images": colour.transpose(layout)}
    data = load(OBJECTS, changes=changes)
    images = data.splits["test"]["objects"][""].images
    assert images.shape[1:] == (3, 12, 12)
    assert {image.numpy().tobytes() for image in images} <= {image.tobytes() for image in colour.transpose(0, 3, 1, 2)}
    small = load(OBJECTS, changes=changes, size=6, grey=True)
    assert small.info.task("objects").image_shape == (1, 6, 6)
    luma = (colour @ [0.299, 0.587, 0.114]).mean() / 255
    assert small.info.task("objects").image_mean[0] == pytest.approx(luma, abs=0.02)


def test_float_images_are_the_same_as_bytes(load):
    floats = load(OBJECTS, changes={"images": (content()["images"] / 255).astype(np.float32)})
    assert floats.info.fingerprint == load(OBJECTS).info.fingerprint


def test_a_given_test_set_is_kept(load):
    data = load(GIVEN, test_images="test_images", split=NO_TEST, size=4)
    assert data.info.task("objects").sessions[""].stimuli == {"train": 51, "validation": 9, "test": 12}
    np.testing.assert_array_equal(data.splits["test"]["objects"][""].targets, content()["test_labels"])


def test_sessions_of_one_task(load):
    other = ResponseArrayConfig(task="v4", session="tuesday", responses="counts")
    assert list(load(V4, other).info.task("v4").sessions) == ["monday", "tuesday"]


NANS = np.full((NUMBER, 9, 8), np.nan)
SHORT = np.arange(NUMBER - 1) % 3
INFINITE = np.full((NUMBER, 6), np.inf)
# (task, changed arrays, other fields, error)
FLAWS = [
    (OBJECTS, {"labels": None, "label": SHORT}, {}, r"some\.npz holds no array 'labels'\. Did you mean 'label'\?"),
    (V4, {"spikes": None}, {}, r"some\.npz holds no array 'spikes'\. Known: class_names, counts, "),
    (OBJECTS, {"images": None}, {}, r"holds no array 'images'\. Did you mean 'test_images'\?"),
    (
        V4,
        {"spikes": np.array([None] * NUMBER)},
        {},
        "the array 'spikes' cannot be read: Object arrays cannot be loaded",
    ),
    (OBJECTS, {"labels": SHORT}, {}, r"60 images but labels of shape \(59,\)\. Each image needs one label"),
    (OBJECTS, {"labels": np.zeros((NUMBER, 1), int)}, {}, r"60 images but labels of shape \(60, 1\)"),
    (OBJECTS, {"labels": np.arange(NUMBER) % 4}, {}, r"labels must lie in 0\.\.2 \(3 classes\), found 0\.\.3"),
    (OBJECTS, {"labels": np.arange(NUMBER) % 3 - 1}, {}, r"labels must lie in 0\.\.2 \(3 classes\), found -1\.\.1"),
    (OBJECTS, {"labels": np.ones(NUMBER)}, {}, "task 'objects': labels must be whole numbers, .* found float64"),
    (OBJECTS, {"labels": np.array(["cat"] * NUMBER)}, {}, "labels must be whole numbers, .* found <U3"),
    (OBJECTS, {"class_names": np.array("cat")}, {}, r"class names must be a list, found shape \(\)"),
    (V4, {"spikes": np.ones((NUMBER - 1, 6))}, {}, r"60 images but responses of shape \(59, 6\)\. Expected \(images"),
    (V4, {"spikes": np.ones(NUMBER)}, {}, r"60 images but responses of shape \(60,\)"),
    (V4, {"spikes": INFINITE}, {}, "task 'v4': responses hold infinite values. Write NaN where"),
    (V4, {"spikes": np.array([["many"]] * NUMBER)}, {}, "task 'v4': expected numbers, found <U4"),
    (V4, {"spikes": np.full((NUMBER, 2, 3), np.nan)}, {}, r"train/v4/monday: no response at all .* \[0, 1, 2\]"),
    (V4_RDM, {"counts": np.where(np.eye(NUMBER, 6), np.nan, 1)}, {}, "an RDM needs the response of every neuron"),
    (IT, {"distances": np.ones((NUMBER, NUMBER - 1))}, {}, r"60 images but an RDM of shape \(60, 59\)"),
    (IT, {"distances": np.full((NUMBER, NUMBER), np.nan)}, {}, "it: an RDM must be symmetric and free of NaN"),
    (IT, {"distances": np.random.default_rng(0).random((NUMBER, NUMBER))}, {}, "it: an RDM must be symmetric"),
    (IT, {"distances": np.array([["far"]])}, {}, "task 'it': expected numbers, found <U3"),
    (V4, {"images": NANS}, {}, r"some\.npz, 'images': 60 images hold NaN or infinite pixels, first at rows \[0, 1"),
    (V4, {"images": np.full((NUMBER, 9, 8), 255.0)}, {}, "float images must lie between 0 and 1, found 255 to 255"),
    (V4, {"images": np.zeros((NUMBER, 9, 8), np.uint8)}, {}, "The split 'validation' is empty: 1 groups of stimuli"),
    (V4, {}, {"split": SplitConfig(validation=0.0)}, "validation/v4/monday: this split is empty. Give it a larger"),
    (V4, {}, {"split": SplitConfig(validation=0.5, test=0.5)}, "leave no stimuli for training"),
    (OBJECTS, {}, {"split": NO_TEST}, "give either a test set with a test share of 0, or a test share above 0"),
    (GIVEN, {}, {"test_images": "test_images"}, "give either a test set with a test share of 0, or a test share"),
    (GIVEN, {}, {}, "`test_labels` are named, so name `test_images` too"),
    (OBJECTS, {}, {"test_images": "test_images", "split": NO_TEST}, "`test_images` are given, so name `test_labels`"),
    (V4, {}, {"test_images": "test_images", "split": NO_TEST}, "'v4': `test_images` are read for labels only"),
    (
        GIVEN,
        {"test_labels": SHORT[:9]},
        {"test_images": "test_images", "split": NO_TEST},
        "12 test images but labels of shape",
    ),
    (OBJECTS, {"tiers": np.array(["train"] * 5)}, {"given_split": "tiers"}, r"'tiers': expected \d+ times train"),
    (OBJECTS, {"tiers": np.array(["all"] * NUMBER)}, {"given_split": "tiers"}, r"expected .* \['all'\]"),
    (GIVEN, {"tiers": TIERS}, {"test_images": "test_images", "given_split": "tiers", "split": NO_TEST}, "give either"),
    (
        GIVEN,
        {"test_images": np.zeros((12, 5, 5), np.uint8)},
        {"test_images": "test_images", "split": NO_TEST},
        "test images of",
    ),
    (SAME, {}, {"test_images": "images", "split": NO_TEST}, "The given split has no stimuli for train, validation"),
]


@pytest.mark.parametrize(("task", "changes", "fields", "text"), FLAWS)
def test_a_flaw_of_the_file_is_named(load, task, changes, fields, text):
    with pytest.raises(DataError, match=text):
        load(task, changes=changes, **fields)


def test_every_label_task_needs_a_label_for_each_image(load):
    longer = {"more": np.arange(NUMBER + 5) % 3}
    with pytest.raises(DataError, match=r"60 images but labels of shape \(65,\)"):
        load(OBJECTS, LabelArrayConfig(task="more", labels="more"), changes=longer)


@pytest.mark.parametrize("twice", [OBJECTS, V4, IT, V4_RDM])
def test_a_task_named_twice_is_refused(load, twice):
    with pytest.raises(DataError, match=f"some.npz: the task '{twice.task}' is named twice. Rename one"):
        load(twice, twice)


def test_no_task_is_refused(load):
    with pytest.raises(DataError, match=r"some\.npz: name at least one task"):
        load()
