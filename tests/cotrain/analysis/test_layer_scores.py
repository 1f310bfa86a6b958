"""Scores of any network's layers in one table: against plain loops and scikit-learn, and with planted truths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import scale
from torch import nn

from cotrain.analysis import (
    PrincipalComponents,
    Ridge,
    SparseProjection,
    extract,
    given_folds,
    layer_scores,
    mouse_trap_scores,
    network_scores,
    regress,
    split_half_reliability,
    stratified_k_fold,
)
from cotrain.errors import DataError
from cotrain.models import normalised_as_imagenet

STIMULI, NEURONS = 119, 5


def planted(seed=0, noise=0.5, repeats=4):
    """Features of two layers, and neurons that read the second."""
    random = np.random.default_rng(seed)
    features = {"first": random.normal(size=(STIMULI, 30)), "second": random.normal(size=(STIMULI, 20))}
    signal = features["second"] @ random.normal(size=(20, NEURONS))
    signal /= signal.std(0)
    return features, signal[:, None] + noise * random.normal(size=(STIMULI, repeats, NEURONS))


def test_the_table_holds_what_regress_gives_and_finds_the_layer_that_was_planted():
    features, trials = planted()
    folds = stratified_k_fold(np.arange(STIMULI) % 7, 4, seed=3)
    table = layer_scores(
        features,
        trials,
        folds=folds,
        metrics=["pearson", "r2"],
        area=["V1", "V1", "V4", "V4", "IT"],
        session="s",
        seed=5,
    )
    assert len(table) == 2 * 2 * NEURONS and set(table.session) == {"s"}
    for (metric, layer), part in table.groupby(["metric", "layer"]):
        fit = regress(features[layer], trials.mean(1), Ridge(), folds)
        np.testing.assert_allclose(part.score, fit.scores(metric), atol=1e-12)
        np.testing.assert_allclose(part.alpha, np.median(fit.alphas, 0))
        assert part.neuron.tolist() == [*range(NEURONS)] and part.area.tolist() == ["V1", "V1", "V4", "V4", "IT"]
        np.testing.assert_allclose(part.ceiling, split_half_reliability(trials, seed=5))
    medians = table[table.metric == "pearson"].groupby("layer").score.median()
    assert medians["second"] > 0.85 and abs(medians["first"]) < 0.3
    assert table[table.layer == "second"].depth.unique() == [1.0]


def test_ceilings_are_those_of_the_stimuli_that_are_scored():
    features, trials = planted()
    test = np.arange(80, STIMULI)
    table = layer_scores(features, trials, folds=[(np.arange(80), test)])
    np.testing.assert_allclose(table.ceiling[:NEURONS], split_half_reliability(trials[test]))
    assert layer_scores(features, trials.mean(1), folds=3).ceiling.isna().all()


@pytest.mark.parametrize(
    ("features", "responses", "text"),
    [
        ({}, np.zeros((10, 2)), "one layer and one metric"),
        ({"a": np.ones((9, 2))}, np.random.default_rng(0).normal(size=(10, 2)), "10"),
        ({"a": np.ones((10, 2))}, np.zeros((10, 2, 2, 2)), r"\(stimuli, repeats, neurons\), found \(10, 2, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(features, responses, text):
    with pytest.raises(DataError, match=text):
        layer_scores(features, responses)


def test_a_network_is_scored_as_its_extracted_features_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten())
    before = {name: held.clone() for name, held in network.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 20, 20), np.uint8)
    arguments = {"reduce": SparseProjection(64), "prepare": normalised_as_imagenet}
    features = extract(network, images, ["0", "2"], seed=2, **arguments)
    responses = features["2"][:, :5] @ np.random.default_rng(1).normal(size=(5, 3))
    fit = {"method": PrincipalComponents(8, Ridge()), "folds": given_folds([(np.arange(45), np.arange(45, 60))], 60)}
    table = network_scores(network, images, responses, ["0", "2"], seed=2, **arguments, **fit)
    expected = layer_scores(features, responses, seed=2, **fit)
    np.testing.assert_array_equal(table.score, expected.score)
    assert table.layer.tolist() == ["0"] * 3 + ["2"] * 3 and (np.diff(table.depth) >= 0).all()
    assert all(torch.equal(held, before[name]) for name, held in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(("features", "alpha"), [(40, 1.0), (400, 1.0), (40, 1e3)])
def test_the_published_score_is_that_of_a_loop_over_left_out_stimuli(features, alpha):
    random = np.random.default_rng(features)
    x = random.normal(size=(30, features))
    y = np.stack([x[:, 0] + 0.5 * random.normal(size=30), random.normal(size=30)], 1)
    scaled = scale(x)
    guesses = np.stack(
        [
            SklearnRidge(alpha).fit(np.delete(scaled, row, 0), np.delete(y, row, 0)).predict(scaled[row : row + 1])[0]
            for row in range(30)
        ]
    )
    r = np.array([pearsonr(guesses[:, neuron], y[:, neuron])[0] for neuron in range(2)])
    table = mouse_trap_scores({"layer": x}, y, alpha=alpha)
    np.testing.assert_allclose(table.score, r**2, atol=1e-8)
    np.testing.assert_array_equal(table.sign, np.sign(r))


def test_noise_scores_well_as_published_with_a_large_alpha_and_at_zero_in_folds():
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(STIMULI, 50)), random.normal(size=(STIMULI, 40))
    published = mouse_trap_scores({"layer": x}, noise, alpha=1e6)
    assert published.score.min() > 0.99 and (published.sign == -1).all()
    chance = mouse_trap_scores({"layer": x}, noise, alpha=1.0)
    assert chance.score.mean() < 0.03, "chance is 1 / 118"
    corrected = layer_scores({"layer": x}, noise, method=Ridge(standardise=True), metrics=["r2"])
    assert corrected.score.max() < 0.1 and corrected.score.median() < 0


def test_the_published_score_needs_every_response():
    with pytest.raises(DataError, match="1 of them NaN"):
        mouse_trap_scores({"a": np.ones((5, 2))}, np.where(np.eye(5, 2), np.nan, 1.0)[:, :1])
