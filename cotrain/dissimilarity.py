"""Representational dissimilarity matrices (RDMs), differentiable, and how alike two of them are.

Everything here is a dissimilarity, larger for what is less alike, but for the three measures of agreement of two
vectors or matrices: `pearson`, `cosine`, `unbiased_cka`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.errors import ModelError, did_you_mean

Dissimilarity = Literal["correlation", "cosine", "squared_euclidean", "centred_cosine"]
DISSIMILARITIES: tuple[str, ...] = get_args(Dissimilarity)

Whitening = Literal["none", "diagonal", "shrinkage"]
WHITENINGS: tuple[str, ...] = get_args(Whitening)


def rdm(
    features: Float[Tensor, "stimuli features"], dissimilarity: str = "correlation"
) -> Float[Tensor, "stimuli stimuli"]:
    """Dissimilarities among stimuli, zero on the diagonal.

    - "correlation": 1 - Pearson over features, 0 to 2 (Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems
      Neuroscience 2:4);
    - "cosine": 1 - cosine of the angle at the origin, 0 to 2;
    - "centred_cosine": the same with the origin at the mean over stimuli, so that a feature's level does not count, 0
      to 2 (Li et al. 2019, NeurIPS, Learning from brains how to regularize machines). It depends on which stimuli
      there are;
    - "squared_euclidean": mean over features of the squared difference, in squared units of the features, from 0.

    A stimulus without a direction (correlation: whose features are all equal; cosine: all zero; centred cosine: that
    equals the mean over stimuli) is at distance 1 from all others, and its gradient is zero, not NaN. The numbers are
    float32 at least, under automatic mixed precision too.

    Args:
        features: One row a stimulus.
        dissimilarity: One of `DISSIMILARITIES`.

    Raises:
        ModelError: There is no such dissimilarity.
    """
    _require(dissimilarity, DISSIMILARITIES, "dissimilarity")
    with torch.autocast(features.device.type, enabled=False):
        values = full_precision(features)
        others = 1 - torch.eye(len(values), device=values.device, dtype=values.dtype)
        if dissimilarity == "squared_euclidean":
            values = values - values.mean(0)  # no distance changes, and less is lost where large numbers cancel
            product = values @ values.T
            square = product.diagonal()
            return (square[:, None] + square - 2 * product).clamp_min(0) / max(values.shape[1], 1) * others
        if dissimilarity == "correlation":
            unit = unit_rows(values)
        elif dissimilarity == "cosine":
            unit = directions(values, values)
        else:
            unit = directions(values - values.mean(0), values)
        distance = 1 - unit @ unit.T
        return distance.clamp(0, 2) * others


def stored_rdm(
    responses: Float[Tensor, "*repeats stimuli neurons"],
    dissimilarity: str = "correlation",
    *,
    whitening: str = "diagonal",
) -> Float[Tensor, "stimuli stimuli"]:
    """`rdm` or `crossnobis` as a float32 target, symmetric and, but for the rarest rounding, bit-equal on all machines.

    A matrix product in float32 differs in its last bits from one machine to another, and so would the fingerprint of
    the data.

    Args:
        responses: (stimuli, neurons), or (repeats, stimuli, neurons) for "crossnobis".
        dissimilarity: One of `DISSIMILARITIES`, or "crossnobis".
        whitening: Of "crossnobis".

    Raises:
        ModelError: As `rdm` and `crossnobis`.
    """
    values = responses.double()
    exact = crossnobis(values, whitening=whitening) if dissimilarity == "crossnobis" else rdm(values, dissimilarity)
    return ((exact + exact.T) / 2).float()


def group_means(
    features: Float[Tensor, "stimuli features"], groups: Int[Tensor, " stimuli"], count: int
) -> Float[Tensor, "groups features"]:
    """Mean features of groups of stimuli, in float64.

    Args:
        features: One row a stimulus.
        groups: The group of each stimulus, 0 to `count` - 1, in any order and of any sizes.
        count: How many groups there are.

    Raises:
        ModelError: A group is out of range, or has no stimulus.
    """
    if not 0 <= int(groups.min()) <= int(groups.max()) < count:
        found = f"{int(groups.min())}..{int(groups.max())}"
        raise ModelError(f"Groups must be numbered within 0..{count - 1}, as the rows of the RDM; found {found}.")
    sizes = torch.bincount(groups, minlength=count)
    if empty := (sizes == 0).nonzero().flatten().tolist():
        raise ModelError(f"Each group needs a stimulus to have a mean; found none of the groups {empty[:10]}.")
    values = features.double()
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, groups, values) / sizes[:, None]


def crossnobis(
    repeats: Float[Tensor, "repeats stimuli neurons"], *, whitening: str = "diagonal"
) -> Float[Tensor, "stimuli stimuli"]:
    """Cross-validated squared Mahalanobis distances, mean over neurons: noise adds nothing on average, some are < 0.

    Walther et al. 2016 (NeuroImage 137:188), averaged over all ordered pairs of different repeats;
    noise that is independent between repeats has no product on average. Distances are in units of the noise variance
    of a single repeat, or in squared units of the responses without whitening. Noise that is estimated from the same
    responses raises all distances alike: for "diagonal" and Gaussian noise by a factor f / (f - 2), and then by
    4 / (repeats * (f - 2)), where f = (stimuli - 1) * (repeats - 1). "none" is without bias however few responses
    there are. These distances suit as targets of the comparison "pearson", for features with "squared_euclidean".

    Args:
        repeats: Responses; each stimulus was shown equally often, 2 times or more. Float32 at least is computed with.
        whitening: By what responses are divided: "none"; "diagonal": the standard deviation of each neuron between
            repeats; neurons that never vary are left out; "shrinkage": a root of the noise covariance, shrunk towards
            a multiple of the identity (Ledoit & Wolf 2004, Journal of Multivariate Analysis 88:365, section 3.3).

    Raises:
        ModelError: There is one repeat only, a response is NaN, no neuron varies between repeats though whitening was
            asked for, or there is no such whitening.
    """
    _require(whitening, WHITENINGS, "whitening")
    times, stimuli = repeats.shape[:2]
    if times < 2:
        raise ModelError(
            f"crossnobis needs 2 repeats of each stimulus or more, found {times}. Use rdm without repeats."
        )
    with torch.autocast(repeats.device.type, enabled=False):
        values = full_precision(repeats)
        if bool(values.isnan().any()):
            raise ModelError(
                "crossnobis needs every stimulus in every repeat, found responses that are NaN. Keep as many repeats "
                "as all stimuli have."
            )
        values = values - values.mean(1, keepdim=True)  # a level of a whole repeat is in no difference of stimuli
        if whitening != "none":
            values = _whitened(values, whitening)
        mean = values.mean(0)
        flat = values.transpose(0, 1).flatten(1)  # all repeats of a stimulus
        product = (times**2 * (mean @ mean.T) - flat @ flat.T) / (times * (times - 1))
        square = product.diagonal()
        distance = (square[:, None] + square - 2 * product) / max(values.shape[2], 1)
        return distance * (1 - torch.eye(stimuli, device=values.device, dtype=values.dtype))


def pairs(matrix: Float[Tensor, "*rdms stimuli stimuli"]) -> Float[Tensor, "*rdms pairs"]:
    """The dissimilarity of each pair once: the upper triangle without the diagonal, row by row."""
    stimuli = matrix.shape[-1]
    row, column = torch.triu_indices(stimuli, stimuli, offset=1, device=matrix.device)
    return matrix[..., row, column]


def pearson(a: Float[Tensor, " values"], b: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """Pearson correlation of two vectors; 0 where one of them is constant."""
    return (unit_rows(a) * unit_rows(b)).sum()


def cosine(a: Float[Tensor, " values"], b: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """Cosine of the angle of two vectors, -1 to 1; 0 where one of them is zero."""
    return (directions(a, a) * directions(b, b)).sum()


def unbiased_cka(a: Float[Tensor, "stimuli stimuli"], b: Float[Tensor, "stimuli stimuli"]) -> Float[Tensor, ""]:
    """Unbiased centred kernel alignment of two RDMs: 0 on average where features are independent; -1 to 1.

    The unbiased HSIC of Song et al. 2012 (JMLR 13:1393), normalised as Nguyen, Raghu & Kornblith 2021 (ICLR) do.
    Instead of kernels this takes dissimilarities and U-centres them (Székely & Rizzo 2014, Annals of
    Statistics 42:2382, definition 2), which removes whatever belongs to one stimulus alone: squared Euclidean
    distances k(i,i) + k(j,j) - 2 k(i,j), and 1 - k(i,j), give exactly the value of their kernels k. The diagonals do
    not count. 0 where one RDM says nothing.

    Raises:
        ModelError: There are fewer than 4 stimuli.
    """
    if len(a) < 4:
        raise ModelError(f"Unbiased CKA needs 4 stimuli or more, found {len(a)}. Use more, or comparison='pearson'.")
    return (directions(u_centred(a), pairs(a)) * directions(u_centred(b), pairs(b))).sum()


def unit_rows(values: Float[Tensor, "... values"]) -> Float[Tensor, "... values"]:
    """Rows with mean 0 and length 1; zeros, without a gradient, for rows that are constant but for rounding."""
    return directions(values - values.mean(-1, keepdim=True), values)


def directions(values: Float[Tensor, "... values"], before: Float[Tensor, "... values"]) -> Float[Tensor, "... values"]:
    """Rows of length 1; zeros, without a gradient, for rows that are but rounding errors of what they were `before`."""
    square = values.square().sum(-1, keepdim=True)
    # the mean of equal numbers may miss them by a rounding error, which is no direction to learn from
    none = square <= (4 * torch.finfo(values.dtype).eps) ** 2 * before.square().sum(-1, keepdim=True)
    # replaced before the root, whose slope at 0 is infinite
    return values.masked_fill(none, 0) / square.masked_fill(none, 1).sqrt()


def u_centred(matrix: Float[Tensor, "*rdms stimuli stimuli"]) -> Float[Tensor, "*rdms pairs"]:
    """The pairs, less what belongs to either stimulus, as `unbiased_cka` takes them; 4 stimuli or more."""
    number = matrix.shape[-1]
    inside = matrix * (1 - torch.eye(number, device=matrix.device, dtype=matrix.dtype))
    row, column = inside.sum(-1, keepdim=True) / (number - 2), inside.sum(-2, keepdim=True) / (number - 2)
    return pairs(inside - row - column + inside.sum((-2, -1), keepdim=True) / ((number - 1) * (number - 2)))


def _whitened(values: Tensor, whitening: str) -> Tensor:
    times, stimuli, neurons = values.shape
    noise = (values - values.mean(0)).flatten(0, 1)
    free = max(1, (stimuli - 1) * (times - 1))  # degrees of freedom; each repeat's mean was subtracted
    variance = noise.square().sum(0) / free
    varies = variance > (4 * torch.finfo(values.dtype).eps) ** 2 * values.square().mean((0, 1))
    if not bool(varies.any()):
        raise ModelError(
            "crossnobis: no neuron varies between repeats, so there is no noise to divide by. Are the "
            "repeats copies of each other? Else use whitening='none'."
        )
    if whitening == "diagonal":
        return values[..., varies] / variance[varies].sqrt()
    number = len(noise)
    covariance = noise.T @ noise / number
    level = covariance.diagonal().mean()
    off = covariance - level * torch.eye(neurons, device=values.device, dtype=values.dtype)
    spread = off.square().sum()
    error = (noise.square().sum(1).square().sum() / number - covariance.square().sum()) / number
    share = (error / spread.clamp_min(torch.finfo(values.dtype).tiny)).clamp(0, 1)
    shrunk = (covariance - share * off) * (number / free)
    lower = torch.linalg.cholesky(shrunk)
    whitened: Tensor = torch.linalg.solve_triangular(lower, values.flatten(0, 1).T, upper=False)
    return whitened.T.reshape(values.shape)


def full_precision(values: Tensor) -> Tensor:
    """float32 from anything below it, as automatic mixed precision hands over; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def _require(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise ModelError(f"There is no {what} {name!r}; expected one of {', '.join(known)}.{did_you_mean(name, known)}")
