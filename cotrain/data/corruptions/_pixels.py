"""Between bytes and the range 0..1, as the reference implementation does it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Bytes as float32 in 0..1."""
    return divided(images.float(), 255)


def to_bytes(values: Tensor) -> Tensor:
    """Values in 0..1, clamped, as uint8: the reference truncates."""
    return (values.clamp(0, 1) * 255).to(torch.uint8)


def luminance(pixels: Tensor) -> Tensor:
    """Brightness of bytes in float32, (images, 1, height, width): 0.299 R + 0.587 G + 0.114 B; a grey one's is itself.

    Thousandths are summed, which are whole numbers, so that three equal channels give what one does.
    """
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.split(1, 1)
    return divided(red * 299 + green * 587 + blue * 114, 1000)


def divided(values: Tensor, divisor: float) -> Tensor:
    """Quotients that are rounded once, on every device: for a plain number, a GPU multiplies with its reciprocal."""
    return values / torch.tensor(divisor, dtype=values.dtype, device=values.device)
