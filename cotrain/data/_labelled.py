"""A classification task from labelled images, whatever files they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.data._duplicates import duplicate_groups
from cotrain.data._image_rows import Images
from cotrain.data._source import Data, Source, assemble
from cotrain.data._splits import SplitConfig, split_groups


def labelled_data(
    task: str,
    images: Images,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    split: SplitConfig,
    *,
    seed: int,
    given: Sequence[str] | None = None,
) -> Data:
    """Split by image content, classes in equal shares.

    Args:
        task: Its name.
        images: Of all splits.
        labels: int64 (images,), from 0.
        class_names: In the order of the labels.
        split: The shares.
        seed: The experiment's seed.
        given: The split that the publishers gave each image, where they did.
    """
    groups = duplicate_groups(images, near=split.near_duplicates)
    index = split_groups(groups, split, seed=seed, strata=labels, given=given)
    whole = Source("classification", images, torch.from_numpy(labels), class_names=tuple(class_names))
    return assemble({part: {task: {"": whole.subset(torch.from_numpy(rows))}} for part, rows in index.items()})
