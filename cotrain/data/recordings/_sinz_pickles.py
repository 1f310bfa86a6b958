"""Macaque sessions in the pickles of the lab of F. Sinz."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from cotrain.data.recordings._unpickler import load_arrays
from cotrain.errors import DataError

log = logging.getLogger(__name__)

ORIGIN = "sessions as Safarani et al. 2021 (NeurIPS; arXiv 2107.14344) used them"
PATHS_FILE = "individual_image_paths.pickle"
UNIT_TYPES = {
    "1": "isolated",
    "isolated_neuron_depth_probe": "isolated",
    "10": "MUA",
    "20": "LFP",
}
TEXT_COLUMNS = {"unit_ids": "unit_id", "unit_type": "unit_type", "electrode_nums": "electrode"}
NUMBER_COLUMNS = {"relative_micron_depth": "depth", "x_grid_location": "x", "y_grid_location": "y"}


def read_sinz_pickles(
    folder: str | Path,
    *,
    sessions: Sequence[str] | None = None,
    window_ms: tuple[float, float] | None = None,
    bin_ms: float = 10.0,
    first_bin_ms: float = 40.0,
    progress: bool = False,
) -> Recording:
    """Macaque V1 or V4 sessions in pickles, as Safarani et al. 2021 (arXiv 2107.14344) used them.

    Pickles are read without running anything that they might ask for: NumPy arrays and Python's own values alone are
    admitted. Pickles of one session (multi-units beside single units) become one session if they showed the same
    pictures in the same order. Stimuli keep their split; their ids are the numbers of the pictures.

    Args:
        folder: Holds `neuronal_data/*.pickle`, each a dict with `subject_id`, `session_id`, `training_image_ids`
            (trials,), `training_responses` (neurons, time bins, trials), `testing_image_ids` and `testing_responses`,
            perhaps `training_labels` and `testing_labels` (trials,), and perhaps one value a neuron: `unit_ids`,
            `unit_type`, `electrode_nums`, `relative_micron_depth` (micrometres), `x_grid_location`, `y_grid_location`.
            Pictures are `images/000001.npy` and so on; or, where there are none of these, the files that
            `images/individual_image_paths.pickle` names, {number: path}, relative to `folder` or absolute.
        sessions: Their names, which are the texts of `session_id`; None: all that the folder holds.
        window_ms: From and to when spikes are summed, in milliseconds after stimulus onset; None: all time bins.
        bin_ms: Width of a time bin in milliseconds, above 0.
        first_bin_ms: When the first bin begins, in milliseconds after stimulus onset.
        progress: Show a bar over pickles.

    Returns:
        Responses (stimuli, neurons) where no session's stimulus is repeated, else (stimuli, repeats, neurons). Stimuli
        have the condition "label" where labels were published; neurons have what their pickles hold of "unit_id",
        "unit_type" ("isolated", "MUA", "LFP"), "electrode", "depth", "x", "y", "animal". Pictures stay in their files.

    Raises:
        DataError: Files are missing or damaged or hold more than arrays, a picture is missing, a picture for training
            is also one for testing, or the window does not fit the bins.
    """
    folder = Path(folder)
    pickles = sorted((folder / "neuronal_data").glob("*.pickle"))
    if not pickles:
        raise DataError(f"{folder / 'neuronal_data'} holds no *.pickle, or there is no such folder.")
    found: dict[str, list[Path]] = {}
    held: dict[Path, SplitTrials] = {}
    windows: dict[Path, tuple[float, float]] = {}
    for path in tqdm(pickles, desc=f"pickles of {folder.name}", unit="file", disable=not progress):
        content = _content(path)
        name = _name(content, "session_id", path)
        found.setdefault(name, []).append(path)
        if sessions is None or name in sessions:
            held[path], bins = _read_pickle(content, path, window_ms, bin_ms, first_bin_ms)
            windows[path] = window_ms or recorded_window(bins, bin_ms, first_bin_ms)
    names = chosen_sessions(found, sessions, folder)
    if len(set(windows.values())) > 1:
        told = ", ".join(f"{path.name} {window[0]:g} to {window[1]:g}" for path, window in windows.items())
        raise DataError(f"{folder}: pickles differ in the time that they recorded (ms): {told}. Give a window_ms.")
    joined = {name: _joined({path: held[path] for path in found[name]}) for name in names}
    check_leaks(joined, str(folder))
    images, place = _images(folder)
    window = next(iter(windows.values()))
    return recording_from(
        folder,
        {name: session_of(joined[name], images, f"{folder}, session {name}", place) for name in names},
        unit=spike_unit(window),
        window_ms=window,
        origin=ORIGIN,
    )


def _content(path: Path) -> dict[str, Any]:
    content = load_arrays(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a dict, found {type(content).__name__}.")
    needed = ["subject_id", "session_id"]
    needed += [f"{part}_{what}" for part in ("training", "testing") for what in ("image_ids", "responses")]
    if missing := [key for key in needed if key not in content]:
        raise DataError(f"{path} lacks {', '.join(missing)}; it has: {', '.join(sorted(map(str, content)))}.")
    return content


def _name(content: Mapping[str, Any], key: str, path: Path) -> str:
    value = np.asarray(content[key])
    if value.size != 1:
        raise DataError(f"{path}: {key} must be one text or number, found shape {value.shape}.")
    return _texts(value.reshape(1), 1, f"{path}: {key}", "pickle")[0]


def _read_pickle(
    content: Mapping[str, Any],
    path: Path,
    window_ms: tuple[float, float] | None,
    bin_ms: float,
    first_bin_ms: float,
) -> tuple[SplitTrials, int]:
    """Trials of a pickle, and its number of time bins."""
    if ("training_labels" in content) != ("testing_labels" in content):
        raise DataError(f"{path} has labels of training or of testing pictures, but not of both.")
    parts: dict[str, Trials] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("training", "testing"):
        ids = _vector(content[f"{part}_image_ids"], f"{path}: {part}_image_ids")
        binned = np.asarray(content[f"{part}_responses"])
        if ids.dtype.kind not in "iu":
            raise DataError(f"{path}: {part}_image_ids must be whole numbers, found {ids.dtype}.")
        if binned.ndim != 3 or binned.shape[2] != len(ids) or 0 in binned.shape:
            raise DataError(
                f"{path}: {part}_responses must be (neurons, time bins, trials) with {len(ids)} trials, found "
                f"{binned.shape}."
            )
        shapes[part] = binned.shape[:2]
        try:
            counts = sum_bins(binned.transpose(2, 0, 1), bin_ms=bin_ms, first_bin_ms=first_bin_ms, window_ms=window_ms)
        except DataError as error:
            raise DataError(f"{path}, {part}_responses: {error}") from None
        labels = None
        if f"{part}_labels" in content:
            labels = _texts(content[f"{part}_labels"], len(ids), f"{path}: {part}_labels", "trials")
        parts[part] = Trials(ids.astype(np.int64), counts, labels)
    if shapes["training"] != shapes["testing"]:
        raise DataError(
            f"{path}: (neurons, time bins) are {shapes['training']} in training, {shapes['testing']} in test."
        )
    neurons, bins = shapes["training"]
    return SplitTrials(parts["training"], parts["testing"], _neurons(content, neurons, path)), bins


def _neurons(content: Mapping[str, Any], count: int, path: Path) -> dict[str, Values]:
    columns: dict[str, Values] = {}
    for key, name in TEXT_COLUMNS.items():
        if content.get(key) is not None:
            columns[name] = _texts(content[key], count, f"{path}: {key}", "neurons")
    if "unit_type" in columns:
        columns["unit_type"] = tuple(UNIT_TYPES.get(str(kind), str(kind)) for kind in columns["unit_type"])
    for key, name in NUMBER_COLUMNS.items():
        if content.get(key) is not None:
            values = _vector(content[key], f"{path}: {key}")
            if values.dtype.kind not in "iuf" or len(values) != count:
                raise DataError(f"{path}: {key} must be {count} numbers, found {values.dtype} {values.shape}.")
            columns[name] = tuple(float(value) for value in values)
    columns["animal"] = (_name(content, "subject_id", path),) * count
    return columns


def _joined(pickles: Mapping[Path, SplitTrials]) -> SplitTrials:
    """The neurons of several pickles of one session side by side."""
    (first, joined), *others = pickles.items()
    for path, more in others:
        pairs = ((joined.train, more.train), (joined.test, more.test))
        if not all(np.array_equal(a.ids, b.ids) and a.labels == b.labels for a, b in pairs):
            raise DataError(
                f"{first} and {path} are of one session, but their image ids or labels differ, so their neurons cannot "
                "stand side by side. Give one of them a session_id of its own."
            )
        train, test = (Trials(a.ids, np.concatenate([a.responses, b.responses], 1), a.labels) for a, b in pairs)
        counts = (joined.train.responses.shape[1], more.train.responses.shape[1])
        joined = SplitTrials(train, test, _joined_columns(joined.neurons, more.neurons, counts))
    return joined


def _joined_columns(
    first: Mapping[str, Values], second: Mapping[str, Values], counts: tuple[int, int]
) -> dict[str, Values]:
    """Columns of both; what one lacks is "" or NaN there."""
    joined: dict[str, Values] = {}
    for name in dict.fromkeys([*first, *second]):
        if name in NUMBER_COLUMNS.values():
            unknown: Values = (float("nan"),)
        else:
            unknown = ("",)
        a = first.get(name, unknown * counts[0])
        b = second.get(name, unknown * counts[1])
        joined[name] = (*a, *b)
    return joined


def _images(folder: Path) -> tuple[dict[int, Path], str]:
    """Files of the pictures by number, and where they were looked for."""
    place = folder / "images"
    if images := numbered_files(place, ".npy"):
        return images, str(place)
    listed = place / PATHS_FILE
    if not listed.is_file():
        raise DataError(f"{place} holds neither 000001.npy and so on nor {PATHS_FILE}.")
    paths = load_arrays(listed)
    if not isinstance(paths, dict) or not all(isinstance(text, str) for text in paths.values()):
        raise DataError(f"{listed} must hold a dict {{number: path}} with paths as texts.")
    for number, text in paths.items():
        if not isinstance(number, int | np.integer) or isinstance(number, bool):
            raise DataError(f"{listed} must hold a dict {{number: path}}, found the number {number!r}.")
        if not (folder / text).is_file():
            raise DataError(f"{listed} names {text} for image {number}, but there is no file {folder / text}.")
        images[int(number)] = folder / text
    return images, str(listed)


def _vector(values: Any, where: str) -> NDArray[Any]:
    """Values of any kind of list, perhaps with an axis of length 1, as (n,)."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{where} must be one value each, found lists of several lengths.") from None
    if array.ndim == 0 or max(array.shape) != array.size:
        raise DataError(f"{where} must be one value each, found shape {array.shape}.")
    return array.reshape(-1)


def _texts(values: Any, count: int, where: str, what: str) -> tuple[str, ...]:
    array = _vector(values, where)
    if len(array) != count:
        raise DataError(f"{where}: {len(array)} values for {count} {what}.")
    if array.dtype.kind == "f" and (np.isfinite(array) & (array == np.rint(array))).all():
        array = array.astype(np.int64)  # numbers that MATLAB wrote: 10.0 is called 10
    return tuple(value.decode("latin1") if isinstance(value, bytes) else str(value) for value in array)
