"""The table of what finetuning changed, which no single seed can fill unnoticed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cotrain.analysis._paired import paired_differences
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SEEDS = 2  # for an interval


def finetuning_deltas(scores: pd.DataFrame, before: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """What each finetuning changed, seed by seed against the student that it started from.

    Args:
        scores: One row a score: `label`, `seed`, `score` and `value`; the same images must be held out in all rows
            of a seed.
        before: Label of the student.
        confidence: Of the intervals, which are not corrected for the number of rows.

    Returns:
        One row a finetuning and score: label, score, before, after (means over the seeds that both have), difference,
        low, high, seeds. With one seed low and high are NaN.

    Raises:
        CotrainError: There is no such student, nothing to compare with it, or two values for one label, seed and score.
    """
    twice = scores.duplicated(["label", "seed", "score"])
    if bool(twice.any()):
        row = scores[twice].iloc[0]
        raise CotrainError(
            f"There are several values of {row.score!r} for {row.label!r}, seed {row.seed}. Keep the scores of one "
            "evaluation."
        )
    table = paired_differences(scores, before, confidence=confidence)
    if table.empty:
        raise CotrainError(f"No experiment has a score and a seed in common with {before!r}.")
    means = []
    for label, score in zip(table.label, table.score, strict=True):
        of_score = scores[(scores.score == score) & scores.label.isin([before, label])]
        wide = of_score.pivot_table(index="seed", columns="label", values="value").dropna()
        means.append((float(wide[before].mean()), float(wide[label].mean())))
    table.insert(2, "before", [mean[0] for mean in means])
    table.insert(3, "after", [mean[1] for mean in means])
    return table


def deltas_as_text(
    table: pd.DataFrame,
    *,
    single_seed: bool = False,
    percent: bool = True,
    columns: tuple[str, str] = ("before", "after"),
) -> str:
    """A Markdown table of what `finetuning_deltas` found.

    Args:
        table: Its rows.
        single_seed: Whether a difference of one seed may stand there; it is then marked as such.
        percent: Whether values are shares, to be written in points of a hundred.
        columns: What the two values are called, of which the second less the first is the difference.

    Raises:
        CotrainError: A difference is of one seed, and that is not allowed.
    """
    alone = table[table.seeds < FEWEST_SEEDS]
    if len(alone) and not single_seed:
        raise CotrainError(
            f"The difference of {alone.iloc[0].label!r} is of one seed ({len(alone)} of {len(table)} rows are), so "
            "nothing says whether another seed would agree. Train more seeds, or ask for the table with "
            "single_seed=True (`cotrain deltas --single-seed`), which says so in each such row."
        )
    unit, digits = (100, 2) if percent else (1, 3)
    lines = [
        f"| finetuned on | score | {columns[0]} | {columns[1]} | difference | 95 % interval, seeds |",
        "|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        before, after, change, low, high = (
            unit * float(value) for value in (row.before, row.after, row.difference, row.low, row.high)
        )
        span = f"[{low:+.{digits}f}, {high:+.{digits}f}], {row.seeds}"
        if math.isnan(low):
            span = "ONE SEED: no interval, not a result"
        lines.append(
            f"| {row.label} | {row.score} | {before:.{digits}f} | {after:.{digits}f} | {change:+.{digits}f} | {span} |"
        )
    return "\n".join(lines)
