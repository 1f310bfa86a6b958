"""Distances between stimuli to which the noise of repeats adds nothing on average."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from cotrain.analysis._arrays import Given, like, to_tensor
from cotrain.analysis._noise_precision import Estimator, known_repeats, noise_precision
from cotrain.analysis._rdm import PRIOR_RATE, PRIOR_WEIGHT, whiten, with_prior
from cotrain.errors import CotrainError, DataError, did_you_mean

CROSSVALIDATED = ("crossnobis", "poisson")


def crossvalidated_rdm(
    responses: Given,
    dissimilarity: str = "crossnobis",
    *,
    precision: Given | Estimator | str = "none",
    prior_rate: float = PRIOR_RATE,
    prior_weight: float = PRIOR_WEIGHT,
) -> Any:
    """Dissimilarities among stimuli, each product being of different repeats; some are below 0.

    - "crossnobis": (x - y)' P (x - y)~ / neurons, x and x~ being responses in different repeats (Walther et al. 2016,
      NeuroImage 137:188). It is the mean over all ordered pairs of repeats; with all repeats there, this is the same as
      the mean over folds that leave one out, and as `cotrain.dissimilarity.crossnobis`. Each product has the mean
      over the pairs of repeats that both stimuli have, so nothing is thrown away where repeats are missing.
    - "poisson": (x - y)' (log x~ - log y~) / neurons, mean over folds that leave one repeat out, x of the other repeats
      and x~ of that one, drawn towards a prior rate as in `rdm`. The logarithm keeps it from being quite without bias.

    Args:
        responses: (stimuli, repeats, neurons), NaN where a repeat is missing. Where some neurons of a repeat are NaN,
            that repeat of the stimulus is left out.
        dissimilarity: "crossnobis" or "poisson".
        precision: Of "crossnobis": "none", an estimator of `noise_precision`, or (neurons, neurons).
        prior_rate, prior_weight: Of "poisson".

    Returns:
        (stimuli, stimuli), symmetric, zero on the diagonal, float64.

    Raises:
        CotrainError: There is no such dissimilarity or estimator, or "poisson" is given a precision.
        DataError: A stimulus has fewer than two repeats, or two share no pair of different ones; or as
            `noise_precision` and `rdm`.
    """
    if dissimilarity not in CROSSVALIDATED:
        raise CotrainError(
            f"There is no crossvalidated dissimilarity {dissimilarity!r}.{did_you_mean(dissimilarity, CROSSVALIDATED)}"
        )
    if dissimilarity == "poisson" and not (isinstance(precision, str) and precision == "none"):
        raise CotrainError("The crossvalidated 'poisson' takes no precision: its variance is the rate.")
    held = to_tensor(responses, "Responses").double()
    known = known_repeats(held)
    if bool((known.sum(1) < 2).any()):
        raise DataError(
            f"{int((known.sum(1) < 2).sum())} of {len(known)} stimuli have fewer than 2 repeats. Leave them out, or "
            "use rdm of the means."
        )
    values = torch.where(known[..., None], held, 0)
    if dissimilarity == "poisson":
        found = _poisson(values, known.double(), prior_rate, prior_weight)
    else:
        values = _whitened(values, held, precision)
        found = _crossnobis(values, known.double())
    found = found / max(1, held.shape[2])
    found = (found + found.T) / 2
    return like(found.masked_fill(torch.eye(len(found), dtype=torch.bool, device=found.device), 0), responses)


def _whitened(values: Tensor, responses: Tensor, precision: Given | str) -> Tensor:
    """Responses, 0 where one is missing, in units of their noise."""
    if not isinstance(precision, str):
        return whiten(values, precision)
    known = ("none", *get_args(Estimator))
    if precision not in known:
        raise CotrainError(f"There is no precision {precision!r}.{did_you_mean(precision, known)}")
    return values if precision == "none" else whiten(values, noise_precision(responses, precision))  # type: ignore[arg-type]


def _crossnobis(values: Tensor, known: Tensor) -> Tensor:
    """Sum over neurons, of responses with 0 where one is missing."""
    # the level of a repeat that all stimuli have is in no difference; taken away, less is lost where numbers cancel
    mean = values.sum((0, 1)) / known.sum()
    values = (values - mean) * known[..., None]
    total = values.sum(1)
    flat = values.flatten(1)
    product = total @ total.T - flat @ flat.T  # over all pairs of different repeats
    count = known.sum(1)
    number = count[:, None] * count - known @ known.T
    _require_pairs(number)
    product = product / number
    square = product.diagonal()
    return square[:, None] + square - product - product.T


def _poisson(values: Tensor, known: Tensor, prior_rate: float, prior_weight: float) -> Tensor:
    total, count = values.sum(1), known.sum(1)
    sums, number = (values.new_zeros(len(values), len(values)) for _ in range(2))
    for fold in range(values.shape[1]):
        here = known[:, fold]
        test = with_prior(values[:, fold], prior_rate, prior_weight).log()
        train = (total - values[:, fold] * here[:, None]) / (count - here).clamp_min(1)[:, None]
        product = with_prior(train, prior_rate, prior_weight) @ test.T
        square = product.diagonal()
        shared = here[:, None] * here
        sums += shared * (square[:, None] + square - product - product.T)
        number += shared
    _require_pairs(number)
    return sums / number


def _require_pairs(number: Tensor) -> None:
    if bool((number == 0).any()):
        first, second = (int(part) for part in (number == 0).nonzero()[0])
        raise DataError(
            f"{int((number == 0).sum()) // 2} pairs of stimuli were never shown in repeats that can be compared, the "
            f"first are rows {first} and {second}. Leave stimuli out, or number the repeats of each from 0."
        )
