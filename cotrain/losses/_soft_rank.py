"""Ranks with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cotrain.dissimilarity import unit_rows

TEMPERATURE = 0.1  # standard deviations of the values
EXACT = 512  # values, whose differences are few enough to be taken one by one
BINS = 4096


class _SoftRank(torch.autograd.Function):
    """1/2 + sum over j of sigmoid(x_i - x_j), by all differences, which are made anew for the gradient."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return torch.sigmoid(values[:, None] - values).sum(1) + 0.5

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors
        share = torch.sigmoid(values[:, None] - values)
        return (share * (1 - share) * (gradient[:, None] - gradient)).sum(1)


class _BinnedSoftRank(torch.autograd.Function):
    """The same from counts on a grid: a value is shared between its two neighbours there, sums are convolutions."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        low, high = values.aminmax()
        width = ((high - low) / (BINS - 1)).clamp_min(torch.finfo(values.dtype).tiny)
        place = (values - low) / width
        left = place.floor().long().clamp(0, BINS - 2)
        share = place - left
        offset = torch.arange(1 - BINS, BINS, device=values.device, dtype=values.dtype) * width
        counts = _counted(torch.ones_like(values), left, share)
        context.save_for_backward(counts, left, share, offset)
        return _at(_convolved(counts, torch.sigmoid(offset)), left, share) + 0.5

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        counts, left, share, offset = context.saved_tensors
        slope = torch.sigmoid(offset)
        slope = slope * (1 - slope)
        around = _at(_convolved(counts, slope), left, share)
        pulled = _at(_convolved(_counted(gradient, left, share), slope), left, share)
        return gradient * around - pulled


def soft_ranks(values: Float[Tensor, " values"], temperature: float = TEMPERATURE) -> Float[Tensor, " values"]:
    """Ranks from 1 that change smoothly: 1/2 + sum over j of sigmoid((x_i - x_j) / (temperature * spread of x)).

    Qin, Liu & Li 2010 (Information Retrieval 13:375), the position function. The spread is the standard deviation of
    all values, so that ranks do not depend on level and scale; towards temperature 0 they are `ranks`. Equal values
    have equal ranks; where all are equal, none has a gradient. On any device. Up to 512 values (the pairs of 32
    stimuli) the sums are exact. Beyond, values are counted on a grid of 4,096 places between the smallest and the
    largest, so that time and memory grow with their number only; while the range is less than 4,000 temperatures (at
    0.1: 400 standard deviations), ranks are right to a thousandth of the number of values, usually to a millionth.
    Gradients are of first order only.

    Args:
        values: Any numbers.
        temperature: Above 0, in standard deviations of the values. Values nearer than this share their order.
    """
    spread_out: Tensor = unit_rows(values) * (len(values) ** 0.5 / temperature)
    result: Tensor = (_SoftRank if len(values) <= EXACT else _BinnedSoftRank).apply(spread_out)
    return result


def ranks(values: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """Ranks from 1, the mean rank for equal values; without a gradient."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0)
    mean: Tensor = (last - (count - 1) / 2).to(values.dtype)
    return mean[place]


def _counted(amounts: Tensor, left: Tensor, share: Tensor) -> Tensor:
    """Amounts on the grid."""
    grid = amounts.new_zeros(BINS)
    return grid.index_add(0, left, amounts * (1 - share)).index_add(0, left + 1, amounts * share)


def _convolved(grid: Tensor, kernel: Tensor) -> Tensor:
    """Sum over places of what lies there times the kernel at the distance, whose middle is distance 0; float64, since
    the transform mixes large and small sums."""
    size = 4 * BINS
    product = torch.fft.rfft(grid.double(), size) * torch.fft.rfft(kernel.double(), size)
    whole: Tensor = torch.fft.irfft(product, size)
    return whole[BINS - 1 : 2 * BINS - 1].to(grid.dtype)


def _at(grid: Tensor, left: Tensor, share: Tensor) -> Tensor:
    """Values between places of the grid, linearly."""
    return grid[left] * (1 - share) + grid[left + 1] * share
