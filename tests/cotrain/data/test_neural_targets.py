"""Responses as targets: the mean over repeats, in units of training, compared with NumPy neuron by neuron."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain.data._neural_targets import neural_targets

TRAIN = torch.tensor([0, 2, 3, 5, 7, 8])


def recorded(images=12, repeats=4, neurons=5, missing=0.2):
    random = np.random.default_rng(0)
    responses = random.normal(3 * np.arange(neurons), 1 + np.arange(neurons), (images, repeats, neurons))
    responses[random.random(responses.shape) < missing] = np.nan
    responses[:, 0] = np.nan_to_num(responses[:, 0], nan=1.0)
    return responses.astype(np.float32)


def test_means_and_repeats_are_z_scored_by_training_means():
    trials = recorded()
    mean, repeats = neural_targets(trials, TRAIN, standardise=True, where="here")
    assert mean.dtype == repeats.dtype == torch.float32
    for neuron in range(5):
        means = [np.mean([v for v in image if not np.isnan(v)]) for image in trials[:, :, neuron].astype(float)]
        centre, spread = np.mean(np.array(means)[TRAIN]), np.std(np.array(means)[TRAIN])
        np.testing.assert_allclose(mean[:, neuron], (means - centre) / spread, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(repeats[..., neuron], (trials[..., neuron] - centre) / spread, rtol=1e-4, atol=1e-5)


def test_the_mean_of_the_repeats_is_the_target():
    for standardise in (True, False):
        mean, repeats = neural_targets(recorded(), TRAIN, standardise=standardise, where="here")
        torch.testing.assert_close(repeats.nanmean(1), mean, rtol=1e-4, atol=1e-5)


def test_other_images_have_no_say():
    one, other = recorded(), recorded()
    rest = [row for row in range(12) if row not in TRAIN.tolist()]
    other[rest] = 1000
    found = [neural_targets(trials, TRAIN, standardise=True, where="here")[0][TRAIN] for trials in (one, other)]
    assert torch.equal(*found)


def test_without_repeats_there_are_none():
    responses = recorded()[:, 0]
    mean, repeats = neural_targets(responses, TRAIN, standardise=False, where="here")
    assert repeats is None and torch.equal(mean, torch.from_numpy(responses))


def test_missing_responses_stay_missing_and_do_not_count():
    responses = recorded()[:, 0]
    responses[2, 1] = responses[4, 1] = np.nan
    mean, _ = neural_targets(responses, TRAIN, standardise=True, where="here")
    known = responses[[0, 3, 5, 7, 8], 1].astype(float)
    np.testing.assert_allclose(mean[:, 1], (responses[:, 1] - known.mean()) / known.std(), rtol=1e-4)
    assert torch.isnan(mean).sum() == 2


def test_what_was_given_is_not_changed():
    trials = recorded()
    before = trials.copy()
    neural_targets(trials, TRAIN, standardise=True, where="here")
    np.testing.assert_array_equal(trials, before)


@pytest.mark.parametrize("value", [0.0, 0.1, 100.1, -33.3, 12345.678])
def test_constant_neurons_are_centred_and_named_however_often_an_image_was_shown(value, caplog):
    trials = recorded()
    trials[:, :, 3] = np.where(np.isnan(trials[:, :, 1]), np.nan, np.float32(value))
    mean, repeats = neural_targets(trials, TRAIN, standardise=True, where="here")
    assert "here: 1 of 5 neurons respond to all training images alike (3)" in caplog.text
    assert (mean[:, 3] == 0).all()
    assert (torch.nan_to_num(repeats[..., 3]) == 0).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_the_unit_of_responses_does_not_matter(scale, caplog):
    trials = recorded()
    one, _ = neural_targets(trials, TRAIN, standardise=True, where="here")
    other, _ = neural_targets((trials * scale).astype(np.float32), TRAIN, standardise=True, where="here")
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not caplog.records


def test_a_neuron_that_is_constant_in_training_only_is_centred(caplog):
    responses = recorded()[:, 0]
    responses[TRAIN, 0] = 2.0
    mean, _ = neural_targets(responses, TRAIN, standardise=True, where="here")
    np.testing.assert_allclose(mean[:, 0], responses[:, 0] - 2)
    assert "(0)" in caplog.text
