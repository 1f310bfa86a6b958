"""NX-414's recipe and probes, on a generated file in the layout of the course's `IT_data.h5`."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from cotrain import build
from cotrain.analysis import PrincipalComponents, layer_scores, stratified_k_fold
from cotrain.data import SplitConfig
from cotrain.data.recordings import read_recording
from cotrain.evaluations import NeuralRegressionConfig, neural_regression
from cotrain.recipe import find_recipe
from cotrain.recipes.nx414 import IT, Nx414
from cotrain.training import check

h5py = pytest.importorskip("h5py")

WORDS = ("airplane", "car_", "chair", "face", "ship", "table")
FRUITS = ("apple", "apricot", "peach", "pear", "raspberry", "strawberry", "walnut", "watermelon")
ANIMALS = ("bear", "cow", "dog", "elephant", "gorilla", "hedgehog", "lioness", "turtle")
OBJECTS = [*FRUITS, *ANIMALS, *(f"{word}{number}" for word in WORDS for number in range(8))]
EACH = {"train": 5, "val": 1, "test": 1}  # pictures of each of the 64 objects
SITES, SIDE = 6, 16
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class Nx414It(Nx414):
    """As a user would write it."""

    data = IT


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """{split: uint8 pictures}, with the file written into the data folder."""
    root = tmp_path_factory.mktemp("nx414")
    random = np.random.default_rng(0)
    weights = random.normal(size=(4 * 4 * 3, SITES))
    held = {}
    with h5py.File(root / "IT_data.h5", "w") as file:
        for split, each in EACH.items():
            names = np.repeat(OBJECTS, each)
            coarse = random.integers(0, 256, (len(names), 4, 4, 3))
            held[split] = coarse.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2).astype(np.uint8)
            normalised = ((held[split] / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
            file.create_dataset(f"stimulus_{split}", data=normalised, compression="gzip")
            file.create_dataset(f"object_{split}", data=np.array([name.encode("latin-1") for name in names]))
            if split != "test":  # the published file keeps these back
                signal = coarse.reshape(len(names), -1) @ weights / 1e3
                file[f"spikes_{split}"] = (signal + 0.2 * random.normal(size=signal.shape)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTRAIN_DATA", str(root))
        patch.setenv("COTRAIN_HOME", str(root / "home"))
        yield held


@pytest.fixture(scope="module")
def data(pictures):
    return build(IT.replace(size=0, grey=False, split=SplitConfig(validation=0.2, test=0.2)), seed=0)


def bytes_of(images):
    return [image.tobytes() for image in np.ascontiguousarray(images)]


def test_pictures_are_pixels_again_and_classes_are_in_equal_shares(data, pictures):
    train = set(bytes_of(pictures["train"]))
    for split, known in (("train", train), ("validation", set(bytes_of(pictures["val"]))), ("test", train)):
        objects, neurons = data.splits[split]["objects"][""], data.splits[split]["neurons"]["it"]
        shown = bytes_of(objects.images[:].numpy().transpose(0, 2, 3, 1))
        assert set(shown) <= known, "the pixels that were stored, neither normalised twice nor of the test pictures"
        assert shown == bytes_of(neurons.images[:].numpy().transpose(0, 2, 3, 1))
        assert len(objects.class_names) == 8 and neurons.targets.shape == (len(shown), SITES)
        counts = np.bincount(objects.targets)
        assert len(counts) == 8 and counts.max() - counts.min() <= 1
    assert [len(data.splits[split]["objects"][""]) for split in ("train", "validation", "test")] == [256, 64, 64]


def test_each_picture_has_the_category_of_its_object(data, pictures):
    category = dict(zip(OBJECTS, np.repeat([*"FA", *WORDS], 8), strict=True))
    objects = dict(zip(bytes_of(pictures["train"]), np.repeat(OBJECTS, EACH["train"]), strict=True))
    source = data.splits["train"]["objects"][""]
    shown = bytes_of(source.images[:].numpy().transpose(0, 2, 3, 1))
    pairs = {(category[objects[image]], int(label)) for image, label in zip(shown, source.targets, strict=True)}
    assert len(pairs) == 8 == len({label for _, label in pairs})
    assert source.class_names == ("Animals", "Boats", "Cars", "Chairs", "Faces", "Fruits", "Planes", "Tables")


def test_stratified_folds_hold_out_every_object(pictures):
    session = read_recording(str(course_file())).sessions["it"]
    folds = stratified_k_fold(session.conditions["object"], 5, seed=0)
    names = np.array(session.conditions["object"])
    assert all(set(names[test]) == set(OBJECTS) == set(names[train]) for train, test in folds.pairs)


def course_file():
    from cotrain.settings import data_folder

    return data_folder() / IT.path


def test_components_of_pixels_predict_the_sites_of_the_files_validation_pictures(pictures, caplog):
    session = read_recording(course_file()).sessions["it"]
    split = np.array(session.split)
    pixels = session.images.reshape(len(split), -1) / 255
    with caplog.at_level(logging.ERROR):
        table = layer_scores(
            {"pixels": pixels}, session.responses, method=PrincipalComponents(1000), area="IT",
            folds=[(split == "train", split == "validation")], metrics=["explained_variance"],
        )  # fmt: skip
    assert table.score.min() > 0.7 and table.ceiling.isna().all(), "responses are a linear image of the pixels"


def test_the_co_trained_network_learns_from_the_file_and_is_asked_layer_by_layer(data):
    experiment = next(held for held in Nx414It().expand() if held.label == "co-trained")
    found = {task.name: task for task in check(experiment.vary("x", trainer={"device": "cpu"})).tasks}
    assert set(found) == {"objects", "neurons"} and all(0 < task.loss < 50 for task in found.values())
    small = build(experiment.data.replace(size=16), seed=0)
    model = build(experiment.model, small.info, seed=0)
    rows = neural_regression(
        model, small, NeuralRegressionConfig(layers=("layer1", "layer3"), draws=2), device=torch.device("cpu")
    )
    neurons = [row for row in rows if hasattr(row, "neuron") and row.metric == "pearson"]
    assert len(neurons) == 2 * SITES and np.mean([row.score for row in neurons]) > 0.3


def test_the_subclass_of_users_has_the_same_experiments_with_other_data():
    ours, theirs = find_recipe("nx414")().expand(), Nx414It().expand()
    assert [held.label for held in ours] == [held.label for held in theirs]
    assert not {held.key() for held in ours} & {held.key() for held in theirs}
