"""The open format of recordings: a folder of NumPy arrays and JSON, described in docs/recording_format.md."""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.data.recordings._npy import read_npy
from cotrain.data.recordings._recording import Recording, Session, StoredImages, Values, check_session, recording_from
from cotrain.data.recordings._shared_pictures import write_pictures
from cotrain.data.recordings._trials import chosen_sessions
from cotrain.errors import DataError

log = logging.getLogger(__name__)

FORMAT = "cotrain-recording/1"
MISSING = object()


def save_recording(recording: Recording, folder: str | Path) -> None:
    """Write a recording in the open format, which `load_recording` reads (docs/recording_format.md).

    Each picture is stored once for all sessions, found by its stimulus id. The folder appears when it is complete, and
    not before.

    Args:
        recording: Pictures that are still in files are decoded.
        folder: Where to; it must not exist.

    Raises:
        DataError: The folder exists, the disk is full, one id stands for two pictures, pictures differ in size or
            colour or cannot be read, or a session's name cannot be the name of a folder.
    """
    folder = Path(folder)
    for name in recording.sessions:
        _check_name(name, "The recording")
    if folder.exists():
        raise DataError(f"{folder} exists. Choose another folder, or remove it first.")
    own = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        own.mkdir(parents=True)
        try:
            _write(recording, own)
            if folder.exists():  # since the check above
                raise DataError(f"{folder} exists by now. Choose another folder.")
            own.rename(folder)
        finally:
            shutil.rmtree(own, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from None


def load_recording(folder: str | Path, *, sessions: Sequence[str] | None = None) -> Recording:
    """Read a recording in the open format, which `save_recording` writes (docs/recording_format.md).

    Args:
        folder: Holds `recording.json`, `images.npy` where there are pictures, and `sessions/<name>/session.json` and
            `responses.npy`.
        sessions: Their names; None: all.

    Returns:
        Pictures are memory-mapped: a session's are `StoredImages`.

    Raises:
        DataError: Something is missing, damaged or contradicts something else; the message names the file.
    """
    folder = Path(folder)
    path = folder / "recording.json"
    about = _read_json(path)
    if about.get("format") != FORMAT:
        raise DataError(f"{path}: expected the format {FORMAT!r}, found {about.get('format')!r}.")
    known = _text_list(about, "sessions", path)
    if len(set(known)) < len(known):
        raise DataError(f"{path}: a session is named twice among {', '.join(known)}.")
    for name in known:
        _check_name(name, str(path))
    names = chosen_sessions(known, sessions, folder)
    images = _read_images(folder, about, path)
    held = {name: _read_session(folder / "sessions" / name, images) for name in names}
    return recording_from(
        folder,
        held,
        unit=_text(about, "unit", path),
        window_ms=_window(about, path),
        origin=_text(about, "origin", path, default=""),
    )


def _write(recording: Recording, folder: Path) -> None:
    rows, shape = write_pictures(recording, folder / "images.npy")
    for name, session in recording.sessions.items():
        place = folder / "sessions" / name
        place.mkdir(parents=True)
        np.save(place / "responses.npy", np.ascontiguousarray(session.responses), allow_pickle=False)
        content = {
            "stimuli": list(session.stimuli),
            "image_rows": rows[name],
            "split": list(session.split),
            "conditions": _columns_as_json(session.conditions, f"session {name}, conditions"),
            "neurons": _columns_as_json(session.neurons, f"session {name}, neurons"),
        }
        _write_json(place / "session.json", content)
    about = {
        "format": FORMAT,
        "unit": recording.unit,
        "window_ms": None if recording.window_ms is None else [float(time) for time in recording.window_ms],
        "origin": recording.origin,
        "sessions": list(recording.sessions),
        "images": None if shape is None else {"shape": list(shape), "dtype": "uint8"},
    }
    _write_json(folder / "recording.json", about)


def _columns_as_json(columns: Mapping[str, Values], where: str) -> dict[str, list[Any]]:
    """Numbers and texts; null for NaN, which JSON lacks."""
    content: dict[str, list[Any]] = {}
    for name, values in columns.items():
        content[name] = [
            value if isinstance(value, str) else None if math.isnan(value) else float(value) for value in values
        ]
        if any(isinstance(value, float) and math.isinf(value) for value in content[name]):
            raise DataError(f"{where}: {name!r} holds an infinite number, which the format cannot store.")
    return content


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, found {type(content).__name__}.")
    return content


def _read_images(folder: Path, about: Mapping[str, Any], path: Path) -> NDArray[np.uint8] | None:
    described = about.get("images")
    if described is None:
        return None
    images = read_npy(folder / "images.npy", mapped=True)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise DataError(
            f"{folder / 'images.npy'} must be uint8 (images, height, width[, 3]), found {images.dtype} {images.shape}."
        )
    shape = described.get("shape") if isinstance(described, dict) else None
    if shape is not None and shape != list(images.shape):
        raise DataError(f"{path} says that images.npy has the shape {shape}, but it has {list(images.shape)}.")
    return images


def _read_session(folder: Path, images: NDArray[np.uint8] | None) -> Session:
    path = folder / "session.json"
    about = _read_json(path)
    responses = read_npy(folder / "responses.npy")
    if responses.dtype.kind != "f":
        raise DataError(f"{folder / 'responses.npy'} must hold float32 numbers, found {responses.dtype}.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        responses = np.ascontiguousarray(responses, np.float32)
    stimuli = _text_list(about, "stimuli", path)
    session = Session(
        stimuli=tuple(stimuli),
        responses=responses,
        images=_rows_of(images, about, len(stimuli), path),
        split=tuple(_text_list(about, "split", path, default=[])),
        conditions=_columns(about, "conditions", path),
        neurons=_columns(about, "neurons", path),
    )
    check_session(session, str(folder))
    return session


def _rows_of(images: NDArray[np.uint8] | None, about: Mapping[str, Any], count: int, path: Path) -> StoredImages | None:
    rows = about.get("image_rows")
    if rows is None:
        return None
    rows = rows if isinstance(rows, list) else [rows]
    if images is None:
        raise DataError(f"{path} has image_rows, but recording.json says that there are no images.")
    if len(rows) != count:
        raise DataError(f"{path}: {count} stimuli but {len(rows)} image_rows.")
    for position, row in enumerate(rows):
        if type(row) is not int or not 0 <= row < len(images):
            raise DataError(
                f"{path}: image_rows must be whole numbers from 0 to {len(images) - 1} (the first picture is 0), found "
                f"{row!r} for stimulus {position + 1}."
            )
    return StoredImages(images, np.asarray(rows, np.int64))


def _columns(about: Mapping[str, Any], key: str, path: Path) -> dict[str, Values]:
    columns = about.get(key)
    # MATLAB and R write an empty struct or list as []
    if columns is None or columns == []:
        return {}
    if not isinstance(columns, dict):
        raise DataError(f"{path}: {key} must be an object {{name: values}}, found {type(columns).__name__}.")
    return {name: _column(values, f"{path}: {name!r} in {key}") for name, values in columns.items()}


def _column(values: Any, where: str) -> Values:
    # MATLAB and R write a list of one value as the value
    values = values if isinstance(values, list) else [values]
    if all(isinstance(value, str) for value in values):
        return tuple(values)
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return tuple(math.nan if value is None else float(value) for value in values)
    raise DataError(f"{where} must be texts, or numbers and null.")


def _text(about: Mapping[str, Any], key: str, path: Path, default: object = MISSING) -> str:
    text = about.get(key, default)
    if not isinstance(text, str):
        raise DataError(f"{path}: {key} must be a text, found {'nothing' if text is MISSING else repr(text)}.")
    return text


def _text_list(about: Mapping[str, Any], key: str, path: Path, default: object = MISSING) -> list[str]:
    texts = about.get(key, default)
    texts = [texts] if isinstance(texts, str) else texts  # as MATLAB and R write a list of one
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: {key} must be a list of texts{', found nothing' * (texts is MISSING)}.")
    return texts


def _window(about: Mapping[str, Any], path: Path) -> tuple[float, float] | None:
    window = about.get("window_ms")
    if window is None or window == []:
        return None
    if not (isinstance(window, list) and len(window) == 2 and all(type(time) in (int, float) for time in window)):
        raise DataError(f"{path}: window_ms must be [from, to] in milliseconds, or null; found {window!r}.")
    return float(window[0]), float(window[1])


def _check_name(name: str, where: str) -> None:
    """Refuse a session's name that would lead out of the folder, on any system."""
    if not name.strip(". ") or any(letter in '/\\:*?"<>|' or ord(letter) < 32 for letter in name):
        raise DataError(f"{where} names a session {name!r}, which cannot be the name of a folder. Rename it.")
