"""Macaque IT and V4 responses of Cadieu et al. 2014."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cotrain.data.recordings._recording import Recording, Session, Values, recording_from
from cotrain.errors import DataError

log = logging.getLogger(__name__)

ORIGIN = "Cadieu et al. 2014, PLOS Computational Biology 10(12): e1003963"
FILE_NAME = re.compile(r"NeuralData_(IT|V4)_(multi|single)units\.mat")
SPLITS_PUBLISHED = 10
IMAGES_OF_OBJECT = 40  # 1,960 pictures of 49 objects


def read_cadieu2014(path: str | Path) -> Recording:
    """Macaque IT or V4 responses of Cadieu et al. 2014 (PLOS Computational Biology 10(12): e1003963).

    Stimuli stand in the order of the file, and their ids are the paths of their pictures. The pictures are not read:
    they lie in a folder of their own.

    The file names a category for each picture, but no object. Where the paths name objects, by their folder or by the
    name before a last number, the condition "object" holds them. Else "object_assumed" holds an ASSUMPTION: within a
    category, 40 consecutive pictures in the order of the file show one object, as 1,960 pictures of 49 objects allow.
    Nothing in the file proves it; the log says when it is made. Where a category has no multiple of 40 pictures,
    neither condition is there.

    Args:
        path: `NeuralData_IT_multiunits.mat`, or with V4 or singleunits in its name. It holds `features`
            (images, sites), responses averaged over trials, and `meta`, one text "<path> <category> <10 numbers>" an
            image.

    Returns:
        One session, for example "IT_multiunits". Conditions are "image", "category", "object" or "object_assumed", and
        "published_split_1" to "published_split_10", each "train" (1 in the file) or "test".

    Raises:
        DataError: The file is missing or damaged, has another name, or lacks a part; the message names the row.
    """
    from scipy.io import loadmat

    path = Path(path)
    named = FILE_NAME.fullmatch(path.name)
    if named is None:
        raise DataError(
            f"{path.name} should be called NeuralData_<IT or V4>_<multi or single>units.mat: it tells the area."
        )
    try:
        content = loadmat(path, variable_names=("features", "meta"))
    except Exception as error:  # the readers of MATLAB's formats fail in any way on damaged bytes
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}") from None
    if missing := [key for key in ("features", "meta") if key not in content]:
        raise DataError(f"{path} lacks {', '.join(missing)}. Expected features (images, sites) and meta.")
    features, meta = np.asarray(content["features"]), np.asarray(content["meta"])
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind not in "iuf":
        raise DataError(f"{path}: features must be numbers (images, sites), found {features.dtype} {features.shape}.")
    rows = _rows(meta, path)
    if len(rows) != len(features):
        raise DataError(f"{path}: meta describes {len(rows)} images, features {len(features)}.")
    images, categories = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
    conditions: dict[str, Values] = {"image": images, "category": categories}
    conditions.update(_objects(images, categories, path))
    for number in range(SPLITS_PUBLISHED):
        conditions[f"published_split_{number + 1}"] = _published_split([row[2 + number] for row in rows], number, path)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        responses = features.astype(np.float32)
    session = Session(images, responses, conditions=conditions, neurons={"area": (named[1],) * responses.shape[1]})
    return recording_from(path, {f"{named[1]}_{named[2]}units": session}, unit="trial-averaged response", origin=ORIGIN)


def _rows(meta: NDArray[np.generic], path: Path) -> list[list[str]]:
    rows = []
    for number, cell in enumerate(meta.reshape(-1)):
        # a char matrix gives texts, a cell array gives arrays of one text
        row = str(np.asarray(cell).reshape(-1)[0]).split() if np.size(cell) else []
        if len(row) != 2 + SPLITS_PUBLISHED:
            raise DataError(
                f"{path}, row {number + 1} of meta: expected a path, a category and {SPLITS_PUBLISHED} numbers, found "
                f"{' '.join(row)[:120]!r}."
            )
        rows.append(row)
    return rows


def _published_split(column: Sequence[str], number: int, path: Path) -> tuple[str, ...]:
    found = set(column)
    if "1" not in found or len(found) > 2:
        raise DataError(
            f"{path}: published split {number + 1} must hold 1 (train) and one other number (test), found "
            f"{', '.join(sorted(found))}."
        )
    return tuple("train" if entry == "1" else "test" for entry in column)


def _objects(images: Sequence[str], categories: Sequence[str], path: Path) -> dict[str, Values]:
    """{"object": names} that the paths tell, or {"object_assumed": names}, or nothing."""
    parents = [PurePosixPath(image).parent.name for image in images]
    stems = [re.sub(r"[_\-. ]?[0-9]+$", "", PurePosixPath(image).stem) for image in images]
    for names in (parents, stems):
        if _are_objects(names, categories):
            return {"object": tuple(names)}
    counts = Counter(categories)
    if any(count % IMAGES_OF_OBJECT for count in counts.values()):
        log.warning(
            "%s: objects are not known: the paths name none, and categories have %s images.", path, dict(counts)
        )
        return {}
    log.warning(
        '%s names no objects. "object_assumed" assumes that within a category %d consecutive images show one object.',
        path,
        IMAGES_OF_OBJECT,
    )
    seen: Counter[str] = Counter()
    assumed = []
    for category in categories:
        assumed.append(f"{category}_{seen[category] // IMAGES_OF_OBJECT + 1}")
        seen[category] += 1
    return {"object_assumed": tuple(assumed)}


def _are_objects(names: Sequence[str], categories: Sequence[str]) -> bool:
    """Whether names split every category into several objects, each with several images and in one category only.

    Names of pictures, names of categories and hashes do not.
    """
    pairs = Counter(zip(names, categories, strict=True))
    owners = Counter(name for name, _ in pairs)
    objects = Counter(category for _, category in pairs)
    return "" not in owners and min(pairs.values()) > 1 and max(owners.values()) == 1 and min(objects.values()) > 1
