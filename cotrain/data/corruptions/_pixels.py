"""Between bytes and the range 0..1, as the reference implementation does it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_bytes(values: Tensor) -> Tensor:
    """Values in 0..1, clamped, as uint8: the reference truncates."""
    return (values.clamp(0, 1) * 255).to(torch.uint8)
