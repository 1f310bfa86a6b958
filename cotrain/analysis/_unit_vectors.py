"""The spaces in which a comparison of two RDMs is the inner product of two vectors of length 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from cotrain.dissimilarity import pairs, u_centred

ROUNDING = 1e-13  # of a length in float64

Rdms = Float[Tensor, "*rdms stimuli stimuli"]


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 along the last axis, the mean rank for equal values; all NaN where one is NaN."""
    order = values.argsort(-1)
    ordered = np.take_along_axis(values, order, -1)
    # in measured dissimilarities ties are rare, and without any the order is all
    if not (ordered[..., 1:] > ordered[..., :-1]).all():  # of NaN, too, nothing is larger
        return np.asarray(rankdata(values, axis=-1), dtype=np.float64)
    found = np.empty(values.shape)
    np.put_along_axis(found, order, np.arange(1.0, values.shape[-1] + 1), -1)
    return found


def ranks(values: Float[Tensor, "*rdms pairs"]) -> Float[Tensor, "*rdms pairs"]:
    """Ranks from 1, the mean rank for equal values; without a gradient."""
    return torch.from_numpy(mean_ranks(values.detach().cpu().numpy())).to(values)


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


def unit(values: Tensor, before: Tensor) -> Tensor:
    """Rows of length 1; NaN for those that are but the rounding errors of what they were before."""
    norm, whole = (torch.linalg.vector_norm(one, dim=-1, keepdim=True) for one in (values, before))
    found: Tensor = values / torch.where(norm > ROUNDING * whole, norm, torch.nan)
    return found


def _centred(values: Tensor) -> Tensor:
    return unit(values - values.mean(-1, keepdim=True), values)


def _ranked(values: Tensor) -> Tensor:
    """Ranks less their mean, of the length that they have without ties."""
    number = values.shape[-1]
    centred: Tensor = ranks(values) - (number + 1) / 2
    return centred * math.sqrt(12 / max(1, number**3 - number))


# of pairs in rows
OF_PAIRS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "pearson": _centred,
    "cosine": lambda values: unit(values, values),
    "spearman": lambda values: _centred(ranks(values)),
    "rho_a": _ranked,
}
# of whole matrices
OF_MATRICES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cka": lambda matrix: unit(double_centred(matrix), matrix.flatten(-2)),
    "whitened_pearson": lambda matrix: unit(double_centred(without_mean(matrix)), matrix.flatten(-2)),
    "unbiased_cka": lambda matrix: unit(u_centred(matrix), pairs(matrix)),
}


def unit_vectors(rdms: Rdms, method: str) -> Float[Tensor, "*rdms values"]:
    """One row an RDM, whose inner products are their similarities by `method`; NaN for one that says nothing."""
    if method in OF_PAIRS:
        return OF_PAIRS[method](pairs(rdms))
    return OF_MATRICES[method](rdms)
