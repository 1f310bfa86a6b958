"""Where a run was trained stands in its folder; the switch for determinism is on within, and only there."""

from __future__ import annotations

import json

import pytest
import torch

from cotrain import run
from cotrain.training import ScoreSink
from cotrain.training._environment import PACKAGES, algorithms


class Watching(ScoreSink):
    """Keeps whether algorithms were deterministic while training."""

    def start(self, history, resumed_epoch):
        self.found = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_switch_and_what_is_recorded_of_it(deterministic, digits, tmp_path):
    experiment = digits(deterministic=deterministic, epochs=1)
    assert experiment.key() == digits(epochs=1).key()
    run(experiment, out=tmp_path, sinks=[watching := Watching()])
    assert watching.found == (deterministic, deterministic)
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["deterministic"] == deterministic and found["device_type"] == "cpu"
    assert found["packages"].keys() == set(PACKAGES) and torch.__version__.startswith(found["packages"]["torch"])
    assert found["threads"] == torch.get_num_threads() and found["command"]


def test_deterministic_or_not_a_cpu_gives_the_same_run(digits, tmp_path, assert_same_run):
    for name in ("plain", "deterministic"):
        run(digits(deterministic=name == "deterministic"), out=tmp_path / name)
    assert_same_run(tmp_path / "plain", tmp_path / "deterministic")


def test_what_has_no_deterministic_form_is_named_and_the_switch_is_put_back():
    def work():
        with algorithms(torch.device("cpu"), deterministic=True):
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("does not have a deterministic implementation")

    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        work()
    assert not torch.are_deterministic_algorithms_enabled()
