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
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from cotrain.data.recordings import read_cowley2023
from cotrain.models import CifarResNetConfig, normalised_as_imagenet, tapped
from cotrain.resolve import build

ALPHAS = np.logspace(1, 7, 13)
WEIGHTS = "cifar_resnets/resnet20-12fca82f.th"


@torch.no_grad()
def layer2(images: np.ndarray) -> np.ndarray:
    network = build(CifarResNetConfig(weights=WEIGHTS)).eval()
    pieces = []
    for piece in torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).split(128):
        small = interpolate(piece, (56, 56), mode="bilinear", antialias=True)
        features = tapped(network, normalised_as_imagenet(small), ["layer2"])["layer2"]
        pieces.append(adaptive_avg_pool2d(features, 7).flatten(1))
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
def test_features_of_a_trained_network_predict_neurons_as_well_as_they_should(session, bar, monkeypatch):
    root = Path(os.environ.get("COTRAIN_TEST_DATA", "nowhere"))
    if not (root / WEIGHTS).is_file() or not (root / "cowley_v4").is_dir():
        pytest.skip("COTRAIN_TEST_DATA names no folder with cifar_resnets and cowley_v4")
    held = read_cowley2023(root / "cowley_v4", sessions=[session]).sessions[session]
    monkeypatch.setenv("COTRAIN_DATA", str(root))
    features = layer2(held.images)
    found = median_r(features, held.mean)
    shuffled = median_r(features[np.random.default_rng(0).permutation(len(features))], held.mean)
    assert abs(found - bar) < 0.03, f"{session}: {found:.3f}"
    # means of the training folds are a little below where the held-out responses are above, so just below 0
    assert abs(shuffled) < 0.1, f"{session} shuffled: {shuffled:.3f}"
