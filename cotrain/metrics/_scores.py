"""What is reported of each kind of task: functions that yield (name, value)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.dissimilarity import pairs, pearson, unbiased_cka
from cotrain.metrics._arrays import arrays_too

Scores = Iterator[tuple[str, float]]


def classification_scores(output: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> Scores:
    """`accuracy`: share of images whose highest class score is that of their label, 0 to 1; with more than 5 classes
    also `top5`: share of those whose label's is among the 5 highest."""
    yield "accuracy", float((output.argmax(1) == labels).double().mean())
    if output.shape[1] > 5:  # of 5 or fewer, it would always be 1
        yield "top5", float((output.topk(5).indices == labels[:, None]).any(1).double().mean())


def neural_scores(correlations: Float[Tensor, " neurons"]) -> Scores:
    """`correlation` and `correlation_mean`: median and mean of `neuron_correlations` over neurons that have one."""
    known = correlations[~torch.isnan(correlations)]
    # torch's median would take the lower of two middle values
    yield "correlation", float(known.quantile(0.5)) if len(known) else float("nan")
    yield "correlation_mean", float(known.mean()) if len(known) else float("nan")


@arrays_too
def neuron_correlations(
    output: Float[Tensor, "images neurons"], responses: Float[Tensor, "images neurons"]
) -> Float[Tensor, " neurons"]:
    """Pearson correlation over images of prediction and response (mean over repeats), float64, one a neuron.

    Images without a response of the neuron (NaN) are left out. A neuron whose prediction is constant scores 0; one
    whose response is constant has no correlation: NaN.
    """
    known = ~torch.isnan(responses)
    count = known.sum(0).clamp_min(1)
    a, b = (torch.where(known, values, 0).double() for values in (output, responses))
    a, b = (torch.where(known, values - values.sum(0) / count, 0) for values in (a, b))
    norms = a.square().sum(0).sqrt() * b.square().sum(0).sqrt()
    r = (a * b).sum(0) / norms.clamp_min(1e-300)
    # a prediction that is constant or not a number predicts nothing; it must not be left out of a median
    r = torch.where(constant(output, known) | torch.isnan(r), 0.0, r)
    return torch.where(constant(responses, known), torch.nan, r)


def constant(values: Tensor, known: Tensor) -> Tensor:
    """(columns,): whether a column does not vary by more than the rounding of its numbers."""
    low = torch.where(known, values, torch.inf).amin(0)
    high = torch.where(known, values, -torch.inf).amax(0)
    return high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())


def rdm_scores(found: Float[Tensor, "stimuli stimuli"], target: Float[Tensor, "stimuli stimuli"]) -> Scores:
    """How alike an RDM and the target are over pairs of stimuli, -1 to 1, in float64.

    `spearman` and `pearson`: correlation of the dissimilarities; with 4 stimuli or more also `cka`: unbiased CKA (see
    `cotrain.dissimilarity.unbiased_cka`). Where either RDM is constant, as that of features which no longer tell
    stimuli apart, all are NaN: there is no correlation, and an epoch with such a score is never the best.
    """
    from scipy.stats import spearmanr

    found, target = found.double(), target.double()
    a, b = pairs(found), pairs(target)
    known = _varies(a) and _varies(b)
    yield "spearman", float(spearmanr(a.numpy(), b.numpy()).statistic) if known else float("nan")
    yield "pearson", float(pearson(a, b)) if known else float("nan")
    if len(target) >= 4:
        yield "cka", float(unbiased_cka(found, target)) if known else float("nan")


def _varies(dissimilarities: Tensor) -> bool:
    """Whether they differ by more than the rounding of sums of numbers near 1."""
    if not len(dissimilarities):
        return False
    low, high = dissimilarities.aminmax()
    return bool(high - low > 1e-12 * high.abs() + 1e-15)
