"""Explainable variance and the share of it that a prediction explains, against simulation and a plain loop."""

import numpy as np
import pytest
import torch

from cotrain.metrics import fraction_explained

STIMULI, REPEATS, NEURONS = 2000, 8, 3
NOISE = (0.5, 1.0, 2.0)  # standard deviations; that of the signal is 1


@pytest.fixture(scope="module")
def simulated():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(STIMULI, NEURONS, generator=generator, dtype=torch.float64)
    noise = torch.randn(STIMULI, REPEATS, NEURONS, generator=generator, dtype=torch.float64) * torch.tensor(NOISE)
    return signal, signal[:, None] + noise


def test_of_a_perfect_prediction_all_is_explained(simulated):
    signal, trials = simulated
    explainable, explained = fraction_explained(signal, trials)
    assert explainable.numpy() == pytest.approx([1 / (1 + sd**2) for sd in NOISE], abs=0.03)
    assert explained.numpy() == pytest.approx(1, abs=0.03)


def test_of_the_mean_response_nothing_is_explained_and_of_half_the_signal_three_quarters(simulated):
    signal, trials = simulated
    mean = trials.mean((0, 1)).expand(STIMULI, NEURONS)
    assert fraction_explained(mean, trials)[1].numpy() == pytest.approx(0, abs=1e-9)
    assert fraction_explained(signal / 2, trials)[1].numpy() == pytest.approx(0.75, abs=0.03)
    assert (fraction_explained(-signal, trials)[1] < -2).all()


def test_missing_repeats_are_left_out(simulated):
    signal, trials = (values[:40].clone() for values in simulated)
    trials[::3, 5:] = torch.nan
    trials[7, 1:] = torch.nan  # once: it has no variance of its own
    trials[9] = torch.nan
    explainable, explained = fraction_explained(signal, trials)
    for neuron in range(NEURONS):
        known = [row[~np.isnan(row)] for row in trials[..., neuron].numpy()]
        noise = np.mean([row.var(ddof=1) for row in known if len(row) > 1])
        variance = np.concatenate(known).var()
        error = np.concatenate(
            [row - prediction for row, prediction in zip(known, signal[:, neuron].numpy(), strict=True)]
        )
        assert explainable[neuron].item() == pytest.approx((variance - noise) / variance)
        assert explained[neuron].item() == pytest.approx(1 - (np.mean(error**2) - noise) / (variance - noise))


def test_what_is_undefined_is_nan():
    once = torch.randn(10, 1, 2)
    assert all(torch.isnan(value).all() for value in fraction_explained(torch.zeros(10, 2), once))
    constant = torch.ones(10, 3, 2)
    assert all(torch.isnan(value).all() for value in fraction_explained(torch.zeros(10, 2), constant))
    noise = torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])[..., None]
    explainable, explained = fraction_explained(torch.zeros(3, 1), noise)
    assert explainable.item() < 0
    assert torch.isnan(explained).all()
