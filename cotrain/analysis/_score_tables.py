"""Scores of single neurons in one tidy table, and what populations of them come to.

One row a layer, neuron and metric, with these columns (`COLUMNS`); others, such as a run's label, epoch or split, may
stand beside them and are left alone.

| column | type | what it holds |
|---|---|---|
| `layer` | text | name of the layer |
| `layer_place` | whole number | its place in a pass, from 0 |
| `depth` | 0 to 1 | share of the network's blocks (or of the listed layers) that is done after it; 1 of the last |
| `session` | text | of the recording; "" where there is one alone |
| `neuron` | whole number | its place in the session, from 0 |
| `area` | text | of the neuron; "" where it is not known |
| `subject` | text | the animal or person; "" where it is not known |
| `metric` | text | what `score` is: "pearson", "r2", ... |
| `score` | number | NaN where there is none, as of neurons with constant responses |
| `ceiling` | number | reliability of the neuron's responses, as `split_half_reliability` has it; NaN where not known |

A neuron is known by its subject, session and number together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cotrain.errors import DataError, did_you_mean
from cotrain.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("layer", "layer_place", "depth", "session", "neuron", "area", "subject", "metric", "score", "ceiling")
NEURON = ["subject", "session", "neuron"]
NUMBERS = 4_000_000  # drawn at once: 32 MB

Statistic = Literal["median", "mean"]


def score_table(
    scores: Mapping[str, ArrayLike],
    *,
    metric: str,
    session: str = "",
    area: str | Sequence[str] = "",
    subject: str = "",
    ceiling: ArrayLike | None = None,
) -> pd.DataFrame:
    """The table of one metric of the neurons of one session; `pandas.concat` joins those of several.

    Args:
        scores: {layer: (neurons,)}, in the order of a pass; the depth of a layer is the share of these that is done.
        metric: What the scores are.
        session, subject: Of all neurons.
        area: Of all neurons, or one a neuron.
        ceiling: (neurons,), reliability of their responses; None: not known.

    Returns:
        Rows of the columns that the module names, layer by layer.

    Raises:
        DataError: There is no layer, or numbers of neurons differ.

    >>> score_table({"conv1": [0.1, 0.2], "conv2": [0.3, 0.1]}, metric="pearson").depth.tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    import pandas as pd

    if not scores:
        raise DataError("score_table: there are no layers; give {layer: scores of the neurons}.")
    values = {layer: np.asarray(one, dtype=np.float64) for layer, one in scores.items()}
    first = next(iter(values.values()))
    bound = np.full(first.shape, np.nan) if ceiling is None else np.asarray(ceiling, dtype=np.float64)
    places = np.full(first.shape, area) if isinstance(area, str) else np.asarray(area)
    for name, one in {**values, "ceiling": bound, "area": places}.items():
        if one.shape != first.shape or one.ndim != 1:
            raise DataError(f"score_table: {name!r} has shape {one.shape}; expected one value a neuron, {first.shape}.")
    parts = [
        pd.DataFrame(
            {
                "layer": layer,
                "layer_place": place,
                "depth": (place + 1) / len(values),
                "session": session,
                "neuron": np.arange(len(one)),
                "area": places,
                "subject": subject,
                "metric": metric,
                "score": one,
                "ceiling": bound,
            }
        )
        for place, (layer, one) in enumerate(values.items())
    ]
    return pd.concat(parts, ignore_index=True)


