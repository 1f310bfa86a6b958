"""Freezing: what is frozen stays bit for bit, whatever the optimiser does, and moves again when it is thawed."""

from __future__ import annotations

import pytest
import torch

from cotrain import build, run
from cotrain.errors import ModelError, TrainingError
from cotrain.losses import CrossEntropyConfig, QuasiPoissonConfig, RdmMatchConfig
from cotrain.training import MonitorConfig, RunFolder, SgdConfig
from cotrain.training._state import TrainingState
from cotrain.training.hooks import FreezeBatchNormConfig, FreezeConfig

SHORT = {"epochs": 3, "monitor": MonitorConfig(), "checkpoint_steps": 1, "optimiser": SgdConfig(lr=0.02)}


def begun(experiment, folder, change=lambda model: None):
    """A training state before its first step."""
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0)
    change(model)
    return TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))


def moved(states, before, after):
    """Names in the model's state that differ between two optimiser steps."""
    old, new = states[before]["model"], states[after]["model"]
    return {name for name in old if not torch.equal(old[name], new[name])}


def below(names, prefix):
    return {name for name in names if name.startswith(prefix)}


@pytest.fixture(scope="module")
def thawed(tiny, states, tmp_path_factory):
    """(checkpoints, steps an epoch) of a run in which layer 1 with its norms, and a head, are frozen for one epoch."""
    config = FreezeConfig(parameters=("backbone.layer1", "heads.simulated_v1"), until="1ep", batch_norm=True)
    found = states(tiny(**SHORT, hooks=(config,)), tmp_path_factory.mktemp("thawed"))
    return found, max(found) // 3


def test_what_is_frozen_stays_as_it_is_bit_for_bit(thawed):
    found, epoch = thawed
    changed = moved(found, 0, epoch)
    assert not below(changed, "backbone.layer1") and not below(changed, "heads.simulated_v1")
    assert below(changed, "backbone.layer2") and below(changed, "heads.digits")
    # SGD has a momentum for each parameter that was ever stepped
    count = len(found[0]["model"])
    assert 0 < len(found[epoch]["optimiser"]["state"]) < len(found[epoch + 1]["optimiser"]["state"]) < count


def test_it_moves_after_the_epoch_at_whose_end_it_is_thawed(thawed):
    found, epoch = thawed
    changed = moved(found, epoch, 2 * epoch)
    assert below(changed, "backbone.layer1.0.weight") and below(changed, "backbone.layer1.1.mean")
    assert len(below(changed, "heads.simulated_v1")) == len(below(found[0]["model"], "heads.simulated_v1"))


def test_statistics_of_frozen_layers_move_unless_they_are_frozen_too(tiny, states, tmp_path):
    found = states(tiny(**SHORT | {"epochs": 1}, hooks=(FreezeConfig(parameters=("backbone",)),)), tmp_path)
    changed = below(moved(found, 0, max(found)), "backbone")
    assert changed and all(".mean_" in name or ".variance_" in name for name in changed)


def test_of_two_hooks_the_one_that_freezes_longer_prevails(tiny, states, tmp_path):
    longer, shorter = (
        FreezeConfig(parameters=("backbone.layer1.0",), until="2ep"),
        FreezeConfig(parameters=("backbone",), until="1ep"),
    )
    for number, hooks in enumerate(((longer, shorter), (shorter, longer))):
        found = states(tiny(**SHORT, hooks=hooks), tmp_path / str(number))
        epoch = max(found) // 3
        weights = [name for name in found[0]["model"] if name.endswith(".0.weight") and name.startswith("backbone")]
        assert weights == ["backbone.layer1.0.weight", "backbone.layer2.0.weight"]
        assert not set(weights) & moved(found, 0, epoch)
        assert set(weights) & moved(found, epoch, 2 * epoch) == {weights[1]}
        assert set(weights) <= moved(found, 2 * epoch, 3 * epoch)


def test_tasks_that_have_nothing_left_to_learn_are_passed_over(tiny, tmp_path):
    objectives = (CrossEntropyConfig(), QuasiPoissonConfig(), RdmMatchConfig(weight=1.0))
    held = tiny(epochs=1, monitor=MonitorConfig(), hooks=(FreezeConfig(parameters=("backbone", "heads.simulated_v1")),))
    tasks = zip(held.model.tasks, objectives, strict=True)
    held = held.vary("x", model={"tasks": tuple(task.replace(objective=objective) for task, objective in tasks)})
    result = run(held, out=tmp_path)
    assert {"loss", "weight"} <= set(result.scores[result.scores.task == "simulated_rdm"].metric)
    assert all(parameter.requires_grad for parameter in result.model.parameters()), "the model is as others expect it"


