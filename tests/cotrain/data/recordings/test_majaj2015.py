"""The course's HDF5 file in small: pixels come back exactly, are never normalised twice, and faults are named."""

from __future__ import annotations

import logging
import sys

import h5py
import numpy as np
import pytest

from cotrain.data.recordings import _majaj2015, read_majaj2015_h5
from cotrain.errors import DataError

COUNTS = {"train": 70, "val": 9, "test": 5}
SITES, SIDE = 4, 6
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
OBJECTS = ["airplane0", "car_alfa", "face3", "apple", "bear", "ship2", "chair0", "table4", "teapot"]
CATEGORIES = ["Planes", "Cars", "Faces", "Fruits", "Animals", "Boats", "Chairs", "Tables", ""]


def pixels(split):
    rng = np.random.default_rng(list(COUNTS).index(split))
    return rng.integers(0, 256, (COUNTS[split], SIDE, SIDE, 3), np.uint8)


def spikes(split):
    return np.random.default_rng(7).normal(size=(COUNTS[split], SITES)).astype(np.float32)


def normalised(images):
    scaled = (images / 255 - MEAN) / STD
    return scaled.transpose(0, 3, 1, 2).astype(np.float32)


def write_file(path, store=normalised, change=None, compression="gzip", chunks=(16, 1, SIDE, SIDE)):
    content = {}
    for split, count in COUNTS.items():
        content[f"stimulus_{split}"] = store(pixels(split))
        content[f"object_{split}"] = np.array([OBJECTS[i % len(OBJECTS)].encode("latin-1") for i in range(count)])
        if split != "test":
            content[f"spikes_{split}"] = spikes(split)
    if change is not None:
        change(content)
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            options = {}
            if name.startswith("stimulus") and np.ndim(array) == 4 and len(array):
                options = {"compression": compression, "chunks": tuple(map(min, chunks, array.shape))}
            file.create_dataset(name, data=array, **options)
    return path


STORED = {
    "normalised": normalised,
    "0..1": lambda images: images.transpose(0, 3, 1, 2).astype(np.float32) / 255,
    "0..255": lambda images: images.transpose(0, 3, 1, 2).astype(np.float32),
    "uint8": lambda images: images.transpose(0, 3, 1, 2),
    "0..1 with rounding": lambda images: images.transpose(0, 3, 1, 2).astype(np.float64) / 255 - 1e-9,
}


@pytest.mark.parametrize("kind", STORED)
def test_pixels_come_back_exactly(tmp_path, kind, caplog):
    with caplog.at_level(logging.WARNING):
        recording = read_majaj2015_h5(write_file(tmp_path / "IT_data.h5", STORED[kind]), progress=True)
    assert list(recording.sessions) == ["it"] and recording.window_ms == (70.0, 170.0)
    session = recording.sessions["it"]
    np.testing.assert_array_equal(session.images, np.concatenate([pixels("train"), pixels("val")]))
    assert session.images.dtype == np.uint8
    np.testing.assert_array_equal(session.responses, np.concatenate([spikes("train"), spikes("val")]))
    assert session.split == ("train",) * 70 + ("validation",) * 9
    assert session.stimuli[0] == "train/0" and session.stimuli[-1] == "val/8"
    assert session.conditions["object"][:9] == tuple(OBJECTS) == session.conditions["object"][70:]
    assert session.conditions["category"][:9] == tuple(CATEGORIES)
    assert session.neurons == {"area": ("IT",) * SITES}
    assert "has no spikes_test: 5 test stimuli without responses are left out" in caplog.text
    assert "1 objects have no known category" in caplog.text and "teapot" in caplog.text


@pytest.mark.parametrize("chunks", [(1, 3, SIDE, SIDE), (30, 1, 2, 3), (200, 3, SIDE, SIDE)])
def test_the_files_chunks_do_not_matter(tmp_path, chunks):
    path = write_file(tmp_path / "IT_data.h5", chunks=chunks)
    images = read_majaj2015_h5(path).sessions["it"].images
    np.testing.assert_array_equal(images, np.concatenate([pixels("train"), pixels("val")]))


def test_dark_pictures_do_not_change_how_others_are_read(tmp_path):
    """What is normalised is decided for the file: a chunk of bright pictures alone might look like pixels 0..1."""

    def brighten(content):
        content["stimulus_train"][:64] = normalised(np.full((64, SIDE, SIDE, 3), 200, np.uint8))

    session = read_majaj2015_h5(write_file(tmp_path / "IT_data.h5", change=brighten)).sessions["it"]
    assert (session.images[:64] == 200).all()
    np.testing.assert_array_equal(session.images[64:70], pixels("train")[64:])


def test_black_pictures_of_whole_numbers_stay_black(tmp_path):
    def blacken(content):
        for split in COUNTS:
            content[f"stimulus_{split}"] = np.ones((COUNTS[split], 3, SIDE, SIDE), np.uint8)

    assert (read_majaj2015_h5(write_file(tmp_path / "x.h5", change=blacken)).sessions["it"].images == 1).all()


