"""The classes of images, wherever in the data the same pictures are labelled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cotrain.data import Data, Images, Source, image_facts
from cotrain.errors import DataError


def labels_of(images: Images, labelled: Mapping[str, Source]) -> NDArray[np.str_]:
    """Name of the class of each image, found by its pixels; "" where it has none.

    Args:
        images: uint8.
        labelled: {session: source} of a classification, of the same split.
    """
    known: dict[bytes, str] = {}
    for source in labelled.values():
        names = [source.class_names[label] for label in source.targets.tolist()]
        for digest, name in zip(image_facts(source.images).digests, names, strict=True):
            known.setdefault(digest.tobytes(), name)
    return np.array([known.get(digest.tobytes(), "") for digest in image_facts(images).digests], dtype=np.str_)


def classification_of(data: Data, asked: str) -> str | None:
    """The classification that is meant: the one that is asked for, or else the only one; None if the data lack it.

    Raises:
        DataError: It is of another kind, or there are several.
    """
    known = [name for name, task in data.info.tasks.items() if task.kind == "classification"]
    if asked in data.info.tasks and asked not in known:
        raise DataError(f"{asked!r} is of kind {data.info.tasks[asked].kind}; name a classification.")
    if not asked and len(known) > 1:
        raise DataError(f"The data have the classifications {', '.join(known)}: say which one names the objects.")
    return asked if asked in known else None if asked else next(iter(known), None)
