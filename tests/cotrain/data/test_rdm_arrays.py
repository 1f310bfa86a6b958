"""Rows of stored RDMs are found by the ids of images or groups; subjects become sessions or one mean."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import ArraysConfig, Data, RdmArrayConfig, SplitConfig, arrays
from cotrain.data._rdm_arrays import Names, rdm_sources
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

NUMBER, LARGER = 40, 55
ORDER = np.random.default_rng(1).permutation(LARGER)
IT = RdmArrayConfig(task="it", rdm="large", ids="row_ids")


def distances(count: int, *leading: int) -> np.ndarray:
    points = np.random.default_rng(2).normal(size=(*leading, count, 3))
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


def content() -> dict[str, np.ndarray]:
    """Row i of `large` belongs to stimulus ORDER[i]; the images are the stimuli 0 to 39."""
    labels = np.arange(NUMBER) % 4
    return {
        "images": np.random.default_rng(0).integers(0, 256, (NUMBER, 6, 6), np.uint8),
        "image_ids": np.array([f"picture{n}" for n in range(NUMBER)]),
        "numbers": np.arange(NUMBER),
        "large": distances(LARGER)[ORDER][:, ORDER],
        "row_ids": np.array([f"picture{n}" for n in ORDER]),
        "row_numbers": ORDER.astype(np.int16),
        "subjects": distances(NUMBER, 2, 3),
        "labels": labels,
        "animals": np.array(["eel", "ape", "dog", "cat"])[labels],
        "among": distances(4),
        "among_more": distances(6),
        "zoo": np.array(["cow", "dog", "ape", "ox", "cat", "eel"]),
    }


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write the arrays, some of them changed, to two files, and read them as the tasks given."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))

    def write_and_read(*tasks, changes=None, image_ids="image_ids", **fields) -> Data:
        held = content() | (changes or {})
        np.savez(tmp_path / "some.npz", **held)
        np.savez(tmp_path / "rdms.npz", theirs=held["large"], names=held["row_ids"])
        split = SplitConfig(validation=0.25, test=0.25)
        return arrays(ArraysConfig(path="some.npz", tasks=tasks, split=split, image_ids=image_ids, **fields), seed=0)

    return write_and_read


def rows_of(data: Data, split: str, task: str, session: str = "") -> list[int]:
    place = {image.tobytes(): row for row, image in enumerate(content()["images"])}
    return [place[image.tobytes()] for image in data.splits[split][task][session].images.numpy()]


@pytest.mark.parametrize(
    ("task", "image_ids"),
    [
        (IT, "image_ids"),
        (IT.replace(ids="row_numbers"), "numbers"),
        (IT.replace(rdm="theirs", ids="names", rdm_path="rdms.npz"), "image_ids"),
    ],
)
def test_rows_are_found_by_ids_in_any_order_of_a_larger_rdm(load, task, image_ids):
    data = load(task, image_ids=image_ids)
    for split in SPLITS:
        rows = rows_of(data, split, "it")
        np.testing.assert_allclose(
            data.splits[split]["it"][""].targets, distances(LARGER)[np.ix_(rows, rows)], rtol=1e-6
        )


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(9)), st.integers(3, 9))
def test_the_order_of_rows_does_not_matter(order, count):
    order = np.array(order)
    matrix, images = distances(9).astype(np.float32), torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    names = Names(order.astype(str), np.arange(count), np.empty(0))
    made = rdm_sources(IT, images, matrix[order][:, order], names, {"train": torch.arange(count)}, "here")
    np.testing.assert_array_equal(made[""]["train"].targets, matrix[:count, :count])


def test_subjects_and_sessions_are_sessions(load):
    data, file = load(RdmArrayConfig(task="it", rdm="subjects")), content()["subjects"].reshape(6, NUMBER, NUMBER)
    assert list(data.info.task("it").sessions) == ["1", "2", "3", "4", "5", "6"]
    for split in SPLITS:
        for number in range(6):
            rows = rows_of(data, split, "it", str(number + 1))
            held = data.splits[split]["it"][str(number + 1)].targets
            np.testing.assert_allclose(held, file[number][np.ix_(rows, rows)], rtol=1e-6)


def naive_mean(rdms: np.ndarray) -> np.ndarray:
    upper = np.triu_indices(rdms.shape[-1], 1)
    spreads = np.array([rdm[upper].std() for rdm in rdms])
    return (rdms / spreads[:, None, None]).mean(0) * spreads.mean()


def test_the_mean_of_subjects_is_that_of_each_split_alone(load):
    file = content()["subjects"].copy()
    file[1] *= 100  # a unit of its own
    task = RdmArrayConfig(task="it", rdm="subjects", subjects="mean")
    data = load(task, changes={"subjects": file})
    assert list(data.info.task("it").sessions) == [""]
    flat = file.reshape(6, NUMBER, NUMBER)
    for split in SPLITS:
        rows = rows_of(data, split, "it")
        np.testing.assert_allclose(
            data.splits[split]["it"][""].targets, naive_mean(flat[:, rows][..., rows]), rtol=1e-5, atol=1e-5
        )
    test = rows_of(data, "test", "it")
    others = file.copy()
    others[..., test, :] *= 7
    others[..., :, test] *= 7
    again = load(task, changes={"subjects": others})
    for split in SPLITS:
        is_same = torch.equal(data.splits[split]["it"][""].targets, again.splits[split]["it"][""].targets)
        assert is_same == (split != "test")


def test_the_mean_of_equal_rdms_is_that_rdm(load):
    same = np.stack([distances(NUMBER)] * 3)
    data = load(RdmArrayConfig(task="it", rdm="subjects", subjects="mean"), changes={"subjects": same})
    rows = rows_of(data, "train", "it")
    np.testing.assert_allclose(data.splits["train"]["it"][""].targets, same[0][np.ix_(rows, rows)], rtol=1e-5)


@pytest.mark.parametrize("subjects", ["each", "mean"])
def test_subjects_and_ids_go_together(load, subjects):
    large = np.stack([content()["large"]] * 2)
    data = load(IT.replace(subjects=subjects), changes={"large": large})
    rows = rows_of(data, "test", "it", {"each": "2", "mean": ""}[subjects])
    for held in data.splits["test"]["it"].values():
        np.testing.assert_allclose(held.targets, distances(LARGER)[np.ix_(rows, rows)], rtol=1e-5)


def test_an_rdm_among_groups_is_the_same_in_all_splits(load):
    data = load(RdmArrayConfig(task="it", rdm="among", groups="labels"), image_ids="")
    for split in SPLITS:
        source = data.splits[split]["it"][""]
        np.testing.assert_array_equal(source.targets, content()["among"].astype(np.float32))
        np.testing.assert_array_equal(source.groups, content()["labels"][rows_of(data, split, "it")])


def test_groups_are_split_in_equal_shares(load):
    data = load(RdmArrayConfig(task="it", rdm="among", groups="animals", ids="names"), image_ids="", changes=ANIMALS)
    for split, count in {"train": 5, "validation": 2, "test": 3}.items():
        assert abs(data.splits[split]["it"][""].groups.bincount() - count).max() <= 1


@pytest.mark.parametrize("subjects", [(), (2,)])
def test_groups_are_found_by_their_names(load, subjects):
    task = RdmArrayConfig(task="it", rdm="among_more", groups="animals", ids="zoo", subjects="mean")
    file = content()
    data = load(task, image_ids="", changes={"among_more": np.broadcast_to(file["among_more"], (*subjects, 6, 6))})
    zoo = file["zoo"].tolist()
    for split in SPLITS:
        source = data.splits[split]["it"][""]
        rows = [zoo.index(name) for name in file["animals"][rows_of(data, split, "it")]]
        expected = file["among_more"][np.ix_(rows, rows)]
        np.testing.assert_allclose(source.targets[source.groups][:, source.groups], expected, rtol=1e-5)


ANIMALS = {"names": np.array(["ape", "cat", "dog", "eel"])}
DOUBLE = content()["row_ids"].copy()
DOUBLE[3] = DOUBLE[8]
GROUPED = RdmArrayConfig(task="it", rdm="among", groups="labels")


@pytest.mark.parametrize(
    ("task", "changes", "image_ids", "text"),
    [
        (
            IT,
            {"image_ids": np.array(["picture0", "x.png", "y.png", *(f"picture{n}" for n in range(3, NUMBER))])},
            "image_ids",
            r"2 of 40 image ids are not among the RDM's 55 ids: \['x.png', 'y.png'\]\. The ids begin with \['picture",
        ),
        (IT, {"row_ids": DOUBLE}, "image_ids", rf"1 of the ids stand there twice or more: \['{DOUBLE[8]}'\]"),
        (
            IT,
            {"image_ids": np.array(["picture0"] * 2 + [f"picture{n}" for n in range(2, NUMBER)])},
            "image_ids",
            r"'it': 1 of the image ids stand there twice or more: \['picture0'\]\. Each names one",
        ),
        (IT, {}, "", "`ids` name the rows of the RDM, so name the images' `image_ids` too, or `groups`"),
        (
            IT,
            {"image_ids": np.arange(3)},
            "image_ids",
            r"40 images but image ids of shape \(3,\)\. Each image",
        ),
        (IT, {"row_ids": np.arange(3)}, "image_ids", r"3 ids but 55 rows of the RDM\. Each row needs one"),
        (
            IT,
            {"row_ids": np.ones(55)},
            "image_ids",
            r"ids must be a list of text or whole numbers, found float64 \(55,\)",
        ),
        (
            IT.replace(ids="", rdm_path="rdms.npz", rdm="theirs"),
            {},
            "image_ids",
            r"the RDM is in another file, rdms\.npz, so name `ids`, which name its rows",
        ),
        (IT.replace(rdm_path="none.npz"), {}, "image_ids", r"There is no data file .*none\.npz"),
        (
            IT.replace(rdm_path="rdms.npz", rdm="thiers", ids="names"),
            {},
            "image_ids",
            r"rdms\.npz holds no array 'thiers'\. Did you mean 'theirs'\?",
        ),
        (IT.replace(ids=""), {}, "", r"40 images but an RDM of shape \(55, 55\)"),
        (IT, {"large": np.ones((55, 54))}, "image_ids", r"an RDM needs as many columns as rows, found \(55, 54\)"),
        (IT, {"large": np.ones(55)}, "image_ids", r"an RDM needs as many columns as rows, found \(55,\)"),
        (GROUPED, {"labels": np.arange(4)}, "", r"40 images but groups of shape \(4,\)\. Each image needs one"),
        (
            GROUPED.replace(groups="animals"),
            {},
            "",
            r"groups must be whole numbers, rows of the RDM; found <U3\. Names need `ids`",
        ),
        (
            GROUPED.replace(groups="animals", rdm="among_more", ids="zoo"),
            {"zoo": np.array(list("abcdef"))},
            "",
            r"4 of 4 groups are not among the RDM's 6 ids: \['ape', 'cat', 'dog', 'eel'\]",
        ),
        (GROUPED.replace(rdm="among_more"), {}, "", r"it: no stimulus of the groups \[4, 5\]"),
        (
            RdmArrayConfig(task="it", rdm="subjects", subjects="mean"),
            {"subjects": np.ones((2, NUMBER, NUMBER))},
            "",
            "'it', train, subject 1: all dissimilarities of the RDM are 1; there is no geometry to learn",
        ),
    ],
)
def test_what_does_not_fit_is_refused(load, task, changes, image_ids, text):
    with pytest.raises(DataError, match=text):
        load(task, changes=changes, image_ids=image_ids)


def test_a_task_that_is_named_twice_is_refused(load):
    with pytest.raises(DataError, match=r"the task 'it' is named twice\. Rename one"):
        load(IT, RdmArrayConfig(task="it", rdm="subjects"))


@pytest.fixture
def images92(monkeypatch) -> dict[str, np.ndarray]:
    folder = os.environ.get("COTRAIN_TEST_DATA")
    if not folder or not (place := Path(folder) / "images92" / "images92.npz").is_file():
        pytest.skip("COTRAIN_TEST_DATA names no folder with images92/images92.npz")
    monkeypatch.setenv("COTRAIN_DATA", folder)
    return dict(np.load(place))


@pytest.mark.parametrize("subjects", ["each", "mean"])
def test_human_inferior_temporal_geometry_of_four_subjects(images92, subjects):
    task = RdmArrayConfig(task="it", rdm="rdm_hIT_subj_sess", subjects=subjects)
    config = ArraysConfig(path="images92/images92.npz", tasks=(task,), size=16)
    data, file = arrays(config, seed=0), images92["rdm_hIT_subj_sess"].reshape(8, 92, 92)
    place = {image.tobytes(): row for row, image in enumerate(images92["images"].transpose(0, 3, 1, 2))}
    full = arrays(config.replace(size=0), seed=0)
    assert list(data.info.task("it").sessions) == (list("12345678") if subjects == "each" else [""])
    for split in SPLITS:
        for number, (session, source) in enumerate(data.splits[split]["it"].items()):
            rows = [place[image.tobytes()] for image in full.splits[split]["it"][session].images.numpy()]
            every = file[:, rows][..., rows].astype(float)
            expected = every[number] if subjects == "each" else naive_mean(every)
            np.testing.assert_allclose(source.targets, expected, rtol=1e-4, atol=1e-5)
