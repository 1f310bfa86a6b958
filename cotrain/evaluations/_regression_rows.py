"""What neural regression gives: a row a neuron, and a row a layer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis import aggregate_scores

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class NeuronRegression:
    """How well a neuron is predicted from a layer; NaN where it is undefined.

    Args:
        target: A neural task, or a file's name.
        session: "" of tasks without any, and of files.
        metric: "pearson", "explained_variance" or "r2", of the predictions of all held-out stimuli together.
        layer_place: Of the layer, in the order of a pass, from 0.
        neuron: Its place in the session, from 0.
        layer: Its name.
        depth: As of `cotrain.analysis.layer_depths`.
        area, subject: "" where they are not known.
        score: NaN for a neuron whose responses are constant, or known for too few stimuli.
        ceiling: Reliability of the mean response to the scored stimuli (split halves, Spearman-Brown); NaN without
            repeats. It bounds explained variance, and squared correlations.
        normalised: The score, divided as the config says; NaN below the least ceiling.
        alpha: Of ridge, the median over folds; else NaN.
        stimuli: How many were scored.
    """

    target: str
    session: str
    metric: str
    layer_place: int
    neuron: int
    layer: str
    depth: float
    area: str
    subject: str
    score: float
    ceiling: float
    normalised: float
    alpha: float
    stimuli: int


@dataclass(frozen=True)
class LayerRegression:
    """The neurons of one area and session, or of several, predicted from a layer; NaN where it is undefined.

    Args:
        target: As of `NeuronRegression`.
        session: "" also of all sessions together.
        area: "": of all areas, or not known.
        metric, layer_place, layer, depth: As of `NeuronRegression`.
        median: Over neurons.
        low, high: Interval of 95 % of the median, by bootstrap over neurons; over animals too where there are several.
        mean: Over neurons.
        normalised, normalised_low, normalised_high: Median of the normalised scores, and its interval.
        formula: By which they are.
        fold_median, fold_error: Median over neurons in each fold by itself, then mean and standard error over folds, as
            Brain-Score reports; NaN of several sessions together.
        neurons: That have a score.
        left_out: That have none.
        reliable: That have a normalised score.
        fitted, scored: Stimuli, the fewest that a fit saw, and all that were scored; of several sessions sums.
        folds: How stimuli were held out.
    """

    target: str
    session: str
    area: str
    metric: str
    layer_place: int
    layer: str
    depth: float
    median: float
    low: float
    high: float
    mean: float
    normalised: float
    normalised_low: float
    normalised_high: float
    formula: str
    fold_median: float
    fold_error: float
    neurons: int
    left_out: int
    reliable: int
    fitted: int
    scored: int
    folds: str


@dataclass(frozen=True)
class Held:
    """Of one session, what its layers' rows need beside the neurons' own.

    Args:
        fitted, scored: Counts of stimuli.
        folds: Their name.
        by_fold: {(metric, place of the layer): (folds, neurons)}.
    """

    fitted: int
    scored: int
    folds: str
    by_fold: Mapping[tuple[str, int], NDArray[np.float64]]


def layer_rows(
    neurons: Sequence[NeuronRegression],
    sessions: Mapping[tuple[str, str], Held],
    formulas: Mapping[str, str],
    *,
    draws: int,
    seed: int,
) -> list[LayerRegression]:
    """Rows of each target: of each session and of all together, of each area and of all together.

    Args:
        neurons: Of all targets and sessions.
        sessions: {(target, session): what is known of it}.
        formulas: {metric: how it is normalised}.
        draws, seed: Of the bootstrap.
    """
    import pandas as pd

    if not neurons:
        return []
    frame = pd.DataFrame([asdict(row) for row in neurons])
    found: list[LayerRegression] = []
    for target in dict.fromkeys(frame.target):
        whole = frame[frame.target == target]
        for session, area, part in _scopes(whole):
            held = [known for (name, one), known in sessions.items() if name == target and session in ("", one)]
            found += _rows(target, session, area, part, held, formulas, draws, seed)
    return found


def _scopes(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(session, area, rows); all sessions, and all areas, are called ""."""
    sessions, areas = list(dict.fromkeys(frame.session)), list(dict.fromkeys(frame.area))
    for session in sessions if len(sessions) == 1 else ["", *sessions]:
        of_session = frame if len(sessions) == 1 or not session else frame[frame.session == session]
        yield session, "", of_session
        for area in [area for area in areas if area and area in set(of_session.area)]:
            yield session, area, of_session[of_session.area == area]


def _rows(
    target: str, session: str, area: str, part: pd.DataFrame, held: Sequence[Held], formulas: Mapping[str, str],
    draws: int, seed: int,
) -> Iterator[LayerRegression]:  # fmt: skip
    def median(column: str) -> dict[tuple[str, int], dict[Hashable, Any]]:
        rows = aggregate_scores(part.assign(score=part[column]), ["layer_place"], draws=draws, seed=seed)
        return {(str(row["metric"]), int(row["layer_place"])): row for row in rows.to_dict("records")}

    scores, normalised = median("score"), median("normalised")
    for metric, formula in formulas.items():
        of_metric = part[part.metric == metric]
        for place in sorted(set(of_metric.layer_place)):
            rows = of_metric[of_metric.layer_place == place]
            score, divided = scores[metric, place], normalised[metric, place]
            alone = held[0].by_fold[metric, place][:, rows.neuron.to_numpy()] if len(held) == 1 else None
            yield LayerRegression(
                target, session, area, metric, int(place), str(rows.layer.iloc[0]), float(rows.depth.iloc[0]),
                score["value"], score["low"], score["high"], float(rows.score.mean()),
                divided["value"], divided["low"], divided["high"], formula, *_by_fold(alone),
                score["neurons"], score["without_score"], divided["neurons"],
                sum(one.fitted for one in held), sum(one.scored for one in held), held[0].folds,
            )  # fmt: skip


def _by_fold(scores: NDArray[np.float64] | None) -> tuple[float, float]:
    """Mean and standard error over folds of the median over neurons."""
    if scores is None:
        return NAN, NAN
    medians = [np.median(known) if len(known := row[~np.isnan(row)]) else NAN for row in scores]
    error = np.std(medians, ddof=1) / len(medians) ** 0.5 if len(medians) > 1 else NAN
    return float(np.mean(medians)), float(error)
