"""What a worker tells the database while it trains: that it lives, and scores. Training never waits for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cotrain.errors import DatabaseUnavailableError, LostClaimError
from cotrain.tables import claims
from cotrain.tables._datajoint import dj
from cotrain.tables.connect import second_connection
from cotrain.tables.reconnect import LONGEST_PAUSE, PATIENCE_SECONDS, one_line
from cotrain.tables.runs import Attempt, EpochScore

log = logging.getLogger(__name__)

LOST_AFTER_SECONDS = float(os.environ.get("COTRAIN_LOST_AFTER", 60))
BEATS = 12  # signs of life in that time

Row = dict[str, Any]


@dataclass(frozen=True)
class _Told:
    """Scores that an attempt has to tell: an epoch's, or all up to `kept`, after which nothing may be stored yet."""

    epoch: int
    rows: Sequence[Row]
    kept: int | None = None


@dataclass(frozen=True)
class _Sign:
    """The last sign of life of another worker."""

    heartbeat: Any
    since: float  # seconds of this process's steady clock
    seen_to_change: bool


class Reporter:
    """A thread with a connection of its own, which beats, stores scores and watches other workers.

    No driver lets two threads share a connection in use. While the database is away, scores wait here (they are in the
    journal of the run as well), and no other worker is judged.
    """

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.attempt: dict[str, Any] | None = None
        self._waiting: deque[_Told] = deque()
        self._lost = False
        self._change = threading.Condition()
        self._closed = False
        self._watched: dict[tuple[str, int], _Sign] = {}
        self._last_look = -float("inf")
        self._scores: Any = None  # table of epoch scores, on the thread's connection
        self._unsure: int | None = None  # of other workers' attempts; None: nobody has looked
        self._thread = threading.Thread(target=self._work, daemon=True, name="cotrain-reporter")
        self._thread.start()

    # --- of the thread that trains ---

    def begin(self, attempt: dict[str, Any]) -> None:
        """Beat for an attempt from now on."""
        with self._change:
            self.attempt, self._lost = dict(attempt), False
            self._waiting.clear()

    def restart(self, rows: Sequence[Row], kept: int) -> None:
        """Training begins after epoch `kept`: what is stored of later ones goes, what is missing of `rows` comes."""
        self._put(_Told(kept, rows, kept))

    def epoch(self, epoch: int, rows: Sequence[Row]) -> None:
        """Scores of an epoch."""
        self._put(_Told(epoch, rows))

    def flush(self, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until all is told.

        Raises:
            LostClaimError: The run is no longer this worker's.
            DatabaseUnavailableError: The database was away for too long.
        """
        with self._change:
            done = self._change.wait_for(lambda: self._lost or not self._waiting, timeout=patience)
        self.require_claim()
        if not done:
            raise DatabaseUnavailableError(
                f"The database has not answered for {patience:.0f} s. The run is whole in its folder; `cotrain work` "
                "stores it when the database is back."
            )

    def require_claim(self) -> None:
        """Raise `LostClaimError` where the run is no longer this worker's."""
        if self._lost and self.attempt is not None:
            raise LostClaimError(
                f"Attempt {self.attempt['attempt']} at run {self.attempt['run_key']} was taken from this worker, since "
                "it was silent for too long, or deleted. Training stops; nothing more is stored."
            )

    def end(self) -> None:
        """Beat no more."""
        with self._change:
            self.attempt = None
            self._waiting.clear()

    def close(self) -> None:
        """End the thread."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(timeout=2)

    @property
    def unsure(self) -> bool:
        """Whether an attempt of another worker may be that of a dead one: it has not beaten since this one looks."""
        return self._unsure is None or self._unsure > 0

    # --- of its own thread ---

    def _put(self, told: _Told) -> None:
        self.require_claim()
        with self._change:
            self._waiting.append(told)
            self._change.notify_all()

    def _work(self) -> None:
        connection, pause = None, 0.1
        while not self._closed:
            try:
                connection = connection or second_connection()
                self._tell(connection)
                self._beat(connection)
                if time.monotonic() - self._last_look >= LOST_AFTER_SECONDS / BEATS:
                    self._watch(connection)
                pause = 0.1
            except Exception as error:
                # of whatever kind: without this thread a worker would be taken for dead
                log.log(
                    logging.WARNING if pause == 0.1 else logging.DEBUG,
                    "The database does not take what is told (%s); trying again.",
                    one_line(error),
                )
                with suppress(Exception):
                    if connection is not None:
                        connection.close()
                connection, pause = None, min(2 * pause, LONGEST_PAUSE)
                self._watched.clear()  # others could not beat either
                with self._change:
                    self._change.wait_for(lambda: self._closed, timeout=pause)
                continue
            with self._change:
                self._change.wait_for(lambda: self._closed or self._waiting, timeout=LOST_AFTER_SECONDS / BEATS)
        with suppress(Exception):
            if connection is not None:
                connection.close()

    def _tell(self, connection: Any) -> None:
        while True:
            with self._change:
                attempt = self.attempt
                if attempt is None or self._lost or not self._waiting:
                    return
                told = self._waiting[0]
            held = self._store(connection, attempt, told)
            with self._change:
                if attempt is self.attempt:
                    self._lost = not held
                    if held:
                        self._waiting.popleft()
                self._change.notify_all()

    def _store(self, connection: Any, attempt: dict[str, Any], told: _Told) -> bool:
        """Store scores in one transaction; False where the run is another's."""
        if self._scores is None or self._scores.connection is not connection:
            self._scores = dj.FreeTable(connection, EpochScore.full_table_name)
        table = self._scores & True  # the heading is asked for once
        rows = [{**attempt, **row} for row in told.rows]
        with connection.transaction:
            if not self._sign(connection, attempt, told.epoch):
                return False
            if told.kept is not None:
                of_run = table & {"run_key": attempt["run_key"]}
                (of_run & f"epoch_number > {told.kept}").delete_quick()
                held = {row["epoch_number"] for row in (dj.U("epoch_number") & of_run).to_dicts()}
                rows = [row for row in rows if row["epoch_number"] not in held]
            # stored before, where the answer was lost
            table.insert(rows, skip_duplicates=True)
        return True

    def _beat(self, connection: Any) -> None:
        with self._change:
            attempt = self.attempt
        if attempt is not None and not self._lost and not self._sign(connection, attempt):
            with self._change:
                if attempt is self.attempt:
                    self._lost = True
                    self._change.notify_all()

    def _sign(self, connection: Any, attempt: dict[str, Any], epoch: int | None = None) -> bool:
        """A sign of life; False where the attempt is no longer this worker's."""
        changed = connection.query(
            f"UPDATE {Attempt.full_table_name} SET heartbeat = CURRENT_TIMESTAMP(3)"
            f"{'' if epoch is None else f', epoch = {epoch}'} "
            "WHERE run_key = %s AND attempt = %s AND worker = %s AND status = 'running'",
            args=(attempt["run_key"], attempt["attempt"], self.worker),
        )
        # MySQL counts only rows that the statement changes
        return changed.rowcount == 1 or claims.is_held(connection, attempt, self.worker)

    def _watch(self, connection: Any) -> None:
        """Take runs from workers whose sign of life has not changed for too long."""
        rows = connection.query(
            f"SELECT run_key, attempt, heartbeat FROM {Attempt.full_table_name} "
            "WHERE status = 'running' AND worker <> %s",
            args=(self.worker,),
        ).fetchall()
        now = time.monotonic()
        if now - self._last_look > LOST_AFTER_SECONDS / 2:
            self._watched.clear()  # this machine slept: what happened meanwhile was not seen
        self._last_look = now
        watched: dict[tuple[str, int], _Sign] = {}
        for run_key, attempt, heartbeat in rows:
            before = self._watched.get((run_key, attempt))
            if before is None or before.heartbeat != heartbeat:
                watched[run_key, attempt] = _Sign(heartbeat, now, seen_to_change=before is not None)
            elif now - before.since < LOST_AFTER_SECONDS:
                watched[run_key, attempt] = before
            elif claims.reap(connection, run_key, attempt, heartbeat):
                silent = now - before.since
                log.warning("Run %s was taken from a worker that has been silent for %.0f s.", run_key, silent)
        self._watched = watched
        missed = 3 * LOST_AFTER_SECONDS / BEATS
        self._unsure = sum(not sign.seen_to_change or now - sign.since > missed for sign in watched.values())


@contextmanager
def reporting(worker: str) -> Iterator[Reporter]:
    """A reporter for as long as a worker works."""
    reporter = Reporter(worker)
    try:
        yield reporter
    finally:
        reporter.close()
