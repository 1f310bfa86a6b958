"""RDM tasks from arrays of dissimilarities: rows are found by ids, subjects kept apart or averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import AddedLater, Config
from cotrain.data._mean_rdm import mean_rdm
from cotrain.data._source import Source
from cotrain.errors import DataError


class RdmArrayConfig(Config):
    """An RDM task from an array of dissimilarities among the images, or among groups of them."""

    kind: ClassVar[str] = "cotrain.data.RdmArrayConfig"
    task: str
    rdm: str  # (images, images), or (groups, groups) with `groups`; leading axes are subjects, sessions, ...
    ids: Annotated[str, AddedLater(neutral="")] = ""
    """Array that names the rows of the RDM, text or whole numbers: those of the images (`ArraysConfig.image_ids`) or
    of the groups are taken from them, in whatever order they stand. Empty: rows are in the order of the images."""
    rdm_path: Annotated[str, AddedLater(neutral="")] = ""
    """Another NPZ file in the data folder that holds `rdm` and `ids`; empty: the file of the images."""
    subjects: Annotated[Literal["each", "mean"], AddedLater(neutral="each")] = "each"
    """Of an RDM with leading axes. each: each RDM is a session, named "1", "2", ...; mean: one RDM, the mean of all,
    each divided by its standard deviation over pairs of the split first."""
    groups: Annotated[str, AddedLater(neutral="")] = ""
    """Array with the group of each image: its row of the RDM from 0, or with `ids` its name. The RDM is among these
    groups then, the same one in all splits."""


class Names(NamedTuple):
    """Arrays of names; empty where a task has none."""

    rows: NDArray[Any]  # ids of the rows of an RDM
    images: NDArray[Any]  # ids of the images
    groups: NDArray[Any]  # group of each image


def rdm_sources(
    task: RdmArrayConfig,
    images: Tensor,
    matrices: NDArray[np.float32],
    names: Names,
    rows: Mapping[str, Tensor],
    where: str,
) -> dict[str, dict[str, Source]]:
    """{session: {split: source}} of one RDM task.

    Args:
        task: What is asked for.
        images: All images of the file.
        matrices: (..., rows, rows).
        names: Of rows and images.
        rows: {split: positions of its images}.
        where: Named in errors.

    Raises:
        DataError: Shapes do not fit, or ids are double or not in the RDM.
    """
    shape, count = matrices.shape, len(images)
    if not (task.ids or task.groups) and shape[-2:] != (count, count):
        raise DataError(f"{where}: {count} images but an RDM of shape {shape}.")
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise DataError(f"{where}: an RDM needs as many columns as rows, found {shape}.")
    kept, groups = _rows_and_groups(task, count, shape[-1], names, where)
    if kept is not None:
        matrices = matrices[..., kept[:, None], kept]
    flat = torch.from_numpy(np.ascontiguousarray(matrices.reshape(-1, *matrices.shape[-2:])))
    # images are taken once, and shared by all sessions
    first = {split: Source("rdm", images, flat[0], groups=groups).subset(row) for split, row in rows.items()}
    if len(shape) > 2 and task.subjects == "mean":
        # split by split, so that no statistic of one enters another
        means = {split: mean_rdm(_among(flat, row, groups), f"{where}, {split}") for split, row in rows.items()}
        return {"": {split: replace(source, targets=means[split]) for split, source in first.items()}}
    return {
        "" if len(shape) == 2 else str(number): {
            split: replace(source, targets=_among(matrix, rows[split], groups)) for split, source in first.items()
        }
        for number, matrix in enumerate(flat, 1)
    }


def _among(matrices: Tensor, rows: Tensor, groups: Tensor | None) -> Tensor:
    """Dissimilarities (..., rows, rows) of a split: among its stimuli, or among all groups."""
    return matrices if groups is not None else matrices[..., rows[:, None], rows]


def _rows_and_groups(
    task: RdmArrayConfig, count: int, size: int, names: Names, where: str
) -> tuple[NDArray[np.int64] | None, Tensor | None]:
    """Which rows of the RDM are taken (None: all), and the group of each image."""
    what = "groups" if task.groups else "image ids"
    of_images = names.groups if task.groups else names.images
    if task.ids and len(names.rows) != size:
        raise DataError(f"{where}: {len(names.rows)} ids but {size} rows of the RDM. Each row needs one.")
    if (task.ids or task.groups) and of_images.shape != (count,):
        raise DataError(f"{where}: {count} images but {what} of shape {of_images.shape}. Each image needs one.")
    if task.groups and not task.ids:
        if not np.issubdtype(of_images.dtype, np.integer):
            raise DataError(
                f"{where}: groups must be whole numbers, rows of the RDM; found {of_images.dtype}. Names need `ids`."
            )
        return None, torch.from_numpy(of_images.astype(np.int64))
    if not task.ids:
        return None, None
    wanted = _texts(of_images, what, where)
    if not task.groups:
        _refuse_doubles(wanted, what, where)
        return _found(wanted, names.rows, what, where), None
    wanted, groups = np.unique(wanted, return_inverse=True)
    return _found(wanted, names.rows, what, where), torch.from_numpy(groups.astype(np.int64))


def _found(wanted: NDArray[np.str_], ids: NDArray[Any], what: str, where: str) -> NDArray[np.int64]:
    """The row of each name that is wanted."""
    rows = _texts(ids, "ids", where)
    _refuse_doubles(rows, "ids", where)
    place = {str(name): row for row, name in enumerate(rows)}
    if missing := [str(name) for name in wanted if str(name) not in place]:
        raise DataError(
            f"{where}: {len(missing)} of {len(wanted)} {what} are not among the RDM's {len(rows)} ids: {missing[:5]}. "
            f"The ids begin with {[str(name) for name in rows[:5]]}. Write both alike, or leave such images out."
        )
    return np.array([place[str(name)] for name in wanted], np.int64)


def _texts(array: NDArray[Any], what: str, where: str) -> NDArray[np.str_]:
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise DataError(f"{where}: {what} must be a list of text or whole numbers, found {array.dtype} {array.shape}.")
    return array.astype(np.str_)


def _refuse_doubles(names: NDArray[np.str_], what: str, where: str) -> None:
    found, counts = np.unique(names, return_counts=True)
    if double := [str(name) for name in found[counts > 1]]:
        raise DataError(
            f"{where}: {len(double)} of the {what} stand there twice or more: {double[:5]}. Each names one."
        )
