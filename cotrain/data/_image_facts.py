"""What is known of images from their pixels: which are equal, which look alike, how bright they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from cotrain.data._images import grey

SIDE = 16  # of the thumbnail that a hash is taken from: 256 bits


@dataclass(frozen=True)
class ImageFacts:
    """What is known of each image from its pixels.

    Args:
        digests: uint8 (images, 16), equal only for equal pixels and shape.
        sums: int64 (images, channels, 2), sum of the pixels and of their squares (0 to 255).
        hashes: uint64 (images, 4), average hashes of 256 bits; None where nobody asked for them yet.
    """

    digests: NDArray[np.uint8]
    sums: NDArray[np.int64]
    hashes: NDArray[np.uint64] | None = None

    def take(self, rows: NDArray[np.int64]) -> ImageFacts:
        """The same of some images."""
        return ImageFacts(self.digests[rows], self.sums[rows], None if self.hashes is None else self.hashes[rows])


def facts_of(images: Tensor) -> ImageFacts:
    """Digests and sums of images in memory."""
    shape = str(tuple(images.shape[1:])).encode()
    pixels = images.contiguous().cpu()
    digests = b"".join(hashlib.blake2b(image.tobytes() + shape, digest_size=16).digest() for image in pixels.numpy())
    wide = pixels.flatten(2).to(torch.int32)
    sums = torch.stack([wide.sum(2, dtype=torch.int64), wide.square().sum(2, dtype=torch.int64)], 2)
    return ImageFacts(np.frombuffer(digests, np.uint8).reshape(-1, 16), sums.numpy())


def hashes_of(images: Tensor) -> NDArray[np.uint64]:
    """Which pixels of a grey thumbnail are brighter than its mean: uint64 (images, 4), 256 bits each.

    The thumbnail has 16 x 16 pixels, made by averaging (antialiased bilinear scaling). Source: the average hash of
    N. Krawetz, "Looks like it" (2011), with 16 pixels a side instead of 8, which take different pictures with a
    bright centre for copies.
    """
    thumbnails = interpolate(grey(images).float(), (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)
    # of plain pictures, scaling leaves pixels that differ by rounding alone
    bits = (thumbnails > thumbnails.mean(1, keepdim=True) + 0.01).numpy()
    return np.packbits(bits, axis=1).view(np.uint64)
