"""What `bench` prints is what it says: operations counted by hand, phases of the real step, nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cotrain import build
from cotrain.cli import main
from cotrain.training import bench


@pytest.fixture(scope="module")
def found(tiny):
    return bench(tiny(), steps=6)


def test_batches_and_stimuli_are_those_of_the_mixing(found, tiny):
    assert found.steps == 6 and found.micro_steps["digits"] == 6
    sizes = {"digits": 128, "simulated_v1": 16, "simulated_rdm": 12}
    assert found.samples == sum(sizes[task] * count for task, count in found.micro_steps.items())
    # steps 4 to 9 after a warm-up of 3, the ninth in the second epoch: Bresenham's line of 1.3 and 2/3
    assert found.micro_steps["simulated_v1"] == int(9 * 1.3) - int(3 * 1.3)
    assert found.micro_steps["simulated_rdm"] == 9 * 2 // 3 - 3 * 2 // 3
    assert found.epoch_steps == 8 and found.epochs == tiny().trainer.epochs


def test_operations_are_those_of_the_layers(digits):
    experiment = digits()
    model = build(experiment.model, build(experiment.data, seed=0).info, seed=0)
    found = bench(experiment, steps=3)
    first, second = model.backbone.layer1[0], model.backbone.layer2[0]
    # multiplications and additions of each layer, for 12 x 12 pixels and a stride of 2
    forward = [
        2 * first.weight.numel() * 36,
        2 * second.weight.numel() * 36,
        2 * model.heads["digits"].linear.weight.numel(),
    ]
    # backwards once for weights and once for inputs, but for those of the first layer
    assert found.flops == 128 * (2 * forward[0] + 3 * sum(forward[1:]))


def test_times_add_up_and_rates_follow_from_them(found):
    assert set(found.phases) == {"data", "forward", "backward", "optimiser"} and min(found.phases.values()) > 0
    assert found.samples_a_second == pytest.approx(found.samples / (6 * found.step_seconds))
    assert found.peak_share == pytest.approx(found.flops / found.step_seconds / found.peak_flops)
    assert 0 < found.peak_share < 1
    assert found.host_share == pytest.approx(1, abs=0.05), "a CPU is waited for at once"
    assert found.epoch_seconds > found.epoch_steps * found.step_seconds
    assert found.memory > 10**7


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"phases": {"data": 4.0, "forward": 1.0, "backward": 2.0, "optimiser": 1.0}}, "reading data: 50% of a step"),
        ({"phases": {"data": 0.1, "forward": 1.0, "backward": 2.0, "optimiser": 3.0}}, "the optimiser"),
        (
            {"phases": {"data": 0.1, "forward": 1.0, "backward": 2.0, "optimiser": 0.1}},
            "the device: 94% of a step is fo",
        ),
        ({"write_seconds": 1e9}, "the disk"),
        ({"validation_seconds": 1e6}, "validation"),
        (
            {"device": "A GPU", "phases": {"data": 0, "forward": 1.0, "backward": 1.0, "optimiser": 0.1}},
            "the host: the GPU",
        ),
    ],
)
def test_what_limits_is_said(changes, text, found):
    whole = replace(found, validation_seconds=0.0, write_seconds=0.0, host_share=1.0)
    assert replace(whole, **changes).limit().startswith(text)


def test_the_command_prints_and_keeps_nothing(digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.yaml").write_text(digits().to_yaml())
    assert main(["bench", "digits.yaml", "--steps", "2"]) == 0
    text = capsys.readouterr().out
    for part in ("samples/s", "phase by phase: data", "GFLOP/s", "peak memory", "limited by", "an epoch of 8 steps"):
        assert part in text
    assert main(["bench", "digits.yaml", "--steps", "2", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["steps"] == 2 and line["samples"] == 256 and line["samples_a_second"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["digits.yaml"]


def test_a_wrong_number_of_steps_is_a_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "digits_v1", "--steps", "0"])
    assert "expected a whole number from 1 on, found '0'" in capsys.readouterr().err
