"""Seeded splits that never part groups of stimuli, and splits that were given."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le, Lt
from numpy.typing import NDArray

from cotrain.config import AddedLater, Config
from cotrain.errors import DataError, did_you_mean
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS

log = logging.getLogger(__name__)

Fraction = Annotated[float, Ge(0), Lt(1)]


class SplitConfig(Config):
    """Shares of the stimuli that are held out; the rest is for training."""

    kind: ClassVar[str] = "cotrain.data.SplitConfig"
    validation: Fraction = 0.15
    test: Fraction = 0.15
    near_duplicates: Annotated[Annotated[int, Ge(0), Le(64)] | None, AddedLater(neutral=None)] = None
    """Images whose average hashes (256 bits) differ in no more than so many bits stay together, as equal images always
    do; 8 finds copies that were compressed, scaled or shifted a little. None: equal images only."""
    folds: Annotated[Annotated[int, Ge(0)], AddedLater(neutral=0)] = 0
    """Cross-validation over stimuli: the test split is one of so many parts of all of them, 2 or more, whatever share
    `test` says. Experiments that differ in `fold` alone hold each stimulus out once with each seed, whose parts are its
    own. `validation` is drawn from the rest, as a share of all stimuli. 0: no folds."""
    fold: Annotated[Annotated[int, Ge(0)], AddedLater(neutral=0)] = 0  # which of them is held out, from 0


def split_groups(
    groups: Sequence[int] | NDArray[np.int64],
    config: SplitConfig,
    *,
    seed: int,
    strata: NDArray[np.int64] | None = None,
    given: Sequence[str] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Draw train, validation and test so that a group is never parted.

    Args:
        groups: One number a stimulus; stimuli with the same number stay together.
        config: The shares.
        seed: The experiment's seed; the draw uses its `split` child.
        strata: One number a stimulus, for example its label: every stratum is split in the same shares. A group
            belongs to the stratum of its first stimulus.
        given: The split that the publishers gave each stimulus. Stimuli for validation and testing stay what they
            are, and the config's share of such a split is without effect; a split that is not given is drawn from the
            stimuli for training, in the share of them that the config says. A training stimulus whose group holds one
            for validation or testing, and one for validation whose group holds one for testing, is left out with a
            warning.

    Returns:
        {split: sorted positions of stimuli}. Together they hold each stimulus once, but for those left out.

    Raises:
        DataError: The shares leave nothing for training, or too few groups for a share that is asked for; or there is
            no such fold, or a test split is given besides.
    """
    numbers = np.asarray(groups)
    _check_folds(config)
    if given is not None and len(given):
        return _given(numbers, config, seed, strata, np.asarray(given))
    found = _drawn(numbers, config, seed, strata)
    for split, share in (("train", 1.0), ("validation", config.validation), ("test", _test_share(config))):
        if share > 0 and len(found[split]) == 0:
            count = len(np.unique(numbers))
            raise DataError(f"The split {split!r} is empty: {count} groups of stimuli are too few for its share.")
    return found


def _given(
    groups: NDArray[np.int64],
    config: SplitConfig,
    seed: int,
    strata: NDArray[np.int64] | None,
    given: NDArray[np.str_],
) -> dict[str, NDArray[np.int64]]:
    if len(given) != len(groups):
        raise DataError(f"{len(groups)} stimuli but given splits of {len(given)}. Each stimulus needs one.")
    if len(strange := np.flatnonzero(~np.isin(given, SPLITS))):
        name = str(given[strange[0]])
        raise DataError(f"The stimulus {strange[0]} is given to the split {name!r}.{did_you_mean(name, SPLITS)}")
    found = {split: np.flatnonzero(given == split) for split in SPLITS}
    if config.folds and len(found["test"]):
        raise DataError(
            f"{len(found['test'])} stimuli are given to the test split, which folds={config.folds} is to draw. Leave "
            "folds out, or do not use the given split."
        )
    for one, other in (("validation", "test"), ("train", "test"), ("train", "validation")):
        copies = np.isin(groups[found[one]], groups[found[other]])
        if copies.any():
            log.warning(
                "%d of %d images of the given %s split are (near) copies of images for %s and are left out.",
                copies.sum(), len(copies), one, other,
            )  # fmt: skip
            found[one] = found[one][~copies]
    open_shares = {"validation": config.validation, "test": _test_share(config)}
    shares = {split: 0.0 if len(found[split]) else share for split, share in open_shares.items()}
    pool = found["train"]
    drawn = _drawn(groups[pool], config.replace(**shares), seed, None if strata is None else np.asarray(strata)[pool])
    found = {split: pool[drawn[split]] if split == "train" or shares[split] else found[split] for split in SPLITS}
    if empty := [split for split in SPLITS if len(found[split]) == 0]:
        raise DataError(f"The given split has no stimuli for {', '.join(empty)}, and no share of training is for them.")
    return found


def _check_folds(config: SplitConfig) -> None:
    if config.folds == 1:
        raise DataError("One fold would hold out every stimulus and leave none for training. Use folds=2 or more.")
    if config.fold >= max(1, config.folds):
        known = f"0 to {config.folds - 1}" if config.folds else "only 0, as folds=0 asks for none"
        raise DataError(f"There is no fold {config.fold}: they are counted from 0, so there is {known}.")


def _test_share(config: SplitConfig) -> float:
    return 1 / config.folds if config.folds else config.test


def _drawn(
    groups: NDArray[np.int64], config: SplitConfig, seed: int, strata: NDArray[np.int64] | None
) -> dict[str, NDArray[np.int64]]:
    validation, test = config.validation, _test_share(config)
    if validation + test >= 1:
        raise DataError(f"validation {validation} and test {test} leave no stimuli for training.")
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
        if config.folds:  # the parts stand in a ring, and the one that is held out comes first
            place = middle * config.folds
            held_out = np.minimum(np.floor(place), config.folds - 1) == config.fold  # whole numbers: in one fold only
            behind = (place - config.fold) % config.folds / config.folds
            middle = np.where(held_out, 0.0, np.maximum(behind, test))
        split_of[order] = np.where(middle < test, 2, np.where(middle < test + validation, 1, 0))
    return {split: np.flatnonzero(split_of[member] == number) for number, split in enumerate(SPLITS)}
