"""How well any model could do: ceilings from the variance of repeats."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.errors import DataError
from cotrain.metrics._arrays import arrays_too
from cotrain.metrics._scores import constant


class VarianceCeiling(NamedTuple):
    """Of each neuron, float64.

    Args:
        ncsnr: Standard deviation of the signal over that of the noise of a single response, 0 or larger.
        ceiling: Share of the variance of mean responses that is signal, 0 to 1: the explained variance, and the squared
            correlation, of a perfect prediction.
    """

    ncsnr: Tensor
    ceiling: Tensor


@arrays_too
def variance_ceiling(
    responses: Float[Tensor, "stimuli repeats neurons"] | Tensor, *, averaged: int | None = None
) -> VarianceCeiling:
    """Signal and noise from the variance over repeats (Allen et al. 2022, Nature Neuroscience 25, 116: noise ceiling).

    The noise N is the variance over repeats of a stimulus (unbiased, mean over stimuli); the signal S is the variance
    of the means over stimuli (unbiased) less what N adds to it, N mean(1 / repeats), and 0 where that is negative.
    Then ncsnr = sqrt(S / N), and the ceiling of means over n repeats is S / (S + N / n) = ncsnr^2 / (ncsnr^2 + 1 / n).

    Args:
        responses: NaN where a repeat is missing.
        averaged: n, of the means that are predicted; None: as many as there are, their harmonic mean over stimuli.

    Returns:
        NaN for a neuron with constant responses, with fewer than two stimuli, or without a stimulus that was repeated.
        Without noise the ncsnr is infinite, but for rounding, and the ceiling 1.

    Raises:
        DataError: The responses have no axis of repeats, or `averaged` is no number of repeats.
    """
    if responses.ndim != 3:
        raise DataError(f"Expected responses (stimuli, repeats, neurons), found shape {tuple(responses.shape)}.")
    if averaged is not None and averaged < 1:
        raise DataError(f"Means are over 1 repeat or more, found averaged={averaged}.")
    trials = responses.double()
    known = ~torch.isnan(trials)
    count = known.sum(1)
    shown, repeated = count > 0, count > 1
    means = torch.where(known, trials, 0).sum(1) / count.clamp_min(1)
    within = torch.where(known, (trials - means[:, None]).square(), 0).sum(1) / (count - 1).clamp_min(1)
    noise = torch.where(repeated, within, 0).sum(0) / repeated.sum(0)
    stimuli = shown.sum(0)
    middle = torch.where(shown, means, 0).sum(0) / stimuli
    total = torch.where(shown, (means - middle).square(), 0).sum(0) / (stimuli - 1)
    share = torch.where(shown, 1 / count.clamp_min(1), 0).sum(0) / stimuli
    signal = (total - noise * share).clamp_min(0)
    ncsnr = (signal / noise).sqrt()
    ceiling = signal / (signal + noise * (share if averaged is None else 1 / averaged))
    unknown = (stimuli < 2) | constant(trials.flatten(0, 1), known.flatten(0, 1))
    return VarianceCeiling(ncsnr.masked_fill(unknown, torch.nan), ceiling.masked_fill(unknown, torch.nan))
