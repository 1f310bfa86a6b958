"""The digits of scikit-learn as a data set."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cotrain.data import Data, DigitsConfig, SplitConfig, digits
from cotrain.errors import ConfigError, DataError
from cotrain.tasks import SPLITS


def source(data: Data, split: str, task: str = "digits"):
    return data.splits[split][task][""]


@pytest.fixture(scope="module")
def small() -> Data:
    return digits(DigitsConfig(size=8), seed=0)


def test_every_digit_stands_in_one_split(small):
    bunch = load_digits()
    expected = Counter((image.tobytes(), label) for image, label in zip(bunch.images / 16, bunch.target, strict=True))
    found: Counter = Counter()
    for split in SPLITS:
        held = source(small, split)
        images = np.rint(held.images.numpy()[:, 0] / 255 * 16) / 16  # sixteen levels, none of them lost
        found.update((image.tobytes(), label) for image, label in zip(images, held.targets.tolist(), strict=True))
    assert found == expected
    assert sum(found.values()) == 1797


def test_info(small):
    info = small.info.task("digits")
    assert (info.kind, info.image_shape) == ("classification", (1, 8, 8))
    assert info.class_names == tuple("0123456789")
    assert list(small.info.tasks) == ["digits"]


@pytest.mark.parametrize("seed", range(3))
def test_classes_are_split_in_equal_shares(seed):
    data = digits(DigitsConfig(size=8), seed=seed)
    number = {split: source(data, split).targets.bincount() for split in SPLITS}
    total = sum(number.values())
    for split, share in {"train": 0.6, "validation": 0.15, "test": 0.25}.items():
        assert ((number[split] - share * total).abs() <= 1).all()


def test_the_seed_decides_the_split(small):
    assert digits(DigitsConfig(size=8), seed=0).info.fingerprint == small.info.fingerprint
    assert digits(DigitsConfig(size=8), seed=1).info.fingerprint != small.info.fingerprint


def test_the_size_changes_neither_split_nor_labels(small):
    large = digits(DigitsConfig(task="numbers"), seed=0)
    for split in SPLITS:
        assert source(large, split, "numbers").images.shape[1:] == (1, 32, 32)
        torch.testing.assert_close(source(large, split, "numbers").targets, source(small, split).targets)


def test_wrong_values_are_refused():
    with pytest.raises(ConfigError, match=r"cotrain\.data\.digits: size: input should be greater than or equal to 8"):
        DigitsConfig(size=7)
    with pytest.raises(DataError, match=r"test/digits: this split is empty\. Give it a larger share"):
        digits(DigitsConfig(size=8, split=SplitConfig(test=0.0)), seed=0)
    with pytest.raises(DataError, match="Task 'a b': expected 1 to 32 letters"):
        digits(DigitsConfig(size=8, task="a b"), seed=0)
