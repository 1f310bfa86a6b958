"""Pictures stand beside the responses to them: features of a trained network predict neurons as well as they should.

The bars come from a ridge regression of the same data that was written independently of cotrain (median Pearson r over
neurons, five folds): ResNet-20 (CIFAR-10), layer2: .54 for session 210325, .52 for 190923. One picture out of place a
hundred would not show; an order by name instead of number, or of the file instead of the numbers, gives about 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad, relu

from cotrain.data.recordings import read_cowley2023

ALPHAS = np.logspace(1, 7, 13)


class Block(nn.Module):
    """Of a CIFAR ResNet, whose shortcut pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)

    def forward(self, x):
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        missing = inner.shape[1] - x.shape[1]
        return relu(inner + pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, missing // 2, missing // 2)))


def resnet20_to_layer2(weights: Path) -> nn.Sequential:
    state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
    layers = {"layer1": (16, 16), "layer2": (16, 32)}
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 16, 3, 1, 1, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(16))
    network.add_module("relu", nn.ReLU())
    for name, (inputs, outputs) in layers.items():
        blocks = [Block(inputs, outputs), Block(outputs, outputs), Block(outputs, outputs)]
        network.add_module(name, nn.Sequential(*blocks))
    state = {name.removeprefix("module."): value for name, value in state.items()}
    network.load_state_dict({name: value for name, value in state.items() if name in network.state_dict()})
    return network.eval()


@torch.no_grad()
def layer2(images: np.ndarray, weights: Path) -> np.ndarray:
    network = resnet20_to_layer2(weights)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pieces = []
    for piece in torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).split(128):
        small = interpolate(piece, (56, 56), mode="bilinear", antialias=True)
        pieces.append(adaptive_avg_pool2d(network((small - mean) / std), 7).flatten(1))
    return torch.cat(pieces).numpy()


def median_r(features: np.ndarray, responses: np.ndarray) -> float:
    """Of held-out predictions, folds joined."""
    predicted = np.zeros_like(responses)
    for train, test in KFold(5, shuffle=True, random_state=0).split(features):
        mean, std = features[train].mean(0), features[train].std(0) + 1e-6
        ridge = RidgeCV(ALPHAS, alpha_per_target=True).fit((features[train] - mean) / std, responses[train])
        predicted[test] = ridge.predict((features[test] - mean) / std)
    return float(np.median([pearsonr(predicted[:, n], responses[:, n]).statistic for n in range(responses.shape[1])]))


@pytest.mark.slow
@pytest.mark.parametrize(("session", "bar"), [("210325", 0.54), ("190923", 0.52)])
def test_features_of_a_trained_network_predict_neurons_as_well_as_they_should(session, bar):
    root = Path(os.environ.get("COTRAIN_TEST_DATA", "nowhere"))
    weights = root / "cifar_resnets" / "resnet20-12fca82f.th"
    if not weights.is_file() or not (root / "cowley_v4").is_dir():
        pytest.skip("COTRAIN_TEST_DATA names no folder with cifar_resnets and cowley_v4")
    held = read_cowley2023(root / "cowley_v4", sessions=[session]).sessions[session]
    features = layer2(held.images, weights)
    found = median_r(features, held.mean)
    shuffled = median_r(features[np.random.default_rng(0).permutation(len(features))], held.mean)
    assert abs(found - bar) < 0.03, f"{session}: {found:.3f}"
    # means of the training folds are a little below where the held-out responses are above, so just below 0
    assert abs(shuffled) < 0.1, f"{session} shuffled: {shuffled:.3f}"
