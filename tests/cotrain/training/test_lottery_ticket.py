"""Pruning in rounds: shares, masks that hold, rewinding, and which epoch may be best."""

from __future__ import annotations

import pytest
import torch

from cotrain import build, run
from cotrain.errors import ModelError, TrainingError
from cotrain.training import AdamWConfig, ConstantConfig, MonitorConfig, RunFolder, SgdConfig
from cotrain.training._state import TrainingState
from cotrain.training.hooks import LotteryTicketConfig

SHORT = {"epochs": 3, "monitor": MonitorConfig(), "checkpoint_steps": 1, "schedule": ConstantConfig()}
TICKET = LotteryTicketConfig(rounds=2, epochs_a_round=1, pruned=0.64, rewind="2st")
WEIGHTS = ("backbone.layer1.0.weight", "backbone.layer2.0.weight")


def begun(experiment, folder):
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).train()
    return TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))


@pytest.fixture(scope="module", params=[AdamWConfig(lr=0.02), SgdConfig(lr=0.02)], ids=["adamw", "sgd"])
def pruned(request, tiny, states, tmp_path_factory):
    """(checkpoints, steps an epoch) of a run of two prunings, each of 40 % of what is left."""
    held = tiny(**SHORT, hooks=(TICKET,), optimiser=request.param)
    found = states(held, tmp_path_factory.mktemp("pruned"))
    return found, max(found) // 3


def zeros(state):
    return sum(int((state["model"][name] == 0).sum()) for name in WEIGHTS)


def test_shares_grow_by_rounds_and_pruned_weights_stay_zero(pruned):
    found, epoch = pruned
    size = sum(found[0]["model"][name].numel() for name in WEIGHTS)
    for step, state in found.items():
        rounds = max(0, (step - 1) // epoch)
        expected = size - round(size * 0.6**rounds)
        assert zeros(state) == expected, step
    shown = {epoch: value for epoch, _, _, _, metric, value in found[max(found)]["history"] if metric == "sparsity"}
    assert shown == {1: 0.0, 2: pytest.approx(0.4, abs=1 / size), 3: pytest.approx(0.64, abs=1 / size)}


def test_neither_momentum_nor_weight_decay_reaches_pruned_weights(pruned):
    found, epoch = pruned
    state = found[2 * epoch + 3]
    masks = list(state["hooks"][0]["masks"].values())
    held = [value for held in state["optimiser"]["state"].values() for value in held.values()]
    for mask in masks:
        moments = [value for value in held if getattr(value, "shape", None) == mask.shape]
        assert moments and all(bool((value[~mask] == 0).all()) for value in moments)
        assert all(bool((value[mask] != 0).any()) for value in moments)


def test_the_smallest_weights_go_and_the_rest_is_rewound(pruned):
    """In one step after the pruning, weights lie near the early ones, far from those before it."""
    found, epoch = pruned
    early, trained, after = (found[step]["model"] for step in (2, epoch, epoch + 1))
    size = torch.cat([trained[name].abs().flatten() for name in WEIGHTS])
    mask = torch.cat([found[epoch + 1]["hooks"][0]["masks"][name].flatten() for name in WEIGHTS])
    assert float(size[~mask].max()) <= float(size[mask].min())
    assert all(torch.equal(found[epoch + 1]["hooks"][0]["early"][name], early[name]) for name in early)
    name = "heads.digits.linear.weight"
    assert (after[name] - early[name]).norm() < 0.5 * (after[name] - trained[name]).norm()


def test_pruning_rewinds_everything_and_the_optimiser_forgets(tiny, tmp_path):
    config = TICKET.replace(rewind="0st")
    state = begun(tiny(**SHORT, hooks=(config,)), tmp_path)
    first = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    state.hooks[0].epoch_start(1)
    seen = set()
    for batch in state.loader:
        state.micro_step(batch)
        seen.add((batch.task, batch.session))
        if batch.step_ends:
            state.optimiser_step(seen)
    state.monitor.best, state.monitor.best_epoch = 0.9, 1
    trained = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    assert state.optimiser.state
    state.hooks[0].epoch_start(2)
    masks = state.hooks[0].masks
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, first[name] * masks[name] if name in masks else first[name]), name
        assert name not in masks or not torch.equal(trained[name], first[name])
    assert not state.optimiser.state and state.monitor.best_epoch == 0
    assert state.monitor.best == float("-inf"), "the next epoch is better than none"


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_of_all_layers_together_or_of_each(scope, tiny, tmp_path):
    config = TICKET.replace(scope=scope, rewind="none", pruned=0.5, rounds=1)
    state = begun(tiny(**SHORT, hooks=(config,)), tmp_path)
    weights = dict(state.model.named_parameters())
    with torch.no_grad():
        weights[WEIGHTS[0]].add_(100)
    held = {name: weights[name].detach().clone() for name in weights}
    state.hooks[0].epoch_start(2)
    counts = [int((weights[name] == 0).sum()) for name in WEIGHTS]
    sizes = [weights[name].numel() for name in WEIGHTS]
    if scope == "layer":
        assert counts == [round(size / 2) for size in sizes]
    else:
        assert counts == [0, sum(sizes) // 2]
    for name, before in held.items():
        assert torch.equal(weights[name][weights[name] != 0], before[weights[name] != 0]), "no rewinding"


def test_the_best_epoch_is_one_since_the_last_pruning(tiny, tmp_path):
    held = tiny(epochs=3, monitor=MonitorConfig(tolerance=10.0), hooks=(TICKET,))  # only a first epoch is ever better
    result = run(held, out=tmp_path)
    assert result.best_epoch == 3
    weights = torch.cat([dict(result.model.named_parameters())[name].detach().flatten() for name in WEIGHTS])
    assert float((weights == 0).float().mean()) == pytest.approx(0.64, abs=1 / len(weights))


@pytest.mark.parametrize(
    ("settings", "changes", "kind", "text"),
    [
        ({"rounds": 3}, {}, TrainingError, "3 rounds of 1 epochs, .*, need 4 epochs; the trainer has 3"),
        ({}, {"monitor": MonitorConfig(patience=3)}, TrainingError, "monitor.patience may end training in one of them"),
        ({"rewind": "1ep"}, {}, TrainingError, "rewind='1ep' is not within the first round"),
        ({"parameters": ("*.bias",)}, {}, TrainingError, r"\*.bias chooses no weights that learn"),
        ({"parameters": ("layer1",)}, {}, ModelError, "lottery_ticket: nothing in the model fits 'layer1'"),
    ],
)
def test_what_cannot_be_pruned_is_refused(settings, changes, kind, text, tiny, tmp_path):
    with pytest.raises(kind, match=text):
        begun(tiny(**SHORT | changes, hooks=(TICKET.replace(**settings),)), tmp_path)
