"""Conditions that an evaluation has finished, in a file of JSON lines: after a crash the next call goes on there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cotrain.errors import DataError

Line = tuple[str, str, str, float, int]
"""(task, session, metric, value, images)."""


class Condition(NamedTuple):
    """A corruption at a severity."""

    corruption: str
    severity: int


class Journal:
    """What is finished.

    Args:
        file: Open at its end; None: nothing is kept.
        done: {condition: its scores} of an earlier call.
    """

    def __init__(self, file: BinaryIO | None = None, done: dict[Condition, list[Line]] | None = None) -> None:
        self._file, self.done = file, done or {}

    def add(self, condition: Condition, scores: Sequence[Line]) -> None:
        """A condition is finished; it is on the disk when this returns."""
        if self._file is not None:
            _append(self._file, {**condition._asdict(), "scores": [_plain(score) for score in scores]})


@contextmanager
def opened(path: Path | None, heading: Callable[[], dict[str, Any]]) -> Iterator[Journal]:
    """The journal in a file, which is made where there is none.

    Args:
        path: Of the file; None: a journal that keeps nothing.
        heading: Tells what the scores are of; asked only if there is a file.

    Raises:
        DataError: The file is of something else, damaged in its middle, in use, or cannot be written.
    """
    if path is None:
        yield Journal()
        return
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+b"))
            _lock(file, path)
            done = _read(file, path, heading())
        except OSError as error:
            raise DataError(f"The journal {path} cannot be written: {error.strerror or error}.") from None
        yield Journal(file, done)


def _read(file: BinaryIO, path: Path, heading: dict[str, Any]) -> dict[Condition, list[Line]]:
    """What whole lines say; the rest of a line that was torn by a crash is cut off."""
    file.seek(0)
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        file.truncate(len(whole))
    if not whole:
        _append(file, heading)
        return {}
    try:
        first, *rest = (json.loads(text) for text in whole.splitlines())
        done = {
            Condition(line["corruption"], line["severity"]): [_score(*score) for score in line["scores"]]
            for line in rest
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged, or no journal of an evaluation ({error!r}). Delete it.") from None
    if first != heading:
        raise DataError(
            f"The journal {path} is of another evaluation, model or data set: it says {first}, expected {heading}. "
            "Delete it, or name another file."
        )
    return done


def _append(file: BinaryIO, line: dict[str, Any]) -> None:
    # one write at the end of the file: a crash leaves whole lines and at most one that is torn
    file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _plain(score: Line) -> list[Any]:
    """JSON has no numbers that are not finite: they are text there."""
    return [part if not isinstance(part, float) or math.isfinite(part) else str(part) for part in score]


def _score(task: str, session: str, metric: str, value: float | str, images: int) -> Line:
    return task, session, metric, float(value), images


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"Another process writes the journal {path}. Wait for it, or name another file.") from None
    except OSError:
        return  # a file system without locks
