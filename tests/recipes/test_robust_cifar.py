"""The recipe of robustness, tried on miniatures of its data: its experiments differ in what they say, and train."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain import run
from cotrain.chains import needed_runs, run_of
from cotrain.errors import DataError
from cotrain.recipe import find_recipe
from cotrain.resolve import build
from cotrain.tasks import SPLITS
from cotrain.training import check

LABELS = [
    "objects only",
    "co-trained, V1-like",
    "shuffled control",
    "co-trained, V4",
    "trained on noise",
    "oracle",
]
NEURAL = {
    "co-trained, V1-like": ("v1", "layer2"),
    "shuffled control": ("v1", "layer2"),
    "co-trained, V4": ("v4", "layer3"),
    "oracle": ("units", "layer2"),
}


def write_pictures(path):
    """200 training and 40 test pictures of ten classes, in colour."""
    random = np.random.default_rng(0)
    held = {"class_names": [f"class {label}" for label in range(10)]}
    for part, count in (("train", 200), ("test", 40)):
        held[f"{part}_images"] = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
        held[f"{part}_labels"] = np.arange(count) % 10
    path.parent.mkdir(parents=True)
    np.savez(path, **held)


def write_session(folder, name, seed):
    """40 pictures of 16 x 16, and 3 neurons."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"images_{name}.zip", "w") as archive:
        for number in range(1, 41):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(buffer, "JPEG", quality=95)
            archive.writestr(f"images_{name}/image{number:04d}.jpg", buffer.getvalue())
    np.save(folder / f"responses_avg_{name}.npy", random.normal(size=(3, 40)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """COTRAIN_DATA and COTRAIN_HOME for all tests."""
    root = tmp_path_factory.mktemp("robust_cifar")
    write_pictures(root / "data" / "cifar10" / "cifar10_jpeg_20k.npz")
    for seed, name in enumerate(experiments()["co-trained, V4"].data.parts[1].sessions, 1):
        write_session(root / "data" / "cowley_v4", name, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTRAIN_DATA", str(root / "data"))
        patch.setenv("COTRAIN_HOME", str(root / "home"))
        yield root


def experiments():
    """Those of the first seed."""
    held = find_recipe("robust_cifar")().expand()
    return {experiment.label: experiment for experiment in held if experiment.seed == held[0].seed}


def small(experiment):
    """With small batches, for one epoch."""
    sizes = {"batch_sizes": tuple((task, 8) for task, _ in experiment.trainer.mixing.batch_sizes)}
    return experiment.vary(
        experiment.label, trainer={"mixing": {"batch_size": 60, **sizes}, "device": "cpu", "epochs": 1}
    )


def test_the_experiments_are_those_of_the_question():
    assert [*experiments()] == LABELS
    assert len(find_recipe("robust_cifar").seeds) >= 3


def test_all_see_the_same_pictures_as_often_and_choose_by_the_same_score():
    """What differs is what is asked for: a longer training, or another network, would be another question."""
    held = list(experiments().values())
    for experiment in held[1:]:
        assert experiment.model.backbone == held[0].model.backbone
        assert experiment.model.tasks[0] == held[0].model.tasks[0]
        for field in ("epochs", "optimiser", "schedule", "monitor", "hooks"):
            assert getattr(experiment.trainer, field) == getattr(held[0].trainer, field)
        assert experiment.trainer.mixing.main == "objects"
        assert experiment.trainer.mixing.batch_size == held[0].trainer.mixing.batch_size
    shown = [dict(experiment.trainer.augmentation)["objects"] for experiment in held]
    noisy = [experiment.label for experiment, config in zip(held, shown, strict=True) if config.noise]
    assert noisy == ["trained on noise"], "no other ever saw noise"
    assert len({config.replace(noise=()) for config in shown}) == 1


def test_the_oracle_needs_the_network_that_was_trained_on_noise_with_its_own_seed():
    held = find_recipe("robust_cifar")().expand()
    noisy = [[experiment.key()] for experiment in held if experiment.label == "trained on noise"]
    found = [[run.key for run in needed_runs(experiment)] for experiment in held if experiment.label == "oracle"]
    assert found == noisy
    assert not [experiment for experiment in held if experiment.label != "oracle" and needed_runs(experiment)]


@pytest.mark.parametrize("label", [label for label in LABELS if label != "oracle"])
def test_an_experiment_learns_from_a_batch_of_each_task(label, place):
    experiment = small(experiments()[label])
    found = {task.name: task for task in check(experiment).tasks}
    neural = dict([NEURAL[label]] if label in NEURAL else [])
    assert {name: task.tap for name, task in found.items()} == {"objects": "layer4", **neural}
    assert all(0 < task.loss < 50 for task in found.values())


def test_objects_are_the_same_in_all_data(place):
    """Splits, pictures and labels: scores of two experiments are of the same test."""
    reference = build(experiments()["objects only"].data, seed=0).splits
    for label in ("co-trained, V1-like", "shuffled control", "co-trained, V4"):
        data = build(experiments()[label].data, seed=0)
        for split in SPLITS:
            for part in ("images", "targets"):
                one, other = (getattr(held[split]["objects"][""], part) for held in (reference, data.splits))
                assert torch.equal(one, other)


def test_the_oracle_is_taught_by_a_finished_run(place):
    noisy, oracle = (small(experiments()[label]) for label in ("trained on noise", "oracle"))
    with pytest.raises(DataError, match=experiments()["trained on noise"].key()):
        check(oracle)
    run(noisy, out=place / "home" / "runs" / noisy.key())
    found = run(oracle.vary("oracle", data={"run": run_of(noisy)}), out=place / "oracle")
    assert {"objects", "units"} <= set(found.scores[found.scores.split == "test"].task)
    assert found.info.task("units").sessions[""].neurons == 150
