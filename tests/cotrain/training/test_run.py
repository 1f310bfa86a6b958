"""A folder holds one run: it is finished once, loaded without its data, and nothing else gets in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import cotrain
from cotrain import Experiment, load, run
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig
from cotrain.errors import DataError, RunFolderError
from cotrain.losses import CrossEntropyConfig
from cotrain.models import (
    LinearHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    torchvision_backbone,
)
from cotrain.tasks import TaskConfig
from cotrain.training import ScoreSink, TrainerConfig, load_state

COLUMNS = ["epoch", "task", "session", "split", "metric", "value"]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


class Untold(ScoreSink):
    """Must hear nothing."""

    def start(self, history, resumed_epoch):
        raise AssertionError("training began")


def assert_same_result(found, wanted) -> None:
    assert (found.best_epoch, found.experiment.key()) == (wanted.best_epoch, wanted.experiment.key())
    assert found.info == wanted.info
    assert found.scores.equals(wanted.scores)
    states = found.model.state_dict(), wanted.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_run_and_load_are_offered_at_the_top():
    assert cotrain.run is run and cotrain.load is load


def test_a_result_holds_what_is_promised(finished):
    assert list(finished.scores.columns) == COLUMNS
    assert [finished.scores[column].dtype.kind for column in ("epoch", "value")] == ["i", "f"]
    assert set(finished.scores.split) == {"train", "validation", "test"}
    model, best = load(finished.folder).model, load_state(finished.folder / "best.pt")
    assert {module.training for module in model.modules()} == {False}
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert best["epoch"] == finished.best_epoch
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in best["model"].items())


def test_a_finished_run_is_loaded_and_not_trained_again(finished, tiny):
    before = snapshot(finished.folder)
    assert_same_result(run(tiny(), out=str(finished.folder), sinks=[Untold()]), finished)
    assert_same_result(load(str(finished.folder)), finished)
    assert snapshot(finished.folder) == before


def test_a_finished_run_knows_its_experiment_under_any_label_and_on_any_device(finished, tiny):
    other = tiny(device="auto", checkpoint_steps=0).vary("another label")
    assert_same_result(run(other, out=finished.folder), finished)


def test_resume_false_starts_anew(digits, tmp_path, pull_plug, journal):
    first = run(digits(), out=tmp_path / "whole")
    (tmp_path / "whole" / "best.pt").write_bytes(b"damaged")
    assert_same_result(run(digits(), out=tmp_path / "whole", resume=False), first)
    pull_plug(digits(), tmp_path / "cut", after=12)
    pull_plug(digits(), tmp_path / "cut", after=3, resume=False)
    assert [line[0] for line in journal(tmp_path / "cut")] == [0]
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-000000000.pt"]
    run(digits(), out=tmp_path / "cut")
    assert journal(tmp_path / "cut") == journal(tmp_path / "whole")


def test_a_folder_that_lost_its_experiment_is_refused(tmp_path, finished, tiny):
    shutil.copytree(finished.folder, tmp_path / "lost")
    (tmp_path / "lost" / "experiment.yaml").unlink()
    with pytest.raises(RunFolderError, match=r"experiment\.yaml cannot be read"):
        run(tiny(), out=tmp_path / "lost")


def test_another_experiment_is_refused(finished, tiny):
    before = snapshot(finished.folder)
    for other in (tiny(seed=1), tiny(epochs=9)):
        for resume in (True, False):
            with pytest.raises(RunFolderError, match=rf"holds another experiment \('tiny', key .*key {other.key()}\)"):
                run(other, out=finished.folder, resume=resume)
    assert snapshot(finished.folder) == before


def test_folders_without_a_finished_run_are_named(digits, tmp_path, pull_plug):
    with pytest.raises(RunFolderError, match=rf"{tmp_path} holds no run\."):
        load(tmp_path)
    with pytest.raises(RunFolderError, match=r"nowhere holds no run\."):
        load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    pull_plug(digits(), tmp_path, after=3)
    with pytest.raises(RunFolderError, match=rf"{tmp_path} was not finished; start it again and it goes on\."):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("experiment.yaml", "label: [", r"experiment\.yaml cannot be read"),
        ("experiment.yaml", None, r"experiment\.yaml cannot be read"),
        ("info.json", "{", r"info\.json is missing or damaged"),
        ("result.json", "", r"result\.json is missing or damaged"),
        ("best.pt", "PK", r"best\.pt is damaged"),
        ("best.pt", None, r"There is no file .*best\.pt"),
        ("journal.jsonl", None, r"journal\.jsonl is missing or damaged: it does not end with the test scores"),
        ("journal.jsonl", '{"epoch": 0, "scores": []}\n', r"journal\.jsonl is missing or damaged"),
        ("journal.jsonl", '{"epo', r"journal\.jsonl is missing or damaged"),
    ],
)
def test_a_damaged_file_of_a_finished_run_is_named(name, content, text, digits, tmp_path):
    run(digits(epochs=1), out=tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(RunFolderError, match=text):
        load(tmp_path)


def test_the_callers_randomness_is_left_alone(tiny, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    found = run(tiny(epochs=1), out=tmp_path)
    load(found.folder)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.is_grad_enabled()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A function that writes the data file, and the experiment that reads it."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()

    def write(seed: int = 0, flip: int = 0) -> None:
        draw = np.random.default_rng(seed)
        images, labels = draw.integers(0, 256, (80, 8, 8), dtype=np.uint8), np.arange(80) % 2
        labels[:flip] = 1 - labels[:flip]
        np.savez(tmp_path / "data" / "pictures.npz", images=images, labels=labels, class_names=np.array(["a", "b"]))

    write()
    task = TaskConfig(name="things", tap="layer1", head=LinearHeadConfig(), objective=CrossEntropyConfig())
    experiment = Experiment(
        "pictures",
        data=ArraysConfig(path="pictures.npz", tasks=(LabelArrayConfig(task="things"),)),
        model=SharedBackboneConfig(backbone=SmallCnnConfig(layers=((3, 3, 1),)), tasks=(task,)),
        trainer=TrainerConfig(mixing=MixingConfig(main="things", batch_size=16), epochs=2, device="cpu"),
    )
    return write, experiment


def test_a_run_is_loaded_without_its_data(pictures, tmp_path, monkeypatch):
    first = run(pictures[1], out=tmp_path / "run")
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path / "nowhere"))
    assert_same_result(load(tmp_path / "run"), first)
    assert_same_result(run(pictures[1], out=tmp_path / "run"), first)
    with pytest.raises(DataError, match=r"There is no data file .*pictures\.npz"):
        run(pictures[1], out=tmp_path / "other")


def test_a_run_that_began_from_a_file_of_weights_is_loaded_without_it(pictures, tmp_path):
    """And what was frozen is, to the last bit, what the file held."""
    _, experiment = pictures
    backbone = TorchvisionBackboneConfig(name="shufflenet_v2_x0_5", stem="small", input_channels=1)
    start = torchvision_backbone(backbone).state_dict()
    torch.save(start, tmp_path / "data" / "start.pt")
    loaded = backbone.replace(weights="start.pt", freeze=("conv1", "stage2"))
    task = experiment.model.tasks[0].replace(tap="stage3")
    trained = run(experiment.vary("from a file", model={"backbone": loaded, "tasks": (task,)}), out=tmp_path / "run")
    (tmp_path / "data" / "start.pt").unlink()
    state = load(tmp_path / "run").model.backbone.state_dict()
    assert torch.equal(state["conv1.0.weight"], start["conv1.0.weight"])
    assert not torch.equal(state["stage3.0.branch2.0.weight"], start["stage3.0.branch2.0.weight"])
    assert all(torch.equal(state[name], value) for name, value in trained.model.backbone.state_dict().items())


def test_a_data_file_exchanged_under_the_same_name_is_refused(pictures, tmp_path, pull_plug, journal):
    write, experiment = pictures
    pull_plug(experiment, tmp_path / "run", after=5)
    for change in ({"flip": 1}, {"seed": 1}):
        write(**change)
        before = snapshot(tmp_path / "run")
        with pytest.raises(RunFolderError, match=r"was begun with other data \(fingerprint .*, now .*Restore it, or"):
            run(experiment, out=tmp_path / "run")
        assert snapshot(tmp_path / "run") == before
    # the message's second way out
    run(experiment, out=tmp_path / "run", resume=False)
    run(experiment, out=tmp_path / "new")
    assert journal(tmp_path / "run") == journal(tmp_path / "new")
    # and its first, for another run
    pull_plug(experiment, tmp_path / "later", after=5)
    os.utime(tmp_path / "data" / "pictures.npz")
    run(experiment, out=tmp_path / "later")
    assert journal(tmp_path / "later") == journal(tmp_path / "new")


def test_the_folder_says_what_was_run_in_plain_text(finished, tiny):
    assert Experiment.from_yaml((finished.folder / "experiment.yaml").read_text()).key() == tiny().key()
    assert json.loads((finished.folder / "info.json").read_text()) == json.loads(json.dumps(finished.info.record()))
    assert json.loads((finished.folder / "result.json").read_text())["best_epoch"] == finished.best_epoch
