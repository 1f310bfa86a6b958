"""From images to scores of neurons: a planted layer is found, noise is divided out, and recorded V4 is predicted.

The bars come from a ridge regression of the same data that was written independently of cotrain (median Pearson r over
neurons, five folds): ResNet-20 (CIFAR-10), layer2: .54 for session 210325.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad, relu

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
    ridge,
    split_half_reliability,
    summary,
    variance_ceiling,
)
from cotrain.data.recordings import read_cowley2023


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


class Block(nn.Module):
    """Of a CIFAR ResNet, whose shortcut pads channels with zeros."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)

    def forward(self, x):
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        missing = inner.shape[1] - x.shape[1]
        return relu(inner + pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, missing // 2, missing // 2)))


class Pooled(nn.Module):
    """A layer's maps as 7 x 7 means, as the bars were measured."""

    def forward(self, x):
        return adaptive_avg_pool2d(x, 7)


def resnet20(weights):
    state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 16, 3, 1, 1, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(16))
    network.add_module("relu", nn.ReLU(inplace=True))
    for name, (inputs, outputs) in {"layer1": (16, 16), "layer2": (16, 32)}.items():
        network.add_module(name, nn.Sequential(*(Block(inputs if i == 0 else outputs, outputs) for i in range(3))))
    state = {name.removeprefix("module."): value for name, value in state.items()}
    network.load_state_dict({name: value for name, value in state.items() if name in network.state_dict()})
    network.add_module("pooled", Pooled())
    return network


def as_the_network_was_trained(images):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (interpolate(images, (56, 56), mode="bilinear", antialias=True) - mean) / std


@pytest.mark.slow
def test_a_trained_network_s_layer_predicts_recorded_neurons_as_well_as_it_should():
    root = Path(os.environ.get("COTRAIN_TEST_DATA", "nowhere"))
    weights = root / "cifar_resnets" / "resnet20-12fca82f.th"
    if not weights.is_file() or not (root / "cowley_v4").is_dir():
        pytest.skip("COTRAIN_TEST_DATA names no folder with cifar_resnets and cowley_v4")
    held = read_cowley2023(root / "cowley_v4", sessions=["210325"]).sessions["210325"]
    features = extract(
        resnet20(weights), np.asarray(held.images), "pooled", prepare=as_the_network_was_trained, batch=128
    )["pooled"]
    assert features.shape == (len(held.images), 32 * 49)
    alphas = tuple(np.logspace(1, 7, 13))
    fit = regress(features, held.mean, Ridge(alphas, standardise=True), 5)
    r = fit.scores("pearson")
    assert abs(summary(r).median - 0.54) < 0.03
    reliability = split_half_reliability(held.responses)
    share = summary(normalised(r, reliability, "r/sqrt(ceiling)"))
    assert share.left_out == 0 and summary(r).median < share.median < 0.8
    # with the alphas of all stimuli, and held out one by one: nearly the same
    alone = ridge(features, held.mean, alphas, standardise=True)
    assert summary(neuron_correlations(alone.predictions, held.mean)).median == pytest.approx(
        summary(r).median, abs=0.03
    )
    order = np.random.default_rng(0).permutation(len(features))
    shuffled = regress(features[order], held.mean, Ridge(alphas, standardise=True), 5)
    assert summary(shuffled.scores("r2")).median < 0.01
