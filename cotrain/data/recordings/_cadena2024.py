"""Macaque V1 and V4 sessions as Cadena et al. 2024 published them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.data.recordings._recording import Recording, Values, recording_from
from cotrain.data.recordings._time_bins import recorded_window, spike_unit, sum_bins
from cotrain.data.recordings._trials import (
    SplitTrials,
    Trials,
    check_leaks,
    chosen_sessions,
    numbered_files,
    session_of,
)
from cotrain.errors import DataError

log = logging.getLogger(__name__)
ORIGIN = "Cadena et al. 2024, PLOS Computational Biology 20(5): e1012056; figshare 23056805 (V1), 23060540 (V4)"
TIERS = ("train", "test")


def read_cadena2024(
    folder: str | Path,
    *,
    sessions: Sequence[str] | None = None,
    window_ms: tuple[float, float] | None = None,
    bin_ms: float = 10.0,
    first_bin_ms: float = 40.0,
    progress: bool = False,
) -> Recording:
    """Macaque V1 or V4 sessions of Cadena et al. 2024 (figshare 23056805 and 23060540).

    Stimuli keep the split that was published; their ids are the numbers of the pictures, the same for all sessions.
    The paper counts V1 spikes from 40 to 160 ms and V4 spikes from 70 to 160 ms after stimulus onset.

    Args:
        folder: Holds `images/000001.png` and so on, and for both of `train` and `test` and each session
            `<split>/<session>/responses.csv` with the columns `responses` (JSON, neurons x time bins), `image_id` and
            perhaps `trial_id`, and `<split>/<session>/meta_data.json` with `subject_id` and `session_id`.
        sessions: Their names; None: all that the folder holds.
        window_ms: From and to when spikes are summed, in milliseconds after stimulus onset; None: all time bins.
        bin_ms: Width of a time bin in milliseconds, above 0.
        first_bin_ms: When the first bin begins, in milliseconds after stimulus onset.
        progress: Show a bar over sessions.

    Returns:
        Responses (stimuli, neurons) where no session's stimulus is repeated, else (stimuli, repeats, neurons) with the
        repeats in the order of `trial_id`. Neurons have the column "animal". Pictures stay in their files.

    Raises:
        DataError: Files are missing or damaged, a picture is missing, a picture for training is also one for testing,
            or the window does not fit the bins; the message names file and row.
    """
    folder = Path(folder)
    known = _session_names(folder)
    names = chosen_sessions(known, sessions, folder)
    held: dict[str, SplitTrials] = {}
    bins: dict[str, int] = {}
    for name in tqdm(names, desc=f"sessions of {folder.name}", unit="session", disable=not progress):
        held[name], bins[name] = _read_session(folder, name, window_ms, bin_ms, first_bin_ms)
    if len(set(bins.values())) > 1:
        raise DataError(f"{folder}: sessions differ in their number of time bins: {bins}. Read them one by one.")
    check_leaks(held, str(folder))
    images = numbered_files(folder / "images", ".png")
    window = window_ms or recorded_window(next(iter(bins.values())), bin_ms, first_bin_ms)
    return recording_from(
        folder,
        {name: session_of(held[name], images, f"{folder}, session {name}", str(folder / "images")) for name in names},
        unit=spike_unit(window),
        window_ms=window,
        origin=ORIGIN,
    )


def _session_names(folder: Path) -> set[str]:
    found = {}
    for tier in TIERS:
        if not (folder / tier).is_dir():
            raise DataError(f"There is no folder {folder / tier}. {folder} must hold images, train and test.")
        found[tier] = {path.name for path in (folder / tier).iterdir() if path.is_dir()}
    if odd := sorted(found["train"] ^ found["test"]):
        told = ", ".join(f"{name} (only in {'train' if name in found['train'] else 'test'})" for name in odd)
        raise DataError(f"{folder}: train and test must hold the same sessions, but these have no partner: {told}.")
    return found["train"]


def _read_session(
    folder: Path, name: str, window_ms: tuple[float, float] | None, bin_ms: float, first_bin_ms: float
) -> tuple[SplitTrials, int]:
    """Trials of a session, and its number of time bins."""
    parts: dict[str, Trials] = {}
    binned: dict[str, NDArray[np.generic]] = {}
    about = {tier: _read_about(folder / tier / name / "meta_data.json") for tier in TIERS}
    if about["train"] != about["test"]:
        told = " and ".join(f"{tier} of {about[tier]}" for tier in TIERS)
        raise DataError(f"{folder}, session {name}: meta_data.json of {told} contradict each other.")
    for tier in TIERS:
        path = folder / tier / name / "responses.csv"
        ids, binned[tier] = _read_trials(path)
        try:
            counts = sum_bins(binned[tier], bin_ms=bin_ms, first_bin_ms=first_bin_ms, window_ms=window_ms)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        parts[tier] = Trials(ids, counts)
    shapes = {tier: array.shape[1:] for tier, array in binned.items()}
    if shapes["train"] != shapes["test"]:
        told = ", ".join(f"{tier} {shape[0]} x {shape[1]}" for tier, shape in shapes.items())
        raise DataError(f"{folder}, session {name}: neurons x time bins differ: {told}.")
    neurons, bins = shapes["train"]
    columns: dict[str, Values] = {"animal": (about["train"]["subject_id"],) * neurons}
    log.debug("%s, session %s: %d neurons, %d time bins", folder, name, neurons, bins)
    return SplitTrials(parts["train"], parts["test"], columns), bins


def _read_about(path: Path) -> dict[str, str]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(about, dict) or not all(
        isinstance(about.get(key), str | int) for key in ("subject_id", "session_id")
    ):
        raise DataError(f"{path} must hold subject_id and session_id, each a text or a number.")
    return {key: str(about[key]) for key in ("subject_id", "session_id")}


def _read_trials(path: Path) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
    """Image ids and binned responses (trials, neurons, bins), in the order of the trial ids where there are any."""
    import pandas

    try:
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pandas.errors.ParserError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if missing := [name for name in ("responses", "image_id") if name not in table.columns]:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has: {', '.join(table.columns)}.")
    if table.empty:
        raise DataError(f"{path} holds no trial.")
    ids = _whole_numbers(table["image_id"].tolist(), "image_id", path)
    binned = _parse_cells(table["responses"].tolist(), path)
    if "trial_id" in table.columns:
        order = np.argsort(_whole_numbers(table["trial_id"].tolist(), "trial_id", path), kind="stable")
        return ids[order], binned[order]
    return ids, binned


def _whole_numbers(texts: list[str], column: str, path: Path) -> NDArray[np.int64]:
    """Numbers such as "7", "000007" and "7.0", which a table's program may have made of either."""
    numbers = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        whole = text.strip().removesuffix(".0")
        if not (whole.isascii() and whole.isdigit() and len(whole) < 19):
            raise DataError(f"{path}, row {row + 1}: {column} must be a whole number, found {text!r}.")
        numbers[row] = int(whole)
    return numbers


def _parse_cells(cells: list[str], path: Path) -> NDArray[np.generic]:
    """JSON texts, each neurons x bins, as one array (trials, neurons, bins)."""
    parsed: list[NDArray[np.generic]] = []
    for row, cell in enumerate(cells):
        try:
            values = np.array(json.loads(cell))
        except (ValueError, RecursionError) as error:  # no JSON, or neurons that differ in their number of bins
            raise DataError(f"{path}, row {row + 1}: the responses are not neurons x time bins: {error}") from None
        if values.dtype.kind not in "iuf" or values.ndim != 2:
            raise DataError(
                f"{path}, row {row + 1}: the responses must be numbers, neurons x time bins, found "
                f"{values.dtype} {values.shape}."
            )
        if parsed and values.shape != parsed[0].shape:
            raise DataError(
                f"{path}, row {row + 1}: {values.shape[0]} neurons x {values.shape[1]} time bins, but row 1 has "
                f"{parsed[0].shape[0]} x {parsed[0].shape[1]}."
            )
        parsed.append(values)
    return np.stack(parsed)
