"""Scores of neurons by layer for pictures: one target and metric of some experiments, and what populations come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotrain.analysis._evaluated_rows import only_one, with_labels
from cotrain.analysis._score_tables import COLUMNS, aggregate_scores
from cotrain.errors import CotrainError

if TYPE_CHECKING:
    import pandas as pd

LAYER = ["layer_place", "layer", "depth"]
NEURON = ["session", "neuron", "area", "subject"]
NOTHING: dict[str, str | int] = {"label": "", "seed": 0, "epoch": 0, "target": ""}  # of a table that does not say


@dataclass(frozen=True)
class RegressionScores:
    """One metric of the neurons of one target, predicted from layers (`regression_scores` makes one).

    Args:
        target, metric: Of all scores.
        normalised: Whether scores are divided by what a perfect prediction would score.
        labels: Of the experiments, in the order in which they are shown.
        seeds: {label: how many runs its scores are the mean of}.
        rows: One row a label, epoch, layer and neuron, means over seeds: label, epoch, layer_place, layer, depth,
            session, neuron, area, subject, metric, score, ceiling (the score of a perfect prediction; NaN where it is
            not known). A neuron without a score with one of the seeds has none.
    """

    target: str
    metric: str
    normalised: bool
    labels: tuple[str, ...]
    seeds: dict[str, int]
    rows: pd.DataFrame

    @property
    def areas(self) -> list[str]:
        """In the order of the table; [""] where none is known."""
        return list(dict.fromkeys(self.rows.area))

    @property
    def layers(self) -> list[str]:
        """Of all labels, by depth."""
        return list(dict.fromkeys(self.rows.sort_values(["depth", "layer_place"], kind="stable").layer))

    @property
    def described(self) -> str:
        """What scores are, for axes."""
        name = {"pearson": "r", "explained_variance": "explained variance", "r2": "R²"}.get(self.metric, self.metric)
        return f"{name}, normalised" if self.normalised else name


def regression_scores(
    frame: pd.DataFrame,
    *,
    target: str | None = None,
    metric: str | None = None,
    session: str | None = None,
    area: str | None = None,
    normalised: bool = False,
    labels: Sequence[str] | None = None,
) -> RegressionScores:
    """Choose the scores of one target and metric, and take means over seeds.

    Args:
        frame: Columns as of `aggregate_scores`; of an evaluation also `target` and `normalised`, of several runs
            `label`, `seed` and `epoch`.
        target: None: the only one.
        metric: None: "pearson", or the only one.
        session, area: None: all.
        normalised: Take these scores in the place of the raw ones.
        labels: Those to keep, in the order to show them; None: all, in the order of the table.

    Raises:
        CotrainError: Columns are missing; there is no such target, metric, session, area or label, or several would
            do; no score is normalised; or two runs share a label and a seed.
    """
    needed = [*COLUMNS, *(["normalised"] if normalised else [])]
    if missing := [name for name in needed if name not in frame]:
        raise CotrainError(f"A table of scores of neurons has the columns {', '.join(needed)}; no {missing}.")
    if not len(frame):
        raise CotrainError("The table of scores of neurons has no row: evaluate some runs first.")
    frame = frame.copy(deep=False)
    for name, value in NOTHING.items():
        if name not in frame:
            frame[name] = value
    target = only_one("target", target, list(dict.fromkeys(frame.target)))
    found = frame[frame.target == target]
    metrics = list(dict.fromkeys(found.metric))
    metric = only_one("metric", metric or ("pearson" if "pearson" in metrics else None), metrics)
    found = found[found.metric == metric]
    for what, wanted in (("session", session), ("area", area)):
        if wanted is not None:
            only_one(what, wanted, list(dict.fromkeys(found[what])))
            found = found[found[what] == wanted]
    found, shown = with_labels(found, labels)
    bound = found.ceiling.where(found.ceiling >= 0)
    if metric == "pearson":
        bound = bound**0.5
    if normalised:
        if found.normalised.isna().all():
            raise CotrainError(f"No {metric} of {target!r} is normalised: there are no repeats that tell a ceiling.")
        bound = bound.where(bound.isna(), 1.0)
        found = found.assign(score=found.normalised)
    found = found.assign(ceiling=bound)
    if bool(found.duplicated(["label", "seed", "epoch", *LAYER, *NEURON]).any()):
        raise CotrainError("Two runs share a label and a seed. Choose runs of one recipe, or by their keys.")
    seeds = {label: int(found.seed[found.label == label].nunique()) for label in shown}
    return RegressionScores(target, metric, normalised, shown, seeds, _means(found, seeds).assign(metric=metric))


def regression_summary(held: RegressionScores, by: Sequence[str]) -> pd.DataFrame:
    """Medians over neurons with their bootstrap interval, as of `aggregate_scores`.

    Args:
        held: Scores.
        by: Columns whose values make a group; within one, a neuron occurs once.
    """
    return aggregate_scores(held.rows, list(by))


def regression_ceiling(held: RegressionScores, rows: pd.DataFrame) -> tuple[float, float, float]:
    """Median over neurons of what a perfect prediction would score, with its interval; NaN where it is not known.

    Args:
        held: Whose rows these are.
        rows: Some of them; a neuron's ceiling is the mean over labels, epochs and layers.
    """
    each = rows.groupby(NEURON, sort=False, as_index=False).ceiling.mean()
    table = each.assign(metric=held.metric, score=each.ceiling, layer="", layer_place=0, depth=1.0)
    found = aggregate_scores(table, ["layer"]).iloc[0]
    return float(found.value), float(found.low), float(found.high)


def _means(frame: pd.DataFrame, seeds: dict[str, int]) -> pd.DataFrame:
    """Over seeds; epochs that one of a label's seeds lacks are left out, neurons without a score in one have none."""
    by = frame.groupby(["label", "epoch", *LAYER, *NEURON], sort=False, dropna=False)
    found = by[["score", "ceiling"]].mean()
    counts = by.score.count()
    of_label = found.index.get_level_values("label").map(seeds).to_numpy()
    found["score"] = found.score.where(counts.to_numpy() == of_label)
    whole: pd.DataFrame = found[by.size().to_numpy() == of_label]
    return whole.reset_index()
