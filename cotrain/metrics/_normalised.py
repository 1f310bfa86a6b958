"""Scores in units of what could be reached, by a formula that is named; and what a population of neurons comes to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.errors import DataError, did_you_mean
from cotrain.metrics._arrays import arrays_too

FORMULAS = ("r/sqrt(ceiling)", "r|r|/ceiling", "ev/ceiling")


@arrays_too
def normalised(
    scores: Float[Tensor, " neurons"] | Tensor,
    ceiling: Float[Tensor, " neurons"] | Tensor,
    formula: str,
    *,
    least: float = 0.1,
) -> Float[Tensor, " neurons"]:
    """Scores divided by what a perfect prediction would score; nothing is clipped, so values above 1 occur by chance.

    - "r/sqrt(ceiling)": Pearson correlations; the ceiling is a reliability or a `variance_ceiling`, of squares;
    - "r|r|/ceiling": their squares with their sign, as Brain-Score does but for the sign: what is anticorrelated does
      not score;
    - "ev/ceiling": explained variance or R2.

    Args:
        scores: Of each neuron; NaN stays NaN.
        ceiling: Of the same responses as the scores, at most 1.
        formula: One of those above: what `scores` are is not to be seen from their values.
        least: Neurons whose ceiling is smaller, or NaN, have no score (NaN): noise would be divided by noise.

    Returns:
        float64; `summary` counts the NaN.

    Raises:
        DataError: There is no such formula, shapes differ, or `least` is not above 0.

    >>> normalised(torch.tensor([0.6, -0.6, 0.6]), torch.tensor([0.81, 0.36, 0.01]), "r/sqrt(ceiling)")
    tensor([ 0.6667, -1.0000,     nan], dtype=torch.float64)
    """
    if formula not in FORMULAS:
        raise DataError(f"There is no formula {formula!r} for scores.{did_you_mean(formula, FORMULAS)}")
    if scores.shape != ceiling.shape:
        raise DataError(
            f"Scores {tuple(scores.shape)} and ceilings {tuple(ceiling.shape)} are not of the same neurons."
        )
    if not least > 0:
        raise DataError(f"The least ceiling must be above 0, or neurons are divided by nothing; found {least}.")
    values, bound = scores.double(), ceiling.double()
    bound = torch.where(bound >= least, bound, torch.nan)
    if formula == "r/sqrt(ceiling)":
        return values / bound.sqrt()
    return (values * values.abs() if formula == "r|r|/ceiling" else values) / bound


@dataclass(frozen=True)
class Summary:
    """Of a score over neurons.

    Args:
        median, mean: Over neurons that have a score; NaN without any.
        neurons: How many have one.
        left_out: How many have none: constant or unreliable ones.
    """

    median: float
    mean: float
    neurons: int
    left_out: int


def summary(scores: Float[Tensor, " neurons"] | object) -> Summary:
    """Median and mean of a score over neurons, and how many of them had none (NaN).

    Args:
        scores: Tensor or array, one a neuron.

    >>> summary(torch.tensor([0.25, 0.75, float("nan")]))
    Summary(median=0.5, mean=0.5, neurons=2, left_out=1)
    """
    values = torch.as_tensor(scores, dtype=torch.float64).flatten()
    known = values[~values.isnan()]
    if not len(known):
        return Summary(float("nan"), float("nan"), 0, len(values))
    # torch's median would take the lower of two middle values
    return Summary(float(known.quantile(0.5)), float(known.mean()), len(known), len(values) - len(known))
