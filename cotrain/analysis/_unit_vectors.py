"""The spaces in which a comparison of two RDMs is the inner product of two vectors of length 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from cotrain.dissimilarity import directions, pairs, u_centred, unit_rows

Rdms = Float[Tensor, "*rdms stimuli stimuli"]


def ranks(values: Float[Tensor, "*rdms pairs"]) -> Float[Tensor, "*rdms pairs"]:
    """Ranks from 1, the mean rank for equal values; without a gradient."""
    return torch.from_numpy(rankdata(values.detach().cpu().numpy(), axis=-1)).to(values)


def double_centred(matrix: Rdms) -> Float[Tensor, "*rdms entries"]:
    """-1/2 H D H in one row, H = 1 - 1/n: the centred kernel whose squared distances are D."""
    inside = -matrix / 2
    row, column = inside.mean(-1, keepdim=True), inside.mean(-2, keepdim=True)
    return (inside - row - column + inside.mean((-2, -1), keepdim=True)).flatten(-2)


def without_mean(matrix: Rdms) -> Rdms:
    """Dissimilarities less their mean over pairs; 0 on the diagonal still."""
    number = matrix.shape[-1]
    mean = matrix.sum((-2, -1), keepdim=True) / max(1, number * (number - 1))
    return (matrix - mean).masked_fill(torch.eye(number, dtype=torch.bool, device=matrix.device), 0)


def _or_nan(unit: Tensor) -> Tensor:
    """NaN where there is no direction."""
    return unit.masked_fill((unit == 0).all(-1, keepdim=True), torch.nan)


def _ranked(values: Tensor) -> Tensor:
    """Ranks less their mean, of the length that they have without ties."""
    number = values.shape[-1]
    return (ranks(values) - (number + 1) / 2) * (12 / max(1, number**3 - number)) ** 0.5


# of pairs in rows
OF_PAIRS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "pearson": lambda values: _or_nan(unit_rows(values)),
    "cosine": lambda values: _or_nan(directions(values, values)),
    "spearman": lambda values: _or_nan(unit_rows(ranks(values))),
    "rho_a": _ranked,
}
# of whole matrices
OF_MATRICES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cka": lambda matrix: _or_nan(directions(double_centred(matrix), matrix.flatten(-2))),
    "whitened_pearson": lambda matrix: _or_nan(directions(double_centred(without_mean(matrix)), matrix.flatten(-2))),
    "unbiased_cka": lambda matrix: _or_nan(directions(u_centred(matrix), pairs(matrix))),
}


def unit_vectors(rdms: Rdms, method: str) -> Float[Tensor, "*rdms values"]:
    """One row an RDM, whose inner products are their similarities by `method`; NaN for one that says nothing."""
    if method in OF_PAIRS:
        return OF_PAIRS[method](pairs(rdms))
    return OF_MATRICES[method](rdms)
