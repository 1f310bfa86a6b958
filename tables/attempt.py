"""One attempt at a run: its row, its sign of life, its scores while it goes."""

from __future__ import annotations

import math
import os
import platform
import secrets
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from cotrain.recipe import Experiment
from cotrain.tables._datajoint import dj
from cotrain.tables.connect import second_connection
from cotrain.tables.provenance import record_provenance
from cotrain.tables.restore import fetch_needed, with_order
from cotrain.tables.runs import Attempt, EpochScore
from cotrain.tables.store import store_weights
from cotrain.training import RunFolder, Score, ScoreSink, run

HEARTBEAT_SECONDS = 5.0

WORKER = secrets.token_hex(16)  # hosts may share a name, and containers a process number


class DatabaseSink(ScoreSink):
    """Writes each epoch as it ends: one insert and one update, visible to everyone at once."""

    def __init__(self, attempt: dict[str, Any]) -> None:
        self.attempt = attempt

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """Drop what earlier attempts told of epochs that are now done again, and tell what they did not."""
        run_key = {"run_key": self.attempt["run_key"]}
        last = -1 if resumed_epoch is None else resumed_epoch
        with _signals_wait():
            (EpochScore() & run_key & f"epoch_number > {last}").delete_quick()
            told = {row["epoch_number"] for row in (dj.U("epoch_number") & (EpochScore() & run_key)).to_dicts()}
            self._insert([score for score in history if score.epoch not in told])
            Attempt.update1({**self.attempt, "epoch": last})

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """Add the rows of an epoch."""
        with _signals_wait():
            self._insert(scores)
            Attempt.update1({**self.attempt, "epoch": epoch})

    def _insert(self, scores: Sequence[Score]) -> None:
        EpochScore.insert([{**self.attempt, **row(score), "epoch_number": score.epoch} for score in scores])


def row(score: Score) -> dict[str, Any]:
    """A score as columns; MySQL stores neither NaN nor infinity, and their maximum would be NaN elsewhere."""
    columns = score._asdict()
    del columns["epoch"]
    return {**columns, "value": score.value if math.isfinite(score.value) else None}


def train(
    key: dict[str, Any], experiment: Experiment, home: Path, *, progress: bool, ranks: int | None
) -> dict[str, Any]:
    """Train a run in its folder under `home`, recording the attempt; what `TrainedModel` stores of it."""
    started = time.monotonic()
    folder = RunFolder(home / "runs" / key["run_key"])
    with recorded(key) as attempt:
        fetch_needed(experiment, folder.path.parent)
        sink = DatabaseSink(attempt)
        result = run(experiment, out=folder.path, sinks=[sink], progress=progress, ranks=ranks or 1)
        # of a run that was finished before, without the database, no epoch was told
        told = result.scores[result.scores.split != "test"]
        sink.start([Score(*values) for values in told.itertuples(index=False)], int(told.epoch.max()))
        # not when the row is inserted: a transaction would wait for the store, and the attempt would be done before
        weights = store_weights(key, folder.best)
    best = result.scores[result.scores.epoch == result.best_epoch]
    scores = [Score(*values) for values in best.itertuples(index=False)]
    monitored = next(s.value for s in scores if s.metric == "monitored")
    return {
        "attempt": attempt["attempt"],
        "best_epoch": result.best_epoch,
        "monitored": monitored if math.isfinite(monitored) else None,
        "seconds": time.monotonic() - started,
        "data_info": with_order(result.info.record()),
        "state": weights,
        "scores": [row(score) for score in scores],
    }


@contextmanager
def recorded(key: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The attempt's row from its start to its end, whatever that is."""
    attempt = {**key, "attempt": len(Attempt() & key) + 1}
    Attempt.insert1(
        {
            **attempt,
            **record_provenance(),
            "status": "running",
            "worker": WORKER,
            "host": platform.node()[:64],
            "pid": os.getpid(),
            "device": _device(),
            "command": shlex.join(sys.argv)[:1024],
        }
    )
    stop = _start_heartbeat(attempt)
    try:
        yield attempt
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        text = f"{type(error).__name__}: {error}"[:2047]
        Attempt.update1({**attempt, "status": status, "error": text, "stack": traceback.format_exc(), **_finished()})
        raise
    else:
        Attempt.update1({**attempt, "status": "done", **_finished()})
    finally:
        stop()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C wait for the end of a query: in its middle they would break a connection to MySQL."""
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return
    told: list[tuple[int, FrameType | None]] = []
    before = {
        number: signal.signal(number, lambda *what: told.append(what))
        for number in (int(signal.SIGTERM), int(signal.SIGINT))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in told:
        if callable(handler := before[number]):
            handler(number, frame)


def _finished() -> dict[str, Any]:
    now = dj.conn().query("SELECT CURRENT_TIMESTAMP").fetchone()[0]
    return {"finished": now.replace(tzinfo=None)}


def _device() -> str:
    import torch

    return torch.cuda.get_device_name()[:128] if torch.cuda.is_available() else "cpu"


def _start_heartbeat(attempt: dict[str, Any]) -> Any:
    """Show life every few seconds, on a connection of its own: no driver lets two threads share one in use."""
    done = threading.Event()
    statement = (
        f"UPDATE {Attempt.full_table_name} SET heartbeat = CURRENT_TIMESTAMP "
        "WHERE run_key = %s AND attempt = %s AND status = 'running'"
    )

    def beat() -> None:
        connection = None
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                connection = connection or second_connection()
                connection.query(statement, args=(attempt["run_key"], attempt["attempt"]))
            except Exception:  # the database is away: the next beat tries again
                connection = None
        if connection is not None:
            connection.close()

    thread = threading.Thread(target=beat, daemon=True, name="cotrain-heartbeat")
    thread.start()

    def stop() -> None:
        done.set()
        thread.join(timeout=2)

    return stop
