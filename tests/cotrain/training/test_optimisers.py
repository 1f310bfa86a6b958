"""Weight decay reaches layers alone, and parameters with a rate of their own are those that patterns choose."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cotrain import build
from cotrain.errors import ConfigError, ModelError, TrainingError
from cotrain.models import GaussianReadoutConfig
from cotrain.training import (
    AdamConfig,
    AdamWConfig,
    ParameterGroupConfig,
    SgdConfig,
    Timeline,
    parameter_groups,
)

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
        build(AdamConfig(), module).step()


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
        (AdamConfig, {"lr": 0.0}, "lr"),
        (AdamConfig, {"betas": (-0.1, 0.9)}, "betas"),
        (ParameterGroupConfig, {"parameters": ()}, "parameters"),
        (ParameterGroupConfig, {"parameters": ("*",), "lr_factor": 0.0}, "lr_factor"),
        (ParameterGroupConfig, {"parameters": ("*",), "weight_decay": -1.0}, "weight_decay"),
    ],
)
def test_senseless_numbers_are_refused(config, fields, name):
    with pytest.raises(ConfigError, match=name):
        config(**fields)


def test_adam_adds_weight_decay_to_the_gradient():
    """Against Kingma & Ba's algorithm 1, written out."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    optimiser = build(AdamConfig(lr=0.05, betas=(0.8, 0.95), weight_decay=0.3), model)
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    first, second = ({name: torch.zeros_like(p) for name, p in values.items()} for _ in range(2))
    images = torch.randn(20, 3, dtype=torch.float64)
    for n in range(1, 8):
        optimiser.zero_grad()
        model(images).pow(2).mean().backward()
        for name, p in model.named_parameters():
            gradient = p.grad + (0.3 * values[name] if name == "weight" else 0)
            first[name] = 0.8 * first[name] + 0.2 * gradient
            second[name] = 0.95 * second[name] + 0.05 * gradient**2
            size = (second[name] / (1 - 0.95**n)).sqrt() + 1e-8
            values[name] = values[name] - 0.05 * first[name] / (1 - 0.8**n) / size
        optimiser.step()
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), values[name], rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("config", [SgdConfig(), AdamConfig(weight_decay=0.1), AdamWConfig()])
def test_without_groups_there_are_two_and_keys_are_as_before(config, models):
    optimiser = build(config, models[0])
    assert [len(group["params"]) > 0 for group in optimiser.param_groups] == [True, True]
    assert [group["weight_decay"] for group in optimiser.param_groups] == [config.weight_decay, 0.0]
    assert {group["lr"] for group in optimiser.param_groups} == {config.lr}
    assert [group["fused"] for group in optimiser.param_groups] == [None, None], "on the CPU torch chooses"
    if not isinstance(config, AdamConfig):
        assert "groups" not in config.identity()


GROUPS = (
    ParameterGroupConfig(parameters=("backbone.layer1",), lr_factor=0.1),
    ParameterGroupConfig(parameters=("backbone", "heads.digits.linear.weight"), lr_factor=0.5, weight_decay=0.0),
    ParameterGroupConfig(parameters=("objectives.*", "*.readouts.*2.weight"), weight_decay=0.7),
)


def expected_of(name: str) -> tuple[float, float]:
    """(factor of the learning rate, weight decay) of a parameter of the tiny model by GROUPS."""
    decay = 0.3 if name in LAYERS else 0.0
    if name.startswith("backbone.layer1."):
        return 0.1, decay
    if name.startswith("backbone.") or name == "heads.digits.linear.weight":
        return 0.5, 0.0
    if name == "heads.simulated_v1.readouts.simulated2.weight":
        return 1.0, 0.7
    return 1.0, decay


@pytest.mark.parametrize(
    "config", [SgdConfig(lr=0.2, groups=GROUPS), AdamConfig(lr=0.2, groups=GROUPS), AdamWConfig(lr=0.2, groups=GROUPS)]
)
def test_a_parameter_takes_the_first_group_that_fits(config, models):
    names = {parameter: name for name, parameter in models[0].named_parameters()}
    optimiser = build(config.replace(weight_decay=0.3), models[0])
    found = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (pytest.approx(group["lr"] / 0.2), group["weight_decay"])
    assert found == {name: expected_of(name) for name in names.values()}
    assert all(group["params"] for group in optimiser.param_groups)


