"""Counts: the likelihoods are SciPy's, their parameters find the truth, and nothing runs away."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.errors import ConfigError, ModelError
from cotrain.losses import (
    NegativeBinomialConfig,
    PoissonConfig,
    ZeroInflatedGammaConfig,
    negative_binomial,
    poisson,
)
from cotrain.tasks import SessionInfo, TaskInfo
from cotrain.training import AdamWConfig, adamw

FEW = settings(max_examples=15, deadline=None)
SEEDS = st.integers(0, 10_000)
BUILDERS = {"poisson": (poisson, PoissonConfig), "negative_binomial": (negative_binomial, NegativeBinomialConfig)}


def task(lowest=0.0, **neurons):
    held = {name: SessionInfo(number, (1.0,) * number, lowest, {}) for name, number in neurons.items()}
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), (), held)


def binomial(values=None, neurons=4, **config):
    held = negative_binomial(task(a=neurons), NegativeBinomialConfig(**config))
    if values is not None:
        with torch.no_grad():
            held.sessions["a"].log_dispersion.copy_(torch.as_tensor(values).log())
    return held


def pair(seed=0, images=7, neurons=4):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.gamma(1, 4, (images, neurons)) + 1e-3), torch.tensor(
        rng.poisson(3.0, (images, neurons)) * 1.0
    )


@FEW
@given(seed=SEEDS)
def test_the_poisson_loss_is_scipys_log_probability(seed):
    output, target = pair(seed)
    found = poisson(task(a=4), PoissonConfig()).loss(output, target, "a").item()
    assert found == pytest.approx(-scipy.stats.poisson.logpmf(target, output).mean(), rel=1e-9)


@FEW
@given(seed=SEEDS, log_dispersion=st.floats(-8, 8))
@pytest.mark.parametrize("dispersion", ["neuron", "session"])
def test_the_negative_binomial_loss_is_scipys_log_probability(seed, log_dispersion, dispersion):
    output, target = pair(seed)
    a = np.exp(np.float64(log_dispersion) + np.arange(4) * 0.3 * (dispersion == "neuron"))
    held = binomial(dispersion=dispersion).double()
    with torch.no_grad():
        held.sessions["a"].log_dispersion.copy_(torch.tensor(np.log(a if dispersion == "neuron" else a[0])))
    expected = -scipy.stats.nbinom.logpmf(target, 1 / a, 1 / (1 + a * output.numpy())).mean()
    assert held.loss(output, target, "a").item() == pytest.approx(expected, rel=1e-6)


def test_a_small_dispersion_is_poissons_likelihood():
    output, target = pair()
    expected = poisson(task(a=4), PoissonConfig()).loss(output, target).item()
    assert binomial(0.0).loss(output, target, "a").item() == pytest.approx(expected, abs=1e-3)
    assert binomial(1e-3).loss(output, target, "a").item() == pytest.approx(expected, abs=3e-2)


def test_the_gradient_is_that_of_poisson_divided_by_one_plus_dispersion_times_mean():
    output, target = pair()
    output.requires_grad_()
    a = torch.tensor([0.1, 0.5, 1.0, 8.0])
    binomial(a).loss(output, target, "a").backward()
    mean = output.detach()
    torch.testing.assert_close(output.grad, (1 - target / mean) / (1 + a * mean) / target.numel(), rtol=1e-6, atol=1e-9)


def test_gradients_are_those_of_finite_differences():
    output, target = pair()
    held = binomial(torch.tensor([0.1, 0.5, 1.0, 8.0])).double()
    parameter = held.sessions["a"].log_dispersion.detach().clone().requires_grad_()

    def loss(prediction, logarithm):
        return torch.func.functional_call(held, {"sessions.a.log_dispersion": logarithm}, (prediction, target, "a"))

    assert torch.autograd.gradcheck(loss, (output.requires_grad_(), parameter))


@pytest.mark.parametrize("logarithm", [-1e4, -10.0, 0.0, 10.0, 1e4])  # r = 1 / dispersion huge, and next to none
@pytest.mark.parametrize("mean", [0.0, 1e-38, 1e-9, 1.0, 1e6])
@pytest.mark.parametrize("count", [0.0, 0.25, 1.0, 1e5])
def test_value_and_gradients_are_finite_for_any_prediction_count_and_dispersion(logarithm, mean, count):
    held = binomial(neurons=1)
    with torch.no_grad():
        held.sessions["a"].log_dispersion.fill_(logarithm)
    output = torch.tensor([[mean]], requires_grad=True)
    loss = held.loss(output, torch.tensor([[count]]), "a")
    loss.backward()
    assert loss.isfinite() and loss >= -1e-4 if count % 1 == 0 else loss.isfinite()
    assert output.grad.isfinite().all() and held.sessions["a"].log_dispersion.grad.isfinite().all()
    if mean < count:
        assert output.grad.item() <= 0


def drawn(dispersions, mean=6.0, images=8_000):
    rng = np.random.default_rng(0)
    counts = np.stack([rng.negative_binomial(1 / a, 1 / (1 + a * mean), images) for a in dispersions], 1)
    return torch.full(counts.shape, mean), torch.tensor(counts, dtype=torch.float32)


def learnt(held, output, target, session="a", steps=80):
    optimiser = torch.optim.Rprop(held.parameters(), lr=0.1, step_sizes=(1e-5, 1.0))
    for _ in range(steps):
        optimiser.zero_grad()
        held(output, target, session).backward()
        optimiser.step()
    return held.sessions[session].log_dispersion.detach().exp()


def test_each_neuron_finds_its_own_dispersion_and_the_score_is_their_median():
    output, target = drawn([0.05, 0.4, 2.0])
    held = binomial(neurons=3)
    found = learnt(held, output, target)
    torch.testing.assert_close(found, torch.tensor([0.05, 0.4, 2.0]), rtol=0.2, atol=0)
    assert dict(held.parameters_as_scores()) == {"dispersion": pytest.approx(found[1].item())}


def test_sessions_have_parameters_of_their_own():
    held = negative_binomial(task(a=2, b=3), NegativeBinomialConfig())
    assert {name: tuple(value.shape) for name, value in held.state_dict().items()} == {
        "sessions.a.log_dispersion": (2,),
        "sessions.b.log_dispersion": (3,),
    }
    learnt(held, *drawn([0.4, 0.4], images=50), steps=2)
    assert not held.sessions["b"].log_dispersion.any() and held.sessions["b"].log_dispersion.grad is None
    shared = negative_binomial(task(a=2, b=3), NegativeBinomialConfig(dispersion="session"))
    assert {tuple(value.shape) for value in shared.state_dict().values()} == {()}
    found = learnt(shared, *drawn([0.4, 0.4]))
    assert found.item() == pytest.approx(0.4, rel=0.1)


def test_a_session_without_a_name_and_an_unknown_one():
    nameless = negative_binomial(
        TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), (), {"": SessionInfo(4, (1.0,) * 4, 0.0, {})}),
        NegativeBinomialConfig(),
    )
    assert nameless.loss(*pair()).isfinite()
    with pytest.raises(ModelError, match=r"none for session 'aa'; pass the session .*Did you mean 'a'"):
        binomial().loss(*pair(), "aa")


def test_counts_without_extra_variance_leave_the_dispersion_within_its_bounds_and_it_finds_back():
    quiet = torch.full((200, 1), 4.0)
    held = binomial(neurons=1)
    optimiser = torch.optim.Adam(held.parameters(), lr=0.5)
    for _ in range(300):
        optimiser.zero_grad()
        held(quiet, quiet, "a").backward()
        optimiser.step()
    assert -20 < held.sessions["a"].log_dispersion.item() < -5
    assert dict(held.parameters_as_scores())["dispersion"] >= math.exp(-10) * 0.999
    assert learnt(held, *drawn([0.4])).item() == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("name", BUILDERS)
def test_unknown_responses_are_left_out(name):
    builder, config = BUILDERS[name]
    held = builder(task(a=4), config())
    output, target = pair()
    unknown = torch.tensor(np.random.default_rng(1).random((7,)) < 0.4)
    masked = torch.where(unknown[:, None], torch.nan, target)
    assert held.loss(output, masked, "a").item() == pytest.approx(
        held.loss(output[~unknown], target[~unknown], "a").item()
    )
    output.requires_grad_()
    held.loss(output, masked, "a").backward()
    assert output.grad.isfinite().all() and not output.grad[unknown].any()


@pytest.mark.parametrize("name", BUILDERS)
def test_bfloat16_predictions_give_float32_losses(name):
    builder, config = BUILDERS[name]
    held = builder(task(a=4), config())
    output, target = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = held(output.bfloat16(), target.float(), "a")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(held(output.bfloat16().double(), target, "a").item(), rel=1e-5)


@pytest.mark.parametrize("config", [PoissonConfig, NegativeBinomialConfig, ZeroInflatedGammaConfig])
def test_a_learned_weight_is_refused_with_the_reason(config):
    text = "weight.*cannot be 'learned'.*is no likelihood any more.*grow without bound.*cotrain.losses.quasi_poisson"
    with pytest.raises(ConfigError, match=text):
        config(weight="learned")
    for wrong in (0.0, -1.0, math.inf, "1.0"):
        with pytest.raises(ConfigError, match="weight"):
            config(weight=wrong)
    assert config().weight == 1.0 and config(weight=0.25).weight == 0.25


@pytest.mark.parametrize("name", BUILDERS)
def test_responses_that_are_no_counts_are_refused(name):
    builder, config = BUILDERS[name]
    with pytest.raises(ModelError, match=r"needs spike counts, .* as low as {'a': -0.3}"):
        builder(task(-0.3, a=4), config())
    with pytest.raises(ModelError, match=f"cotrain.losses.{name} is for neural tasks"):
        builder(TaskInfo("rdm", (1, 8, 8), (0.5,), (0.2,)), config())
    held = builder(task(a=4), config(weight=0.5))
    assert held.needs_positive_output and held.weight() == 0.5
    output, target = pair()
    assert held(output, target, "a").item() == pytest.approx(0.5 * held.loss(output, target, "a").item())


def test_parameters_do_not_decay():
    model = torch.nn.Module()
    model.objectives = torch.nn.ModuleDict({"v1": binomial()})
    decays, stays = adamw(model, AdamWConfig(weight_decay=0.1)).param_groups
    assert not decays["params"] and [len(p) for p in stays["params"]] == [4] and stays["weight_decay"] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_evaluation_on_the_cpu_of_a_model_on_the_gpu():
    output, target = pair()
    assert binomial().cuda().loss(output, target, "a").item() == pytest.approx(
        binomial().loss(output, target, "a").item()
    )
