"""A learned weight finds the variance of its task, wherever it starts, and a fixed one stays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cotrain.errors import ConfigError
from cotrain.losses import (
    CrossEntropyConfig,
    GaussianConfig,
    LaplaceConfig,
    Objective,
    QuasiPoissonConfig,
    RdmMatchConfig,
    cross_entropy,
    gaussian,
    laplace,
    quasi_poisson,
    rdm_match,
)
from cotrain.tasks import SessionInfo, TaskInfo

LEARNED = {
    "cross_entropy": (cross_entropy, CrossEntropyConfig, "classification", 1.0),
    "gaussian": (gaussian, GaussianConfig, "neural", 0.5),
    "quasi_poisson": (quasi_poisson, QuasiPoissonConfig, "neural", 0.5),
    "rdm_match": (rdm_match, RdmMatchConfig, "rdm", 1.0),
}


class Constant(Objective):
    """Its loss is its output."""

    def loss(self, output, target, session=""):
        return output


def objective(name, weight="learned"):
    builder, config, kind, _ = LEARNED[name]
    sessions = {"": SessionInfo(1, (1.0,), 0.0, {})} if kind == "neural" else {}
    return builder(TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), ("cat", "dog"), sessions), config(weight=weight))


def settled(held, loss, *, start=0.0, steps=150):
    """log_variance after minimising over it alone, by the sign of its gradient."""
    with torch.no_grad():
        held.log_variance.fill_(start)
    optimiser = torch.optim.Rprop(held.parameters(), lr=0.1, step_sizes=(1e-4, 1.0))
    for _ in range(steps):
        optimiser.zero_grad()
        held.weighted(torch.as_tensor(loss)).backward()
        optimiser.step()
    return held.log_variance.item()


@pytest.mark.parametrize("name", LEARNED)
def test_the_term_is_that_of_a_likelihood(name):
    held, precision = objective(name), LEARNED[name][3]
    assert held.weight().item() == precision
    with torch.no_grad():
        held.log_variance.fill_(0.6)
    weight = precision * math.exp(-0.6)
    assert held.weight().item() == pytest.approx(weight)
    assert held.weighted(torch.tensor(2.5)).item() == pytest.approx(weight * 2.5 + 0.3, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(s=st.floats(-9, 9), loss=st.floats(1e-3, 1e3), weight=st.floats(1e-3, 1e3))
def test_weight_is_what_the_loss_is_multiplied_by(s, loss, weight):
    for held in (Constant("learned"), Constant(weight)):
        if held.fixed_weight is None:
            with torch.no_grad():
                held.log_variance.fill_(s)
        output = torch.tensor(loss, requires_grad=True)
        held(output, output.detach()).backward()
        assert output.grad.item() == pytest.approx(torch.as_tensor(held.weight()).item(), rel=1e-6)


def test_the_weight_of_squared_errors_finds_the_variance_of_the_noise():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noise = 0.5 * torch.randn(4000, 5)
    held = objective("gaussian")
    s = settled(held, held.loss(torch.zeros_like(noise), noise).item())
    assert math.exp(s) == pytest.approx(0.25, rel=0.03)
    assert held.weight().item() == pytest.approx(1 / (2 * 0.25), rel=0.03)


def noise_of(kind, images, neurons=5, scale=0.5):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(images)
        one = torch.distributions.Laplace(0.0, scale) if kind == "laplace" else torch.distributions.Normal(0.0, scale)
        return one.sample((images, neurons))


@pytest.mark.parametrize(("kind", "variance"), [("gaussian", 0.25), ("laplace", 0.5)])
@pytest.mark.parametrize("batch", [16, 64, 4000])
def test_the_learnt_variance_is_that_of_the_noise_for_batches_of_any_size(kind, variance, batch):
    # the predecessor, with sums instead of means, found 1000 times the variance for 1000 times the batch
    builder, config = {"gaussian": (gaussian, GaussianConfig), "laplace": (laplace, LaplaceConfig)}[kind]
    held = builder(
        TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), (), {"": SessionInfo(5, (1.0,) * 5, 0.0, {})}), config()
    )
    noise = noise_of(kind, 8000)
    optimiser = torch.optim.SGD(held.parameters(), lr=0.05)
    for step in range(300):
        part = noise[(step * batch + torch.arange(batch)) % len(noise)]
        optimiser.zero_grad()
        held(torch.zeros_like(part), part).backward()
        optimiser.step()
    assert dict(held.parameters_as_scores()) == {"variance": pytest.approx(variance, rel=0.12 if batch < 100 else 0.05)}


def test_each_weight_is_logged_as_what_it_stands_for():
    for name in LEARNED:
        held = objective(name)
        with torch.no_grad():
            held.log_variance.fill_(math.log(2.5))
        expected = "dispersion" if name == "quasi_poisson" else "variance"
        assert dict(held.parameters_as_scores()) == {expected: pytest.approx(2.5)}
        assert dict(objective(name, 0.3).parameters_as_scores()) == {}


@pytest.mark.parametrize(("spread", "dispersion"), [(1, 1.03), (3, 3.1)])
def test_the_weight_of_counts_finds_their_dispersion(spread, dispersion):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        counts = spread * torch.poisson(torch.full((20_000, 1), 10.0))  # variance = spread * mean
    held = objective("quasi_poisson")
    loss = held.loss(torch.full_like(counts, 10.0 * spread), counts).item()
    assert [math.exp(settled(held, loss, start=start)) for start in (-9.0, 0.0, 9.0)] == [
        pytest.approx(dispersion, rel=0.05)
    ] * 3


def test_a_raw_poisson_loss_would_run_away_and_the_deviance_does_not():
    counts = torch.poisson(torch.full((1000, 1), 10.0), generator=torch.Generator().manual_seed(0))
    mean = torch.full_like(counts, 10.0)
    raw = (mean - counts * mean.log()).mean()
    assert raw < -12
    runaway, held = Constant("learned"), objective("quasi_poisson")
    with torch.no_grad():
        runaway.log_variance.fill_(-8.0)
        held.log_variance.fill_(-8.0)
    runaway.weighted(raw).backward()
    held(mean, counts).backward()
    assert runaway.log_variance.grad > 0 > held.log_variance.grad


@settings(max_examples=20, deadline=None)
@given(loss=st.floats(1e-3, 1e3), name=st.sampled_from(sorted(LEARNED)))
def test_at_its_optimum_the_variance_is_the_loss_in_any_unit(loss, name):
    held, precision = objective(name), LEARNED[name][3]
    with torch.no_grad():
        held.log_variance.fill_(math.log(2 * precision * loss))
    held.weighted(torch.tensor(loss)).backward()
    assert held.log_variance.grad.item() == pytest.approx(0, abs=0.03)
    assert held.weight().item() == pytest.approx(1 / (2 * loss), rel=1e-5)


@pytest.mark.parametrize("loss", [0.0, 1e-12, 1e-6])
def test_a_task_that_is_learnt_perfectly_neither_runs_away_nor_is_lost(loss):
    held = objective("cross_entropy")
    s = settled(held, loss, start=-5.0)
    assert -10.5 < s < -9
    assert math.exp(settled(held, 0.5, start=s)) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("start", [-14.0, 14.0])
def test_a_weight_far_out_finds_back(start):
    assert math.exp(settled(objective("gaussian"), 1.0, start=start)) == pytest.approx(1.0, rel=0.05)


def test_a_huge_loss_leaves_a_small_weight_and_finite_numbers():
    held = objective("gaussian")
    s = settled(held, 1e7)
    assert 9 < s < 11
    assert 0 < held.weight().item() < 1e-4 and held.weighted(torch.tensor(1e7)).isfinite()


@pytest.mark.parametrize("name", LEARNED)
def test_a_fixed_weight_multiplies_and_has_no_parameter(name):
    held = objective(name, 0.3)
    assert held.weight() == 0.3 and not list(held.parameters()) and not held.state_dict()
    assert held.weighted(torch.tensor(2.0)).item() == pytest.approx(0.6)


def test_the_parameter_is_in_the_state_under_the_name_of_its_task():
    model = nn.Module()
    model.objectives = nn.ModuleDict({"v1": objective("gaussian"), "it": objective("rdm_match", 1.0)})
    assert list(model.state_dict()) == ["objectives.v1.log_variance"]
    assert model.state_dict()["objectives.v1.log_variance"].shape == ()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan, "learnt", "1.0"])
def test_impossible_weights_are_refused(name, weight):
    with pytest.raises(ConfigError, match="weight"):
        LEARNED[name][1](weight=weight)


def test_the_weights_learn_by_default_but_for_the_bounded_loss():
    defaults = {name: config().weight for name, (_, config, _, _) in LEARNED.items()}
    assert defaults == {"cross_entropy": "learned", "gaussian": "learned", "quasi_poisson": "learned", "rdm_match": 1.0}