def aggregate_scores(
    scores: pd.DataFrame,
    by: Sequence[str] = ("layer_place", "layer", "depth"),
    *,
    statistic: Statistic = "median",
    least_ceiling: float | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Median or mean over neurons of each group and metric, with a bootstrap interval over animals and neurons.

    Of a group with neurons of several subjects, each bootstrap sample draws subjects with replacement and then, of
    every drawn one, as many of its neurons as it has, with replacement (the hierarchical bootstrap; Saravanan, Berman &
    Sober 2020, Neurons, Behavior, Data Analysis and Theory 3:5): the interval is about other animals. With fewer than
    about five of them it is too narrow. Of one subject neurons are drawn, and the interval is about other neurons of
    that animal. Groups of the same neurons, as layers are, are given the same samples. Bounds are quantiles of the
    samples. Neurons of one session vary together, which drawing them one by one does not know.

    Args:
        scores: A table as the module describes it.
        by: Columns, any of the table's, whose values make a group, beside the metric: ("area", "layer_place", "layer"),
            ("subject",), ("label", "epoch", "depth"), ... Within a group every neuron must occur once: name the layer,
            or choose layers first (`chosen_layers`).
        statistic: "median" or "mean".
        least_ceiling: Neurons whose ceiling is smaller, or NaN, are left out and counted; None: none are.
        draws: Bootstrap samples.
        confidence: Of the interval, between 0 and 1.
        seed: Of the samples.

    Returns:
        One row a group and metric, in the order of their values: the columns `by`, metric, statistic, value, low, high
        (NaN for fewer than two neurons), neurons (that count), subjects, without_score (left out as their score is
        NaN), unreliable (left out by their ceiling), drawn ("subjects and neurons" or "neurons").

    Raises:
        DataError: Columns are missing, there are no rows, a neuron occurs twice in a group, or an argument is out of
            its range.

    >>> table = score_table({"conv1": [0.1, 0.2, 0.3], "conv2": [0.3, 0.4, float("nan")]}, metric="pearson")
    >>> aggregate_scores(table, ["layer"])[["layer", "value", "neurons", "without_score"]].values.tolist()
    [['conv1', 0.2, 3, 0], ['conv2', 0.35, 2, 1]]
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    require_columns(scores, "aggregate_scores", others=by)
    if statistic not in get_args(Statistic):
        known = get_args(Statistic)
        raise DataError(f"aggregate_scores: there is no statistic {statistic!r}.{did_you_mean(statistic, known)}")
    if draws < 2 or not 0 < confidence < 1:
        raise DataError(f"aggregate_scores: give 2 draws or more and 0 < confidence < 1, found {draws}, {confidence}.")
    keys = [*by, "metric"] if "metric" not in by else by
    require_neurons_once(scores, keys, "aggregate_scores")
    rows = []
    for key, group in scores.groupby(keys, sort=True, dropna=False):
        found = group.sort_values(NEURON, kind="stable")
        without = found.score.isna()
        weak = ~without & ~(found.ceiling >= least_ceiling) if least_ceiling is not None else without & False
        used = found[~without & ~weak]
        subjects = np.unique(used.subject.to_numpy(str), return_inverse=True)[1]
        values = used.score.to_numpy(np.float64)
        generator = np.random.default_rng(derive_seed(seed, "order", "aggregate_scores"))
        low, high = _interval(values, subjects, statistic, draws, confidence, generator)
        number = len(set(subjects.tolist()))
        value = float(_over(statistic, values)) if len(values) else np.nan
        counts = (len(values), number, int(without.sum()), int(weak.sum()))
        drawn = "subjects and neurons" if number > 1 else "neurons"
        rows.append((*key, statistic, value, low, high, *counts, drawn))
    names = ["statistic", "value", "low", "high", "neurons", "subjects", "without_score", "unreliable", "drawn"]
    return pd.DataFrame(rows, columns=[*keys, *names])


def require_columns(scores: pd.DataFrame, what: str, *, others: Sequence[str] = ()) -> None:
    """Refuse a table that is none of scores of neurons.

    Args:
        scores: Which is looked at.
        what: Who asks.
        others: Columns that are needed beside those of the module.

    Raises:
        DataError: Columns are missing, there are no rows, or subjects and areas are missing values rather than "".
    """
    wanted = dict.fromkeys((*COLUMNS, *others))
    if missing := [name for name in wanted if name not in scores]:
        raise DataError(
            f"{what}: the table has no columns {missing}; found {list(scores.columns)}. `score_table` makes one."
        )
    if not len(scores):
        raise DataError(f"{what}: the table has no rows.")
    for name in ("subject", "session", "area"):
        if bool(scores[name].isna().any()):
            raise DataError(f'{what}: {name!r} is missing in {int(scores[name].isna().sum())} rows; write "" there.')


def require_neurons_once(scores: pd.DataFrame, keys: list[str], what: str) -> None:
    """Refuse groups in which a neuron would count several times.

    Raises:
        DataError: There are some.
    """
    identity = list(dict.fromkeys([*keys, *NEURON]))
    twice = scores.duplicated(identity)
    if not bool(twice.any()):
        return
    same = scores[(scores[identity] == scores[twice][identity].iloc[0]).all(axis=1)]
    differ = [name for name in scores if name not in ("score", "ceiling", *identity) and same[name].nunique() > 1]
    raise DataError(
        f"{what}: within a group of {keys}, {int(twice.sum())} rows are of neurons that were there already, "
        f"and would count several times. {f'They differ in {differ}: add one to `by`' if differ else 'Drop copies'}, "
        "or choose layers first (`chosen_layers`)."
    )


def _over(statistic: str, values: NDArray[np.float64]) -> Any:
    """Over the last axis."""
    return (np.median if statistic == "median" else np.mean)(values, axis=-1)


def _interval(
    values: NDArray[np.float64],
    subjects: NDArray[np.intp],
    statistic: str,
    draws: int,
    confidence: float,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Quantiles of the statistic in bootstrap samples; `subjects` are sorted."""
    if len(values) < 2:
        return np.nan, np.nan
    sizes = np.bincount(subjects)
    starts = np.cumsum(sizes) - sizes
    if len(sizes) == 1:
        step = max(1, NUMBERS // len(values))
        parts = [min(step, draws - done) for done in range(0, draws, step)]
        samples = [_over(statistic, values[generator.integers(len(values), size=(n, len(values)))]) for n in parts]
        found = np.concatenate(samples)
    else:
        found = np.empty(draws)
        for number in range(draws):
            chosen = generator.integers(len(sizes), size=len(sizes))
            size = sizes[chosen]
            # a place within each drawn subject, of as many as it has, for as many draws as it has
            places = generator.integers(np.repeat(size, size)) + np.repeat(starts[chosen], size)
            found[number] = _over(statistic, values[places])
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
