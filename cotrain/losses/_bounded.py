"""Parameters that stay within bounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, lowest: float, highest: float) -> Tensor:
        context.save_for_backward(values)
        context.bounds = lowest, highest
        return values.clamp(lowest, highest)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (values,), (lowest, highest) = context.saved_tensors, context.bounds
        # descent follows minus the gradient
        leaves = ((values >= highest) & (gradient < 0)) | ((values <= lowest) & (gradient > 0))
        return gradient.masked_fill(leaves, 0), None, None


def bounded(values: Tensor, lowest: float, highest: float) -> Tensor:
    """`values` clamped to [lowest, highest], with a gradient that never drives them out and always lets them back in.

    The gradient of `torch.clamp` is zero outside, so that a parameter which has once left would stay there for ever.

    Args:
        values: Of any shape.
        lowest, highest: Both within reach.
    """
    result: Tensor = _Bounded.apply(values, lowest, highest)
    return result
