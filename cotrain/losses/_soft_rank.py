"""Ranks with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cotrain.dissimilarity import unit_rows

TEMPERATURE = 0.1  # standard deviations of the values
CHUNK = 2**22  # numbers held at once


class _SoftRank(torch.autograd.Function):
    """1/2 + sum over j of sigmoid(x_i - x_j). Rows are computed in chunks, and anew for the gradient."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        rows = [torch.sigmoid(chunk[:, None] - values).sum(1) for chunk in values.split(_rows(values))]
        return torch.cat(rows) + 0.5

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors
        found = []
        for some, pulled in zip(values.split(_rows(values)), gradient.split(_rows(values)), strict=True):
            share = torch.sigmoid(some[:, None] - values)
            found.append((share * (1 - share) * (pulled[:, None] - gradient)).sum(1))
        return torch.cat(found)


def _rows(values: Tensor) -> int:
    return max(1, CHUNK // max(1, len(values)))


def soft_ranks(values: Float[Tensor, " values"], temperature: float = TEMPERATURE) -> Float[Tensor, " values"]:
    """Ranks from 1 that change smoothly: 1/2 + sum over j of sigmoid((x_i - x_j) / (temperature * spread of x)).

    Qin, Liu & Li 2010 (Information Retrieval 13:375), the position function. The spread is the standard deviation of
    all values, so that ranks do not depend on level and scale; towards temperature 0 they are `ranks`. Equal values
    have equal ranks; where all are equal, none has a gradient. On any device. Time grows with the square of the number
    of values (32,640 of them, the pairs of 256 stimuli, are 1.1e9 sigmoids), memory does not. Gradients are of first
    order only.

    Args:
        values: Any numbers.
        temperature: Above 0, in standard deviations of the values. Values nearer than this share their order.
    """
    spread_out: Tensor = unit_rows(values) * (len(values) ** 0.5 / temperature)
    result: Tensor = _SoftRank.apply(spread_out)
    return result


def ranks(values: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """Ranks from 1, the mean rank for equal values; without a gradient."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0)
    mean: Tensor = (last - (count - 1) / 2).to(values.dtype)
    return mean[place]
