"""Images for the tests of corruptions: made of whole numbers, so that they are the same everywhere."""

import torch
from torch import Tensor


def pictures(count: int = 3, height: int = 40, width: int = 52, channels: int = 3) -> Tensor:
    """Ramps, disks, stripes, a flat corner and coarse noise, uint8 (count, channels, height, width)."""
    index, channel, y, x = (
        torch.arange(size).view([-1 if axis == place else 1 for place in range(4)])
        for axis, size in enumerate((count, channels, height, width))
    )
    ramp = (5 * x + (3 + channel) * y + 40 * index) % 256
    disk = ((x - 20 - 3 * channel) ** 2 + (y - 15 - index) ** 2 < 90) * (120 + 50 * channel)
    stripes = ((x // 3 + y * (index % 2)) % 2) * 60
    noise = ((x // 4) * 7919 + (y // 4) * 104729 + channel * 1299709 + index * 15485863) % 97
    values = (ramp // 2 + disk + stripes + noise).clamp(0, 255)
    values[:, :, -12:, -16:] = 255 - 60 * index
    values[:, :, -9:, :12] = 0
    return values.to(torch.uint8)
