"""How the noise of neurons varies together, estimated from repeats."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from cotrain.analysis._arrays import Given, like, to_tensor
from cotrain.errors import CotrainError, DataError, did_you_mean

Estimator = Literal["full", "diagonal", "shrinkage", "oas", "shrinkage_diagonal"]
ROUNDS = 1000  # of fitting stimuli and repeats in turn, where repeats are missing


def noise_precision(responses: Given, estimator: Estimator = "shrinkage") -> Any:
    """The inverse covariance of the noise between repeats, for "mahalanobis" and crossvalidated distances.

    Noise is what a response has besides the mean of its stimulus and the level of its repeat, both fitted by least
    squares; its covariance is divided by the degrees of freedom that are left (with all repeats there, (stimuli - 1) *
    (repeats - 1)).

    - "full": as it is; needs more degrees of freedom than neurons;
    - "diagonal": variances only;
    - "shrinkage": towards a multiple of the identity (Ledoit & Wolf 2004, Journal of Multivariate Analysis 88:365);
    - "oas": the same, for Gaussian noise (Chen et al. 2010, IEEE Transactions on Signal Processing 58:5016);
    - "shrinkage_diagonal": correlations towards 0, variances as they are (Schäfer & Strimmer 2005, Statistical
      Applications in Genetics and Molecular Biology 4:32).

    Args:
        responses: (stimuli, repeats, neurons), NaN where a repeat is missing. Where some neurons of a repeat are NaN,
            that repeat of the stimulus is left out.
        estimator: One of those above.

    Returns:
        (neurons, neurons), float64.

    Raises:
        CotrainError: There is no such estimator.
        DataError: Not (stimuli, repeats, neurons); no repeats are left; a neuron does not vary between repeats; or
            "full" has too few degrees of freedom.
    """
    if estimator not in get_args(Estimator):
        known = list(get_args(Estimator))
        raise CotrainError(f"There is no estimator {estimator!r} of the noise.{did_you_mean(estimator, known)}")
    held = to_tensor(responses, "Responses").double()
    noise, free = residuals(held)
    variance = noise.square().sum(0) / free
    still = variance <= (4 * torch.finfo(noise.dtype).eps) ** 2 * held.nan_to_num().square().mean((0, 1))
    if bool(still.any()):
        names = ", ".join(map(str, still.nonzero().flatten().tolist()[:5]))
        raise DataError(
            f"{int(still.sum())} neurons do not vary between repeats, the first are numbers {names}: their precision "
            "would be infinite. Leave them out. Or are the repeats copies of each other?"
        )
    return like(torch.linalg.inv(_covariance(noise, free, variance, estimator)), responses)


def residuals(responses: Tensor) -> tuple[Tensor, int]:
    """(responses that are there, neurons) without the means of stimuli and repeats, and the degrees of freedom left."""
    known = known_repeats(responses)
    filled = torch.where(known[..., None], responses, 0)
    of_stimuli, of_repeats = known.sum(1), known.sum(0)
    free = int(known.sum()) - int((of_stimuli > 0).sum()) - int((of_repeats > 0).sum()) + 1
    if free < 1:
        raise DataError(
            f"No noise can be estimated: {int(known.sum())} responses to {int((of_stimuli > 0).sum())} stimuli leave "
            "no repeats to compare. Use precision='none'."
        )
    scale = float(filled.abs().max())
    for _ in range(ROUNDS):
        filled = filled - (filled.sum(1) / of_stimuli.clamp_min(1)[:, None])[:, None]
        filled = torch.where(known[..., None], filled, 0)
        level = filled.sum(0) / of_repeats.clamp_min(1)[:, None]
        filled = torch.where(known[..., None], filled - level, 0)
        if float(level.abs().max()) <= 1e-13 * scale or bool(known.all()):
            break
    return filled[known], free


def known_repeats(responses: Tensor) -> Tensor:
    """(stimuli, repeats): which repeats all neurons answered.

    Raises:
        DataError: Not (stimuli, repeats, neurons), an infinity, or a stimulus without any such repeat.
    """
    if responses.ndim != 3:
        raise DataError(f"Responses must be (stimuli, repeats, neurons), found {tuple(responses.shape)}.")
    if bool(responses.isinf().any()):
        raise DataError(f"{int(responses.isinf().sum())} responses are infinite.")
    missing = responses.isnan()
    known = ~missing.any(2)
    if not bool(known.any(1).all()):
        silent = missing.flatten(0, 1).all(0)
        reason = f" {int(silent.sum())} neurons have no response at all." if bool(silent.any()) else ""
        raise DataError(
            f"{int((~known.any(1)).sum())} of {len(known)} stimuli have no repeat that all neurons answered.{reason} "
            "Leave these stimuli or neurons out."
        )
    return known


def _covariance(noise: Tensor, free: int, variance: Tensor, estimator: str) -> Tensor:
    from sklearn.covariance import OAS, LedoitWolf

    number, neurons = noise.shape
    if estimator == "diagonal":
        return torch.diag(variance)
    if estimator in ("shrinkage", "oas"):
        fitted = (LedoitWolf if estimator == "shrinkage" else OAS)(assume_centered=True, store_precision=False)
        fitted.fit(noise.cpu().numpy())
        return torch.from_numpy(np.asarray(fitted.covariance_)).to(noise) * (number / free)
    sample = noise.T @ noise / free
    if estimator == "full":
        if free < neurons:
            raise DataError(
                f"The full noise covariance of {neurons} neurons cannot be inverted with {free} degrees of freedom. "
                "Use estimator='shrinkage'."
            )
        return sample
    spread = variance.sqrt()
    unit = noise / spread
    # of the products of two neurons' noise: the mean, and its variance, as of so many independent ones as are free
    mean = unit.T @ unit / number
    square = unit.square().T @ unit.square() / number
    off = ~torch.eye(neurons, dtype=torch.bool, device=noise.device)
    error = ((square - mean.square()) / free)[off].sum()
    share = (error / mean[off].square().sum().clamp_min(torch.finfo(mean.dtype).tiny)).clamp(0, 1)
    return sample.masked_fill(off, 0) + (1 - share) * sample.masked_fill(~off, 0)
