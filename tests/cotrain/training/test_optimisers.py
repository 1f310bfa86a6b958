"""Weight decay reaches layers alone; rates follow their formulas at every step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cotrain import build
from cotrain.errors import ConfigError
from cotrain.models import GaussianReadoutConfig
from cotrain.training import AdamWConfig, ConstantConfig, CosineConfig, SgdConfig, parameter_groups

# the names of the tiny model's parameters that may decay
LAYERS = {
    "backbone.layer1.0.weight",
    "backbone.layer2.0.weight",
    "heads.digits.linear.weight",
    "heads.simulated_v1.readouts.simulated1.weight",
    "heads.simulated_v1.readouts.simulated2.weight",
}


@pytest.fixture(scope="module")
def models(tiny):
    """The tiny model with each sort of readout."""
    data, found = build(tiny().data, seed=0), []
    for covariance in ("isotropic", "uncorrelated", "full"):
        config = tiny().model
        head = GaussianReadoutConfig(output="elu", covariance=covariance)
        tasks = tuple(t.replace(head=head) if t.name == "simulated_v1" else t for t in config.tasks)
        found.append(build(config.replace(tasks=tasks), data.info, seed=0))
    return found


def test_every_parameter_stands_in_one_group(models):
    for model in models:
        decays, stays = parameter_groups(model, 0.3)
        names = {parameter: name for name, parameter in model.named_parameters()}
        assert sorted(names[p] for p in decays["params"] + stays["params"]) == sorted(names.values())
        assert {names[p] for p in decays["params"]} == LAYERS
        assert (decays["weight_decay"], stays["weight_decay"]) == (0.3, 0.0)
        rest = {names[p] for p in stays["params"]}
        assert {f"objectives.{task}.log_variance" for task in model.taps} <= rest
        assert {"heads.simulated_v1.readouts.simulated1.mu", "heads.simulated_v1.readouts.simulated1.sigma"} <= rest


def test_frozen_parameters_stand_in_no_group():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    decays, stays = parameter_groups(model, 0.1)
    assert [*decays["params"], *stays["params"]] == [model[1].weight, model[1].bias]


def test_parameters_of_objectives_do_not_decay_whatever_their_shape():
    model = nn.ModuleDict({"objectives": nn.Linear(2, 2), "heads": nn.Linear(3, 3)})
    assert [[tuple(p.shape) for p in group["params"]] for group in parameter_groups(model, 0.1)] == [
        [(3, 3)],
        [(2, 2), (2,), (3,)],
    ]


def test_a_model_of_layers_or_norms_alone_is_taken():
    for module in (nn.Linear(2, 2, bias=False), nn.BatchNorm2d(3)):
        sizes = [len(group["params"]) for group in parameter_groups(module, 0.1)]
        assert sorted(sizes) in ([0, 1], [0, 2])
        build(SgdConfig(), module).step()
        build(AdamWConfig(), module).step()


@pytest.mark.parametrize("config", [SgdConfig(lr=0.5, weight_decay=0.1), AdamWConfig(lr=0.5, weight_decay=0.1)])
def test_without_a_gradient_layers_shrink_and_nothing_else_moves(config, models):
    model = models[0]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = build(config, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        expected = before[name] * (0.95 if name in LAYERS else 1.0)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


def test_the_optimisers_are_those_of_torch_with_the_config_s_numbers():
    model = nn.Linear(3, 2)
    sgd = build(SgdConfig(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.2), model)
    assert type(sgd) is torch.optim.SGD
    assert [(g["lr"], g["momentum"], g["nesterov"], g["weight_decay"]) for g in sgd.param_groups] == [
        (0.3, 0.8, True, 0.2),
        (0.3, 0.8, True, 0.0),
    ]
    adamw = build(AdamWConfig(lr=0.3, betas=(0.5, 0.6), weight_decay=0.2), model)
    assert type(adamw) is torch.optim.AdamW
    assert [(g["lr"], g["betas"], g["weight_decay"]) for g in adamw.param_groups] == [
        (0.3, (0.5, 0.6), 0.2),
        (0.3, (0.5, 0.6), 0.0),
    ]


@pytest.mark.parametrize(
    ("config", "fields", "name"),
    [
        (SgdConfig, {"lr": 0.0}, "lr"),
        (SgdConfig, {"momentum": 1.0}, "momentum"),
        (AdamWConfig, {"betas": (0.9, 1.0)}, "betas"),
        (AdamWConfig, {"weight_decay": -1.0}, "weight_decay"),
        (CosineConfig, {"warm_up": 1.0}, "warm_up"),
        (CosineConfig, {"floor": 1.1}, "floor"),
    ],
)
def test_senseless_numbers_are_refused(config, fields, name):
    with pytest.raises(ConfigError, match=name):
        config(**fields)


def test_the_constant_rate_stays():
    rate = build(ConstantConfig(), 10)
    assert [rate(step) for step in range(12)] == [1.0] * 12


def test_the_cosine_by_hand():
    rate = build(CosineConfig(warm_up=0.2, floor=0.1), 10)
    # two steps of warm-up on the line from 0 to the third, which has the full rate; then half a cosine over eight
    expected = [1 / 3, 2 / 3, *(0.1 + 0.45 * (1 + math.cos(math.pi * n / 8)) for n in range(8))]
    assert [rate(step) for step in range(10)] == pytest.approx(expected)
    assert rate(2) == 1.0 and rate(6) == pytest.approx(0.55)
    assert rate(10) == rate(11) == pytest.approx(0.1), "and no more after the last step"


def test_the_cosine_after_the_warm_up_is_that_of_torch():
    steps, warm_up = 40, 4
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    other = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - warm_up, eta_min=0.01)
    rate, expected = build(CosineConfig(), steps), []
    for _ in range(steps - warm_up):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        other.step()
    assert [rate(step) for step in range(warm_up, steps)] == pytest.approx(expected, rel=1e-6)


@given(
    steps=st.integers(1, 300),
    warm_up=st.floats(0, 1, exclude_max=True),
    floor=st.floats(0, 1),
)
def test_any_cosine_rises_to_the_full_rate_and_falls_to_the_floor(steps, warm_up, floor):
    rate = build(CosineConfig(warm_up=warm_up, floor=floor), steps)
    values = [rate(step) for step in range(steps)]
    top = round(warm_up * steps)
    assert all(0 < value <= 1 + 1e-12 for value in values[: top + 1]) and values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert all(floor - 1e-12 <= value for value in values[top:])
    if top < steps:
        assert values[top] == pytest.approx(1.0)
    assert values == [rate(step) for step in range(steps)], "it has no state"
