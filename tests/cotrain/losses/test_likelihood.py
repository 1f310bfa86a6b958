"""The losses are those of the textbooks, leave out what is unknown, and are finite wherever a network may lead."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import laplace as laplace_distribution
from scipy.stats import norm, poisson
from sklearn.metrics import mean_poisson_deviance, mean_squared_error

from cotrain.errors import ModelError
from cotrain.losses import (
    CrossEntropyConfig,
    GaussianConfig,
    LaplaceConfig,
    QuasiPoissonConfig,
    cross_entropy,
    gaussian,
    laplace,
    quasi_poisson,
)
from cotrain.losses._objective import LEAST
from cotrain.tasks import KINDS, SessionInfo, TaskInfo

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)
BUILDERS = {
    "cross_entropy": ("classification", cross_entropy, CrossEntropyConfig),
    "gaussian": ("neural", gaussian, GaussianConfig),
    "laplace": ("neural", laplace, LaplaceConfig),
    "quasi_poisson": ("neural", quasi_poisson, QuasiPoissonConfig),
}
NEURAL = ("gaussian", "laplace", "quasi_poisson")


def task(kind, lowest=0.0):
    sessions = {"a": SessionInfo(2, (0.5, 2.0), lowest, {}), "b": SessionInfo(1, (1.0,), 0.0, {})}
    return TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), ("cat", "dog"), sessions if kind == "neural" else {})


def objective(name, weight="learned"):
    kind, builder, config = BUILDERS[name]
    return builder(task(kind), config(weight=weight))


def pair(name, seed=0, images=7, neurons=4):
    """(output, target), float64, as the loss `name` takes them."""
    rng = np.random.default_rng(seed)
    if name == "cross_entropy":
        return torch.tensor(rng.normal(0, 3, (images, neurons))), torch.tensor(rng.integers(0, neurons, images))
    if name in ("gaussian", "laplace"):
        return torch.tensor(rng.normal(0, 3, (images, neurons))), torch.tensor(rng.normal(0, 3, (images, neurons)))
    return torch.tensor(rng.gamma(1, 4, (images, neurons)) + 1e-3), torch.tensor(
        rng.poisson(3.0, (images, neurons)) * 1.0
    )


def value(name, output, target):
    return objective(name).loss(output, target).item()


@FEW
@given(seed=SEEDS)
def test_cross_entropy_is_minus_the_mean_log_probability_of_the_label(seed):
    output, target = pair("cross_entropy", seed)
    expected = -log_softmax(output.numpy(), axis=1)[np.arange(7), target.numpy()].mean()
    assert value("cross_entropy", output, target) == pytest.approx(expected, rel=1e-9)


@FEW
@given(seed=SEEDS)
def test_the_gaussian_loss_is_the_mean_squared_error(seed):
    output, target = pair("gaussian", seed)
    assert value("gaussian", output, target) == pytest.approx(mean_squared_error(target, output), rel=1e-9)


@FEW
@given(seed=SEEDS)
def test_the_laplace_loss_is_the_mean_absolute_error(seed):
    output, target = pair("laplace", seed)
    assert value("laplace", output, target) == pytest.approx((output - target).abs().mean().item(), rel=1e-9)


@FEW
@given(seed=SEEDS, s=st.floats(-4, 4))
def test_with_a_learned_weight_the_terms_are_those_of_scipys_distributions_but_for_a_constant(seed, s):
    """Gaussian: log(2 pi) / 2; Laplace: log(2) / 2; and `LEAST` times the weight."""
    output, target = pair("gaussian", seed)
    spread = math.exp(s / 2)
    expected = {
        "gaussian": -norm.logpdf(target, output, spread).mean() - math.log(2 * math.pi) / 2,
        "laplace": -laplace_distribution.logpdf(target, output, spread / math.sqrt(2)).mean() - math.log(2) / 2,
    }
    for name, term in expected.items():
        held = objective(name).double()
        with torch.no_grad():
            held.log_variance.fill_(s)
        found = held(output, target).item() - LEAST * held.weight().item()
        assert found == pytest.approx(term, rel=1e-6, abs=1e-9)


@FEW
@given(seed=SEEDS)
def test_the_quasi_poisson_loss_is_the_mean_deviance(seed):
    output, target = pair("quasi_poisson", seed)
    found, mean, counts = value("quasi_poisson", output, target), output.numpy(), target.numpy()
    assert found == pytest.approx(mean_poisson_deviance(counts.ravel(), mean.ravel()), rel=1e-9)
    saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300)).mean()
    assert found == pytest.approx(2 * (saturated - poisson.logpmf(counts, mean).mean()), rel=1e-6)


@FEW
@given(count=st.integers(0, 1000), mean=st.floats(1e-6, 1000))
def test_a_deviance_is_never_negative_and_zero_for_a_perfect_prediction(count, mean):
    counts = torch.tensor([[float(count)]])
    assert value("quasi_poisson", torch.tensor([[mean]]), counts) >= -1e-6 * (1 + count)
    assert value("quasi_poisson", counts.clamp_min(1e-6), counts) == pytest.approx(0, abs=1e-5 + 1e-6 * count)


@pytest.mark.parametrize("name", NEURAL)
def test_unknown_responses_are_left_out_of_the_loss_and_of_the_gradient(name):
    output, target = pair(name)
    unknown = torch.tensor(np.random.default_rng(1).random(target.shape) < 0.4)
    masked = torch.where(unknown, torch.nan, target)
    assert value(name, output, masked) == pytest.approx(
        value(name, output[~unknown][:, None], target[~unknown][:, None]), rel=1e-12
    )
    output.requires_grad_()
    objective(name).loss(output, masked).backward()
    found, output.grad = output.grad, None
    objective(name).loss(output[~unknown][:, None], target[~unknown][:, None]).backward()
    torch.testing.assert_close(found, output.grad)
    assert (found[unknown] == 0).all()


@pytest.mark.parametrize("name", NEURAL)
def test_a_batch_without_any_known_response_teaches_nothing(name):
    output, target = pair(name)
    output.requires_grad_()
    loss = objective(name).loss(output, torch.full_like(target, torch.nan))
    loss.backward()
    assert loss.item() == 0 and (output.grad == 0).all()


@pytest.mark.parametrize("mean", [0.0, 1e-38, 1e-30, 1e-9, 1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("count", [0.0, 0.25, 1.0, 50.0, 1e5])
def test_loss_and_gradient_of_counts_are_finite_for_any_prediction(mean, count):
    output = torch.tensor([[mean]], requires_grad=True)
    loss = objective("quasi_poisson").loss(output, torch.tensor([[count]]))
    loss.backward()
    assert loss.isfinite() and output.grad.isfinite().all()
    direction = 1 if mean > max(count, 1e-6) else -1 if mean < count else None
    assert direction is None or output.grad.sign().item() == direction


def test_the_gradient_of_counts_is_that_of_the_deviance():
    output, target = pair("quasi_poisson")
    target[0, 0] = 0.0
    output.requires_grad_()
    loss = objective("quasi_poisson").loss
    assert torch.autograd.gradcheck(lambda prediction: loss(prediction, target), (output,))
    loss(output, target).backward()
    torch.testing.assert_close(output.grad, 2 * (1 - target / output.detach()) / target.numel())


@pytest.mark.parametrize("name", BUILDERS)
@FEW
@given(seed=SEEDS, times=st.integers(2, 5))
def test_a_loss_does_not_depend_on_the_batch_size(name, seed, times):
    output, target = pair(name, seed)
    repeated = value(name, torch.cat([output] * times), torch.cat([target] * times))
    assert repeated == pytest.approx(value(name, output, target), rel=1e-9)
    single = [value(name, output[i : i + 1], target[i : i + 1]) for i in range(len(output))]
    assert np.mean(single) == pytest.approx(value(name, output, target), rel=1e-9)


@pytest.mark.parametrize("name", NEURAL)
def test_a_loss_does_not_depend_on_the_number_of_neurons(name):
    output, target = pair(name)
    doubled = value(name, torch.cat([output] * 2, 1), torch.cat([target] * 2, 1))
    assert doubled == pytest.approx(value(name, output, target), rel=1e-9)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_takes_tasks_of_its_kind_only(name, kind):
    own, builder, config = BUILDERS[name]
    if own == kind:
        assert math.isfinite(builder(task(kind), config()).loss(*pair(name)))
        return
    with pytest.raises(ModelError, match=f"cotrain.losses.{name} is for {own} tasks, this one is of kind {kind}"):
        builder(task(kind), config())


def test_responses_that_are_no_counts_are_refused_and_said_where():
    text = r"needs spike counts, which are never below 0; found responses as low as {'a': -0.3}.*standardise=False"
    with pytest.raises(ModelError, match=text):
        quasi_poisson(task("neural", lowest=-0.3), QuasiPoissonConfig())
    gaussian(task("neural", lowest=-0.3), GaussianConfig())


def test_only_counts_need_positive_predictions():
    assert [objective(name).needs_positive_output for name in BUILDERS] == [False, False, False, True]
