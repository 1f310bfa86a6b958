"""Averaged weights, clipped gradients, the watch for NaN, and the profile."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import torch

from cotrain import build, run
from cotrain.errors import ConfigError, ModelError, TrainingError
from cotrain.training import MonitorConfig, RunFolder, check, load_state
from cotrain.training._state import TrainingState
from cotrain.training.hooks import AverageWeightsConfig, ClipGradientsConfig, ProfileConfig, StopOnNanConfig


def begun(experiment, folder):
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).train()
    return TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))


@pytest.fixture
def with_gradients(tiny, tmp_path):
    """A function of a hook's config that gives a training state with gradients of one batch of each task."""

    def make(config):
        state = begun(tiny(hooks=(config,)), tmp_path)
        for task in state.model.taps:
            state.micro_step(next(batch for batch in state.loader if batch.task == task))
        return state

    return make


def gradients(state):
    return {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}


# averaged weights


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.slow
def test_the_average_is_that_of_a_naive_loop_and_training_does_not_see_it(every, tiny, states, tmp_path):
    held = tiny(epochs=2, monitor=MonitorConfig(), checkpoint_steps=1)
    averaged = states(
        held.vary("a", trainer={"hooks": (AverageWeightsConfig(decay=0.3, every=every),)}), tmp_path / "a"
    )
    plain = states(held, tmp_path / "b")
    assert averaged.keys() == plain.keys()
    names = [name for name, _ in build(held.model, build(held.data, seed=0).info, seed=0).named_parameters()]
    wanted, updates = {name: plain[0]["model"][name].double() for name in names}, 0
    for step in sorted(plain):
        for name, tensor in plain[step]["model"].items():
            assert torch.equal(averaged[step]["model"][name], tensor), (step, name)
        if step and step % every == 0:
            keep = min(0.3, (1 + updates) / (10 + updates))
            updates += 1
            wanted = {name: keep * wanted[name] + (1 - keep) * plain[step]["model"][name].double() for name in names}
        state = averaged[step]["hooks"][0]
        assert state["updates"] == updates
        for name, found in zip(names, state["average"], strict=True):
            torch.testing.assert_close(found.double(), wanted[name], atol=1e-6, rtol=1e-5)
    assert updates > 4, "both parts of the rule were met"
    best = load_state(RunFolder(tmp_path / "a").best)
    last = averaged[best["epoch"] * max(averaged) // 2]
    for name, found in zip(names, last["hooks"][0]["average"], strict=True):
        assert torch.equal(best["model"][name], found)
    assert torch.equal(best["model"]["inputs.digits.mean"], last["model"]["inputs.digits.mean"])
    assert not torch.equal(best["model"][names[0]], last["model"][names[0]])


def test_weights_are_given_back_even_if_validation_fails(tiny, tmp_path):
    state = begun(tiny(hooks=(AverageWeightsConfig(),)), tmp_path)
    weight = state.model.backbone.layer1[0].weight
    with torch.no_grad():
        weight.add_(1)
    own, place = weight.detach().clone(), weight.data_ptr()

    def validate():
        with state.hooks[0].evaluating():
            assert torch.allclose(weight, own - 1, atol=1e-6)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        validate()
    assert torch.equal(weight, own) and weight.data_ptr() == place


# clipped gradients


def test_the_chosen_gradients_are_clipped_by_their_norm(with_gradients):
    state = with_gradients(ClipGradientsConfig(parameters=("backbone", "heads.digits"), norm=0.01))
    before = gradients(state)
    state.hooks[0].gradients()
    after = gradients(state)
    chosen = [name for name in before if name.startswith(("backbone.", "heads.digits."))]
    norm = torch.cat([before[name].flatten() for name in chosen]).norm()
    assert norm > 0.02
    for name, gradient in before.items():
        torch.testing.assert_close(
            after[name], gradient * 0.01 / norm if name in chosen else gradient, rtol=1e-3, atol=0
        )
    others = [name for name in before if name.startswith("heads.simulated_v1.")]
    assert others and all(torch.equal(after[name], before[name]) for name in others)


def test_or_value_by_value(with_gradients):
    state = with_gradients(ClipGradientsConfig(value=0.001))
    before = gradients(state)
    state.hooks[0].gradients()
    assert all(torch.equal(gradients(state)[name], gradient.clamp(-0.001, 0.001)) for name, gradient in before.items())
    assert max(float(gradient.abs().max()) for gradient in before.values()) > 0.001


def test_clipping_nothing_is_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match="set `norm`, `value` or both; nothing would be clipped"):
        ClipGradientsConfig(parameters=("backbone",))
    with pytest.raises(
        ModelError, match=r"clip_gradients: nothing in the model fits 'backbones'. Did you mean 'backbone'"
    ):
        begun(tiny(hooks=(ClipGradientsConfig(parameters=("backbones",), norm=1.0),)), tmp_path)


