"""The recipe of V1 in a VGG-19, tried on miniatures of its data: each experiment builds, and learns from one batch."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cotrain import run
from cotrain.chains import needed_runs, run_of
from cotrain.errors import DataError
from cotrain.models import ConvolutionalHeadConfig
from cotrain.recipe import find_recipe
from cotrain.resolve import build
from cotrain.training import check

# what each needs, by its label
LABELS = {
    "objects only": None,
    "V1 only": None,
    "co-trained": None,
    "shuffled control": None,
    "co-trained, predicted": "V1 only",
    "shuffled control, predicted": "V1 only",
    "co-trained, V1 and V4": None,
    "trained on noise": None,
    "oracle": "trained on noise",
}
CONV3_1, TAP = 14, 16
HEAD = ConvolutionalHeadConfig(hidden=(8,))  # the recipe's has as many weights as the backbone


def picture(path, seed, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def write_tiny_imagenet(root):
    """Two classes of 10 training pictures and 2 test pictures."""
    lines = []
    for label, name in enumerate(("n01443537", "n01629819")):
        for number in range(10):
            place = root / "train" / name / "images" / f"{name}_{number}.JPEG"
            picture(place, 100 * label + number, (64, 64, 3))
        for number in range(2):
            picture(root / "val" / "images" / f"val_{label}_{number}.JPEG", 5000 + 100 * label + number, (64, 64, 3))
            lines.append(f"val_{label}_{number}.JPEG\t{name}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


def write_recording(root, seed):
    """Two sessions of 3 neurons with 10 training pictures each and 3 test pictures shown twice; 12 bins of 10 ms."""
    random = np.random.default_rng(seed)
    for number in range(1, 24):
        picture(root / "images" / f"{number:06d}.png", 1000 * seed + number, (300, 300))
    train = {"3631": range(1, 11), "3632": range(11, 21)}
    for tier, times in (("train", 1), ("test", 2)):
        for name, ids in train.items():
            place = root / tier / name
            place.mkdir(parents=True)
            with (place / "responses.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["responses", "image_id", "trial_id"])
                for trial, shown in enumerate(np.repeat(ids if tier == "train" else range(21, 24), times)):
                    table.writerow([json.dumps(random.poisson(1.0, (3, 12)).tolist()), shown, trial])
            (place / "meta_data.json").write_text(json.dumps({"subject_id": 31, "session_id": name}))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """COTRAIN_DATA, COTRAIN_CACHE and COTRAIN_HOME for all tests."""
    root = tmp_path_factory.mktemp("vgg_v1")
    write_tiny_imagenet(root / "data" / "tiny_imagenet" / "tiny-imagenet-200")
    write_recording(root / "data" / "cadena2024_v1", 1)
    write_recording(root / "data" / "cadena2024_v4", 2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "HOME"):
            patch.setenv(f"COTRAIN_{name}", str(root / name.lower()))
        yield root


def experiments():
    return {experiment.label: experiment for experiment in find_recipe("vgg_v1")().expand() if experiment.seed == 1000}


def small(experiment):
    """With few pictures a batch and a narrow classifier; data and taps stay as they are."""
    tasks = tuple(task.replace(head=HEAD) if task.name == "objects" else task for task in experiment.model.tasks)
    trainer = {"mixing": {"batch_size": 2}, "device": "cpu", "epochs": 1}
    return experiment.vary(experiment.label, model={"tasks": tasks}, trainer=trainer)


def test_the_experiments_are_those_of_the_question():
    assert [*experiments()] == [*LABELS]
    assert find_recipe("vgg_v1").seeds == (1000, 2000, 3000, 4000, 5000)


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(label, marks=[] if label == "co-trained" else pytest.mark.slow)
        for label, needed in LABELS.items()
        if needed is None
    ],
)
def test_an_experiment_learns_from_a_batch_of_each_task(label, place):
    experiment = experiments()[label]
    found = {task.name: task for task in check(small(experiment)).tasks}
    names = {task.name for task in experiment.model.tasks}
    assert set(found) == names and all(0 < task.loss < 50 for task in found.values())
    taps = {"objects": "features.52", "v1": f"features.{TAP}", "v4": "features.29"}
    assert {name: task.tap for name, task in found.items()} == {name: taps[name] for name in names}


@pytest.mark.slow
def test_predictions_come_from_the_run_of_v1_only(place):
    v1_only, predicted = (small(experiments()[label]) for label in ("V1 only", "co-trained, predicted"))
    with pytest.raises(DataError, match=experiments()["V1 only"].key()):
        check(predicted)
    run(v1_only, out=place / "home" / "runs" / v1_only.key())
    found = check(predicted.vary("predicted", data={"run": run_of(v1_only)}))
    assert {task.name for task in found.tasks} == {"objects", "v1"}
    shuffled = small(experiments()["shuffled control, predicted"])
    found = check(shuffled.vary("shuffled", data={"data": {"run": run_of(v1_only)}}))
    assert {task.name for task in found.tasks} == {"objects", "v1"}


@pytest.mark.slow
def test_the_oracle_learns_units_of_the_network_that_was_trained_on_noise(place):
    noisy, oracle = (small(experiments()[label]) for label in ("trained on noise", "oracle"))
    with pytest.raises(DataError, match=experiments()["trained on noise"].key()):
        check(oracle)
    run(noisy, out=place / "home" / "runs" / noisy.key())
    found = check(oracle.vary("oracle", data={"run": run_of(noisy)}))
    assert {task.name: task.tap for task in found.tasks} == {"objects": "features.52", "units": f"features.{TAP}"}
    assert all(0 < task.loss < 50 for task in found.tasks)


@pytest.mark.parametrize(("label", "needed"), LABELS.items())
def test_each_seed_needs_runs_of_its_own(label, needed):
    held = find_recipe("vgg_v1")().expand()
    wanted = [[experiment.key()] for experiment in held if experiment.label == needed] or [[]] * 5
    found = [[run.key for run in needed_runs(experiment)] for experiment in held if experiment.label == label]
    assert found == wanted and len(found) == 5


STORED = {  # seed 1000, as first released
    "objects only": "7c110579978726ec9ccb45535f2d97f1",
    "V1 only": "ee8f8c0aab99835e1bf63b61db855567",
    "co-trained": "e74529d047220e0b09574c363295d2bd",
    "shuffled control": "eebf5d9dad67b55f09c5afbab4c87253",
    "co-trained, predicted": "b640c8080a2eb51baf1651d351dc8442",
    "co-trained, V1 and V4": "de83d7a2d5278ca4f48b80c5a37b0877",
}


def test_runs_that_labs_may_have_keep_their_keys():
    assert {label: experiments()[label].key() for label in STORED} == STORED


def test_v1_is_read_after_conv3_1_and_nothing_later_is_computed(place):
    experiment = small(experiments()["co-trained, V1 and V4"])
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).eval()
    layers = model.backbone.features
    convolutions = [number for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    pools = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    assert next(number for number in convolutions if number > pools[1]) == CONV3_1, "the first after the second pool"
    assert isinstance(layers[TAP], nn.ReLU) and "BatchNorm" in type(layers[TAP - 1]).__name__
    entered = []
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, number=number: entered.append(number))
    images = data.splits["test"]["v1"]["3631"].images[:]
    assert images.shape[1:] == (1, 64, 64)
    with torch.no_grad():
        maps = model.features(images, "v1", model.taps["v1"])[f"features.{TAP}"]
        assert maps.shape[1:] == (256, 64 // 4, 64 // 4) and maps.min() == 0
        assert model(images, "v1", "3631").shape == (len(images), 3)
    assert entered == [*range(TAP + 1)] * 2
    entered.clear()
    with torch.no_grad():
        model(images, "v4", "3632")
    assert max(entered) == 29


@pytest.mark.parametrize("label", ["objects only", "V1 only", "co-trained"])
def test_missing_data_are_named(label, tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"There is no .*(tiny-imagenet-200|cadena2024_v1).* COTRAIN_DATA"):
        check(experiments()[label])
