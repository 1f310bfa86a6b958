"""Mouse visual cortex of the Allen Brain Observatory, in the files of Deep Mouse Trap."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cotrain.data.recordings._npy import read_npy
from cotrain.data.recordings._recording import Recording, Session, Values, recording_from
from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

ORIGIN = "Allen Brain Observatory, de Vries et al. 2020, Nature Neuroscience 23: 138; files of Deep Mouse Trap"
RESPONSES = "cell_response_{}.csv"
HALVES = ("even", "odd")
METADATA = ("cell_metadata.csv", "cell_metadata_mini.csv")
CELL = "cell_specimen_id"
RENAMED = {"cortical_area": "area", "cortical_layer": "layer"}
SAME = 1e-4  # of the range of responses: halves and average may be rounded


def read_brain_observatory(folder: str | Path) -> Recording:
    """Responses of mouse visual cortex to natural scenes, laid out as the repository DeepMouseTrap does.

    Args:
        folder: Holds `stimulus_set.npy`, uint8 (stimuli, height, width[, 3]); `cell_response_average.csv`, or
            `cell_response_even.csv` and `cell_response_odd.csv` (means over even and odd trials), or all three: a row a
            cell, the column `cell_specimen_id` first, then a column a stimulus; and `cell_metadata.csv` (else
            `cell_metadata_mini.csv`), a row a cell in any order, among them all that have responses. In the published
            set there are 119 stimuli; the last is the blank screen.

    Returns:
        One session "cells". With both halves, these are its two repeats, so that split-half reliabilities can be had
        from it; else responses are the averages. Neurons have "cell_specimen_id" (text), "area" and "layer" (the
        columns cortical_area and cortical_layer, text) and the other columns of the metadata by their names.

    Raises:
        DataError: A file is missing or damaged, cells differ between files or stand in one twice, or there are not as
            many responses as stimuli.
    """
    folder = Path(folder)
    images = read_npy(folder / "stimulus_set.npy")
    parts = [part for part in (*HALVES, "average") if (folder / RESPONSES.format(part)).is_file()]
    if not parts or (parts != ["average"] and not set(HALVES) <= set(parts)):
        raise DataError(
            f"{folder} holds {', '.join(map(RESPONSES.format, parts)) or 'no responses'}; give "
            f"{RESPONSES.format('average')}, or those of even and of odd trials."
        )
    tables = {part: _table(folder / RESPONSES.format(part)) for part in parts}
    first = tables[parts[0]]
    for part, table in tables.items():
        if not table.index.equals(first.index) or table.shape != first.shape:
            raise DataError(
                f"{folder}: {RESPONSES.format(part)} has other cells or stimuli, or in another order, than "
                f"{RESPONSES.format(parts[0])}."
            )
        if table.shape[1] != len(images):
            raise DataError(
                f"{folder}: stimulus_set.npy holds {len(images)} stimuli, {RESPONSES.format(part)} responses to "
                f"{table.shape[1]}."
            )
    responses = {part: _numbers(table, folder / RESPONSES.format(part)) for part, table in tables.items()}
    session = Session(
        stimuli=tuple(str(number) for number in range(len(images))),
        responses=_joined(responses, folder),
        images=images,
        neurons=_metadata(folder, first.index),
    )
    return recording_from(folder, {"cells": session}, unit="mean calcium response of the files", origin=ORIGIN)


def _table(path: Path) -> pd.DataFrame:
    """The file, a row a cell, with text for their ids."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except Exception as error:  # pandas fails on damaged files in many ways
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}") from None
    if CELL not in table:
        raise DataError(f"{path} lacks the column {CELL}; it has: {', '.join(map(str, table.columns[:8]))}.")
    table = table.set_index(CELL)
    table.index = table.index.map(str)
    if double := table.index[table.index.duplicated()].tolist():
        raise DataError(f"{path}: cells stand there twice: {', '.join(double[:5])}.")
    # an index that was written without a name
    return table.drop(columns=[name for name in table.columns if str(name).startswith("Unnamed:")])


def _numbers(table: pd.DataFrame, path: Path) -> NDArray[np.float32]:
    """(stimuli, cells)."""
    if strange := [str(name) for name, kind in table.dtypes.items() if kind.kind not in "iuf"]:
        raise DataError(f"{path}: the columns {', '.join(strange[:5])} hold no numbers. Each must be a stimulus.")
    return np.ascontiguousarray(table.to_numpy(np.float32).T)


def _joined(responses: dict[str, NDArray[np.float32]], folder: Path) -> NDArray[np.float32]:
    """The halves as repeats, (stimuli, 2, cells), or the averages."""
    if not set(HALVES) <= set(responses):
        return responses["average"]
    halves = np.stack([responses[part] for part in HALVES], 1)
    if "average" in responses:
        average = responses["average"]
        gap = np.abs(halves.mean(1) - average).max(0)
        spread = np.nanmax(average) - np.nanmin(average)
        if others := int((gap > SAME * spread).sum()):
            log.warning(
                "%s: of %d of %d cells the mean of even and odd trials is not the average of the files (trials may be "
                "uneven); the mean of both is taken.",
                folder, others, len(gap),
            )  # fmt: skip
    return halves


def _metadata(folder: Path, cells: Any) -> dict[str, Values]:
    found = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"{folder} lacks {METADATA[0]} (or {METADATA[1]}).")
    table = _table(found)
    if missing := [cell for cell in cells if cell not in table.index]:
        raise DataError(f"{found}: {len(missing)} cells have responses and no row: {', '.join(missing[:5])}.")
    table = table.loc[cells]
    columns: dict[str, Values] = {CELL: tuple(cells)}
    for name, values in table.items():
        numeric = values.dtype.kind in "iuf" and name not in RENAMED
        known = values.astype(float) if numeric else values.fillna("").map(str)
        columns[RENAMED.get(str(name), str(name))] = tuple(known.tolist())
    return columns