# NaN


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_gradients_that_are_not_finite_are_named_when_it_is_time(value, with_gradients):
    state = with_gradients(StopOnNanConfig(every=4))
    hook = state.hooks[0]
    hook.gradients()
    hook.step_end(4)
    weight = state.model.backbone.layer1[0].weight
    weight.grad[0, 0, 0, 0] = value
    hook.gradients()
    weight.grad[0, 0, 0, 0] = 0.0
    hook.gradients()
    hook.step_end(5)
    other = build(StopOnNanConfig(every=4))
    other.start(hook_training(state))
    other.load_state_dict(hook.state_dict())
    for held in (hook, other):  # what was seen is remembered, also by one that goes on
        with pytest.raises(TrainingError, match=r"came up by step 8, of backbone.layer1.0.weight. Training stops"):
            held.step_end(8)
        with pytest.raises(TrainingError, match=r"came up in epoch 3, of backbone.layer1.0.weight"):
            held.epoch_end(3)


def hook_training(state):
    """What a second hook is given; this one looks at little of it."""
    held = {"model": state.model, "optimiser": state.optimiser, "device": state.device, "precision": "float32"}
    return SimpleNamespace(**held)


def test_large_gradients_are_not_taken_for_lost_ones(with_gradients):
    state = with_gradients(StopOnNanConfig(every=1))
    for parameter in state.model.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(1e38)
    state.hooks[0].gradients()
    state.hooks[0].step_end(1)


def test_a_run_ends_with_an_error_that_names_some(tiny, tmp_path, monkeypatch):
    micro_step = TrainingState.micro_step

    def poisoned(self, batch):
        micro_step(self, batch)
        if self.step == 5:
            for parameter in self.model.backbone.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(float("nan"))

    monkeypatch.setattr(TrainingState, "micro_step", poisoned)
    with pytest.raises(TrainingError, match=r"by step 6, of backbone.layer1.0.weight, .* and 1 more. Training stops"):
        run(tiny(hooks=(StopOnNanConfig(every=2),)), out=tmp_path)


def test_float16_is_refused(tiny, tmp_path):
    with pytest.raises(TrainingError, match="with precision='float16' some gradients overflow on purpose"):
        begun(tiny(hooks=(StopOnNanConfig(),), precision="float16"), tmp_path)


# profile


def test_a_profile_is_written_once(digits, tmp_path, caplog):
    held = digits(hooks=(ProfileConfig(wait=1, warm_up=1, active=2),))
    with caplog.at_level(logging.INFO):
        run(held, out=tmp_path)
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"aten::convolution", "aten::batch_norm"} <= names
    assert {name for name in names if str(name).startswith("ProfilerStep")} == {"ProfilerStep#2", "ProfilerStep#3"}
    table = (tmp_path / "profile" / "operations.txt").read_text()
    assert "aten::" in table and table in caplog.text
    assert caplog.text.count("most expensive operations") == 1
    assert {path.name for path in (tmp_path / "profile").iterdir()} == {"trace.json", "operations.txt"}


def test_of_a_profile_that_does_not_come_to_its_end_nothing_is_kept(digits, tmp_path, pull_plug):
    held = digits(hooks=(ProfileConfig(wait=1, warm_up=1, active=5),))
    pull_plug(held, tmp_path, after=4)
    assert not (tmp_path / "profile").exists()
    run(held, out=tmp_path)
    assert (tmp_path / "profile" / "trace.json").is_file()
    pull_plug(held, tmp_path, after=4, resume=False)
    assert not (tmp_path / "profile").exists(), "training anew clears the folder"


def test_trying_an_experiment_out_writes_nothing(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(digits(hooks=(ProfileConfig(wait=0, warm_up=0, active=1),)))
    assert not list(tmp_path.iterdir())
