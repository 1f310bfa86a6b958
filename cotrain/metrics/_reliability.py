"""How well a neuron's response to an image is known: by how well one half of the repeats predicts the other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.metrics._arrays import arrays_too
from cotrain.metrics._scores import neuron_correlations


@arrays_too
def split_half_reliability(
    responses: Float[Tensor, "stimuli repeats neurons"], *, halvings: int = 20, seed: int = 0
) -> Float[Tensor, " neurons"]:
    """Reliability of the mean over repeats, by the Spearman-Brown formula.

    The repeats of each image are halved at random, the halves averaged, and correlated over images (Pearson). With r
    the mean of these correlations over many halvings, the mean over all repeats has reliability 2 r / (1 + r)
    (Spearman 1910; Brown 1910). It estimates the squared correlation of that mean with the true response; a
    prediction's correlation is bounded by its square root.

    Args:
        responses: NaN where a repeat is missing. Images to which a neuron has fewer than two responses are left out
            for that neuron. Of an odd number of repeats one, drawn anew each time, is left out.
        halvings: How many random halvings are averaged.
        seed: Of the halvings.

    Returns:
        float64, at most 1; NaN for a neuron with responses to fewer than three images, or with constant ones. Chance
        is 0; values below are noise.
    """
    trials = responses.double()
    known = ~torch.isnan(trials)
    pairs = known.sum(1, keepdim=True) // 2
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(trials.shape[2], dtype=torch.float64)
    for _ in range(halvings):
        order = torch.rand(trials.shape, generator=generator).masked_fill(~known, torch.inf).argsort(1)
        shuffled = torch.gather(trials, 1, order)  # missing ones come last
        place = torch.arange(trials.shape[1])[None, :, None]
        first = torch.where(place < pairs, shuffled, 0).sum(1) / pairs[:, 0]
        second = torch.where((place >= pairs) & (place < 2 * pairs), shuffled, 0).sum(1) / pairs[:, 0]
        # without pairs both are 0 / 0, and so no response
        total += neuron_correlations(torch.nan_to_num(first), second)
    mean = total / halvings
    enough = (pairs[:, 0] > 0).sum(0) >= 3
    # r near -1 has no such formula; there is nothing to be known of such a neuron but that it is not reliable
    corrected = torch.where(mean > -0.5, 2 * mean / (1 + mean.clamp_min(-0.5)), -1.0)
    return torch.where(enough & ~torch.isnan(mean), corrected.clamp(-1, 1), torch.nan)


@arrays_too
def oracle_correlation(responses: Float[Tensor, "stimuli repeats neurons"]) -> Float[Tensor, " neurons"]:
    """Pearson correlation of each single response with the mean over the other repeats of its stimulus.

    Over all responses to stimuli with two repeats or more (Walker et al. 2019, Nature Neuroscience 22, 2060: oracle
    score). It is what a model that knew the true response would reach on single responses, less what the mean of few
    repeats loses.

    Args:
        responses: NaN where a repeat is missing.

    Returns:
        float64; NaN for a neuron without repeats, or with constant responses.
    """
    trials = responses.double()
    known = ~torch.isnan(trials)
    # about the mean, or large levels would cancel in the sums
    middle = torch.nan_to_num(trials.nanmean((0, 1)))
    held = torch.where(known, trials - middle, 0)
    count = known.sum(1, keepdim=True)
    usable = known & (count > 1)
    others = (held.sum(1, keepdim=True) - held) / (count - 1).clamp_min(1)
    return neuron_correlations(others.flatten(0, 1), torch.where(usable, held, torch.nan).flatten(0, 1))
