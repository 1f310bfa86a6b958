"""Weights kept after epochs that the trainer's config names, and the first ones, which are built anew."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from cotrain import run
from cotrain.errors import RunFolderError
from cotrain.training import (
    ConstantConfig,
    RunFolder,
    StartFromConfig,
    initial_model,
    load,
    load_model,
    load_state,
)
from cotrain.training.hooks import AverageWeightsConfig


def kept(folder):
    """{epoch: the weights after it}, of files that tell the same epoch as their names."""
    states = {epoch: load_state(file) for epoch, file in RunFolder(folder).kept_epochs().items()}
    assert all(state.keys() == {"epoch", "model"} and state["epoch"] == epoch for epoch, state in states.items())
    return {epoch: state["model"] for epoch, state in states.items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def last_state(folder):
    return RunFolder(folder).last_checkpoint()["model"]


def test_they_are_those_of_a_run_that_ended_there(digits, tmp_path):
    """At a constant rate a shorter run is the beginning of a longer one."""
    constant = {"schedule": ConstantConfig()}
    found = run(digits(epochs=3, keep_epochs=(3, 1, 7), **constant), out=tmp_path / "three")
    run(digits(epochs=1, **constant), out=tmp_path / "one")
    states = kept(tmp_path / "three")
    assert list(states) == [1, 3], "none of an epoch that training does not reach"
    assert same(states[1], last_state(tmp_path / "one"))
    assert same(states[3], last_state(tmp_path / "three"))
    assert not same(states[1], states[3])
    assert not (tmp_path / "one" / "kept").exists()
    model = load_model(found.experiment, found.info, RunFolder(tmp_path / "three").kept_epochs()[1])
    assert same(model.state_dict(), states[1]) and not model.training


def test_they_are_the_weights_that_validation_scored(digits, tmp_path):
    """As those of the best epoch: where a hook averages weights, the averages."""
    averaged = digits(epochs=2, keep_epochs=(1, 2), hooks=(AverageWeightsConfig(decay=0.9),))
    found = run(averaged, out=tmp_path)
    states = kept(tmp_path)
    assert same(states[found.best_epoch], load_state(tmp_path / "best.pt")["model"])
    assert not same(states[2], last_state(tmp_path))


def test_which_are_kept_makes_no_other_experiment(digits):
    assert digits(keep_epochs=(1, 2)).key() == digits().key()


def test_starting_anew_removes_them(digits, tmp_path):
    run(digits(epochs=1, keep_epochs=(1,)), out=tmp_path)
    run(digits(epochs=1), out=tmp_path, resume=False)
    assert kept(tmp_path) == {}


def test_those_of_epochs_that_are_trained_again_are_removed(digits, tmp_path, pull_plug):
    """On a GPU a second try may come out otherwise, and end before."""
    experiment = digits(epochs=2, keep_epochs=(1, 2))
    pull_plug(experiment, tmp_path, after=5)  # in the first epoch
    folder = RunFolder(tmp_path)
    for epoch in (1, 5):
        folder.keep(epoch, {"weight": torch.zeros(1)})
    (folder.kept / ".epoch-000005.pt.4321.tmp").write_bytes(b"of a process that was killed")
    run(experiment, out=tmp_path)
    assert list(kept(tmp_path)) == [1, 2]
    assert sorted(path.name for path in folder.kept.iterdir()) == ["epoch-000001.pt", "epoch-000002.pt"]
    assert "weight" not in kept(tmp_path)[1]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from cotrain import Experiment, run
from cotrain.training import RunFolder

torch.set_num_threads(1)
when, keep = sys.argv[3], RunFolder.keep


def killed(self, epoch, weights):
    if epoch == 2 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, epoch, weights)
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)


RunFolder.keep = killed
run(Experiment.from_yaml(Path(sys.argv[1]).read_text()), out=sys.argv[2])
"""


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_a_process_killed_while_it_keeps_them_leaves_no_trace(when, digits, tmp_path, assert_same_run):
    experiment = digits(epochs=3, keep_epochs=(1, 2, 3))
    (tmp_path / "experiment.yaml").write_text(experiment.to_yaml())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "experiment.yaml"), str(tmp_path / "cut"), when]
    ended = subprocess.run(
        command, capture_output=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert list(RunFolder(tmp_path / "cut").kept_epochs()) == ([1] if when == "before" else [1, 2])
    run(experiment, out=tmp_path / "cut")
    run(experiment, out=tmp_path / "whole")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    assert list(kept(tmp_path / "cut")) == [1, 2, 3]


def test_room_for_them_is_required_before_training(digits, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(RunFolder, "require_space", lambda self, size: asked.append(size))
    for number, epochs in enumerate([(), (1,), (1, 2, 2, 99)]):
        run(digits(epochs=2, keep_epochs=epochs), out=tmp_path / str(number))
    weights = sum(tensor.nbytes for tensor in load_state(tmp_path / "0" / "best.pt")["model"].values())
    assert [size - asked[0] for size in asked] == [0, weights, 2 * weights]


def test_a_folder_that_takes_none_is_one_error(digits, tmp_path):
    tmp_path.joinpath("kept").write_text("a file where the folder should be")
    with pytest.raises(RunFolderError, match=rf"^{tmp_path}/kept could not be written: File exists\."):
        run(digits(epochs=1, keep_epochs=(1,)), out=tmp_path)


def test_the_initial_model_is_what_training_starts_from(tiny, tmp_path, states):
    found = states(tiny(epochs=1), tmp_path)
    info = load(tmp_path).info  # as it was written and read
    model = initial_model(tiny(epochs=1), info)
    assert same(model.state_dict(), found[0]["model"]) and not model.training
    assert not same(initial_model(tiny(epochs=1, seed=1), info).state_dict(), found[0]["model"])


def test_also_of_one_that_starts_from_another_run(digits, tmp_path, states, monkeypatch):
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path))
    first = digits(epochs=1)
    source = run(first, out=tmp_path / "runs" / first.key())
    chained = digits(epochs=1, seed=1)
    chained = chained.vary("chained", model=StartFromConfig(model=chained.model, run=first.key()))
    found = states(chained, tmp_path / "chained")[0]["model"]
    model = initial_model(chained, load(tmp_path / "chained").info).state_dict()
    assert same(model, found)
    name = next(name for name in model if name.startswith("backbone") and name.endswith("weight"))
    assert torch.equal(model[name], source.model.state_dict()[name])
    head = next(name for name in model if name.startswith("heads") and name.endswith("weight"))
    assert not torch.equal(model[head], source.model.state_dict()[head])
