"""Accuracy under Gaussian noise: at each level, and of a mixture of levels."""

from __future__ import annotations

import math

import pytest
import torch

from cotrain.data import AugmentConfig, augment
from cotrain.errors import ConfigError
from cotrain.evaluations import NoiseAccuracyConfig, NoiseMixtureConfig, noise_accuracy, noise_mixture
from cotrain.metrics import classification_scores
from cotrain.seeds import derive_seed

CPU = torch.device("cpu")


def scores(model, images, labels):
    with torch.no_grad():
        return dict(classification_scores(model.eval()(images, "animals"), labels))


def test_levels_of_noise_have_both_accuracies(model, data):
    rows = noise_accuracy(model, data, NoiseAccuracyConfig(std=(0.0, 0.2)), device=CPU, seed=3)
    source = data.splits["test"]["animals"][""]
    clean = scores(model, source.images, source.targets)
    assert (rows[0].accuracy, rows[0].top5) == (clean["accuracy"], clean["top5"])
    noise = augment(AugmentConfig(noise=((0.2, 1.0),)))
    noisy = scores(model, noise(source.images, derive_seed(3, "noise", "animals", "0")), source.targets)
    assert (rows[1].accuracy, rows[1].top5) == (noisy["accuracy"], noisy["top5"])
    assert [(row.task, row.level, row.std) for row in rows] == [("animals", 0, 0.0), ("animals", 1, 0.2)]


def test_inside_and_outside_the_domain(model, data):
    config = NoiseMixtureConfig(noise=((0.3, 0.5), (0.6, 0.25)), seed=5)
    rows = {(row.split, row.shown, row.metric): row.value for row in noise_mixture(model, data, config, device=CPU)}
    assert set(rows) == {
        (split, shown, metric)
        for split in ("validation", "test")
        for shown in ("clean", "mixture")
        for metric in ("accuracy", "top5", "loss")
    }
    add = augment(AugmentConfig(noise=config.noise))
    for split in ("validation", "test"):
        source = data.splits[split]["animals"][""]
        for shown, images in (
            ("clean", source.images),
            ("mixture", add(source.images, derive_seed(5, "noise", "animals", split, "0"))),
        ):
            for metric, value in scores(model, images, source.targets).items():
                assert rows[split, shown, metric] == value
    assert rows["test", "clean", "loss"] != rows["test", "mixture", "loss"]


def test_the_mixture_is_the_same_for_runs_of_all_seeds(model, data):
    config = NoiseMixtureConfig()
    assert noise_mixture(model, data, config, device=CPU, seed=1) == noise_mixture(model, data, config, device=CPU)
    assert config.noise == ((0.08, 0.1), (0.12, 0.1), (0.18, 0.1), (0.26, 0.1), (0.38, 0.1))
    assert math.fsum(share for _, share in config.noise) == pytest.approx(0.5)


def test_a_run_without_classification(model_of, data):
    assert noise_mixture(model_of("cells"), data, NoiseMixtureConfig(), device=CPU) == []
    assert noise_accuracy(model_of("cells"), data, NoiseAccuracyConfig(), device=CPU, seed=0) == []


def test_shares_above_one_are_refused():
    with pytest.raises(ConfigError, match=r"noise: the shares must sum to 1 or less \(the rest is clean\), not 1\.2"):
        NoiseMixtureConfig(noise=((0.1, 0.6), (0.2, 0.6)))
    assert len(NoiseMixtureConfig(noise=tuple((0.1 * n, 0.1) for n in range(1, 11))).noise) == 10
