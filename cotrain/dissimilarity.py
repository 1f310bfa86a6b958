"""Representational dissimilarity matrices (RDMs), differentiable, and how alike two of them are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-8


def rdm(features: Float[Tensor, "stimuli features"]) -> Float[Tensor, "stimuli stimuli"]:
    """Correlation distance among stimuli: 1 - Pearson over features, 0 to 2, zero on the diagonal.

    Kriegeskorte, Mur & Bandettini 2008 (Frontiers in Systems Neuroscience 2:4). A stimulus whose features are all
    equal has no correlation; its distance to all others is 1 and its gradient is zero, not NaN.
    """
    centred = features - features.mean(1, keepdim=True)
    # the clamp comes before the root, whose slope at 0 is infinite
    norm = centred.square().sum(1, keepdim=True).clamp_min(EPS**2).sqrt()
    unit = centred / norm
    distance = 1 - unit @ unit.T
    return distance.clamp(0, 2) * (1 - torch.eye(len(features), device=features.device, dtype=features.dtype))


def pairs(matrix: Float[Tensor, "stimuli stimuli"]) -> Float[Tensor, " pairs"]:
    """The dissimilarity of each pair once: the upper triangle without the diagonal, row by row."""
    row, column = torch.triu_indices(len(matrix), len(matrix), offset=1, device=matrix.device)
    return matrix[row, column]


def pearson(a: Float[Tensor, " values"], b: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """Pearson correlation of two vectors; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum().clamp_min(EPS**2).sqrt() * b.square().sum().clamp_min(EPS**2).sqrt())
