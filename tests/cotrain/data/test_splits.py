"""Splits never part a group, meet their shares, and follow the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cotrain.data import SplitConfig, duplicate_groups, split_groups
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


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=60, max_size=150), st.integers(2, 7), SEEDS, st.booleans())
def test_folds_hold_each_stimulus_out_once(groups, folds, seed, stratified):
    assume(len(set(groups)) > 5 * folds)
    strata = np.asarray(groups) % 3 if stratified else None
    held = [drawn(groups, SplitConfig(folds=folds, fold=fold), seed=seed, strata=strata) for fold in range(folds)]
    assert sorted(np.concatenate([split["test"] for split in held])) == list(range(len(groups)))
    largest = np.unique(groups, return_counts=True)[1].max()
    for split in held:
        assert sorted(np.concatenate(list(split.values()))) == list(range(len(groups)))
        members = [{groups[position] for position in positions} for positions in split.values()]
        assert not (members[0] & members[1] or members[0] & members[2] or members[1] & members[2])
        if not stratified:  # else within one group a stratum
            assert abs(len(split["test"]) - len(groups) / folds) <= largest
            assert abs(len(split["validation"]) - 0.15 * len(groups)) <= 2 * largest


def test_folds_follow_the_seed_and_keep_strata():
    strata = np.repeat(range(6), [12, 12, 12, 12, 23, 21])
    parts = [
        [
            split_groups(range(92), SplitConfig(folds=4, fold=f), seed=s, strata=strata)["test"].tolist()
            for f in range(4)
        ]
        for s in (0, 0, 1)
    ]
    assert parts[0] == parts[1] != parts[2]
    for rows in parts[0]:
        np.testing.assert_allclose(np.bincount(strata[rows]), np.bincount(strata) / 4, atol=1.0)


def test_folds_leave_a_given_validation_split_alone():
    tiers = np.array(["train"] * 40 + ["validation"] * 10)
    held = [split_groups(range(50), SplitConfig(folds=4, fold=f), seed=0, given=tiers) for f in range(4)]
    assert all(split["validation"].tolist() == list(range(40, 50)) for split in held)
    assert sorted(np.concatenate([split["test"] for split in held])) == list(range(40))


@pytest.mark.parametrize(
    ("changes", "given", "text"),
    [
        ({"folds": 1}, None, "One fold would hold out every stimulus"),
        ({"folds": 4, "fold": 4}, None, "There is no fold 4: they are counted from 0, so there is 0 to 3"),
        ({"fold": 1}, None, "There is no fold 1: .*only 0, as folds=0 asks for none"),
        ({"folds": 3}, ["train"] * 20 + ["test"] * 10, "10 stimuli are given to the test split, which folds=3"),
    ],
)
def test_folds_that_cannot_be_are_refused(changes, given, text):
    with pytest.raises(DataError, match=text):
        split_groups(range(30), SplitConfig(**changes), seed=0, given=given)


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


TIERS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from([*SPLITS, "train", "train"])), min_size=20, max_size=80)


def naive_given(groups, tiers) -> dict[str, list[int]]:
    """What stays of each given split: nothing whose group holds a stimulus of a later one."""
    held = {split: {g for g, tier in zip(groups, tiers, strict=True) if tier == split} for split in SPLITS}
    later = {"test": set(), "validation": held["test"], "train": held["test"] | held["validation"]}
    return {
        split: [
            i for i, (g, tier) in enumerate(zip(groups, tiers, strict=True)) if tier == split and g not in later[split]
        ]
        for split in SPLITS
    }


@MANY
@given(TIERS, SEEDS)
def test_a_given_split_stays_but_for_copies(stimuli, seed):
    groups, tiers = zip(*stimuli, strict=True)
    expected = naive_given(groups, tiers)
    assume(all(expected.values()))
    found = split_groups(groups, SplitConfig(), seed=seed, given=tiers)
    assert {split: positions.tolist() for split, positions in found.items()} == expected
    again = split_groups(groups, SplitConfig(validation=0.4, test=0.4), seed=seed + 1, given=tiers)
    assert {split: positions.tolist() for split, positions in again.items()} == expected  # nothing is drawn


@MANY
@given(TIERS, st.floats(0.05, 0.5), SEEDS)
def test_validation_is_drawn_from_given_training_stimuli_where_none_is_given(stimuli, share, seed):
    groups = [group for group, _ in stimuli]
    tiers = ["train" if tier == "validation" else tier for _, tier in stimuli]
    expected = naive_given(groups, tiers)
    config = SplitConfig(validation=share, test=0.0)
    try:
        found = split_groups(groups, config, seed=seed, given=tiers)
    except DataError as error:
        assume("The given split has no stimuli for" not in str(error))
        raise
    assert found["test"].tolist() == expected["test"]
    pool = sorted([*found["train"], *found["validation"]])
    assert pool == expected["train"]
    held = [{groups[position] for position in found[split]} for split in SPLITS]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    largest = np.unique([groups[position] for position in pool], return_counts=True)[1].max()
    assert abs(len(found["validation"]) - share * len(pool)) <= largest + 1e-9


@MANY
@given(st.integers(20, 60), SEEDS)
def test_validation_of_a_given_split_follows_seed_and_strata(size, seed):
    strata = np.random.default_rng(seed).permutation(np.repeat(np.arange(3), size))
    tiers = np.where(np.arange(3 * size) % 4 == 0, "test", "train")
    one, again, other = (
        split_groups(np.arange(3 * size), SplitConfig(validation=0.3), seed=s, strata=strata, given=tiers)
        for s in (seed, seed, seed + 1)
    )
    for name in SPLITS:
        np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one["validation"], other["validation"])
    for value in range(3):
        pool = ((strata == value) & (tiers == "train")).sum()
        assert abs((strata[one["validation"]] == value).sum() - 0.3 * pool) <= 1 + 1e-9


def test_copies_that_are_left_out_of_a_given_split_are_counted(caplog):
    groups = [0, 0, 0, 1, 1, 2, 3, 4, 5]
    tiers = ["train", "validation", "test", "train", "validation", "train", "test", "train", "train"]
    found = split_groups(groups, SplitConfig(), seed=0, given=tiers)
    assert {split: positions.tolist() for split, positions in found.items()} == {
        "train": [5, 7, 8],
        "validation": [4],
        "test": [2, 6],
    }
    assert caplog.messages == [
        "1 of 2 images of the given validation split are (near) copies of images for test and are left out.",
        "1 of 5 images of the given train split are (near) copies of images for test and are left out.",
        "1 of 4 images of the given train split are (near) copies of images for validation and are left out.",
    ]


def test_a_given_split_of_training_stimuli_alone_is_drawn_as_if_none_were_given():
    groups = np.arange(60) // 2
    plain = split_groups(groups, SplitConfig(), seed=3)
    for tiers in (["train"] * 60, np.array(["train"] * 60)):
        for name, positions in split_groups(groups, SplitConfig(), seed=3, given=tiers).items():
            np.testing.assert_array_equal(plain[name], positions)


@pytest.mark.parametrize(
    ("tiers", "share", "text"),
    [
        (["test"] * 6, 0.2, "The given split has no stimuli for train, validation"),
        (["train"] * 3 + ["validation"] * 3, 0.2, "The given split has no stimuli for test"),
        (["train"] * 5 + ["test"], 0.0, "The given split has no stimuli for validation"),
        (["train"] * 5 + ["Test"], 0.2, "stimulus 5 is given to the split 'Test'. Did you mean 'test'"),
        (["train"] * 4 + ["test"], 0.2, "6 stimuli but given splits of 5"),
    ],
)
def test_a_given_split_that_cannot_be_kept_is_refused(tiers, share, text):
    with pytest.raises(DataError, match=text):
        split_groups(range(6), SplitConfig(validation=share, test=0.0), seed=0, given=tiers)


@pytest.mark.parametrize("bits", [-1, 65, 1.5])
def test_what_is_no_number_of_bits_is_refused(bits):
    with pytest.raises(ConfigError, match=r"cotrain\.data\.SplitConfig: near_duplicates"):
        SplitConfig(near_duplicates=bits)


def test_near_duplicates_enter_the_key_only_where_they_are_named():
    assert SplitConfig().key() == SplitConfig(near_duplicates=None).key() != SplitConfig(near_duplicates=0).key()