def test_test_responses_are_used_where_they_are(tmp_path, caplog):
    path = write_file(tmp_path / "IT_data.h5", change=lambda content: content.update(spikes_test=spikes("test")))
    session = read_majaj2015_h5(path).sessions["it"]
    assert session.split.count("test") == 5 and "left out" not in caplog.text
    np.testing.assert_array_equal(session.images[-5:], pixels("test"))


def test_files_without_test_stimuli_are_whole(tmp_path, caplog):
    path = write_file(tmp_path / "IT_data.h5", change=lambda content: content.pop("stimulus_test"))
    assert len(read_majaj2015_h5(path).sessions["it"].stimuli) == 79
    assert "left out" not in caplog.text


def set_pixel(value):
    def change(content):
        content["stimulus_val"][2, 1, 3, 3] = value

    return change


def cut(name, rows):
    def change(content):
        content[name] = content[name][rows]

    return change


def drop(name):
    return lambda content: content.pop(name)


@pytest.mark.parametrize(
    ("store", "change", "text"),
    [
        ("normalised", set_pixel(np.nan), "stimulus_val holds pixels that are NaN or infinite"),
        ("normalised", set_pixel(9.0), "pixels of /stimulus_val are neither normalised .* nor between 0 and 255"),
        ("0..1", set_pixel(np.inf), "NaN or infinite"),
        ("0..255", set_pixel(300.0), "are neither normalised"),
        ("0..1", set_pixel(-0.2), "are neither normalised"),
        ("0..255", set_pixel(-20.0), "are neither normalised"),
        ("normalised", drop("stimulus_train"), "lacks stimulus_train; it has: object_test"),
        ("normalised", drop("spikes_val"), "lacks spikes_val"),
        ("normalised", drop("object_val"), "lacks object_val"),
        ("normalised", cut("spikes_val", slice(3)), "stimulus_val has 9 rows, spikes_val 3, object_val 9"),
        ("normalised", cut("object_val", slice(3)), "stimulus_val has 9 rows, spikes_val 9, object_val 3"),
        ("normalised", cut("spikes_val", (slice(None), slice(2))), "spikes_train, _val and _test differ in shape"),
        (
            "normalised",
            cut("stimulus_val", (slice(None), slice(None), slice(3))),
            "stimulus_train, _val and _test differ",
        ),
        ("normalised", cut("stimulus_val", (slice(None), 0)), "stimulus_val must be an array with 4 axes"),
        ("normalised", cut("spikes_train", slice(0)), "spikes_train must be an array with 2 axes"),
        ("normalised", lambda c: c.update(spikes_val=np.full((9, 4), b"x")), "spikes_val must hold numbers"),
        (
            "normalised",
            lambda c: c["spikes_val"].__setitem__((1, 2), np.inf),
            "the response of neuron 2 in row 71 is inf",
        ),
    ],
)
def test_faults_are_named(tmp_path, store, change, text):
    path = write_file(tmp_path / "IT_data.h5", STORED[store], change)
    with pytest.raises(DataError, match=rf"IT_data.h5.*{text}"):
        read_majaj2015_h5(path)


def test_pictures_need_three_channels(tmp_path):
    path = write_file(tmp_path / "IT_data.h5", lambda images: images)
    with pytest.raises(DataError, match=r"must be \(stimuli, 3, height, width\), found \(70, 6, 6, 3\)"):
        read_majaj2015_h5(path)


def test_groups_are_no_arrays(tmp_path):
    path = write_file(tmp_path / "IT_data.h5")
    with h5py.File(path, "a") as file:
        del file["spikes_val"]
        file.create_group("spikes_val")
    with pytest.raises(DataError, match="spikes_val must be an array with 2 axes, found a group"):
        read_majaj2015_h5(path)


def test_damaged_files_are_named(tmp_path):
    path = write_file(tmp_path / "IT_data.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"IT_data.h5 cannot be read"):
        read_majaj2015_h5(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"IT_data.h5 cannot be read"):
        read_majaj2015_h5(path)
    with pytest.raises(DataError, match=r"none.h5 cannot be read"):
        read_majaj2015_h5(tmp_path / "none.h5")
    damaged = bytearray(whole)
    with h5py.File(write_file(path), "r") as file:
        begin = file["stimulus_val"].id.get_chunk_info(0).byte_offset
    damaged[begin + 20 : begin + 60] = bytes(40)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"IT_data.h5 cannot be read"):
        read_majaj2015_h5(path)


def test_h5py_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="install h5py"):
        read_majaj2015_h5(tmp_path / "IT_data.h5")


def test_every_category_has_eight_objects_that_are_known():
    assert len(_majaj2015.FRUITS) == len(_majaj2015.ANIMALS) == 8
    assert {_majaj2015.category_of(f"{word}1") for word in _majaj2015.WORDS} | {"Fruits", "Animals"} == set(
        CATEGORIES
    ) - {""}
