"""Damaged files are refused; published ones, where `COTRAIN_TEST_DATA` names their folder, are read as they are."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cotrain.data import (
    ArraysConfig,
    LabelArrayConfig,
    RdmArrayConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    SplitConfig,
    arrays,
)
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

NEURAL = ResponseArrayConfig(task="v4", session="monday", responses="spikes")


def write(place: Path, how: str) -> None:
    random = np.random.default_rng(0).normal(size=(50, 4, 4))
    np.savez_compressed(place, images=random, spikes=random[:, 0])
    whole_file = place.read_bytes()
    if how == "one array":
        with place.open("wb") as file:
            np.save(file, np.ones(3))
    elif how == "other members":
        with zipfile.ZipFile(place, "w") as file:
            file.writestr("images", "no array")
    else:
        broken = whole_file[:200] + bytes(400) + whole_file[600:]
        place.write_bytes({"text": b"hello", "empty": b"", "cut": whole_file[:900], "overwritten": broken}[how])


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("text", r"bad\.npz is no readable NPZ file"),
        ("empty", r"bad\.npz is no readable NPZ file"),
        ("cut", r"bad\.npz is no readable NPZ file: File is not a zip file"),
        ("overwritten", r"bad\.npz: the array 'images' cannot be read"),
        ("one array", r"bad\.npz is no NPZ file: it holds one array\. Write it with numpy\.savez"),
        ("other members", r"bad\.npz: 'images' is a file of another kind, no NumPy array"),
    ],
)
def test_what_is_no_npz_file_is_refused(tmp_path, monkeypatch, how, text):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    write(tmp_path / "bad.npz", how)
    with pytest.raises(DataError, match=text):
        arrays(ArraysConfig(path="bad.npz", tasks=(NEURAL,)), seed=0)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"no data file {tmp_path}.lab.some\.npz\. Set COTRAIN_DATA to the folder"):
        arrays(ArraysConfig(path="lab/some.npz", tasks=(NEURAL,)), seed=0)


@pytest.fixture
def real(monkeypatch):
    """The path of a real data file, as configs name it, and its arrays."""

    def find(path: str) -> tuple[str, dict[str, np.ndarray]]:
        folder = os.environ.get("COTRAIN_TEST_DATA")
        if not folder:
            pytest.skip("COTRAIN_TEST_DATA names no folder with real data")
        if not (Path(folder) / path).is_file():
            pytest.skip(f"COTRAIN_TEST_DATA holds no {path}")
        monkeypatch.setenv("COTRAIN_DATA", folder)
        return path, np.load(Path(folder) / path)

    return find


def rows_of(images: torch.Tensor, file: np.ndarray) -> list[int]:
    place = {image.tobytes(): row for row, image in enumerate(file)}
    return [place[image.tobytes()] for image in images.numpy()]


def test_v4_recording_with_labels_responses_and_geometry(real):
    path, file = real("hvm640_v4/hvm640_v4_210325.npz")
    config = ArraysConfig(
        path=path,
        tasks=(
            LabelArrayConfig(task="objects"),
            ResponseArrayConfig(task="v4", session="210325", responses="v4_raw_210325"),
            ResponseRdmConfig(task="v4_geometry", responses="v4_raw_210325"),
        ),
    )
    data = arrays(config, seed=0)
    info = data.info
    assert info.task("objects").image_shape == (1, 112, 112)
    assert info.task("objects").class_names == tuple(file["class_names"].tolist())
    assert info.task("v4").sessions["210325"].neurons == 50
    assert sum(info.task("v4").sessions["210325"].stimuli.values()) == 640
    train = rows_of(data.splits["train"]["v4"]["210325"].images[:, 0], file["images"])
    mean, spread = file["v4_avg_210325"][train].mean(0), file["v4_avg_210325"][train].std(0)
    for split in SPLITS:
        held = data.splits[split]
        rows = rows_of(held["v4"]["210325"].images[:, 0], file["images"])
        np.testing.assert_array_equal(held["objects"][""].targets, file["labels"][rows])
        expected = (file["v4_avg_210325"][rows] - mean) / spread
        np.testing.assert_allclose(held["v4"]["210325"].targets, expected, atol=1e-4)
        np.testing.assert_array_equal(held["v4"]["210325"].repeats.isnan(), np.isnan(file["v4_raw_210325"][rows]))
        np.testing.assert_allclose(held["v4_geometry"][""].targets, 1 - np.corrcoef(expected), atol=1e-4)
        if split != "train":
            assert held["objects"][""].targets.bincount().tolist() == [12] * 8


def test_cifar_with_its_own_test_set(real):
    path, file = real("cifar10/cifar10_jpeg_20k.npz")
    config = ArraysConfig(
        path=path,
        tasks=(LabelArrayConfig(task="objects", labels="train_labels", test_labels="test_labels"),),
        images="train_images",
        test_images="test_images",
        split=SplitConfig(validation=0.1, test=0.0),
    )
    data = arrays(config, seed=0)
    test = data.splits["test"]["objects"][""]
    np.testing.assert_array_equal(test.images, file["test_images"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.targets, file["test_labels"])
    assert sum(data.info.task("objects").sessions[""].stimuli.values()) == 24_000
    np.testing.assert_allclose(data.info.task("objects").image_mean, (0.4914, 0.4822, 0.4465), atol=0.01)
    np.testing.assert_allclose(data.info.task("objects").image_std, (0.2470, 0.2435, 0.2616), atol=0.01)


@pytest.mark.parametrize("matrix", ["rdm_mIT", "rdm_hIT"])
def test_inferior_temporal_geometry_of_92_images(real, matrix):
    path, file = real("images92/images92.npz")
    categories = LabelArrayConfig(task="category", labels="category", class_names="category_names")
    config = ArraysConfig(path=path, tasks=(categories, RdmArrayConfig(task="it", rdm=matrix)), size=64)
    data = arrays(config, seed=0)
    assert data.info.task("it").image_shape == (3, 64, 64)
    assert sum(len(data.splits[split]["it"][""]) for split in SPLITS) == 92
    # each held block is one of the matrix: its distances stand there, among the same number of stimuli
    known = {round(float(value), 5) for value in file[matrix].flat}
    for split in SPLITS:
        targets = data.splits[split]["it"][""].targets
        assert {round(float(value), 5) for value in targets.flatten()} <= known
        assert not targets.diagonal().any()
