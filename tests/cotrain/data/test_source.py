"""Data are checked at the door, and what a model learns of them comes from the training split alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import Source, assemble, join
from cotrain.data._image_rows import image_facts
from cotrain.data._source import walk
from cotrain.errors import DataError
from cotrain.tasks import SPLITS, DataInfo

SIZES = {"train": 6, "validation": 4, "test": 3}


def pictures(number, seed=0, channels=1) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, channels, 5, 4), dtype=torch.uint8, generator=draws)


def neural(number, seed=0, neurons=3, repeats=0) -> Source:
    trials = torch.randn(number, max(repeats, 1), neurons, generator=torch.Generator().manual_seed(seed))
    return Source("neural", pictures(number, seed), trials.mean(1), repeats=trials if repeats else None)


def objects(number, seed=0) -> Source:
    names = ("cat", "dog")
    return Source("classification", pictures(number, seed, channels=3), torch.arange(number) % 2, class_names=names)


def geometry(number, seed=0) -> Source:
    features = torch.randn(number, 5, generator=torch.Generator().manual_seed(seed))
    return Source("rdm", pictures(number, seed), torch.cdist(features, features))


MAKERS = {"objects": objects, "v1": neural, "it": geometry}


def splits(*tasks, sessions=("",), seed=0) -> dict:
    """Three splits of the tasks named, each source with pictures of its own."""
    made: dict = {split: {task: {} for task in tasks} for split in SPLITS}
    for place, (split, task) in enumerate((split, task) for split in SPLITS for task in tasks):
        for number, session in enumerate(sessions if task == "v1" else ("",)):
            own = seed + 100 * place + number
            made[split][task][session] = MAKERS[task](SIZES[split], own)
    return made


def changed(made, place, **changes) -> dict:
    """The same splits with other values of one source; `place` is "split/task/session"."""
    split, task, session = place.split("/")
    made = {name: {t: dict(held) for t, held in tasks.items()} for name, tasks in made.items()}
    made[split][task][session] = replace(made[split][task][session], **changes)
    return made


def test_whole_data_are_taken_as_they_are():
    made = splits("objects", "v1", "it", sessions=("a", "b"))
    data = assemble(made)
    assert data.splits is made
    assert list(data.info.tasks) == ["objects", "v1", "it"]
    info = data.info.task("v1")
    assert (info.kind, info.image_shape, info.class_names, list(info.sessions)) == ("neural", (1, 5, 4), (), ["a", "b"])
    assert (info.sessions["a"].neurons, dict(info.sessions["a"].stimuli)) == (3, SIZES)
    assert (data.info.task("objects").class_names, data.info.task("objects").image_shape) == (("cat", "dog"), (3, 5, 4))
    assert data.info.task("it").sessions[""].neurons == 0


def test_image_statistics_are_those_of_numpy():
    info = assemble(made := splits("objects", "v1", sessions=("a", "b"))).info
    for task in ("objects", "v1"):
        images = np.concatenate([source.images.numpy() for source in made["train"][task].values()]) / 255
        np.testing.assert_allclose(info.task(task).image_mean, images.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(info.task(task).image_std, images.std((0, 2, 3)), rtol=1e-9)


def test_image_statistics_are_exact_for_more_images_than_one_piece():
    big = {split: {"v1": {"": neural(number, number)}} for split, number in zip(SPLITS, (2500, 3, 4), strict=True)}
    images = big["train"]["v1"][""].images.numpy() / 255
    np.testing.assert_allclose(assemble(big).info.task("v1").image_mean, images.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(assemble(big).info.task("v1").image_std, images.std((0, 2, 3)), rtol=1e-9)


def test_response_statistics_leave_out_what_is_missing():
    made = splits("v1")
    targets = made["train"]["v1"][""].targets.clone()
    targets[0, 0] = targets[3, 1] = float("nan")
    session = assemble(changed(made, "train/v1/", targets=targets)).info.task("v1").sessions[""]
    np.testing.assert_allclose(session.mean_response, np.nanmean(targets.numpy(), 0, dtype=float), rtol=1e-6)
    assert session.lowest_response == np.nanmin(targets.numpy())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_statistics_come_from_the_training_split_alone(split):
    made = splits("v1", "objects")
    before = assemble(made).info
    dark = torch.zeros(SIZES[split], 1, 5, 4, dtype=torch.uint8)
    after = assemble(changed(made, f"{split}/v1/", images=dark, targets=torch.full((SIZES[split], 3), -1e6))).info
    assert after.tasks == before.tasks
    assert after.fingerprint != before.fingerprint


def test_info_survives_json():
    info = assemble(splits("objects", "v1", "it", sessions=("a", "b"))).info
    assert DataInfo.from_record(json.loads(json.dumps(info.record(), allow_nan=False))) == info


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPLITS), st.sampled_from(["objects", "v1", "it"]), st.data())
def test_the_fingerprint_changes_with_any_pixel_and_target(split, task, data):
    made = splits("objects", "v1", "it")
    source = made[split][task][""]
    images, targets = source.images.clone(), source.targets.clone()
    pixel = tuple(data.draw(st.integers(0, size - 1)) for size in images.shape)
    images[pixel] ^= 1
    row = data.draw(st.integers(1, len(targets) - 1))
    if task == "it":
        targets[row, 0] = targets[0, row] = targets[0, row] + 1e-3
    else:
        targets[row] = 1 - targets[row]
    fingerprints = [
        assemble(one).info.fingerprint
        for one in (
            made,
            splits("objects", "v1", "it"),
            changed(made, f"{split}/{task}/", images=images),
            changed(made, f"{split}/{task}/", targets=targets),
        )
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3


def test_the_fingerprint_is_the_same_on_every_machine():
    images = (torch.arange(60) % 251).byte().view(3, 1, 5, 4)
    held = {s: {"v1": {"": Source("neural", images + n, torch.ones(3, 2))}} for n, s in enumerate(SPLITS)}
    assert assemble(dict(reversed(held.items()))).info.fingerprint == assemble(held).info.fingerprint
    assert assemble(held).info.fingerprint == "3f5cf6fa4607b20c864a3cc6733955ca"


def test_digests_tell_shapes_apart():
    images = pictures(2)

    def first(held):
        return image_facts(held).digests[0].tobytes()

    assert first(images) != first(images.view(2, 1, 4, 5))
    assert first(images.transpose(2, 3)) != first(images)  # laid out otherwise, same bytes


def test_subsets_and_batches_of_an_rdm_are_those_of_its_rows_and_columns():
    source, rows = geometry(6), torch.tensor([4, 0, 5])
    part = source.subset(rows)
    np.testing.assert_array_equal(part.targets, source.targets.numpy()[np.ix_([4, 0, 5], [4, 0, 5])])
    torch.testing.assert_close(part.images, source.images[rows])
    recorded = neural(5, repeats=4)
    torch.testing.assert_close(recorded.subset(rows - 1 + (rows == 0)).repeats, recorded.repeats[[3, 0, 4]])


def grouped(number, seed=0, groups=3) -> Source:
    whole = geometry(groups, seed)
    return replace(whole, images=pictures(number, seed), groups=torch.arange(number) % groups)


def grouped_splits() -> dict:
    return {split: {"it": {"": grouped(size, place)}} for place, (split, size) in enumerate(SIZES.items())}


def test_an_rdm_may_be_one_among_groups():
    data = assemble(grouped_splits())
    source = data.splits["train"]["it"][""]
    part = source.subset(torch.tensor([5, 1, 4]))
    assert part.groups.tolist() == [2, 1, 1] and torch.equal(part.targets, source.targets)
    torch.testing.assert_close(part.images, source.images[[5, 1, 4]])
    images, targets = source.batch(torch.tensor([5, 2, 3, 0]))
    torch.testing.assert_close(images, source.images[[5, 2, 3, 0]])
    np.testing.assert_array_equal(targets, source.targets.numpy()[np.ix_([2, 0], [2, 0])])
    assert source.to(torch.device("cpu")).groups is source.groups
    other = changed(grouped_splits(), "train/it/", groups=torch.tensor([1, 0, 2, 0, 1, 2]))
    assert assemble(other).info.fingerprint != data.info.fingerprint


@pytest.mark.parametrize("rows", [[0, 1, 3], [0, 1, 3, 4], [2, 5, 0]])
def test_a_batch_that_is_not_ordered_by_group_is_refused(rows):
    with pytest.raises(DataError, match=r"holds its stimuli group by group, as many of each; found .*MixingConfig"):
        grouped(6).batch(torch.tensor(rows))


@pytest.mark.parametrize(
    ("place", "changes", "text"),
    [
        (
            "test/it/",
            {"groups": torch.tensor([0, 1])},
            r"test/it: groups must be int64, one for each of 3 images",
        ),
        ("test/it/", {"groups": torch.zeros(3)}, r"groups must be int64, .* found torch.float32 \(3,\)"),
        (
            "train/it/",
            {"groups": torch.tensor([0, 1, 2, 3, 1, 2])},
            r"in 0\.\.2 \(rows of the RDM\), found 0\.\.3",
        ),
        ("train/it/", {"groups": torch.tensor([0, 1, 2, -1, 1, 2])}, r"must lie in 0\.\.2 .* found -1\.\.2"),
        (
            "test/it/",
            {"groups": torch.tensor([0, 2, 2])},
            r"test/it: no stimulus of the groups \[1\] \(rows of",
        ),
        ("test/it/", {"kind": "neural"}, "Task 'it': all sessions and splits need the same kind"),
        ("test/it/", {"groups": None}, r"need the same rows of RDMs, found \['groups', 'stimuli'\]"),
        (
            "validation/it/",
            {"targets": geometry(4).targets, "groups": torch.arange(4)},
            "validation/it: another number of groups than in training",
        ),
        (
            "train/it/",
            {"targets": geometry(2).targets, "groups": torch.arange(6) % 2},
            r"needs as many columns as rows, at least 3 groups; found \(2, 2\)",
        ),
    ],
)
def test_a_flaw_of_groups_is_refused(place, changes, text):
    with pytest.raises(DataError, match=text):
        assemble(changed(grouped_splits(), place, **changes))


def test_only_rdms_have_groups():
    made = splits("v1")
    for split, size in SIZES.items():
        made = changed(made, f"{split}/v1/", groups=torch.zeros(size, dtype=torch.int64))
    with pytest.raises(DataError, match="train/v1: only an RDM can be one among groups; this task is of kind neural"):
        assemble(made)


@pytest.mark.parametrize(
    "places", [("train/v1/a", "test/v1/a"), ("validation/v1/b", "test/v1/a"), ("train/v1/b", "test/it/")]
)
def test_a_stimulus_in_two_splits_is_refused(places):
    made = splits("v1", "it", sessions=("a", "b"))
    split, task, session = places[0].split("/")
    images = made[split][task][session].images
    other, task, session = places[1].split("/")
    copy = made[other][task][session].images.clone()
    copy[2] = images[1]
    text = rf"One image stands in two splits: {split} \(.*, row 1\) and {other} \({task}.*, row 2\)\. Split by image"
    with pytest.raises(DataError, match=text):
        assemble(changed(made, places[1], images=copy))


def test_a_stimulus_twice_in_one_split_is_allowed():
    made = splits("v1", "it")
    images = made["train"]["v1"][""].images
    assemble(changed(made, "train/it/", images=images))


NAN, INF = float("nan"), float("inf")
FLAWS = {
    "train/v1/": [
        ({"images": torch.zeros(6, 1, 5, 4)}, r"train/v1: images must be uint8 .*, found torch.float32 \(6, 1, 5, 4\)"),
        ({"targets": torch.ones(5, 3)}, "train/v1: 6 images but 5 targets. Each image needs one"),
        (
            {"targets": torch.ones(6, 3, dtype=torch.float64)},
            r"targets must be float32 .*, found torch.float64 \(6, 3\)",
        ),
        ({"targets": torch.ones(6)}, r"targets must be float32 with two axes, found torch.float32 \(6,\)"),
        ({"targets": torch.ones(6, 0)}, r"float32 with two axes, found torch.float32 \(6, 0\)"),
        ({"targets": torch.tensor([[INF, 1.0]]).expand(6, 2)}, "train/v1: targets hold infinite values"),
        ({"targets": torch.tensor([[1.0, NAN]]).expand(6, 2)}, r"only NaN\) of neurons \[1\]. Leave them out"),
        (
            {"repeats": torch.ones(6, 2, 4)},
            r"repeats must be float32 .* targets \(6, 3\), found torch.float32 \(6, 2, 4\)",
        ),
        ({"repeats": torch.ones(5, 2, 3)}, r"repeats must be .*found torch.float32 \(5, 2, 3\)"),
        ({"repeats": torch.ones(6, 3)}, r"repeats must be .*found torch.float32 \(6, 3\)"),
        ({"repeats": torch.ones(6, 2, 3).double()}, r"repeats must be .*found torch.float64"),
        ({"images": torch.full((6, 1, 5, 4), 9, dtype=torch.uint8)}, "'v1': all training images are of one brightness"),
    ],
    "validation/v1/": [
        ({"images": pictures(0), "targets": torch.ones(0, 3)}, "validation/v1: this split is empty. Give it a larger"),
        ({"targets": torch.ones(4, 2)}, "validation/v1: another number of neurons than in training"),
        (
            {"images": pictures(4, 9, channels=3)},
            r"'v1': all .* need the same image shape, found \[\(1, 5, 4\), \(3, 5",
        ),
        ({"kind": "rdm"}, r"Task 'v1': all sessions and splits need the same kind, found \['neural', 'rdm'\]"),
    ],
    "test/objects/": [
        ({"targets": torch.zeros(3)}, r"test/objects: labels must be int64 \(stimuli,\), found torch.float32 \(3,\)"),
        ({"targets": torch.zeros(3, 1, dtype=torch.int64)}, r"labels must be int64 .*, found torch.int64 \(3, 1\)"),
        ({"targets": torch.tensor([0, 1, 2])}, r"labels must lie in 0\.\.1 \(2 classes\), found 0\.\.2"),
        ({"targets": torch.tensor([0, 1, -1])}, r"labels must lie in 0\.\.1 \(2 classes\), found -1\.\.1"),
        (
            {"class_names": ("dog", "cat")},
            r"'objects': all .* need the same classes, found \[\('cat', 'dog'\), \('dog'",
        ),
    ],
    "test/it/": [
        ({"targets": torch.zeros(3, 4)}, r"test/it: an RDM needs as many columns as rows, .*; found \(3, 4\)"),
        ({"images": pictures(2, 9), "targets": torch.zeros(2, 2)}, r"at least 3 stimuli in each split; found \(2, 2\)"),
        ({"targets": torch.full((3, 3), NAN)}, "test/it: an RDM must be symmetric and free of NaN"),
        ({"targets": torch.arange(9.0).view(3, 3)}, "test/it: an RDM must be symmetric and free of NaN"),
    ],
}


@pytest.mark.parametrize(
    ("place", "changes", "text"), [(place, *flaw) for place, flaws in FLAWS.items() for flaw in flaws]
)
def test_a_flaw_of_a_source_is_refused(place, changes, text):
    with pytest.raises(DataError, match=text):
        assemble(changed(splits("objects", "v1", "it"), place, **changes))


@pytest.mark.parametrize("shape", [(6, 2, 5, 4), (6, 5, 4)])
def test_images_of_another_shape_are_refused_wherever_they_stand(shape):
    made = splits("v1")
    for split in SPLITS:
        made = changed(made, f"{split}/v1/", images=torch.zeros(SIZES[split], *shape[1:], dtype=torch.uint8))
    with pytest.raises(DataError, match=r"images must be uint8 \(stimuli, 1 or 3, height, width\), found torch.uint8"):
        assemble(made)


def test_what_is_missing_is_named():
    made = splits("v1", "it", sessions=("a", "b"))
    with pytest.raises(DataError, match=r"Expected the splits train, validation, test, found train, test\."):
        assemble({"train": made["train"], "test": made["test"]})
    with pytest.raises(DataError, match=r"Expected the splits train, validation, test, found none\."):
        assemble({})
    with pytest.raises(DataError, match="The data hold no task"):
        assemble({split: {} for split in SPLITS})
    with pytest.raises(DataError, match=r"The split 'test' lacks the task 'it', which 'train' has"):
        assemble(made | {"test": {"v1": made["test"]["v1"]}})
    with pytest.raises(DataError, match=r"The split 'train' lacks the task 'it', which 'validation' has"):
        assemble(made | {"train": {"v1": made["train"]["v1"]}})
    with pytest.raises(DataError, match=r"The split 'test' lacks the task 'v1', session 'b', which 'train' has"):
        assemble(made | {"test": made["test"] | {"v1": {"a": made["test"]["v1"]["a"]}}})
    with pytest.raises(DataError, match=r"train/it: the task has no session"):
        assemble({split: tasks | {"it": {}} for split, tasks in made.items()})


@pytest.mark.parametrize("name", ["", "train", "v1.a", "übung"])
def test_a_name_that_cannot_stand_in_files_is_refused(name):
    made = splits("v1", sessions=("a", "b"))
    with pytest.raises(DataError, match=f"Task '{name}'"):
        assemble({split: {name: tasks["v1"]} for split, tasks in made.items()})
    with pytest.raises(DataError, match=f"Session of task 'v1', '{name}'"):
        assemble({split: {"v1": {"a": t["v1"]["a"], name: t["v1"]["b"]}} for split, t in made.items()})


def test_joined_parts_keep_tasks_and_sessions():
    parts = [assemble(splits("objects")), assemble(splits("v1", sessions=("a",), seed=7))]
    parts.append(assemble(splits("v1", sessions=("b",), seed=9)))
    data = join(parts)
    assert {task: list(info.sessions) for task, info in data.info.tasks.items()} == {"objects": [""], "v1": ["a", "b"]}
    for part in parts:
        for split, task, session, source in walk(part.splits):
            assert data.splits[split][task][session] is source


def test_parts_that_do_not_fit_together_are_refused():
    first = assemble(splits("v1", sessions=("a",)))
    with pytest.raises(DataError, match=r"Two parts hold the task 'v1', session 'a'\. Rename one"):
        join([first, assemble(splits("v1", sessions=("a",), seed=7))])
    with pytest.raises(DataError, match=r"Two parts hold the task 'it'\. Rename one"):
        join([assemble(splits("it")), assemble(splits("it", seed=7))])
    swapped = splits("it")
    for split, other in (("train", "test"), ("test", "train")):
        swapped[split]["it"][""] = geometry(SIZES[other], 100 * SPLITS.index(other))
    with pytest.raises(DataError, match=r"One image stands in two splits: train .* and test"):
        join([first, assemble(swapped)])
    with pytest.raises(DataError, match="The data hold no task"):
        join([])
