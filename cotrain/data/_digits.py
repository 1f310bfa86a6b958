"""Handwritten digits that come with scikit-learn: a classification without any download."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge

from cotrain.config import Config
from cotrain.data._duplicates import duplicate_groups
from cotrain.data._images import resized
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups


class DigitsConfig(Config):
    """1,797 real handwritten digits of 8x8 pixels, 10 classes (UCI optical recognition of handwritten digits)."""

    kind: ClassVar[str] = "cotrain.data.digits"
    task: str = "digits"  # name of the classification task
    size: Annotated[int, Ge(8)] = 32  # pixels that the images are scaled to
    split: SplitConfig = SplitConfig(validation=0.15, test=0.25)


def digits(config: DigitsConfig, *, seed: int) -> Data:
    """Grey images and labels, split by class and seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().byte()[:, None]
    labels = torch.from_numpy(bunch.target).long()
    parts = split_groups(duplicate_groups(images), config.split, seed=seed, strata=bunch.target)
    names = tuple(str(digit) for digit in range(10))
    source = Source("classification", resized(images, config.size), labels, class_names=names)
    return assemble({s: {config.task: {"": source.subset(torch.from_numpy(i))}} for s, i in parts.items()})
