"""Score sinks: the trainer tells them what it measured; they keep it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Score(NamedTuple):
    """One number.

    Args:
        epoch: Counted from 1; 0 is before training. Test scores carry the epoch whose weights were tested.
        task: "" for what concerns all tasks.
        session: "" for a task without sessions, and for all sessions of a task together.
        split: train, validation or test.
        metric: Its name.
        value: May be NaN where a metric is undefined.
    """

    epoch: int
    task: str
    session: str
    split: str
    metric: str
    value: float


class ScoreSink:
    """Base of all sinks. Override what you need; every method does nothing by itself.

    | event | when |
    |---|---|
    | `start` | before the first step, or on resuming |
    | `epoch` | after an epoch was trained and validated (epoch 0: validated before training) |
    | `finish` | after the best epoch was restored and tested |
    | `close` | at the very end, also when training fails |
    """

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """Training begins, or goes on after `resumed_epoch`; `history` holds all scores up to it.

        What a sink holds of later epochs was not yet saved when training stopped and will be told again.
        """

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """An epoch ended; `seconds` is its wall time."""

    def finish(self, best_epoch: int, scores: Sequence[Score]) -> None:
        """Training ended; `scores` are the test scores of the best epoch."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass
class JournalSink(ScoreSink):
    """JSON lines on disk, one an epoch, each flushed to the disk before training goes on: the truth about a run."""

    path: Path

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """Drop what came after the point that training resumes from."""
        known = {line["epoch"]: line for line in read_journal(self.path) if not line.get("finished")}
        lines = []
        for epoch in dict.fromkeys(score.epoch for score in history):
            scores = [score for score in history if score.epoch == epoch]
            lines.append(self._line(epoch, scores, seconds=known.get(epoch, {}).get("seconds")))
        write_atomically(self.path, "".join(lines).encode())

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """Add a line."""
        self._append(self._line(epoch, scores, seconds=round(seconds, 3)))

    def finish(self, best_epoch: int, scores: Sequence[Score]) -> None:
        """Add the last line, with the test scores."""
        self._append(self._line(best_epoch, scores, finished=True))

    @staticmethod
    def _line(epoch: int, scores: Sequence[Score], **more: Any) -> str:
        rows = [[*score[1:5], score.value if math.isfinite(score.value) else None] for score in scores]
        return json.dumps({"epoch": epoch, **more, "scores": rows}, allow_nan=False) + "\n"

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; one that was cut by a crash is left out."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines


def journal_scores(path: Path) -> list[Score]:
    """All scores of a journal, in its order; a missing value is NaN."""
    return [
        Score(line["epoch"], task, session, split, metric, math.nan if value is None else value)
        for line in read_journal(path)
        for task, session, split, metric, value in line["scores"]
    ]


class TensorBoardSink(ScoreSink):
    """Curves for TensorBoard, under `task/session/metric/split`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """Open the writer; on resuming, hide what was written after the point that training resumes from."""
        from torch.utils.tensorboard import SummaryWriter

        # killed before its first checkpoint, a run begins again in the same folder
        purge = 0 if resumed_epoch is None else resumed_epoch + 1
        self._writer = SummaryWriter(str(self.folder), purge_step=purge)

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """Add a point to each curve."""
        self._add(scores)
        self._writer.add_scalar("seconds", seconds, epoch)
        self._writer.flush()  # before the checkpoint: on resuming, earlier epochs are not told again

    def finish(self, best_epoch: int, scores: Sequence[Score]) -> None:
        """Add the test scores at the best epoch."""
        self._add(scores)

    def close(self) -> None:
        """Flush to disk."""
        if hasattr(self, "_writer"):
            self._writer.close()

    def _add(self, scores: Sequence[Score]) -> None:
        for score in scores:
            tag = "/".join(part for part in (score.task, score.session, score.metric, score.split) if part)
            self._writer.add_scalar(tag, score.value, score.epoch)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it holds either its old content or all of the new, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
