"""Which images show the same: equal ones by their pixels, near copies by their average hash."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.data._image_facts import hashes_of
from cotrain.data._image_rows import ImageRows, Images, image_facts, taken

log = logging.getLogger(__name__)

PIECE = 1024


def duplicate_groups(images: Images, *, near: int | None = None) -> NDArray[np.int64]:
    """One number an image, the same for images that are equal pixel by pixel, or nearly so.

    Near copies are joined in chains: if a is near b and b near c, all three are one group.

    Args:
        images: uint8 (images, channels, height, width).
        near: Bits, of 256, by which the average hashes of near copies differ at most; None: equal images only.

    Returns:
        int64 (images,), from 0, in the order of first appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, first, group = np.unique(image_facts(images).digests, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    if near is not None:
        one, other = near_pairs(average_hashes(taken(images, torch.from_numpy(first))), near)
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(first), len(first)))
        group = connected_components(graph, directed=False)[1][group]
        sizes = np.bincount(group)
        log.info("%d of %d images have (near) copies among them.", sizes[sizes > 1].sum(), len(group))
    _, order, renamed = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(order))[renamed].astype(np.int64)


def average_hashes(images: Images) -> NDArray[np.uint64]:
    """Average hashes of all images, uint64 (images, 4): see `hashes_of`."""
    if isinstance(images, ImageRows) and images.known is not None and images.known.hashes is not None:
        known: NDArray[np.uint64] = images.known.hashes[images.rows.numpy()]
        return known
    return np.concatenate([hashes_of(piece) for piece in images.split(PIECE)])


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """All pairs of hashes that differ in at most `bits` bits: int64 (2, pairs), the smaller position first."""
    count = len(hashes)
    found = [np.zeros((2, 0), np.int64)]
    rows = max(1, 4_000_000 // max(1, count))  # bounds the memory of a block of comparisons
    for start in tqdm(range(0, count, rows), desc="comparing pictures", disable=None, delay=2, leave=False):
        block, others = hashes[start : start + rows], hashes[start:]
        differing = np.zeros((len(block), len(others)), np.uint16)
        for word in range(hashes.shape[1]):
            differing += np.bitwise_count(block[:, None, word] ^ others[None, :, word])
        first, second = np.nonzero(differing <= bits)
        later = second > first
        found.append(np.stack([first[later] + start, second[later] + start]))
    return np.concatenate(found, 1)
