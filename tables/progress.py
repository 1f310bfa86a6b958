"""How far the runs are that are being trained, as they go."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from cotrain.tables._datajoint import dj
from cotrain.tables._frames import frame
from cotrain.tables.configs import Trainer
from cotrain.tables.overview import labels_of
from cotrain.tables.paths import values_at
from cotrain.tables.runs import EpochScore, ParentRun, Run
from cotrain.tables.selection import only
from cotrain.tables.states import states
from cotrain.tasks import PRIMARY_METRIC

AHEAD = {"queued", "running"}


@dataclass(frozen=True)
class Progress:
    """How far one run is.

    Args:
        epoch: Last epoch that was scored; -1 before the first.
        epochs: How many there will be at most; None where its trainer does not count them.
        scores: {task and metric: latest score on the validation split}.
        seconds: Wall time of an epoch of this attempt; None before one has ended.
    """

    run: str
    label: str
    seed: int
    worker: str
    epoch: int
    epochs: int | None
    scores: dict[str, float]
    seconds: float | None

    @property
    def seconds_left(self) -> float | None:
        """Wall time until the last epoch; stopping early makes it less."""
        return None if self.epochs is None or self.seconds is None else self.seconds * (self.epochs - self.epoch)


@dataclass(frozen=True)
class Frame:
    """One moment: counts of all states, each run that is being trained, and whether nothing is ahead any more."""

    states: dict[str, int]
    running: list[Progress]
    ended: bool


def look(selection: Any) -> Frame:
    """How far the selected runs are now."""
    table = states(selection)
    words = table.state.where(~table.state.str.startswith("waiting"), "waiting")
    running = table[table.state == "running"]
    return Frame(
        {str(word): int(count) for word, count in words.value_counts(sort=False).sort_index().items()},
        _progress(running) if len(running) else [],
        ended=not (words.isin(AHEAD).any() or _worth_waiting(list(words.index[words == "waiting"]))),
    )


def _progress(running: Any) -> list[Progress]:
    runs = Run() & only(running.index)
    rows = frame(runs, "run_key", "seed", "trainer_key").set_index("run_key")
    labels = labels_of(runs, None)
    epochs = values_at(Trainer, "epochs") if len(rows) else {}
    (now,) = dj.conn().query("SELECT CURRENT_TIMESTAMP").fetchone()
    found = []
    for run, attempt in running.iterrows():
        begun = attempt["attempt"] == attempt["attempt"]  # else a worker has it, and no attempt is there yet
        latest = int(attempt["epoch"]) if begun else -1
        key = {"run_key": run, "attempt": int(attempt["attempt"]) if begun else 0}
        counted = epochs.get(rows.trainer_key[run])
        found.append(
            Progress(
                run=str(run),
                label=labels.get(str(run), ""),
                seed=int(rows.seed[run]),
                worker=f"{attempt['host']}" if begun else "",
                epoch=latest,
                epochs=int(counted) if counted is not None and counted.isdecimal() else None,
                scores=_latest(str(run), latest),
                seconds=_seconds_an_epoch(key, latest, now, attempt["started"]) if begun else None,
            )
        )
    return found


def _latest(run: str, epoch: int) -> dict[str, float]:
    wanted = {"run_key": run, "epoch_number": epoch, "split": "validation", "session": ""}
    rows = frame(EpochScore() & wanted, "task", "metric", "value")
    rows = rows[rows.metric.isin(PRIMARY_METRIC.values())]
    return dict(zip(rows.task + " " + rows.metric, rows.value.tolist(), strict=True))


def _seconds_an_epoch(key: dict[str, Any], epoch: int, now: Any, started: Any) -> float | None:
    """Over the epochs of this attempt: those before it were another's."""
    first = dj.U().aggr(EpochScore() & key & "epoch_number > 0", first="MIN(epoch_number)").fetch1("first")
    if first is None or epoch < first:
        return None
    passed: datetime.timedelta = now.replace(tzinfo=None) - started
    return passed.total_seconds() / (epoch - int(first) + 1)


def _worth_waiting(runs: list[str]) -> bool:
    """Whether a run that these wait for, or that it waits for itself, is queued or being trained."""
    seen: set[str] = set()
    while runs:
        seen |= set(runs)
        pairs = (ParentRun.unfinished() & only(runs)).to_dicts()
        table = states(Run() & only({pair["parent_key"] for pair in pairs}))
        if table.state.isin(AHEAD).any():
            return True
        runs = [str(run) for run in table.index if run not in seen]
    return False
