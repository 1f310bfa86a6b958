"""Every format that a recording can be read from, by name, and how to tell them apart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from cotrain.data.recordings._brain_observatory import RESPONSES, read_brain_observatory
from cotrain.data.recordings._cadena2024 import read_cadena2024
from cotrain.data.recordings._cadieu2014 import read_cadieu2014
from cotrain.data.recordings._cowley2023 import read_cowley2023
from cotrain.data.recordings._folder import load_recording
from cotrain.data.recordings._majaj2015 import read_majaj2015_h5
from cotrain.data.recordings._recording import Recording
from cotrain.data.recordings._sinz_pickles import read_sinz_pickles
from cotrain.errors import DataError

Format = Literal["brain_observatory", "cadena2024", "cadieu2014", "cotrain", "cowley2023", "majaj2015", "sinz_pickles"]
WITH_TIME_BINS = ("cadena2024", "sinz_pickles")


def detect_format(path: str | Path) -> Format | None:
    """The format of a folder or file, from the names of what it holds; None: it is no recording."""
    path = Path(path)
    if path.suffix == ".h5":
        return "majaj2015"
    if path.suffix == ".mat":
        return "cadieu2014"
    if (path / "recording.json").is_file():
        return "cotrain"
    if any(path.glob(RESPONSES.format("*"))):
        return "brain_observatory"
    if (path / "neuronal_data").is_dir():
        return "sinz_pickles"
    if any(path.glob("images_*.zip")):
        return "cowley2023"
    if any(path.glob("train/*/responses.csv")):
        return "cadena2024"
    return None


def read_recording(
    path: str | Path,
    format: Format | None = None,
    *,
    sessions: Sequence[str] | None = None,
    window_ms: tuple[float, float] | None = None,
) -> Recording:
    """Read a recording of any format, with a progress bar where it takes long and a terminal shows it.

    Args:
        path: The folder or file.
        format: Of it; None: found out.
        sessions: Names of those to be read; None: all.
        window_ms: From and to when after stimulus onset responses are summed, where the files hold time bins; None:
            all bins.

    Raises:
        DataError: Nothing is there, it has no known format or no time bins, or lacks a session; and what the reader
            finds wrong.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}. Paths of data configs start from the folder that COTRAIN_DATA names.")
    format = format or detect_format(path)
    if format is None:
        raise DataError(f"{path} is no recording in a known format ({', '.join(get_args(Format))}).")
    if window_ms is not None and format not in WITH_TIME_BINS:
        raise DataError(f"{path}: files of format {format!r} hold no time bins; leave window_ms out.")
    named: dict[str, Any] = {"sessions": sessions}
    shown: dict[str, Any] = {"progress": sys.stderr.isatty()}
    if format == "cadena2024":
        recording = read_cadena2024(path, window_ms=window_ms, **named, **shown)
    elif format == "sinz_pickles":
        recording = read_sinz_pickles(path, window_ms=window_ms, **named, **shown)
    elif format == "cowley2023":
        recording = read_cowley2023(path, **named)
    elif format == "cotrain":
        recording = load_recording(path, **named)
    elif format == "brain_observatory":
        recording = read_brain_observatory(path)
    elif format == "majaj2015":
        recording = read_majaj2015_h5(path)
    else:
        recording = read_cadieu2014(path)
    if unknown := [name for name in sessions or () if name not in recording.sessions]:
        raise DataError(f"{path} lacks the sessions {', '.join(unknown)}; it has: {', '.join(recording.sessions)}.")
    return recording