def test_the_model_is_given_back_trainable(tiny, tmp_path):
    state = begun(tiny(hooks=(FreezeConfig(parameters=("backbone",)),)), tmp_path)
    state.hooks[0].epoch_start(1)
    assert not any(parameter.requires_grad for parameter in state.model.backbone.parameters())
    state.hooks[0].close()
    assert all(parameter.requires_grad for parameter in state.model.backbone.parameters())


def test_what_the_models_own_config_froze_is_not_thawed(tiny, tmp_path):
    held = tiny(hooks=(FreezeConfig(parameters=("backbone",), until="1ep"),))
    state = begun(held, tmp_path, lambda model: model.backbone.layer1.requires_grad_(False))
    state.hooks[0].epoch_start(1)
    state.hooks[0].epoch_end(1)
    assert not any(parameter.requires_grad for parameter in state.model.backbone.layer1.parameters())
    assert all(parameter.requires_grad for parameter in state.model.backbone.layer2.parameters())
    held = tiny(hooks=(FreezeConfig(parameters=("backbone.layer1",)),))
    with pytest.raises(TrainingError, match=r"freeze: backbone.layer1 chooses only parameters that the model's own"):
        begun(held, tmp_path, lambda model: model.backbone.layer1.requires_grad_(False))


@pytest.mark.parametrize(
    ("config", "kind", "text"),
    [
        (FreezeConfig(parameters=("backbone.layer9",)), ModelError, "freeze: nothing in the model fits .*Did you mean"),
        (FreezeConfig(parameters=("*.mean_digits",)), ModelError, r"freeze: '\*.mean_digits' fits no parameter"),
        (FreezeConfig(parameters=("backbone",), until="3st"), TrainingError, "until: '3st' is 0 epochs and 3 steps"),
        (FreezeConfig(parameters=("heads",), batch_norm=True), TrainingError, "there is no batch norm in heads"),
        (FreezeBatchNormConfig(modules=("heads",)), ModelError, "freeze_batch_norm: no batch norm of the model fits"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, kind, text, tiny, tmp_path):
    with pytest.raises(kind, match=text):
        begun(tiny(hooks=(config,)), tmp_path)


@pytest.mark.parametrize("norms", ["per_task", "shared"])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norms_keep_their_statistics_from_an_epoch_on(norms, affine, tiny, states, tmp_path):
    hook = FreezeBatchNormConfig(from_epoch=2, affine=affine)
    found = states(tiny(model={"batch_norm": norms}, **SHORT | {"epochs": 2}, hooks=(hook,)), tmp_path)
    epoch = max(found) // 2
    kept = {n for n in found[0]["model"] if n.startswith("backbone") and n.rpartition(".")[2] not in ("weight", "bias")}
    gains = {f"backbone.layer{layer}.1.{name}" for layer in (1, 2) for name in ("weight", "bias")}
    assert len(kept) == (12 if norms == "per_task" else 6)
    first, second = moved(found, 0, epoch), moved(found, epoch, 2 * epoch)
    assert kept - {n for n in kept if "layer2" in n and "digits" not in n and norms == "per_task"} <= first
    assert not kept & second
    assert (gains & second) == (set() if affine else gains)
    assert {"backbone.layer1.0.weight", "backbone.layer2.0.weight"} <= second


def test_frozen_norms_normalise_by_their_statistics_in_training(tiny, tmp_path):
    state = begun(tiny(hooks=(FreezeBatchNormConfig(),)), tmp_path)
    images = torch.rand(7, 1, 12, 12)
    state.model.train()
    trained = state.model.features(images, "digits", ["layer2"])["layer2"]
    state.hooks[0].epoch_start(1)
    state.model.train()
    frozen = state.model.features(images, "digits", ["layer2"])["layer2"]
    evaluated = state.model.eval().features(images, "digits", ["layer2"])["layer2"]
    assert torch.equal(frozen, evaluated) and not torch.allclose(frozen, trained)
    state.hooks[0].close()
    again = state.model.train().features(images, "digits", ["layer2"])["layer2"]
    assert torch.equal(again, trained), "by the batch, as before"
