"""Differences between experiments that share their seeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cotrain.errors import CotrainError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def paired_differences(scores: pd.DataFrame, baseline: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """How each experiment differs from a baseline, seed by seed, with Student's interval of the mean difference.

    Runs of one seed share splits and initialisation, so their difference varies less than either of them. The interval
    is over seeds (its degrees of freedom are one less than seeds in common); it says nothing of other data.

    Args:
        scores: One row a score: `label` of the experiment, `seed`, `score` (its name) and `value`.
        baseline: A label; others are compared with it where both have the score.
        confidence: Of the interval, between 0 and 1.

    Returns:
        One row for each other experiment and score: label, score, difference, low, high, seeds. With one seed in common
        low and high are NaN.

    Raises:
        CotrainError: No experiment has that label.
    """
    import pandas as pd
    from scipy.stats import t

    labels = list(dict.fromkeys(scores.label))
    if baseline not in labels:
        raise CotrainError(f"There is no finished experiment {baseline!r}.{did_you_mean(baseline, labels)}")
    rows = []
    for name in dict.fromkeys(scores.score):
        of_score = scores[scores.score == name].pivot_table(index="seed", columns="label", values="value", sort=False)
        for label in labels:
            if label == baseline or not {label, baseline} <= set(of_score.columns):
                continue
            found = (of_score[label] - of_score[baseline]).dropna()
            if not len(found):
                continue
            error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
            half = float(t.ppf((1 + confidence) / 2, len(found) - 1)) * error if len(found) > 1 else math.nan
            rows.append((label, name, found.mean(), found.mean() - half, found.mean() + half, len(found)))
    return pd.DataFrame(rows, columns=["label", "score", "difference", "low", "high", "seeds"])
