"""RDMs of features, for analysis: all that training knows, and those that need a noise covariance or positive rates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cotrain import dissimilarity as of_training
from cotrain.analysis._arrays import Given, like, to_tensor
from cotrain.errors import CotrainError, DataError, did_you_mean

log = logging.getLogger(__name__)

DISSIMILARITIES: tuple[str, ...] = (*of_training.DISSIMILARITIES, "euclidean", "mahalanobis", "poisson")
PRIOR_RATE, PRIOR_WEIGHT = 1.0, 0.1
# rsatoolbox calls the squared distance euclidean; here that is its root
OTHER_NAMES = {"sqeuclidean": "squared_euclidean", "pearson": "correlation"}


def rdm(
    features: Given,
    dissimilarity: str = "correlation",
    *,
    precision: Given | None = None,
    prior_rate: float = PRIOR_RATE,
    prior_weight: float = PRIOR_WEIGHT,
) -> Any:
    """Dissimilarities among stimuli, zero on the diagonal.

    "correlation", "cosine", "centred_cosine" and "squared_euclidean" (a mean over features) are those of training
    (`cotrain.dissimilarity.rdm`). Besides there are

    - "euclidean": the root of "squared_euclidean";
    - "mahalanobis": (x - y)' P (x - y) / features with the precision P of the noise, squared like crossnobis;
    - "poisson": (x - y)' (log x - log y) / features, the symmetrised Kullback-Leibler divergence of Poisson rates
      (Schütt et al. 2023, eLife 12:e82566). Rates become (x + prior_weight * prior_rate) / (1 + prior_weight) first, so
      that a neuron without a spike has a logarithm.

    Rows stay in the order of the features. A stimulus without a direction is at distance 1 from all others, which is
    logged. Integers and Booleans count as float64, float16 as float32; others keep their precision.

    Args:
        features: (stimuli, features): an array, or a tensor, with a gradient.
        dissimilarity: One of those above.
        precision: Of "mahalanobis", (features, features), as `noise_precision` estimates it.
        prior_rate, prior_weight: Of "poisson": a rate above 0, and how much of a measurement it counts for.

    Returns:
        (stimuli, stimuli), of the kind that was given.

    Raises:
        CotrainError: There is no such dissimilarity, or `precision` does not belong to it or is missing.
        DataError: The features are not (stimuli, features), one is NaN or infinite, rates are negative, or the
            precision is not symmetric, positive and of as many features.
    """
    name = OTHER_NAMES.get(dissimilarity, dissimilarity)
    if name not in DISSIMILARITIES:
        raise CotrainError(
            f"There is no dissimilarity {dissimilarity!r}; expected one of {', '.join(DISSIMILARITIES)}."
            f"{did_you_mean(dissimilarity, DISSIMILARITIES)}"
        )
    if (name == "mahalanobis") != (precision is not None):
        raise CotrainError(
            "dissimilarity='mahalanobis', and no other, takes the precision of the noise: precision=noise_precision("
            "responses)."
        )
    held = _checked(features)
    if precision is not None:
        held, name = whiten(held, precision), "squared_euclidean"
    if name in _OWN:
        found = _OWN[name](held, prior_rate, prior_weight)
    elif held.requires_grad or held.device.type != "cpu":
        found = of_training.rdm(held, name)
    else:
        found = _without_gradient(held, name)
    if name in ("correlation", "cosine", "centred_cosine"):
        _tell_of_constant(found.detach(), name)
    return like(found, features)


def whiten(features: Tensor, precision: Given) -> Tensor:
    """Features whose inner products are x' P y.

    Raises:
        DataError: The precision is of another number of features, not symmetric, or not positive.
    """
    matrix = to_tensor(precision, "The precision").to(features)
    count = features.shape[-1]
    if matrix.shape != (count, count):
        raise DataError(
            f"The precision must be ({count}, {count}), as there are {count} features; found {tuple(matrix.shape)}."
        )
    if bool(((matrix - matrix.T).abs() > 1e-4 * matrix.abs().max()).any()):
        raise DataError("The precision is not symmetric, so it is no inverse of a covariance.")
    root, failed = torch.linalg.cholesky_ex((matrix + matrix.T) / 2)
    if int(failed):
        raise DataError("The precision is not positive: some difference of stimuli would have a distance of 0 or less.")
    whitened: Tensor = features @ root
    return whitened


def with_prior(rates: Tensor, prior_rate: float, prior_weight: float) -> Tensor:
    """Rates drawn towards a prior one.

    Raises:
        CotrainError: The prior is not above 0.
        DataError: Rates are negative.
    """
    if prior_rate <= 0 or prior_weight <= 0:
        raise CotrainError(f"The prior rate and its weight must be above 0, found {prior_rate} and {prior_weight}.")
    if bool((rates < 0).any()):
        raise DataError(
            f"'poisson' is for spike counts or rates, 0 or more; {int((rates < 0).sum())} are negative. Were they "
            "standardised? Use 'squared_euclidean' or 'mahalanobis'."
        )
    return (rates + prior_weight * prior_rate) / (1 + prior_weight)


def _checked(features: Given) -> Tensor:
    held = to_tensor(features, "Features")
    if held.ndim != 2:
        raise DataError(
            f"Features must be (stimuli, features), found {tuple(held.shape)}. Flatten what belongs to a stimulus, as "
            "features.reshape(len(features), -1) does."
        )
    wrong = ~torch.isfinite(held.detach())
    if bool(wrong.any()):
        raise DataError(
            f"Features are NaN or infinite: of {int(wrong.any(1).sum())} stimuli, {int(wrong.any(0).sum())} features. "
            "Leave either out; repeats that are missing can be averaged, or given to crossvalidated_rdm."
        )
    return held


def _tell_of_constant(found: Tensor, name: str) -> None:
    alone = (found == 1).sum(1) == len(found) - 1
    if bool(alone.any()) and len(found) > 2:
        log.warning(
            "%d of %d stimuli have no direction to compare by %s (all features equal?); they are at distance 1 from "
            "all others. The first is row %d.",
            int(alone.sum()), len(found), name, int(alone.nonzero()[0]),
        )  # fmt: skip


def _without_gradient(values: Tensor, name: str) -> Tensor:
    """What `cotrain.dissimilarity.rdm` computes, in half the time.

    NumPy multiplies a matrix by its own transpose with BLAS's symmetric routine, torch does not; and the lengths of
    rows are on the diagonal of the product.
    """
    before = torch.linalg.vector_norm(values, dim=1)
    if name == "correlation":
        values = values - values.mean(1, keepdim=True)
    elif name != "cosine":
        values = values - values.mean(0)
    rows = values.numpy()
    product = torch.from_numpy(rows @ rows.T)
    square = product.diagonal().clone()
    if name == "squared_euclidean":
        product.mul_(-2).add_(square[:, None] + square).clamp_min_(0).div_(max(values.shape[1], 1))
        return product.fill_diagonal_(0)
    length = square.sqrt()
    none = length <= 4 * torch.finfo(values.dtype).eps * before  # as `cotrain.dissimilarity.directions` has it
    scale = length.masked_fill(none, 1).reciprocal().masked_fill(none, 0)
    product.mul_(scale[:, None] * scale).neg_().add_(1).clamp_(0, 2)  # exactly symmetric
    return product.fill_diagonal_(0)


def _euclidean(values: Tensor, *_: float) -> Tensor:
    square: Tensor = of_training.rdm(values, "squared_euclidean")
    none = square == 0  # the root has no slope there
    return square.masked_fill(none, 1).sqrt().masked_fill(none, 0)


def _poisson(values: Tensor, prior_rate: float, prior_weight: float) -> Tensor:
    rates = with_prior(values, prior_rate, prior_weight)
    product = rates @ rates.log().T
    square = product.diagonal()
    found = (square[:, None] + square - product - product.T) / max(1, values.shape[1])
    return found.clamp_min(0) * (1 - torch.eye(len(found), dtype=found.dtype, device=found.device))


_OWN: Mapping[str, Callable[[Tensor, float, float], Tensor]] = {"euclidean": _euclidean, "poisson": _poisson}
