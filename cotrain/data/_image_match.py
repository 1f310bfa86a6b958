"""The same pictures in two sources, found by their pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotrain.data._image_rows import image_facts
from cotrain.data._source import Source
from cotrain.errors import DataError


def matching_rows(shown: Source, others: Source, where: str) -> Tensor:
    """For each image of `shown` the row of `others` that has the same pixels; of copies, one after the other.

    Args:
        shown: Whose images are looked for.
        others: Among whose images they are.
        where: Named in errors: which images are looked for where.

    Raises:
        DataError: Some are not there.
    """
    places: dict[bytes, list[int]] = {}
    for row, digest in enumerate(image_facts(others.images).digests):
        places.setdefault(digest.tobytes(), []).append(row)
    found = [places.get(digest.tobytes(), [-1]) for digest in image_facts(shown.images).digests]
    rows = np.array([held.pop(0) if len(held) > 1 else held[0] for held in found])
    if missing := np.flatnonzero(rows < 0).tolist():
        raise DataError(
            f"{where}: {len(missing)} of {len(rows)} images are not there (rows {missing[:5]}); images are compared by "
            "their pixels. Both must show the same pictures, prepared alike, in the same split."
        )
    return torch.from_numpy(rows)
