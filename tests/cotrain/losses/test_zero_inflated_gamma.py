"""Zero-inflated gamma: the likelihood is that of the stated mixture, and its mean is the prediction."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.errors import ModelError
from cotrain.losses import ZeroInflatedGammaConfig, zero_inflated_gamma
from cotrain.tasks import SessionInfo, TaskInfo

FEW = settings(max_examples=15, deadline=None)
MEANS = (0.2, 1.0, 3.0)


def task(lowest=0.0, means=MEANS):
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), (), {"a": SessionInfo(len(means), means, lowest, {})})


def objective(shape=None, size=None, means=MEANS):
    held = zero_inflated_gamma(task(means=means), ZeroInflatedGammaConfig()).double()
    own = held.sessions["a"]
    with torch.no_grad():
        if shape is not None:
            own.log_shape.copy_(torch.tensor(np.log(shape)))
        if size is not None:
            own.log_size.copy_(torch.tensor(np.log(size)) - own.mean.log())
    return held


def drawn(mean, shape, size, seed=0):
    """Responses of the mixture; `mean` (images, neurons)."""
    rng = np.random.default_rng(seed)
    active = rng.random(mean.shape) < mean / (mean + size)
    return np.where(active, rng.gamma(shape, (mean + size) / shape, mean.shape), 0.0)


def means_of(images, seed=1):
    return np.random.default_rng(seed).gamma(2.0, np.array(MEANS) / 2, (images, 3)) + 1e-3


@FEW
@given(seed=st.integers(0, 10_000), shape=st.floats(0.05, 200), size=st.floats(0.01, 50))
def test_the_loss_is_that_of_scipys_mixture(seed, shape, size):
    mean = means_of(9, seed)
    response = drawn(mean, shape, size, seed)
    silent = size / (mean + size)
    positive = np.maximum(response, 1e-300)
    density = np.log(1 - silent) + scipy.stats.gamma.logpdf(positive, shape, scale=(mean + size) / shape)
    expected = -np.where(response > 0, density, np.log(silent)).mean()
    found = objective(shape, size).loss(torch.tensor(mean), torch.tensor(response), "a").item()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("shape", "size"), [(0.5, 0.1), (2.0, 1.0), (1.0, 5.0)])
def test_the_mean_of_the_distribution_is_the_prediction_and_its_mass_is_1(shape, size):
    held = objective(np.full(3, shape), np.full(3, size))
    mean = torch.tensor([list(MEANS)])

    def likelihood(value, neuron):
        response = torch.full((1, 3), torch.nan, dtype=torch.float64)
        response[0, neuron] = value
        return math.exp(-held.loss(mean, response, "a").item())

    for neuron, wanted in enumerate(MEANS):
        # steps of equal logarithm reach the pole at 0 of shapes below 1
        grid = np.exp(np.linspace(-30, 8, 250))
        density = np.array([likelihood(value, neuron) for value in grid]) * grid
        assert likelihood(0.0, neuron) + np.trapezoid(density, np.log(grid)) == pytest.approx(1, abs=1e-3)
        assert np.trapezoid(density * grid, np.log(grid)) == pytest.approx(wanted, rel=1e-3)


def test_shape_and_share_of_zeros_of_each_neuron_are_found():
    shape, size = np.array([0.6, 2.0, 5.0]), np.array([0.1, 1.0, 12.0])
    mean = means_of(8_000)
    response = torch.tensor(drawn(mean, shape, size))
    held = objective()
    optimiser = torch.optim.Rprop(held.parameters(), lr=0.1, step_sizes=(1e-5, 1.0))
    for _ in range(100):
        optimiser.zero_grad()
        held(torch.tensor(mean), response, "a").backward()
        optimiser.step()
    own = held.sessions["a"]
    np.testing.assert_allclose(own.log_shape.detach().exp(), shape, rtol=0.15)
    np.testing.assert_allclose((own.log_size.exp() * own.mean).detach(), size, rtol=0.15)
    scores = dict(held.parameters_as_scores())
    assert scores == {
        "shape": pytest.approx(2.0, rel=0.15),
        "zero_probability": pytest.approx(np.median(size / (np.array(MEANS) + size)), rel=0.15),
    }


def test_zeros_teach_the_prediction_to_be_small_and_its_truth_is_where_the_loss_is_least():
    output = torch.full((1, 3), 0.7, dtype=torch.float64, requires_grad=True)
    objective().loss(output, torch.zeros(1, 3, dtype=torch.float64), "a").backward()
    assert (output.grad > 0).all()
    mean = np.broadcast_to(np.array(MEANS), (60_000, 3))
    response = torch.tensor(drawn(mean, 2.0, 1.0))
    wrong = torch.tensor(mean * 1.0).requires_grad_()
    held = objective(np.full(3, 2.0), np.full(3, 1.0))
    held.loss(wrong, response, "a").backward()
    at_truth = wrong.grad.sum(0).abs()
    for factor in (0.8, 1.25):
        shifted = torch.tensor(mean * factor).requires_grad_()
        held.loss(shifted, response, "a").backward()
        assert (shifted.grad.sum(0).abs() > 4 * at_truth).all()


def test_gradients_are_those_of_finite_differences():
    mean = means_of(5)
    response = torch.tensor(drawn(mean, 0.7, 1.0))
    held = objective(np.array([0.7, 1.0, 3.0]), np.array([0.1, 1.0, 2.0]))
    own = held.sessions["a"]

    def loss(prediction, shape, size):
        values = {"sessions.a.log_shape": shape, "sessions.a.log_size": size}
        return torch.func.functional_call(held, values, (prediction, response, "a"))

    inputs = [torch.tensor(mean), own.log_shape.detach().clone(), own.log_size.detach().clone()]
    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in inputs])


@pytest.mark.parametrize("logarithm", [-1e3, -10.0, 0.0, 10.0, 1e3])
@pytest.mark.parametrize("mean", [0.0, 1e-38, 1.0, 1e6])
@pytest.mark.parametrize("response", [0.0, 1e-30, 1.0, 1e5])
def test_value_and_gradients_are_finite_wherever_a_network_may_lead(logarithm, mean, response):
    held = zero_inflated_gamma(task(means=(0.0,)), ZeroInflatedGammaConfig())
    with torch.no_grad():
        for parameter in held.parameters():
            parameter.fill_(logarithm)
    output = torch.tensor([[mean]], requires_grad=True)
    loss = held.loss(output, torch.tensor([[response]]), "a")
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and output.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in held.parameters())


def test_unknown_responses_are_left_out():
    mean = torch.tensor(means_of(6)).requires_grad_()
    response = torch.tensor(drawn(means_of(6), 1.0, 1.0))
    unknown = torch.arange(6) % 2 == 0
    held = objective()
    loss = held.loss(mean, torch.where(unknown[:, None], torch.nan, response), "a")
    loss.backward()
    assert loss.item() == pytest.approx(held.loss(mean[~unknown], response[~unknown], "a").item())
    assert mean.grad.isfinite().all() and not mean.grad[unknown].any()


def test_responses_below_0_are_refused_and_the_state_holds_the_parameters_only():
    with pytest.raises(ModelError, match=r"needs event rates or amplitudes, which are never below 0; .*{'a': -1.0}"):
        zero_inflated_gamma(task(-1.0), ZeroInflatedGammaConfig())
    held = objective()
    assert list(held.state_dict()) == ["sessions.a.log_shape", "sessions.a.log_size"]
    assert held.needs_positive_output and held.weight() == 1.0
