"""Heads that begin anew: as those of a new model, and nothing else is touched."""

from __future__ import annotations

import copy

import pytest
import torch

from cotrain import build
from cotrain.errors import ConfigError, ModelError, TrainingError
from cotrain.models import (
    AttentionReadoutConfig,
    FactorizedReadoutConfig,
    GaussianReadoutConfig,
    MultiTaskModel,
    PointPooledReadoutConfig,
)
from cotrain.seeds import derive_seed
from cotrain.training import RunFolder
from cotrain.training._state import TrainingState
from cotrain.training.hooks import ResetReadoutsConfig

READOUTS = (AttentionReadoutConfig, FactorizedReadoutConfig, GaussianReadoutConfig, PointPooledReadoutConfig)


def begun(experiment, folder, *, steps=2):
    """A training state after some optimiser steps."""
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).train()
    state = TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))
    seen = set()
    for batch in state.loader:
        state.micro_step(batch)
        seen.add((batch.task, batch.session))
        if batch.step_ends:
            state.optimiser_step(seen)
        if state.step == steps:
            return state
    raise AssertionError


@pytest.mark.parametrize("readout", READOUTS, ids=lambda cls: cls.__name__)
def test_a_fresh_head_is_that_of_a_freshly_built_model(readout, tiny):
    held = tiny()
    tasks = held.model.tasks
    held = held.vary("x", model={"tasks": (tasks[0], tasks[1].replace(head=readout(output="elu")), tasks[2])})
    info = build(held.data, seed=0).info
    model, before = build(held.model, info, seed=3), torch.get_rng_state()
    for task, head in model.heads.items():
        fresh = model.fresh_head(task, seed=derive_seed(3, "initialisation", "head", task))
        assert fresh is not head
        own, new = head.state_dict(), fresh.state_dict()
        assert list(own) == list(new) and all(torch.equal(own[name], new[name]) for name in own)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ModelError, match=r"no task 'digit'. Did you mean 'digits'"):
        model.fresh_head("digit", seed=0)
    assert isinstance(copy.deepcopy(model).fresh_head("digits", seed=0), type(model.heads["digits"]))


def test_a_model_that_was_not_told_how_heads_are_made_says_so(tiny):
    held = build(tiny().model, build(tiny().data, seed=0).info, seed=0)
    bare = MultiTaskModel(held.backbone, held.taps, dict(held.inputs), dict(held.heads), dict(held.objectives))
    with pytest.raises(ModelError, match="not told how the head of task 'digits' is made"):
        bare.fresh_head("digits", seed=0)


def test_heads_begin_anew_and_nothing_else_changes(tiny, tmp_path):
    state = begun(tiny(hooks=(ResetReadoutsConfig(tasks=("simulated_v1",), every=2),)), tmp_path)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    held = dict(state.optimiser.state)
    for epoch in (1, 2, 4):
        state.hooks[0].epoch_start(epoch)
        assert all(torch.equal(before[name], tensor) for name, tensor in state.model.state_dict().items())
    state.hooks[0].epoch_start(3)
    after = state.model.state_dict()
    parameters = dict(state.model.named_parameters())
    reset = {name for name in parameters if name.startswith("heads.simulated_v1.")}
    assert {name for name in after if not torch.equal(before[name], after[name])} <= reset
    wanted = state.model.fresh_head(
        "simulated_v1", seed=derive_seed(0, "initialisation", "reset", "simulated_v1", "", 3)
    )
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(after[f"heads.simulated_v1.{name}"], tensor)
        assert not torch.equal(before[f"heads.simulated_v1.{name}"], tensor)
    assert {n for n, p in parameters.items() if p in held and p not in state.optimiser.state} == reset
    assert all(state.optimiser.state[p] is held[p] for n, p in parameters.items() if n not in reset and p in held)


def test_a_bias_starts_from_the_mean_response_again(tiny, tmp_path):
    state = begun(tiny(hooks=(ResetReadoutsConfig(tasks=("simulated_v1",), after=0),)), tmp_path)
    state.hooks[0].epoch_start(1)
    info = build(tiny().data, seed=0).info.tasks["simulated_v1"]
    for name, session in info.sessions.items():
        part = state.model.heads["simulated_v1"].part(name)
        mean = torch.tensor(session.mean_response).clamp_min(1e-3)
        found = torch.where(part.bias < 0, part.bias.exp(), part.bias + 1)  # elu + 1
        torch.testing.assert_close(found, mean)


def test_of_some_sessions_only_their_own_parameters_begin_anew(tiny, tmp_path):
    hook = ResetReadoutsConfig(tasks=("simulated_v1",), sessions=("simulated2",), after=1)
    state = begun(tiny(hooks=(hook,)), tmp_path)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    state.hooks[0].epoch_start(3)
    state.hooks[0].epoch_start(2)
    changed = {name for name, tensor in state.model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed and all(name.startswith("heads.simulated_v1.readouts.simulated2.") for name in changed)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"tasks": ("v4",)}, "reset_readouts: there is no task 'v4'. Known: digits"),
        ({"tasks": ("simulated_rdm",)}, "the head of task 'simulated_rdm' has no weights"),
        ({"tasks": ("digits",), "sessions": ("a",)}, "the head of task 'digits' has no sessions"),
        ({"tasks": ("simulated_v1",), "sessions": ("simulated3",)}, "no session 'simulated3'. Did you mean"),
    ],
)
def test_what_there_is_not_is_refused(settings, text, tiny, tmp_path):
    with pytest.raises(TrainingError, match=text):
        begun(tiny(hooks=(ResetReadoutsConfig(every=1, **settings),)), tmp_path, steps=0)


@pytest.mark.parametrize("settings", [{}, {"every": 1, "after": 2}])
def test_it_is_said_when(settings):
    with pytest.raises(ConfigError, match="set either `every`"):
        ResetReadoutsConfig(tasks=("v1",), **settings)