def test_frozen_parameters_are_in_no_group_of_their_own_either():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    held = parameter_groups(model, 0.1, lr=1.0, groups=(ParameterGroupConfig(parameters=("0",), lr_factor=2.0),))
    assert [group["params"] for group in held] == [[model[1].weight], [model[1].bias], [model[0].bias]]
    assert held[2]["lr"] == 2.0
    with pytest.raises(
        TrainingError, match=r"groups: all parameters that fit '0\.w\*' are frozen, such as '0\.weight'"
    ):
        parameter_groups(model, 0.1, lr=1.0, groups=(ParameterGroupConfig(parameters=("0.w*",)),))


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ([("backbon",)], r"groups: nothing in the model fits 'backbon'.*Did you mean 'backbone'"),
        (
            [("backbone", "heads.digit.*")],
            r"nothing in the model fits 'heads.digit.\*'.*Did you mean 'heads.digits'",
        ),
        (
            [("*",), ("heads",)],
            r"groups: earlier groups took all that fits 'heads', such as 'heads\..*narrower patterns",
        ),
        ([("backbone.layer1", "backbone.layer2"), ("backbone.*",)], r"earlier groups took all that fits 'backbone.\*'"),
        ([("*.running_mean",)], r"groups: nothing in the model fits '\*.running_mean'"),
    ],
)
def test_a_pattern_that_chooses_nothing_is_refused(patterns, text, models):
    groups = tuple(ParameterGroupConfig(parameters=held) for held in patterns)
    with pytest.raises((ModelError, TrainingError), match=text):
        build(SgdConfig(groups=groups), models[0])


def test_a_weight_decay_that_nothing_obeys_is_refused(models):
    groups = (ParameterGroupConfig(parameters=("objectives", "*.bias"), weight_decay=0.1),)
    with pytest.raises(TrainingError, match=r"weight_decay=0.1 has no effect on objectives, \*.bias.*leave it out"):
        build(AdamWConfig(groups=groups), models[0])
    build(AdamWConfig(groups=(groups[0].replace(weight_decay=0.0),)), models[0])


def test_a_factor_needs_the_rate_that_it_is_of(models):
    groups = (ParameterGroupConfig(parameters=("heads",), lr_factor=0.5),)
    with pytest.raises(TrainingError, match="lr_factor needs the learning rate; give parameter_groups its `lr`"):
        parameter_groups(models[0], 0.1, groups=groups)


def test_a_group_follows_the_schedule_at_its_own_rate(digits, tmp_path, states):
    """Each group's rate at the last step is its own factor times that of the schedule."""
    groups = (ParameterGroupConfig(parameters=("backbone",), lr_factor=0.25),)
    experiment = digits(optimiser=SgdConfig(lr=0.2, groups=groups), epochs=1)
    held = states(experiment, tmp_path)
    steps = max(held)
    factor = build(experiment.trainer.schedule, Timeline(1, steps, 128)).factor(steps - 1)
    rates = [group["lr"] for group in held[steps]["optimiser"]["param_groups"]]
    assert rates == pytest.approx([0.2 * factor, 0.2 * factor, 0.05 * factor, 0.05 * factor])


def test_a_factor_of_the_rate_is_a_smaller_step_of_sgd(models):
    before = {name: p.detach().clone() for name, p in models[0].named_parameters()}
    groups = (ParameterGroupConfig(parameters=("backbone",), lr_factor=0.125),)
    optimiser = build(SgdConfig(lr=0.5, momentum=0.0, weight_decay=0.0, groups=groups), models[0])
    for p in models[0].parameters():
        p.grad = torch.ones_like(p)
    optimiser.step()
    for name, p in models[0].named_parameters():
        step = 0.0625 if name.startswith("backbone.") else 0.5
        torch.testing.assert_close(p.detach(), before[name] - step, msg=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [SgdConfig(weight_decay=0.1), AdamConfig(weight_decay=0.1), AdamWConfig()])
def test_on_a_gpu_one_kernel_makes_the_step(config):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    other = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)).cuda()
    other.load_state_dict(model.state_dict())
    optimisers = build(config, model), build(config, other)
    assert [group["fused"] for optimiser in optimisers for group in optimiser.param_groups] == [None, None, True, True]
    for _ in range(3):
        for optimiser, held in zip(optimisers, (model, other), strict=True):
            for p in held.parameters():
                p.grad = p.detach() * 0.3 + 0.1
            optimiser.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach().cpu(), rtol=1e-5, atol=1e-6)
