"""How much of a neuron's response can be explained, and how much of that is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.errors import DataError
from cotrain.metrics._arrays import arrays_too
from cotrain.metrics._scores import constant


@arrays_too
def fraction_explained(
    output: Float[Tensor, "stimuli neurons"] | Tensor,
    responses: Float[Tensor, "stimuli repeats neurons"] | Tensor,
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

    Raises:
        DataError: The responses have no repeats, or are not of the stimuli and neurons that are predicted.
    """
    if responses.ndim != 3 or (responses.shape[0], responses.shape[2]) != tuple(output.shape):
        raise DataError(
            f"Predictions {tuple(output.shape)} do not fit responses {tuple(responses.shape)}: give (stimuli, neurons) "
            "and then (stimuli, repeats, neurons)."
        )
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


@arrays_too
def fraction_explainable_variance(
    output: Float[Tensor, "stimuli neurons"] | Tensor,
    responses: Float[Tensor, "stimuli repeats neurons"] | Tensor,
) -> Float[Tensor, " neurons"]:
    """FEVe, the share of the explainable variance that a prediction explains: the second of `fraction_explained`."""
    return fraction_explained(output, responses)[1]


@arrays_too
def explainable_variance(responses: Float[Tensor, "stimuli repeats neurons"]) -> Float[Tensor, " neurons"]:
    """Share of the variance of single responses that stimuli explain: the first of `fraction_explained`."""
    return fraction_explained(responses.new_zeros(responses.shape[0], responses.shape[2]), responses)[0]


@arrays_too
def explained_variance(
    output: Float[Tensor, "stimuli neurons"] | Tensor, responses: Float[Tensor, "stimuli neurons"] | Tensor
) -> Float[Tensor, " neurons"]:
    """1 - Var(response - prediction) / Var(response) over stimuli, one a neuron, 1 at best; a shift costs nothing.

    Stimuli without a response (NaN) are left out. A neuron with constant responses has no score (NaN). Predictions that
    are not finite explain nothing: 0, so that they are not left out of a median.

    Args:
        output: Predictions in the units of the responses; they come first, since the two do not commute.
        responses: Means over repeats.

    Returns:
        float64.

    Raises:
        DataError: The two have other shapes.
    """
    error, centred, known = _errors(output, responses)
    count = known.sum(0).clamp_min(1)
    error = torch.where(known, error - error.sum(0) / count, 0)
    return _share(error, centred, responses, known)


@arrays_too
def r2(
    output: Float[Tensor, "stimuli neurons"] | Tensor, responses: Float[Tensor, "stimuli neurons"] | Tensor
) -> Float[Tensor, " neurons"]:
    """Coefficient of determination, 1 - sum (response - prediction)^2 / sum (response - mean)^2: as
    `explained_variance`, but a shift of the prediction costs."""
    error, centred, known = _errors(output, responses)
    return _share(error, centred, responses, known)


@arrays_too
def mean_squared_error(
    output: Float[Tensor, "stimuli neurons"] | Tensor, responses: Float[Tensor, "stimuli neurons"] | Tensor
) -> Float[Tensor, " neurons"]:
    """Mean over stimuli of (response - prediction)^2, float64; infinite of predictions that are not finite, NaN of a
    neuron without responses."""
    error, _, known = _errors(output, responses)
    mean = error.square().sum(0) / known.sum(0)
    return torch.where(mean.isnan() & known.any(0), torch.inf, mean)


def _errors(output: Tensor, responses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Errors and centred responses in float64, 0 where a response is unknown; and which are known."""
    if output.shape != responses.shape or output.ndim != 2:
        raise DataError(
            f"Predictions {tuple(output.shape)} do not fit responses {tuple(responses.shape)}: give both as (stimuli, "
            "neurons)."
        )
    known = ~torch.isnan(responses)
    truth = torch.where(known, responses, 0).double()
    centred = torch.where(known, truth - truth.sum(0) / known.sum(0).clamp_min(1), 0)
    return torch.where(known, truth - output.double(), 0), centred, known


def _share(error: Tensor, centred: Tensor, responses: Tensor, known: Tensor) -> Tensor:
    left = error.square().sum(0) / centred.square().sum(0).clamp_min(1e-300)
    score = torch.where(left.isfinite(), 1 - left, 0.0)
    return torch.where(constant(responses, known), torch.nan, score)
