"""What was recorded: sessions of responses to stimuli, with the pictures, the neurons' metadata, units and window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cotrain.data._image_files import ImageFiles
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

Values = tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class StoredImages:
    """Rows of one array of pictures that sessions share: where it is memory-mapped, only what is asked for is read.

    Args:
        array: uint8 (pictures, height, width) or (pictures, height, width, 3).
        rows: Which of them these are, one a stimulus.
    """

    array: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(stimuli, height, width[, 3])."""
        return (len(self.rows), *self.array.shape[1:])

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self.array[self.rows[index]]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, read into memory."""
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Session:
    """One session: entry i of everything along `stimuli` is about one stimulus, entry j along neurons about one neuron.

    Args:
        stimuli: Their ids, each once.
        responses: float32 (stimuli, neurons), mean over repeats; or (stimuli, repeats, neurons) with NaN where a
            repeat is missing.
        images: uint8 (stimuli, height, width) or (stimuli, height, width, 3); or rows of an array that sessions share;
            or files that hold them; None where the recording was published without its pictures.
        split: The split that the publishers gave each stimulus: "train", "validation" or "test"; empty where they
            gave none.
        conditions: {name: one value a stimulus}, for example "object" or "category".
        neurons: {name: one value a neuron}, for example "area", "depth" in micrometres, "unit_type", "x", "y".
    """

    stimuli: tuple[str, ...]
    responses: NDArray[np.float32]
    images: NDArray[np.uint8] | StoredImages | ImageFiles | None = None
    split: tuple[str, ...] = ()
    conditions: Mapping[str, Values] = field(default_factory=dict)
    neurons: Mapping[str, Values] = field(default_factory=dict)

    @property
    def mean(self) -> NDArray[np.float32]:
        """Responses averaged over repeats, (stimuli, neurons); NaN where a neuron has none."""
        if self.responses.ndim == 2:
            return self.responses
        known = ~np.isnan(self.responses)
        total = np.where(known, self.responses, 0).sum(1, dtype=np.float64)
        count = known.sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)

    @property
    def repeats(self) -> NDArray[np.int64]:
        """How often each stimulus was shown, (stimuli,): repeats in which at least one neuron has a response."""
        if self.responses.ndim == 2:
            return np.ones(len(self.responses), np.int64)
        return np.asarray((~np.isnan(self.responses)).any(2).sum(1), np.int64)


@dataclass(frozen=True)
class Recording:
    """Sessions by name, and what their numbers mean.

    Args:
        sessions: At least one.
        unit: Of the responses, for example "spikes in 100 ms".
        window_ms: From and to when after stimulus onset responses were counted; None where it is not known.
        origin: Who published it, as one would cite it.

    Raises:
        DataError: A session contradicts itself; the message names session, and row or neuron.
    """

    sessions: Mapping[str, Session]
    unit: str
    window_ms: tuple[float, float] | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.sessions:
            raise DataError("A recording needs at least one session.")
        if self.window_ms is not None and not self.window_ms[0] < self.window_ms[1]:
            raise DataError(f"A recording's window must begin before it ends, found {self.window_ms} ms.")
        for name, session in self.sessions.items():
            check_session(session, f"session {name}")


def recording_from(
    source: Path,
    sessions: Mapping[str, Session],
    *,
    unit: str,
    window_ms: tuple[float, float] | None = None,
    origin: str = "",
) -> Recording:
    """A recording that was read from files.

    Raises:
        DataError: A session contradicts itself; the message names the file or folder, too.
    """
    try:
        return Recording(sessions, unit, window_ms, origin)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def check_session(session: Session, where: str) -> None:
    """Refuse a session whose parts do not fit together.

    Raises:
        DataError: Says what does not, beginning with `where`.
    """
    count, shape = len(session.stimuli), session.responses.shape
    if session.responses.dtype != np.float32 or len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            f"{where}: responses must be float32 (stimuli, neurons) or (stimuli, repeats, neurons), found "
            f"{session.responses.dtype} {shape}."
        )
    if len(session.responses) != count:
        raise DataError(f"{where}: {count} stimuli but responses to {len(session.responses)}.")
    if len(set(session.stimuli)) < count:
        again = sorted(name for name, times in _counted(session.stimuli).items() if times > 1)
        raise DataError(f"{where}: stimulus ids must stand once each; these stand more often: {', '.join(again[:5])}.")
    if np.isinf(session.responses).any():
        row, *_, neuron = np.argwhere(np.isinf(session.responses))[0]
        raise DataError(f"{where}: the response of neuron {neuron} in row {row} is infinite.")
    silent = np.flatnonzero(np.isnan(session.responses).all(tuple(range(len(shape) - 1))))
    if len(silent):
        raise DataError(f"{where}: no response at all (only NaN) of neurons {silent[:10].tolist()}. Leave them out.")
    unanswered = np.flatnonzero(np.isnan(session.responses).all(tuple(range(1, len(shape)))))
    if len(unanswered):
        shown = [session.stimuli[row] for row in unanswered[:5]]
        raise DataError(f"{where}: {len(unanswered)} stimuli have no response at all (only NaN): {', '.join(shown)}.")
    images = session.images
    if images is not None and len(images) != count:
        raise DataError(f"{where}: {count} stimuli but {len(images)} images.")
    array = images.array if isinstance(images, StoredImages) else images
    if isinstance(array, np.ndarray) and (
        array.dtype != np.uint8 or array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3)
    ):
        raise DataError(
            f"{where}: images must be uint8 (stimuli, height, width[, 3]), found {array.dtype} {array.shape}."
        )
    if session.split and len(session.split) != count:
        raise DataError(f"{where}: {count} stimuli but {len(session.split)} entries of a given split.")
    if unknown := set(session.split) - set(SPLITS):
        raise DataError(f"{where}: a given split is {', '.join(SPLITS)}; found {', '.join(sorted(unknown))}.")
    for what, columns, length in (
        ("stimuli", session.conditions, count),
        ("neurons", session.neurons, shape[-1]),
    ):
        for name, values in columns.items():
            if len(values) != length:
                raise DataError(f"{where}: {length} {what} but {len(values)} values of {name!r}.")
            if len({isinstance(value, str) for value in values}) > 1:
                raise DataError(f"{where}: the values of {name!r} must be texts or numbers, found both.")


def _counted(names: tuple[str, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
