"""From images to scores of neurons: a planted layer is found, and noise is divided out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cotrain.analysis import (
    Ridge,
    SparseProjection,
    explained_variance,
    extract,
    group_k_fold,
    k_fold,
    neuron_correlations,
    normalised,
    regress,
    split_half_reliability,
    summary,
    variance_ceiling,
)


def small_network(seed=0):
    torch.manual_seed(seed)
    held, width = nn.Sequential(), 3
    for number, stride in enumerate((2, 1, 2, 1)):
        held.add_module(f"conv{number}", nn.Conv2d(width, 12, 3, stride, 1))
        held.add_module(f"relu{number}", nn.ReLU(inplace=True))
        width = 12
    for layer in held:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return held


@pytest.fixture(scope="module")
def planted():
    """Images, a network, and 40 neurons that read a few features of its third layer, six noisy repeats."""
    random = np.random.default_rng(0)
    images = torch.rand(240, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    network = small_network()
    features = extract(network, images, "relu2")["relu2"].double().numpy()
    varying = np.flatnonzero(features.std(0) > 0.1 * features.std(0).max())
    true = np.stack([features[:, random.choice(varying, 3, replace=False)].sum(1) for _ in range(40)], 1)
    true = (true - true.mean(0)) / true.std(0)
    noise = random.normal(size=(240, 6, 40)) * np.linspace(0.5, 2, 40)
    return network, images, true, true[:, None] + noise


def test_the_layer_that_drives_the_neurons_wins_and_shuffled_images_are_at_0(planted):
    network, images, _, trials = planted
    mean = trials.mean(1)
    features = extract(network, images, "relu?", batch=50)
    assert list(features) == [f"relu{i}" for i in range(4)]
    method, folds = Ridge(tuple(np.logspace(-2, 5, 15))), k_fold(240, 4, seed=0)
    medians = {}
    for layer, x in features.items():
        medians[layer] = summary(regress(x, mean, method, folds).scores("pearson")).median
    assert max(medians, key=medians.get) == "relu2"
    assert medians["relu2"] > 0.6 and medians["relu2"] > max(medians["relu0"], medians["relu3"]) + 0.05
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    shuffled = regress(features["relu2"][order], mean, method, folds)
    assert abs(summary(shuffled.scores("r2")).median) < 0.05
    projected = extract(network, images, "relu2", reduce=SparseProjection(150))["relu2"]
    assert summary(regress(projected, mean, method, folds).scores("pearson")).median > 0.8 * medians["relu2"]


def test_the_true_responses_have_normalised_scores_of_1(planted):
    _, _, true, trials = planted
    mean = trials.mean(1)
    reliability = split_half_reliability(torch.tensor(trials)).numpy()
    ceiling = variance_ceiling(trials).ceiling
    assert abs(np.mean(reliability - ceiling)) < 0.02
    assert summary(normalised(explained_variance(true, mean), ceiling, "ev/ceiling")).median == pytest.approx(
        1, abs=0.05
    )
    r = normalised(neuron_correlations(true, mean), reliability, "r/sqrt(ceiling)")
    assert summary(r).median == pytest.approx(1, abs=0.05)


def test_near_copies_in_other_folds_make_scores_too_good():
    """Views of one object belong into one group."""
    random = np.random.default_rng(0)
    objects = np.repeat(np.arange(40), 5)
    x = random.normal(size=(40, 300))[objects] + 0.1 * random.normal(size=(200, 300))
    y = random.normal(size=(40, 10))[objects] + 0.1 * random.normal(size=(200, 10))
    method = Ridge(tuple(np.logspace(-1, 4, 8)))
    leaking = summary(regress(x, y, method, k_fold(200, 5, seed=0)).scores("r2")).median
    honest = summary(regress(x, y, method, group_k_fold(objects, 5, seed=0)).scores("r2")).median
    assert leaking > 0.9 and honest < 0.05
