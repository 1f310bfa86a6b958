"""How much of a neuron's response can be explained, and how much of that is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fraction_explained(
    output: Float[Tensor, "stimuli neurons"], responses: Float[Tensor, "stimuli repeats neurons"]
) -> tuple[Float[Tensor, " neurons"], Float[Tensor, " neurons"]]:
    """Explainable share of the variance of single responses, and the share of it that a prediction explains.

    With s the variance of single responses, n that over repeats of a stimulus (unbiased, mean over stimuli), and e the
    mean squared error over single responses, these are (s - n) / s and 1 - (e - n) / (s - n) (Cadena et al. 2019, PLoS
    Computational Biology 15(4), e1006897). The second is 1 of a perfect prediction, 0 of the mean response, and
    negative of worse; it is not to be trusted where the first is small.

    Args:
        output: Predictions in the units of the responses.
        responses: NaN where a repeat is missing.

    Returns:
        Both in float64. NaN for a neuron without a stimulus that was repeated, or with constant responses; the second
        also where nothing is explainable.
    """
    trials = responses.double()
    known = ~torch.isnan(trials)
    count = known.sum(1)
    total = known.sum((0, 1))

    def mean_of_known(values: Tensor) -> Tensor:
        return torch.where(known, values, 0).sum((0, 1)) / total

    means = torch.where(known, trials, 0).sum(1) / count
    within = torch.where(known, (trials - means[:, None]).square(), 0).sum(1) / (count - 1)
    repeated = count > 1
    noise = torch.where(repeated, within, 0).sum(0) / repeated.sum(0)
    variance = mean_of_known((trials - mean_of_known(trials)).square())
    error = mean_of_known((trials - output.double()[:, None]).square())
    explainable = (variance - noise) / variance
    explained = 1 - (error - noise) / (variance - noise)
    return explainable, torch.where(explainable > 0, explained, torch.nan)
