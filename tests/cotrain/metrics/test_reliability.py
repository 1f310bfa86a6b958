"""Split-half reliability against what theory says of simulated neurons, and on recorded ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cotrain.metrics import split_half_reliability

RECORDED = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "hvm640_v4" / "hvm640_v4_210325.npz"


def simulated(images=100, repeats=6, neurons=300, *, signal=1.0, noise=2.0, seed=0):
    """Signal and noise with these standard deviations."""
    random = torch.Generator().manual_seed(seed)
    true = torch.randn(images, 1, neurons, generator=random, dtype=torch.float64) * signal
    return true + torch.randn(images, repeats, neurons, generator=random, dtype=torch.float64) * noise


def expected(repeats, signal=1.0, noise=2.0):
    return signal**2 / (signal**2 + noise**2 / repeats)


def assert_near(found, wanted, bias=0.0):
    """The mean over neurons, within four standard errors and the estimate's own bias."""
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - wanted) < 4 * error + bias


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("repeats", [2, 4, 10])
def test_the_mean_over_neurons_is_what_theory_says(repeats, noise):
    found = split_half_reliability(simulated(repeats=repeats, noise=noise))
    # a correlation over n images is too small by about r (1 - r^2) / 2n, and 2 r / (1 + r) is concave
    assert_near(found, expected(repeats, noise=noise), bias=3 / 100)


def test_many_images_need_no_tolerance_for_bias():
    found = split_half_reliability(simulated(images=3000, neurons=40))
    assert_near(found, expected(6), bias=1e-3)
    assert found.std() < 0.03


def test_noise_alone_is_near_zero():
    found = split_half_reliability(simulated(signal=0.0, images=400))
    assert_near(found, 0.0, bias=0.02)


def test_responses_without_noise_are_wholly_reliable():
    found = split_half_reliability(simulated(noise=0.0))
    torch.testing.assert_close(found, torch.ones(300, dtype=torch.float64))


def test_halves_that_contradict_each_other_are_at_the_bottom():
    trials = torch.randn(50, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (split_half_reliability(torch.cat([trials, -trials], 1)) == -1).all()


def test_of_two_repeats_the_formula_is_exact():
    trials = simulated(repeats=2, neurons=20)
    found = split_half_reliability(trials)
    for neuron in range(20):
        r = np.corrcoef(trials[:, 0, neuron], trials[:, 1, neuron])[0, 1]
        # which of the two comes first differs between images, so r differs a little between halvings
        assert found[neuron] == pytest.approx(2 * r / (1 + r), abs=0.1)


def test_all_halvings_of_four_repeats_are_averaged():
    trials = simulated(images=2000, repeats=4, neurons=5)
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    r = np.mean(
        [[np.corrcoef(trials[:, a, i].mean(1), trials[:, b, i].mean(1))[0, 1] for i in range(5)] for a, b in pairs],
        0,
    )
    np.testing.assert_allclose(split_half_reliability(trials, halvings=50), 2 * r / (1 + r), atol=0.02)


def test_missing_repeats_leave_the_reliability_of_those_that_are_there():
    trials = simulated(images=1000, repeats=8, neurons=60)
    trials[:, 4:] = torch.nan
    assert_near(split_half_reliability(trials), expected(4), bias=0.005)
    scattered = simulated(images=1000, repeats=8, neurons=60)
    order = torch.rand(scattered.shape, generator=torch.Generator().manual_seed(1)).argsort(1)
    scattered[order >= 4] = torch.nan
    assert_near(split_half_reliability(scattered), expected(4), bias=0.005)


def test_missing_repeats_of_one_neuron_do_not_touch_another():
    trials = simulated(neurons=2, images=500)
    before = split_half_reliability(trials)
    trials[::2, 3:, 0] = torch.nan
    after = split_half_reliability(trials)
    assert after[0] < before[0] - 0.02 and after[1] == before[1]


def test_images_shown_once_are_left_out():
    trials = simulated(images=600, repeats=4, neurons=100)
    some = trials.clone()
    some[300:, 1:] = 1e6
    some[300:, 1:] = torch.nan
    some[300:, 0] *= 1000
    assert_near(split_half_reliability(some), expected(4), bias=0.01)


def test_an_odd_repeat_is_left_out():
    assert_near(split_half_reliability(simulated(repeats=3, images=1000, neurons=60)), expected(2), bias=0.005)


def test_neurons_of_which_nothing_can_be_known_are_nan():
    trials = simulated(images=30, repeats=4, neurons=5)
    trials[:, :, 0] = 3.0
    trials[2:, :, 1] = torch.nan  # two images
    trials[:, 1:, 2] = torch.nan  # one repeat
    trials[:, :, 3] = torch.nan
    assert torch.isnan(split_half_reliability(trials)).tolist() == [True, True, True, True, False]
    assert torch.isnan(split_half_reliability(trials[:, :1])).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_the_order_of_images_and_repeats_does_not_matter(axis):
    trials = simulated(images=300, neurons=200)
    order = torch.randperm(trials.shape[axis], generator=torch.Generator().manual_seed(5))
    difference = split_half_reliability(trials) - split_half_reliability(trials.index_select(axis, order))
    assert difference.abs().max() < 0.05
    assert abs(difference.mean()) < 4 * difference.std() / 200**0.5


def test_units_do_not_matter():
    trials = simulated(neurons=20)
    torch.testing.assert_close(
        split_half_reliability(trials * 1e-6 - 3), split_half_reliability(trials), atol=1e-6, rtol=0
    )


def test_seeds_and_types():
    trials = simulated(neurons=10)
    assert torch.equal(split_half_reliability(trials), split_half_reliability(trials))
    assert not torch.equal(split_half_reliability(trials), split_half_reliability(trials, seed=1))
    found = split_half_reliability(trials.float())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, split_half_reliability(trials), atol=1e-5, rtol=0)


def test_what_was_given_is_not_changed():
    trials = simulated(neurons=3)
    before = trials.clone()
    split_half_reliability(trials)
    assert torch.equal(before, trials)


@pytest.mark.skipif(not RECORDED.is_file(), reason="COTRAIN_TEST_DATA lacks hvm640_v4/hvm640_v4_210325.npz")
def test_recorded_neurons_are_as_reliable_as_they_are():
    with np.load(RECORDED) as file:
        found = split_half_reliability(torch.from_numpy(file["v4_raw_210325"].astype(np.float32)))
    assert found.median() == pytest.approx(0.75, abs=0.03)
    assert found.min() > 0.45 and found.max() < 0.95
