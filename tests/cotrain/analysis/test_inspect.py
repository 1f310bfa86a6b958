"""What an inspection says, counted again by hand; and its picture, whatever was looked at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.analysis import find_copies, inspect_data, inspection_figure
from cotrain.data import ImageFiles
from cotrain.data.recordings import Recording, Session, save_recording
from cotrain.errors import DataError
from cotrain.metrics import split_half_reliability

RECORDED = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "hvm640_v4" / "hvm640_v4_210325.npz"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COTRAIN_CACHE", raising=False)
    return tmp_path


def pictures(count=12, side=16, seed=0, colour=False):
    shape = (count, side, side, 3) if colour else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def responses(images=12, repeats=4, neurons=5, seed=0):
    random = np.random.default_rng(seed)
    true = random.normal(5, 2, (images, 1, neurons))
    held = (true + random.normal(0, 1, (images, repeats, neurons))).astype(np.float32)
    held[::3, 2:] = np.nan
    held[:, :, 1] = np.where(np.isnan(held[:, :, 1]), np.nan, 3.0)  # a constant neuron
    return held


def session(seed=0, **changes):
    images = pictures(seed=seed)
    images[7] = images[2]
    ids = tuple(f"{seed}/{row}" for row in range(12))
    held = {"stimuli": ids, "responses": responses(seed=seed), "images": images}
    return Session(**{**held, **changes})


def saved(place, sessions, name="open"):
    save_recording(Recording(sessions, "spikes", (40.0, 100.0), "Somebody 2020"), place / name)
    return place / name


def check_picture(inspection, place):
    """It can be written, and shows something."""
    path = place / "picture.png"
    inspection_figure(inspection).savefig(path, dpi=40)
    with Image.open(path) as image:
        assert image.format == "PNG" and np.asarray(image).std() > 5


# --- recordings ---


def test_the_numbers_of_a_recording_are_those_counted_by_hand(place):
    neurons = {"area": ("V4", "V1", "V4", "V1", "V4"), "animal": (2.0,) * 5}
    split = ("train",) * 8 + ("test",) * 4
    sessions = {"a": session(split=split, neurons=neurons), "b": session(1, split=split[::-1])}
    found = inspect_data(saved(place, sessions))
    assert list(found.table.index) == ["a", "b"]
    for name, held in sessions.items():
        row = found.table.loc[name]
        trials = held.responses.astype(float)
        means = np.array([[np.mean([v for v in cell if v == v]) for cell in image.T] for image in trials])
        assert (row.neurons, row.stimuli, row.repeats, row.constant) == (5, 12, "2-4", 1)
        assert (row["equal"], row["near copies"], row.pixels) == (2, 2, "1x16x16")
        assert row["mean"] == pytest.approx(means.mean(), rel=1e-5)
        np.testing.assert_allclose(found.responses[name], means, rtol=1e-5)
        each = split_half_reliability(torch.from_numpy(held.responses)).numpy()
        np.testing.assert_array_equal(found.reliability[name], each)
        assert np.isnan(each).tolist() == [False, True, False, False, False]
        assert row.reliability == pytest.approx(np.median(each[[0, 2, 3, 4]]))
        assert (row.train, row.test) == (held.split.count("train"), held.split.count("test"))
        assert found.copies[name].groups == ((2, 7),)
    assert (found.table.area["a"], found.table.animal["a"]) == ("V1, V4", "2.0")
    assert found.unit == "spikes"
    assert found.facts[0] == "Somebody 2020: 2 sessions, responses in spikes, 40 to 100 ms after onset."
    assert "a: 2 images are in 1 groups of equal ones (at most 2); splits keep groups together." in found.facts
    assert "2 neurons respond to all images alike; they teach nothing." in found.facts
    check_picture(found, place)


@pytest.mark.parametrize(
    ("count", "changes"), [(1, {}), (40, {}), (1, {"images": None}), (2, {"responses": responses()[:, 0]})]
)
def test_any_number_of_sessions_is_drawn(place, count, changes):
    found = inspect_data(saved(place, {f"s{number}": session(number, **changes) for number in range(count)}))
    assert len(found.table) == count
    if "responses" in changes:
        assert set(found.table.repeats) == {"averaged"} and not found.reliability
    if "images" in changes:
        assert "pixels" not in found.table and not found.images
    check_picture(found, place)


def test_reliability_that_cannot_be_known_is_no_number_and_no_warning(place):
    trials = responses()
    trials[:, 1:] = np.nan
    found = inspect_data(saved(place, {"a": session(responses=trials), "b": session(1)}))
    assert np.isnan(found.table.reliability["a"]) and found.table.reliability["b"] > 0
    check_picture(found, place)
    check_picture(inspect_data(saved(place, {"a": session(responses=trials)}, "alone")), place)


def test_sessions_that_differ_in_what_they_hold(place):
    sessions = {"a": session(), "b": session(1, images=None, responses=responses()[:, 0])}
    found = inspect_data(saved(place, sessions))
    assert list(found.images) == ["a"] and list(found.reliability) == ["a"]
    check_picture(found, place)


def cadena(place, broken=()):
    """A folder of Cadena et al. 2024 with ten pictures, as `detect_format` finds it."""
    folder = place / "cadena"
    (folder / "images").mkdir(parents=True)
    for number, image in enumerate(pictures(10, colour=True), 1):
        path = folder / "images" / f"{number:06d}.png"
        Image.fromarray(image).save(path)
        if number in broken:
            path.write_bytes(b"no picture")
    for tier, ids in (("train", range(1, 7)), ("test", range(7, 11))):
        (folder / tier / "1").mkdir(parents=True)
        lines = [f'"[[{n}, 1], [{n % 3}, 0]]",{n}' for n in ids]
        (folder / tier / "1" / "responses.csv").write_text("\n".join(["responses,image_id", *lines]))
        (folder / tier / "1" / "meta_data.json").write_text(json.dumps({"subject_id": 1, "session_id": 1}))
    return folder


def test_pictures_in_files_are_looked_at(place):
    found = inspect_data(cadena(place))
    assert found.table.loc["1", ["pixels", "equal", "train", "test"]].tolist() == ["3x16x16", 0, 6, 4]
    assert "unreadable" not in found.table
    check_picture(found, place)


def test_damaged_pictures_of_a_recording_are_counted(place):
    found = inspect_data(cadena(place, broken=(2, 9)))
    assert found.table.loc["1", "unreadable"] == 2
    assert len(found.images["1"]) == 8
    check_picture(found, place)


def test_a_format_that_is_named_is_taken(place):
    with pytest.raises(DataError, match=r"images_<session>\.zip"):
        inspect_data(cadena(place), format="cowley2023")


def test_sessions_read_from_image_files_count_as_arrays_do(place):
    paths = []
    for row, image in enumerate(session().images):
        paths.append(place / f"{row:02d}.png")
        Image.fromarray(image).convert("RGB").save(paths[-1])
    files = saved(place, {"a": session(images=ImageFiles(tuple(paths)))})
    assert inspect_data(files).copies == inspect_data(saved(place, {"a": session()}, "other")).copies


# --- NPZ files ---


def test_arrays_are_described_by_their_shape_type_and_range(place):
    images = np.concatenate([pictures(9), pictures(3)])  # three equal ones
    trials = responses()
    arrays = {
        "images": images,
        "colour": np.moveaxis(pictures(12, colour=True), 3, 1),
        "labels": np.arange(12) % 3,
        "class_names": np.array(["a", "b", "c", "d", "e"]),
        "raw": trials,
        "mean": trials[:, 0].astype(np.float64),
        "rdm": np.zeros((12, 12)),
        "kept": np.array([True, False]),
        "none": np.zeros((0, 3)),
        "unknown": np.full(4, np.nan),
        "one": np.float32(2.5),
        "wave": np.array([1j]),
        "when": np.array(["2020-01-01"], "datetime64[D]"),
    }
    np.savez(place / "some.npz", **arrays)
    found = inspect_data(place / "some.npz")
    assert list(found.table.index) == list(arrays)
    holds = found.table["holds"]
    assert holds["labels"] == "0 to 2" and holds["class_names"] == "a, b, c, d ..."
    assert holds["raw"] == f"{np.nanmin(trials):.4g} to {np.nanmax(trials):.4g}, {np.isnan(trials).sum()} NaN"
    assert holds["kept"] == "0 to 1" and holds["none"] == "nothing" and holds["unknown"] == "NaN only"
    assert (holds["wave"], holds["when"], holds["one"]) == ("other things", "other things", "2.5 to 2.5")
    assert (found.table["shape"]["colour"], found.table["shape"]["one"]) == ("12x3x16x16", "one value")
    assert set(found.images) == {"images", "colour"} and set(found.responses) == {"raw", "mean"}
    assert found.copies["images"].equal == {"images": 6, "groups": 3, "largest": 2}
    known = found.reliability["raw"][~np.isnan(found.reliability["raw"])]
    assert found.table["reliability"]["raw"] == pytest.approx(np.median(known))
    assert found.table["reliability"]["mean"] == ""
    assert found.facts[0] == "13 arrays."
    check_picture(found, place)


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.arange(5)},
        {"images": pictures()},
        {"images": pictures(), "cells": np.where(np.arange(5) == 2, np.nan, responses()[:, 0])},
        {"images": pictures(), "cells": np.full((12, 4), np.nan)},
        {"images": pictures(), "cells": np.full((12, 2, 4), np.inf) * np.array([1, -1])[:, None]},
        {"images": pictures(), "cells": np.full((12, 4), 1e300)},
        {"images": pictures(), "cells": np.ones((12, 1, 3))},
        {"images": np.zeros((1, 1, 1), np.uint8)},
        {"images": np.zeros((3, 40, 2), np.uint8), "cells": np.ones((3, 2))},
    ],
    ids=["labels", "images", "a silent neuron", "NaN", "infinite", "overflow", "one repeat", "one pixel", "black"],
)
def test_odd_arrays_are_described_and_drawn_without_a_warning(place, arrays):
    np.savez(place / "some.npz", **arrays)
    found = inspect_data(place / "some.npz")
    assert list(found.table.index) == list(arrays)
    inspection_figure(found).savefig(place / "picture.png", dpi=40)


@pytest.mark.skipif(not RECORDED.is_file(), reason="COTRAIN_TEST_DATA lacks hvm640_v4/hvm640_v4_210325.npz")
def test_a_recorded_session_is_described(place):
    found = inspect_data(RECORDED)
    assert found.table["reliability"]["v4_raw_210325"] == pytest.approx(0.75, abs=0.03)
    assert found.table["shape"]["images"] == "640x112x112"
    check_picture(found, place)


# --- folders of pictures ---


def folder_of_pictures(place):
    for name, count in (("cats", 3), ("dogs/small", 4)):
        (place / "pets" / name).mkdir(parents=True)
        for row, image in enumerate(pictures(count, side=70 + count, seed=count, colour=True)):
            Image.fromarray(image).save(place / "pets" / name / f"{row}.png")
    (place / "pets" / "dogs" / "copy.png").write_bytes((place / "pets" / "cats" / "1.png").read_bytes())
    (place / "pets" / "dogs" / "small" / "broken.jpg").write_bytes(b"no picture")
    (place / "pets" / "notes.txt").write_text("no picture either")
    return place / "pets"


def test_folders_are_counted_and_damaged_files_named(place):
    folder = folder_of_pictures(place)
    found = inspect_data(folder)
    assert found.table.pictures.to_dict() == {"cats": 3, "dogs": 1, "dogs/small": 5}
    assert found.table.unreadable.to_dict() == {"cats": 0, "dogs": 0, "dogs/small": 1}
    assert found.facts[0] == "9 pictures in 3 folders, 1 of which cannot be read."
    assert f"cannot be read: {folder / 'dogs' / 'small' / 'broken.jpg'}" in found.facts
    assert found.copies["pictures"].groups == ((1, 3),)
    check_picture(found, place)


def test_pictures_of_which_none_can_be_read_are_refused(place):
    (place / "pets").mkdir()
    (place / "pets" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of 1 pictures can be read"):
        inspect_data(place / "pets")


# --- copies ---


def test_groups_are_those_of_a_comparison_of_all_pairs():
    random = np.random.default_rng(0)
    shown = random.integers(0, 9, 40)
    images = torch.from_numpy(pictures(9)[shown][:, None])
    sizes = np.bincount(shown)
    found = find_copies(images, 0)
    assert found.equal == {
        "images": sizes[sizes > 1].sum(), "groups": (sizes > 1).sum(), "largest": sizes.max()
    }  # fmt: skip
    groups = [tuple(np.flatnonzero(shown == number)) for number in dict.fromkeys(shown.tolist())]
    assert found.groups == tuple(group for group in groups if len(group) > 1)[:8]


def test_near_copies_are_found_as_far_as_is_asked_for():
    images = np.zeros((2, 16, 16), np.uint8)
    images[:, 8:] = 200
    images[1, 0, :3] = 250  # three bits of the hash
    images[1, 0, 3] = 1
    for near, count in ((2, 0), (3, 2)):
        found = find_copies(torch.from_numpy(images[:, None]), near)
        assert (found.equal["images"], found.near["images"]) == (0, count)


# --- refusals ---


def test_what_is_nothing_is_refused(place):
    (place / "empty").mkdir()
    (place / "text.txt").write_text("hello")
    (place / "damaged.npz").write_bytes(b"PK damaged")
    np.savez(place / "objects.npz", held=np.array([{}, None], object))
    for name, text in (
        ("nowhere", r"There is no .*nowhere"),
        ("empty", "is no recording in a known format, no NPZ file, and holds no pictures"),
        ("text.txt", "is no recording in a known format"),
        ("damaged.npz", r"damaged\.npz cannot be read"),
        ("objects.npz", r"objects\.npz cannot be read: Object arrays"),
    ):
        with pytest.raises(DataError, match=text):
            inspect_data(place / name)


@pytest.mark.parametrize("near", [-1, 65])
def test_bits_that_a_split_could_not_take_are_refused(place, near):
    with pytest.raises(DataError, match=f"0 to 64 bits, found {near}"):
        inspect_data(place, near=near)
