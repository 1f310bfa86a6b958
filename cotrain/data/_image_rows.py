"""Images that stay where they are: rows of a memory map or of files, read when a batch needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cotrain.data._image_facts import ImageFacts, facts_of
from cotrain.data._prefetch import in_order

PIECE = 1024  # images that are looked at together where all are


class Stack(Protocol):
    """All images of a cache or a list of files."""

    shape: tuple[int, int, int, int]
    workers: int  # threads that make reading faster; 0 where it is a copy from memory

    def read(self, rows: Tensor) -> Tensor:
        """uint8 (rows, channels, height, width)."""


class MappedImages:
    """A stack in a memory map, or in memory."""

    workers = 0

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        count, channels, height, width = pixels.shape
        self.shape = (count, channels, height, width)

    def read(self, rows: Tensor) -> Tensor:
        """A copy of some rows."""
        return self.pixels.index_select(0, rows)


@dataclass(frozen=True)
class ImageRows:
    """Some rows of a stack; it is indexed as a tensor is, and gives tensors.

    Args:
        stack: Where the pixels are.
        rows: int64, which of its images these are; one may come twice.
        known: Facts of the stack, where they were found before.
    """

    stack: Stack
    rows: Tensor
    known: ImageFacts | None = None

    dtype = torch.uint8
    ndim = 4

    @property
    def device(self) -> torch.device:
        """Where batches are read to."""
        return self.rows.device

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, channels, height, width)."""
        return (len(self.rows), *self.stack.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def numel(self) -> int:
        """How many pixels there are, over all channels."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self.stack.read(self.rows[index])

    def take(self, index: Tensor) -> ImageRows:
        """Some of the rows; nothing is read."""
        return replace(self, rows=self.rows[index])

    def split(self, size: int) -> Iterator[Tensor]:
        """Read all rows in pieces, in order; the next ones while one is used, where that helps."""
        return in_order(self.stack.read, self.rows.split(size), workers=self.stack.workers)

    def to(self, device: torch.device) -> Tensor:
        """All of them on a device."""
        held = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for piece, place in zip(self.split(PIECE), held.split(PIECE), strict=True):
            place.copy_(piece)
        return held


Images = Tensor | ImageRows
"""uint8 (images, channels, height, width), in memory or read when they are indexed."""


def moved(images: Images, device: torch.device, stacks: dict[int, MappedImages]) -> Images:
    """Images on another device; a stack that several share goes there once.

    Args:
        images: Their stack, with all its images, is read and moved.
        device: Where to.
        stacks: {id of a stack: that stack on the device}; filled on the way.
    """
    if isinstance(images, Tensor):
        return images.to(device)
    if id(images.stack) not in stacks:
        whole = ImageRows(images.stack, torch.arange(images.stack.shape[0]))
        stacks[id(images.stack)] = MappedImages(whole.to(device))
    return replace(images, stack=stacks[id(images.stack)], rows=images.rows.to(device))


def bytes_of(images: Iterable[Images]) -> int:
    """What `moved` would need for all of these."""
    sizes = {id(held.stack): int(np.prod(held.stack.shape)) for held in images if isinstance(held, ImageRows)}
    return sum(sizes.values()) + sum(held.numel() for held in images if isinstance(held, Tensor))


def taken(images: Images, index: Tensor) -> Images:
    """Some images: copied where they are in memory, else only noted."""
    return images.take(index) if isinstance(images, ImageRows) else images[index]


def image_facts(images: Images) -> ImageFacts:
    """Digests and sums of all images, from the stack where they are known."""
    if isinstance(images, ImageRows) and images.known is not None:
        return images.known.take(images.rows.cpu().numpy())
    pieces = [facts_of(piece) for piece in images.split(PIECE)]  # of no images, one empty piece
    return ImageFacts(np.concatenate([p.digests for p in pieces]), np.concatenate([p.sums for p in pieces]))
