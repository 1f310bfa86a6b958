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
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from cotrain.errors import DataError

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
    raise NotImplementedError
