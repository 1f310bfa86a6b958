"""Noise on the images that a model is shown when it is scored."""

from __future__ import annotations

from torch import Tensor

from cotrain.data import AugmentConfig, augment
from cotrain.seeds import derive_seed
from cotrain.training import Seen

BATCH = 256  # images that share one seed; part of what is drawn, so never changed


def noisy(config: AugmentConfig, seed: int, *path: str) -> Seen:
    """What a model is shown, in batches of `BATCH`, instead of images.

    Args:
        config: Of the noise.
        seed: Of the draws; those of a batch depend on it, on `path` and on the batch's place in its source. They are
            made on the CPU: they are the same on all devices.
        path: What the noise is for.
    """
    add = augment(config)

    def seen(images: Tensor, rows: Tensor) -> Tensor:
        place = str(int(rows[0]) // BATCH)
        return add(images.cpu(), derive_seed(seed, "noise", *path, place)).to(images.device)

    return seen
