"""Scores a neuron against scikit-learn, naive loops and simulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import explained_variance_score, r2_score

from cotrain.errors import DataError
from cotrain.metrics import (
    Summary,
    explainable_variance,
    explained_variance,
    fraction_explainable_variance,
    fraction_explained,
    mean_squared_error,
    neuron_correlations,
    normalised,
    oracle_correlation,
    r2,
    split_half_reliability,
    summary,
    variance_ceiling,
)

FEW = settings(max_examples=15)
SEEDS = st.integers(0, 2**32 - 1)
NAN = float("nan")


def responses(seed=0, images=30, neurons=5, unknown=0.0):
    random = np.random.default_rng(seed)
    truth = random.normal(3, 2, (images, neurons))
    output = truth + random.normal(0.5, 1, truth.shape)
    truth[random.random(truth.shape) < unknown] = NAN
    return output, truth


def simulated(images=400, repeats=6, neurons=40, signal=1.0, noise=2.0, seed=0):
    random = np.random.default_rng(seed)
    true = random.normal(0, signal, (images, 1, neurons))
    return true + random.normal(0, noise, (images, repeats, neurons))


@FEW
@given(seed=SEEDS, unknown=st.sampled_from([0.0, 0.3]))
def test_explained_variance_and_r2_are_those_of_scikit_learn(seed, unknown):
    output, truth = responses(seed, unknown=unknown)
    known = ~np.isnan(truth)
    for score, reference in ((explained_variance, explained_variance_score), (r2, r2_score)):
        expected = [reference(truth[k, i], output[k, i]) for i, k in enumerate(known.T)]
        np.testing.assert_allclose(score(output, truth), expected, atol=1e-12)
    errors = [np.mean((truth[k, i] - output[k, i]) ** 2) for i, k in enumerate(known.T)]
    np.testing.assert_allclose(mean_squared_error(output, truth), errors)


def test_predictions_come_first_since_the_two_do_not_commute():
    output, truth = responses()
    assert (explained_variance(0.1 * truth, truth) > 0.1).all()
    assert (explained_variance(truth, 0.1 * truth) < -10).all()
    assert not np.allclose(r2(output, truth), r2(truth, output))


def test_a_shift_costs_r2_alone():
    output, truth = responses()
    np.testing.assert_allclose(explained_variance(output + 5, truth), explained_variance(output, truth))
    assert (r2(output + 5, truth) < r2(output, truth) - 1).all()


@pytest.mark.parametrize("score", [explained_variance, r2])
def test_constant_neurons_have_no_score_and_broken_predictions_explain_nothing(score):
    output, truth = responses()
    truth[:, 0], output[3, 1], output[4, 2], truth[:, 4] = 0.1, NAN, np.inf, NAN
    found = score(output, truth)
    assert np.isnan(found).tolist() == [True, False, False, False, True]
    assert found[1] == found[2] == 0 and found[3] > 0


def test_the_error_of_broken_predictions_is_infinite():
    output, truth = responses()
    output[0, 0], truth[:, 1] = NAN, NAN
    found = mean_squared_error(output, truth)
    assert found[0] == np.inf and np.isnan(found[1]) and np.isfinite(found[2:]).all()


@pytest.mark.parametrize("score", [explained_variance, r2, mean_squared_error])
def test_predictions_of_other_stimuli_are_refused(score):
    output, truth = responses()
    with pytest.raises(DataError, match=r"Predictions \(29, 5\) do not fit responses \(30, 5\)"):
        score(output[1:], truth)


def test_swapped_arguments_of_feve_are_refused():
    trials = torch.randn(9, 4, 3)
    with pytest.raises(DataError, match=r"Predictions \(9, 4, 3\) do not fit responses \(9, 3\): give \(stimuli, neur"):
        fraction_explainable_variance(trials, trials.mean(1))


def test_feve_and_the_explainable_share_are_those_of_fraction_explained():
    trials = torch.tensor(simulated(images=50))
    output = trials.mean(1) * 0.7
    share, explained = fraction_explained(output, trials)
    torch.testing.assert_close(fraction_explainable_variance(output, trials), explained)
    torch.testing.assert_close(explainable_variance(trials), share)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_oracle_is_a_loop_over_repeats(missing):
    trials = simulated(images=40, neurons=4)
    trials[np.random.default_rng(1).random(trials.shape) < missing] = NAN
    trials[0, 1:, 0] = NAN  # once: nothing to compare with
    expected = []
    for neuron in range(4):
        pairs = []
        for row in trials[:, :, neuron]:
            row = row[~np.isnan(row)]
            pairs += [(np.delete(row, i).mean(), row[i]) for i in range(len(row)) if len(row) > 1]
        expected.append(np.corrcoef(np.transpose(pairs))[0, 1])
    np.testing.assert_allclose(oracle_correlation(trials), expected, atol=1e-10)


@pytest.mark.parametrize("level", [0.0, 1e5])
def test_the_oracle_is_what_theory_says_and_levels_do_not_matter(level):
    # r of s + e and s + mean of 5 others, with variances 1 + 4 and 1 + 4 / 5
    found = oracle_correlation(simulated(images=4000, neurons=20) + level)
    assert found.mean() == pytest.approx(1 / (5 * 1.8) ** 0.5, abs=0.01)
    assert np.isnan(oracle_correlation(simulated(repeats=1))).all()


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_ceilings_from_the_variance_are_what_theory_says(noise):
    trials = simulated(images=2000, neurons=20, noise=noise)
    found = variance_ceiling(trials)
    assert found.ncsnr.mean() == pytest.approx(1 / noise, abs=0.03)
    assert found.ceiling.mean() == pytest.approx(1 / (1 + noise**2 / 6), abs=0.02)
    assert variance_ceiling(trials, averaged=1).ceiling.mean() == pytest.approx(1 / (1 + noise**2), abs=0.02)
    # the reliability by halves estimates the same number
    reliability = split_half_reliability(torch.tensor(trials))
    assert found.ceiling.mean() == pytest.approx(reliability.mean().item(), abs=0.02)


def test_ceilings_bound_the_squared_correlation_of_the_true_signal():
    random = np.random.default_rng(0)
    true = random.normal(0, 1, (5000, 1, 5))
    trials = true + random.normal(0, 2, (5000, 4, 5))
    r = neuron_correlations(true[:, 0], trials.mean(1))
    np.testing.assert_allclose(r**2, variance_ceiling(trials).ceiling, atol=0.03)


def test_repeats_may_be_missing_from_ceilings():
    trials = simulated(images=3000, repeats=8, neurons=10)
    trials[::2, 2:] = NAN  # every other stimulus was shown twice, the others eight times
    found = variance_ceiling(trials)
    assert found.ncsnr.mean() == pytest.approx(0.5, abs=0.03)
    assert found.ceiling.mean() == pytest.approx(1 / (1 + 4 * (1 / 2 + 1 / 8) / 2), abs=0.02)


def test_ceilings_of_noise_are_near_0_and_undefined_ones_are_nan():
    assert variance_ceiling(simulated(signal=0.0, images=2000)).ceiling.max() < 0.15
    trials = simulated(neurons=4)
    trials[:, :, 0], trials[:, 1:, 1], trials[1:, :, 2] = 0.1, NAN, NAN
    found = variance_ceiling(trials)
    assert np.isnan(found.ceiling).tolist() == np.isnan(found.ncsnr).tolist() == [True, True, True, False]
    exact = variance_ceiling(np.repeat(simulated(repeats=1), 3, 1))
    assert (exact.ceiling == 1).all() and (exact.ncsnr > 1e10).all()


def test_ceilings_need_repeats():
    with pytest.raises(DataError, match=r"Expected responses \(stimuli, repeats, neurons\), found shape \(5, 3\)"):
        variance_ceiling(np.ones((5, 3)))
    with pytest.raises(DataError, match="Means are over 1 repeat or more, found averaged=0"):
        variance_ceiling(np.ones((5, 3, 2)), averaged=0)


def test_normalised_scores_of_a_perfect_prediction_are_1():
    random = np.random.default_rng(0)
    true = random.normal(0, 1, (8000, 1, 6))
    trials = true + random.normal(0, np.linspace(0.5, 3, 6), (8000, 5, 6))
    mean, ceiling = trials.mean(1), variance_ceiling(trials).ceiling
    r, ev = neuron_correlations(true[:, 0], mean), explained_variance(true[:, 0], mean)
    np.testing.assert_allclose(normalised(r, ceiling, "r/sqrt(ceiling)"), 1, atol=0.05)
    np.testing.assert_allclose(normalised(r, ceiling, "r|r|/ceiling"), 1, atol=0.1)
    np.testing.assert_allclose(normalised(ev, ceiling, "ev/ceiling"), 1, atol=0.1)
    assert (normalised(-r, ceiling, "r|r|/ceiling") < -0.9).all(), "what is anticorrelated does not score"


def test_unreliable_neurons_have_no_normalised_score_and_are_counted():
    scores = normalised(np.full(5, 0.3), np.array([0.9, 0.09, NAN, -0.2, 0.1]), "ev/ceiling")
    np.testing.assert_allclose(scores, [1 / 3, NAN, NAN, NAN, 3])
    assert dataclasses.astuple(summary(scores)) == (pytest.approx(5 / 3), pytest.approx(5 / 3), 2, 3)
    assert summary(np.array([1.0, 2.0, NAN])) == Summary(1.5, 1.5, 2, 1)
    assert summary(torch.full((3,), NAN)).left_out == 3 and np.isnan(summary(torch.full((3,), NAN)).median)


def test_normalising_says_what_is_wrong():
    one = torch.ones(3)
    with pytest.raises(DataError, match=r"no formula 'r/ceiling' for scores.*Did you mean"):
        normalised(one, one, "r/ceiling")
    with pytest.raises(DataError, match=r"Scores \(3,\) and ceilings \(2,\) are not of the same neurons"):
        normalised(one, one[1:], "ev/ceiling")
    with pytest.raises(DataError, match="least ceiling must be above 0"):
        normalised(one, one, "ev/ceiling", least=0.0)


def test_arrays_give_arrays_and_tensors_tensors():
    output, truth = responses()
    trials = simulated(images=20)
    output.flags.writeable = False
    for function, arguments in (
        (explained_variance, (output, truth)),
        (r2, (output.T.copy().T, truth)),
        (neuron_correlations, (output, truth[:, :])),
        (split_half_reliability, (trials,)),
        (oracle_correlation, (trials,)),
        (normalised, (truth[0], truth[1], "ev/ceiling")),
    ):
        tensors = [torch.tensor(value) if isinstance(value, np.ndarray) else value for value in arguments]
        found, wanted = function(*arguments), function(*tensors)
        assert isinstance(found, np.ndarray) and isinstance(wanted, torch.Tensor)
        np.testing.assert_array_equal(found, wanted.numpy())
    share, explained = fraction_explained(output[:, :], np.stack([truth, truth + 1], 1))
    assert isinstance(share, np.ndarray) and isinstance(explained, np.ndarray)
    assert isinstance(variance_ceiling(trials).ceiling, np.ndarray)
