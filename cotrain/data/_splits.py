"""Seeded splits that never part equal images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import Config
from cotrain.data._source import image_digests
from cotrain.errors import DataError
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS

Fraction = Annotated[float, Ge(0), Lt(1)]


class SplitConfig(Config):
    """Shares of the stimuli that are held out; the rest is for training."""

    kind: ClassVar[str] = "cotrain.data.SplitConfig"
    validation: Fraction = 0.15
    test: Fraction = 0.15


def split_groups(
    groups: Sequence[int] | NDArray[np.int64],
    config: SplitConfig,
    *,
    seed: int,
    strata: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Draw train, validation and test so that a group is never parted.

    Args:
        groups: One number a stimulus; stimuli with the same number stay together.
        config: The shares.
        seed: The experiment's seed; the draw uses its `split` child.
        strata: One number a stimulus, for example its label: every stratum is split in the same shares. A group
            belongs to the stratum of its first stimulus.

    Returns:
        {split: sorted positions of stimuli}. Together they hold each stimulus once.

    Raises:
        DataError: The shares leave nothing for training, or too few groups for a share that is asked for.
    """
    if config.validation + config.test >= 1:
        raise DataError(f"validation {config.validation} and test {config.test} leave no stimuli for training.")
    names, first, member, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    stratum = np.zeros(len(names), int) if strata is None else np.asarray(strata)[first]
    random = np.random.default_rng(derive_seed(seed, "split"))
    split_of = np.zeros(len(names), int)
    for turn, value in enumerate(random.permutation(np.unique(stratum))):
        order = random.permutation(np.flatnonzero(stratum == value))
        total, taken = size[order].sum(), np.cumsum(size[order])
        # a group goes where its middle falls, so that shares are met as nearly as whole groups allow; strata of few
        # groups would all err alike, so each takes another point instead (steps of the golden ratio are even)
        point = (0.5 + turn * 0.6180339887) % 1
        middle = (taken - size[order] * point) / total
        split_of[order] = np.where(middle < config.test, 2, np.where(middle < config.test + config.validation, 1, 0))
    found = {split: np.flatnonzero(split_of[member] == number) for number, split in enumerate(SPLITS)}
    for split, share in (("train", 1.0), ("validation", config.validation), ("test", config.test)):
        if share > 0 and len(found[split]) == 0:
            raise DataError(f"The split {split!r} is empty: {len(names)} groups of stimuli are too few for its share.")
    return found


def duplicate_groups(images: Tensor) -> NDArray[np.int64]:
    """One number an image, the same for images that are equal pixel by pixel."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in image_digests(images)])
