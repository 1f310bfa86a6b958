"""Random numbers of images from a counter: they depend on seed, image index and place alone."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from cotrain.seeds import derive_seed

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd


class ImageRandom:
    """Streams of random numbers, one an image and use; equal bits on every device, for every batch size.

    A stream is SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, figure 17) from a state that is hashed from seed, use
    and index.

    Args:
        seed: 0 or larger.
        indices: Of the images in their data set, int64 (images,); what they are given is on the device of these.
    """

    def __init__(self, seed: int, indices: Tensor) -> None:
        self.seed = seed
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.indices.device

    def bits(self, use: str, count: int) -> Tensor:
        """64 random bits each: int64 (images, count)."""
        state = _mix_(self.indices * _signed(GOLDEN) + derive_seed(self.seed, "corruption", use))
        steps = torch.arange(1, count + 1, device=self.device) * _signed(GOLDEN)
        return _mix_(state[:, None] + steps)

    def integers16(self, use: str, *shape: int) -> Tensor:
        """Whole numbers from 0 to 65535, each as often: int32 (images, *shape)."""
        count = torch.Size(shape).numel()
        parts = self.bits(use, -(-count // 4)).view(torch.uint16)  # lowest bits first, on all machines that torch knows
        return parts[:, :count].to(torch.int32).reshape(len(self), *shape)

    def normal(self, use: str, *shape: int) -> Tensor:
        """Standard normal, one of 65,536 equally likely quantiles (at most 4.33 in size): float32 (images, *shape)."""
        places = self.integers16(use, *shape)
        return _normal_quantiles(self.device).index_select(0, places.flatten()).view(places.shape)

    def uniform(self, use: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high), in steps of 2**-24 of the range: float32 (images, *shape)."""
        count = torch.Size(shape).numel()
        bits = self.bits(use, -(-count // 2))
        parts = torch.stack([bits, bits >> 32], -1) & 0xFFFFFF
        unit = parts.flatten(1)[:, :count].reshape(len(self), *shape).float() / 2**24
        return unit * (high - low) + low

    def integers(self, use: str, *shape: int, low: int, high: int) -> Tensor:
        """Whole numbers from low to high - 1 (a range of at most 2**24): int64 (images, *shape)."""
        count = torch.Size(shape).numel()
        bits = self.bits(use, -(-count // 2))
        parts = torch.stack([bits, bits >> 32], -1) & 0xFFFFFFFF
        scaled = (parts * (high - low)) >> 32
        return scaled.flatten(1)[:, :count].reshape(len(self), *shape) + low


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned one."""
    return value - 2**64 if value >= 2**63 else value


def _mix_(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64, in place. torch shifts int64 with its sign, whose copies are masked away."""
    shifted = torch.empty_like(z)
    for places, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        torch.bitwise_right_shift(z, places, out=shifted)
        z ^= shifted.bitwise_and_(2 ** (64 - places) - 1)
        if factor != 1:
            z *= _signed(factor)
    return z


@functools.lru_cache
def _normal_quantiles(device: torch.device) -> Tensor:
    middle = (torch.arange(65536, dtype=torch.float64) + 0.5) / 65536
    quantiles: Tensor = torch.special.ndtri(middle)
    return quantiles.float().to(device)
