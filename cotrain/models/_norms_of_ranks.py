"""Batch norm whose statistics are of the stimuli of all processes that train together.

torch's own SyncBatchNorm refuses CPUs, and knows no statistics of a task's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from cotrain.dissimilarity import full_precision
from cotrain.errors import ModelError
from cotrain.models._batch_norm import FrozenBatchNorm, TaskBatchNorm

Stacked = Callable[[Tensor], Tensor]
"""From a tensor of this process to (processes, ...) those of all, without a gradient."""


@contextmanager
def statistics_of_all(network: nn.Module, stacked: Stacked, *, compiled: bool = False) -> Iterator[None]:
    """Within, each batch norm of a network that is trained takes the statistics of all processes' stimuli.

    All processes must show equally many stimuli, and call the same layers in the same order. Batch norm of
    `torch.nn`, with or without statistics of tasks; one that is in evaluation, or frozen, stays as it is.

    Args:
        network: Changed in place, and back in the end.
        stacked: How to ask the others.
        compiled: Whether passes are compiled, from which the others cannot be asked.

    Raises:
        ModelError: They are, and there is a batch norm to be trained.
    """
    kinds = nn.modules.batchnorm._BatchNorm, TaskBatchNorm
    norms = [m for m in network.modules() if isinstance(m, kinds) and not isinstance(m, FrozenBatchNorm)]
    if compiled and norms:
        raise ModelError(
            "compile=True does not go with several ranks where batch norm is trained: the others are asked for its "
            "statistics in the middle of a pass. Leave compilation off, or use batch_norm='frozen'."
        )
    for norm in norms:  # an attribute of the object stands before the method of its class
        norm.__dict__["forward"] = functools.partial(_forward, norm, stacked)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def _forward(norm: Any, stacked: Stacked, features: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, features)  # type: ignore[no-any-return]
    if isinstance(norm, TaskBatchNorm):
        running = norm.get_buffer(f"mean_{norm.active}"), norm.get_buffer(f"variance_{norm.active}")
    else:
        norm._check_input_dim(features)
        running = norm.running_mean, norm.running_var
    output, mean, variance = _Normalised.apply(features, norm.weight, norm.bias, norm.eps, stacked)
    if running[0] is not None and running[1] is not None:
        share = 0.1 if norm.momentum is None else norm.momentum
        if (batches := getattr(norm, "num_batches_tracked", None)) is not None:
            batches.add_(1)
            if norm.momentum is None:  # the mean over all batches so far
                share = 1 / batches.to(mean)
        for held, found in zip(running, (mean, variance), strict=True):
            held.mul_(1 - share).add_(share * found)
    return output  # type: ignore[no-any-return]


class _Normalised(torch.autograd.Function):
    """Batch norm by the statistics of all processes; one collective forward, and one backward.

    With x^ the normalised input, dy the gradient of the output and <> means over all processes' stimuli and places, the
    gradient of the input is weight / std * (dy - <dy> - x^ <dy x^>) (Ioffe & Szegedy 2015, ICML, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, stacked: Stacked
    ) -> tuple[Tensor, Tensor, Tensor]:
        over = [place for place in range(features.ndim) if place != 1]
        variance, mean = torch.var_mean(full_precision(features), over, correction=0)
        own = stacked(torch.stack([mean, variance]))
        mean = own[:, 0].mean(0)
        variance = own[:, 1].mean(0) + (own[:, 0] - mean).square().mean(0)
        number = len(own) * features.numel() // features.shape[1]
        output = batch_norm(features, mean, variance, weight, bias, False, 0.0, eps)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(features, weight, mean, scale)
        ctx.over, ctx.stacked, ctx.has_bias = over, stacked, bias is not None
        unbiased = variance * (number / max(number - 1, 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return output, mean, unbiased

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, scale = ctx.saved_tensors
        shape = [-1 if place == 1 else 1 for place in range(features.ndim)]
        normalised = (full_precision(features) - mean.view(shape)) * scale.view(shape)
        wide = full_precision(gradient)
        sums = torch.stack([wide.sum(ctx.over), (wide * normalised).sum(ctx.over)])
        number = features.numel() // features.shape[1]
        common = ctx.stacked(sums).mean(0) / number
        inner = wide - common[0].view(shape) - normalised * common[1].view(shape)
        factor = scale if weight is None else scale * weight
        own = (inner * factor.view(shape)).to(features.dtype)
        return own, None if weight is None else sums[1], sums[0] if ctx.has_bias else None, None, None
