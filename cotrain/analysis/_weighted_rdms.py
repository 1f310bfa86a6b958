"""Comparisons of RDMs in which pairs of stimuli have weights: counts in a bootstrap sample, or 0 for what is missing.

A sample of stimuli with replacement is the same as weights of the pairs of the original ones: the product of how often
either was drawn. Pairs of a stimulus with a copy of itself are left out: they say nothing (Nili et al. 2014, PLoS
Computational Biology 10:e1003553). So nothing is copied, and all samples are computed at once.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis._unit_vectors import unit
from cotrain.dissimilarity import pairs

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

WEIGHTED = ("pearson", "cosine", "spearman", "rho_a", "cka", "whitened_pearson")


def pair_weights(counts: Float[Tensor, "samples stimuli"]) -> Float[Tensor, "samples stimuli stimuli"]:
    """How often each pair of different stimuli is in a sample."""
    weights = counts[:, :, None] * counts[:, None, :]
    return weights.masked_fill(torch.eye(counts.shape[1], dtype=torch.bool, device=counts.device), 0)


def weighted_vectors(
    rdms: Float[Tensor, "rdms stimuli stimuli"],
    weights: Float[Tensor, "samples stimuli stimuli"],
    counts: Float[Tensor, "samples stimuli"],
    method: str,
) -> Float[Tensor, "samples rdms values"]:
    """Unit vectors whose inner products are the similarities in each sample; NaN where an RDM says nothing there.

    Args:
        rdms: Symmetric distances without NaN; what has no weight does not count.
        weights: Of pairs, symmetric, 0 on the diagonal.
        counts: Of stimuli, for "cka" and "whitened_pearson".
        method: One of `WEIGHTED`.
    """
    if method in ("cka", "whitened_pearson"):
        return _whitened(rdms, weights, counts, method)
    return pair_vectors(pairs(rdms)[None], pairs(weights)[:, None], method)


def pair_vectors(values: Tensor, weights: Tensor, method: str) -> Tensor:
    """The same of pairs: (samples or 1, rdms, pairs) and weights (samples, 1, pairs)."""
    if method in ("spearman", "rho_a"):
        values = weighted_ranks(values, weights)
    total = weights.sum(-1, keepdim=True)
    centred = values if method == "cosine" else values - (weights * values).sum(-1, keepdim=True) / total
    rooted = weights.sqrt()
    if method == "rho_a":
        return rooted * centred * (12 / (total**3 - total)).sqrt()
    return unit(rooted * centred, rooted * values)


def weighted_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Ranks of values that are there as often as their weight says, the mean rank for equal ones; without a gradient.

    Args:
        values: (samples or 1, rdms, pairs); of 1, the same in all samples, the order is found only once.
        weights: (samples or 1, 1, pairs).
    """
    rows, often = values.detach().cpu().numpy(), weights.detach().cpu().numpy()
    found = np.empty((max(len(rows), len(often)), *rows.shape[1:]))
    for number in range(rows.shape[1]):
        own = rows[:, number]
        order = own.argsort(-1)
        ordered = np.take_along_axis(own, order, -1)
        first = np.ones(own.shape, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        ranks = _in_order if len(rows) == 1 else _row_by_row
        ranks(order, first, often[:, 0], found[:, number])
    return torch.from_numpy(found).to(values.device)


def _in_order(order: Indices, first: NDArray[np.bool_], weights: Numbers, found: Numbers) -> None:
    """All samples have the order of the only row."""
    starts = np.flatnonzero(first[0])
    group = np.cumsum(first[0]) - 1
    sums = np.add.reduceat(weights[:, order[0]], starts, axis=1)
    upto = sums.cumsum(1)
    found[:, order[0]] = (upto - (sums - 1) / 2)[:, group]


def _row_by_row(order: Indices, first: NDArray[np.bool_], weights: Numbers, found: Numbers) -> None:
    """Each sample has an order of its own."""
    ordered = np.take_along_axis(np.broadcast_to(weights, order.shape), order, -1)
    upto = ordered.cumsum(1).ravel()
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], first.size) - 1
    middle = (upto[starts] - ordered.ravel()[starts] + upto[ends] + 1) / 2
    np.put_along_axis(found, order, np.repeat(middle, ends - starts + 1).reshape(order.shape), -1)


def _whitened(rdms: Tensor, weights: Tensor, counts: Tensor, method: str) -> Tensor:
    """Kernels less what belongs to either stimulus, by least squares over the pairs that are there and the diagonal.

    Copies of a stimulus have the same part a(i); so sum over j of w(i,j) (g(i,j) - a(i) - a(j)) + c(i) (g(i,i) - 2
    a(i)) = 0 for each stimulus i, with w the weights of pairs and c the counts. With all weights 1 this is the centring
    by H.
    """
    whole = -rdms / 2
    kernel = whole
    if method == "whitened_pearson":
        mean = torch.einsum("bij,kij->bk", weights, kernel) / weights.sum((1, 2))[:, None]
        kernel = (kernel - mean[..., None, None]) * (
            1 - torch.eye(rdms.shape[-1], dtype=rdms.dtype, device=rdms.device)
        )
        sums = torch.einsum("bij,bkij->bki", weights, kernel)
    else:
        sums = torch.einsum("bij,kij->bki", weights, kernel)
        kernel = kernel.expand(len(weights), *kernel.shape)
    # those that were not drawn have no equation: any part will do
    absent = (counts == 0).to(weights.dtype)
    system = weights + torch.diag_embed(weights.sum(-1) + 2 * counts + absent)
    part = torch.linalg.solve(system, sums.transpose(1, 2)).transpose(1, 2)
    inside = kernel - part[..., :, None] - part[..., None, :]
    root = (weights + torch.diag_embed(counts)).sqrt()
    return unit((inside * root[:, None]).flatten(-2), (whole * root[:, None]).flatten(-2))
