"""Representational dissimilarity matrices (RDMs), differentiable, and how alike two of them are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rdm(features: Float[Tensor, "stimuli features"]) -> Float[Tensor, "stimuli stimuli"]:
    """Correlation distance among stimuli: 1 - Pearson over features, 0 to 2, zero on the diagonal.

    Kriegeskorte, Mur & Bandettini 2008 (Frontiers in Systems Neuroscience 2:4). A stimulus whose features are all
    equal has no correlation; its distance to all others is 1 and its gradient is zero, not NaN.
    """
    unit = _unit(features)
    distance = 1 - unit @ unit.T
    return distance.clamp(0, 2) * (1 - torch.eye(len(features), device=features.device, dtype=features.dtype))


def stored_rdm(responses: Float[Tensor, "stimuli neurons"]) -> Float[Tensor, "stimuli stimuli"]:
    """`rdm` as a float32 target that is symmetric and, but for the rarest rounding, bit-equal on all machines.

    A matrix product in float32 differs in its last bits from one machine to another, and so would the fingerprint of
    the data.
    """
    exact = rdm(responses.double())
    return ((exact + exact.T) / 2).float()


def pairs(matrix: Float[Tensor, "stimuli stimuli"]) -> Float[Tensor, " pairs"]:
    """The dissimilarity of each pair once: the upper triangle without the diagonal, row by row."""
    row, column = torch.triu_indices(len(matrix), len(matrix), offset=1, device=matrix.device)
    return matrix[row, column]


def pearson(a: Float[Tensor, " values"], b: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """Pearson correlation of two vectors; 0 where one of them is constant."""
    return (_unit(a) * _unit(b)).sum()


def _unit(values: Float[Tensor, "... values"]) -> Float[Tensor, "... values"]:
    """Rows with mean 0 and length 1; zeros, without a gradient, for rows that are constant but for rounding."""
    centred = values - values.mean(-1, keepdim=True)
    square = centred.square().sum(-1, keepdim=True)
    # the mean of equal numbers may miss them by a rounding error, which is no direction to learn from
    constant = square <= (4 * torch.finfo(values.dtype).eps) ** 2 * values.square().sum(-1, keepdim=True)
    # replaced before the root, whose slope at 0 is infinite
    return centred.masked_fill(constant, 0) / square.masked_fill(constant, 1).sqrt()
