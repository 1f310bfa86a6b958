"""The score of Deep Mouse Trap as it was published, for comparisons with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from cotrain.analysis._arrays import Array
from cotrain.analysis._ridge import ridge
from cotrain.analysis._score_tables import score_table
from cotrain.errors import DataError
from cotrain.metrics import neuron_correlations

if TYPE_CHECKING:
    import pandas as pd

METRIC = "leave-one-out r squared"


def mouse_trap_scores(
    features: Mapping[str, Array],
    responses: Array,
    *,
    alpha: float = 1.0,
    session: str = "",
    area: str | Sequence[str] = "",
    subject: str = "",
    ceiling: Array | None = None,
) -> pd.DataFrame:
    """Squared correlation of leave-one-out ridge predictions, as Deep Mouse Trap reports it.

    Features (there: 4,096 sparse projections, `SparseProjection()` of 119 stimuli) are z-scored over all stimuli, each
    stimulus is predicted by ridge with one fixed alpha from all others, and the Pearson correlation of these
    predictions with the responses is squared (Conwell, Mayo, Barbu, Buice, Alvarez & Katz 2021, NeurIPS). Two things
    make it no explained variance: leave-one-out predictions of what nothing predicts lean against the responses, so
    correlations are biased towards -1; and the square turns these into good scores. `layer_scores` of the same features
    with `Ridge(standardise=True)` is free of both.

    Args:
        features: {layer: (stimuli, features)}, finite.
        responses: (stimuli, neurons), without NaN.
        alpha: Above 0.
        session, area, subject, ceiling: As for `score_table`.

    Returns:
        The table of `score_table`, with the metric "leave-one-out r squared", 0 to 1, and the column `sign`: of the
        correlation, 1 or -1. NaN of neurons with constant responses.

    Raises:
        DataError: A response is NaN, there are no layers, or what `ridge` finds wrong.
    """
    means = torch.as_tensor(responses).double().cpu()
    if means.ndim != 2 or bool(means.isnan().any()):
        raise DataError(
            f"mouse_trap_scores: responses must be (stimuli, neurons) without NaN, found {tuple(means.shape)}, "
            f"{int(means.isnan().sum())} of them NaN. Average repeats, and leave out what was not recorded everywhere."
        )
    found = {}
    for layer, values in features.items():
        fit = ridge(torch.as_tensor(values).double().cpu(), means, alpha, standardise=True)
        found[layer] = neuron_correlations(fit.predictions, means).numpy()
    scores = {layer: r * r for layer, r in found.items()}
    bound = None if ceiling is None else np.asarray(ceiling)
    table = score_table(scores, metric=METRIC, session=session, area=area, subject=subject, ceiling=bound)
    return table.assign(sign=np.sign(np.concatenate(list(found.values()))))
