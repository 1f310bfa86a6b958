"""Splits never part a group, meet their shares, and follow the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cotrain.data import SplitConfig, split_groups
from cotrain.data._splits import duplicate_groups
from cotrain.errors import ConfigError, DataError
from cotrain.tasks import SPLITS

MANY = settings(max_examples=100, deadline=None)
SHARES = st.tuples(st.floats(0, 0.45), st.floats(0, 0.45)).map(lambda s: SplitConfig(validation=s[0], test=s[1]))
SEEDS = st.integers(0, 10**6)


def shares(config) -> dict[str, float]:
    return {
        "train": 1 - config.validation - config.test,
        "validation": config.validation,
        "test": config.test,
    }


def drawn(groups, config, **options) -> dict:
    """A split, or no test case where a share is too small for the groups."""
    try:
        return split_groups(groups, config, **options)
    except DataError as error:
        assume("are too few for its share" not in str(error))
        raise


@MANY
@given(st.lists(st.integers(-5, 30), min_size=30, max_size=120), SHARES, SEEDS)
def test_groups_are_never_parted_and_each_stimulus_stands_once(groups, config, seed):
    split = drawn(groups, config, seed=seed)
    assert list(split) == list(SPLITS)
    assert sorted(np.concatenate(list(split.values()))) == list(range(len(groups)))
    held = [{groups[position] for position in positions} for positions in split.values()]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    for positions in split.values():
        assert np.all(np.diff(positions) > 0)


@MANY
@given(st.lists(st.integers(0, 30), min_size=30, max_size=120), SHARES, SEEDS)
def test_shares_are_met_within_one_group(groups, config, seed):
    split = drawn(groups, config, seed=seed)
    largest = np.unique(groups, return_counts=True)[1].max()
    for name, share in shares(config).items():
        assert abs(len(split[name]) - share * len(groups)) <= largest + 1e-9


@MANY
@given(st.lists(st.integers(15, 60), min_size=1, max_size=6), SHARES, SEEDS)
def test_each_stratum_has_the_same_shares(sizes, config, seed):
    strata = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = drawn(np.arange(len(strata)), config, seed=seed, strata=strata)
    for value, size in enumerate(sizes):
        for name, share in shares(config).items():
            assert abs((strata[split[name]] == value).sum() - share * size) <= 1 + 1e-9


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_many_small_strata_meet_the_shares_together(size, seed):
    # a rule that rounds each stratum alike gives some split nothing, or twice its share
    strata = np.repeat(np.arange(100), size)
    split = split_groups(np.arange(len(strata)), SplitConfig(), seed=seed, strata=strata)
    for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        assert len(split[name]) / len(strata) == pytest.approx(share, abs=0.03)


@MANY
@given(SEEDS)
def test_the_seed_decides_the_split_and_only_the_seed(seed):
    groups = np.arange(90) // 2
    # the predecessor overwrote each seed by 1000
    first, again, other = (split_groups(groups, SplitConfig(), seed=s) for s in (seed, seed, seed + 1))
    for name in SPLITS:
        np.testing.assert_array_equal(first[name], again[name])
    assert any(not np.array_equal(first[name], other[name]) for name in SPLITS)


@MANY
@given(SEEDS)
def test_what_the_groups_are_called_does_not_matter(seed):
    groups = np.random.default_rng(seed).integers(0, 40, 80)
    one = split_groups(groups, SplitConfig(), seed=seed)
    for name, positions in split_groups(groups * 7 - 30, SplitConfig(), seed=seed).items():
        np.testing.assert_array_equal(one[name], positions)


def test_a_group_belongs_to_the_stratum_of_its_first_stimulus():
    groups, strata = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    split = split_groups(groups, SplitConfig(), seed=0, strata=strata)
    for positions in split.values():
        assert (strata[positions] == 0).sum() == (strata[positions] == 1).sum()


def test_a_share_of_nothing_gives_nothing():
    split = split_groups(range(10), SplitConfig(validation=0.0, test=0.0), seed=0)
    assert [len(split[name]) for name in SPLITS] == [10, 0, 0]


@pytest.mark.parametrize(
    ("groups", "config", "text"),
    [
        (range(9), SplitConfig(validation=0.5, test=0.5), "validation 0.5 and test 0.5 leave no stimuli for training"),
        (range(2), SplitConfig(), "The split 'test' is empty: 2 groups of stimuli are too few for its share"),
        ([0] * 99, SplitConfig(), "The split 'validation' is empty: 1 groups of stimuli are too few for its share"),
        (range(3), SplitConfig(validation=0.45, test=0.5), "The split 'train' is empty: 3 groups"),
        ([], SplitConfig(), "The split 'train' is empty: 0 groups"),
    ],
)
def test_shares_that_cannot_be_met_are_refused(groups, config, text):
    with pytest.raises(DataError, match=text):
        split_groups(groups, config, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match=r"cotrain\.data\.SplitConfig: test: "):
        SplitConfig(test=share)


def test_equal_images_are_one_group():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[3], images[4] = images[0], images[1]
    images[4, 2, 3, 3] ^= 1
    groups = duplicate_groups(images)
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 4
