"""Paired differences: against scipy's paired t-test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from cotrain.analysis import paired_differences
from cotrain.errors import CotrainError


def frame(values):
    """{label: {score: {seed: value}}} as rows."""
    return pd.DataFrame(
        [
            (label, seed, score, value)
            for label, scores in values.items()
            for score, seeds in scores.items()
            for seed, value in seeds.items()
        ],
        columns=["label", "seed", "score", "value"],
    )


def test_the_interval_is_that_of_the_paired_t_test():
    draw = np.random.default_rng(0)
    base, other = draw.normal(size=5), draw.normal(size=5)
    scores = frame({"base": {"r": dict(enumerate(base))}, "other": {"r": dict(enumerate(other))}})
    (row,) = paired_differences(scores, "base").itertuples()
    expected = ttest_rel(other, base).confidence_interval(0.95)
    assert (row.label, row.score, row.seeds) == ("other", "r", 5)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert row.difference == pytest.approx((other - base).mean())


def test_only_seeds_and_scores_in_common_are_compared():
    scores = frame(
        {
            "base": {"r": {0: 0.5, 1: 0.7}},
            "half": {"r": {1: 0.9, 2: 0.1}},
            "none": {"r": {7: 0.5}},
            "else": {"accuracy": {0: 0.3}},
        }
    )
    (row,) = paired_differences(scores, "base").itertuples()
    assert (row.label, row.seeds) == ("half", 1) and row.difference == pytest.approx(0.2)
    assert np.isnan(row.low) and np.isnan(row.high), "one seed has no interval"


def test_an_unknown_baseline_is_named():
    with pytest.raises(CotrainError, match=r"no finished experiment 'bse'.*Did you mean 'base'"):
        paired_differences(frame({"base": {"r": {0: 0.5}}}), "bse")
