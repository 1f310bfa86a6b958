"""Work on the database that outlives its restarts."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from cotrain.errors import DatabaseUnavailableError
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.connect import connect_again

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = float(os.environ.get("COTRAIN_DATABASE_PATIENCE", 24 * 3600))
LONGEST_PAUSE = 10.0  # seconds
COLLISIONS = 20  # times that others may be in the way: deadlocks, locks that were waited for in vain
COLLISION_CODES = {"40001", "40P01", "55P03", 1205, 1213}  # of PostgreSQL and of MySQL


def persistently(work: Callable[[], T], *, patience: float | None = None) -> T:
    """Do some work on the database; where the connection is lost in it, connect again and do the whole work again.

    SIGTERM and Ctrl-C wait for the end of a try, and act at once between two.

    Args:
        work: Anything that may be done again, also where the database did it and the answer was lost.
        patience: Seconds for which the database may be away; default: `COTRAIN_DATABASE_PATIENCE`, a day.

    Raises:
        DatabaseUnavailableError: The database was away for longer.
        Exception: What `work` raises while the database answers.
    """
    limit = PATIENCE_SECONDS if patience is None else patience
    away_since, pause, collisions = None, 0.1, 0
    while True:
        try:
            with signals_wait():
                return work()
        except Exception as error:
            if not lost_connection(schema.connection, error):
                collisions += 1
                if collisions > COLLISIONS or not _collided(error):
                    raise
            else:
                now = time.monotonic()
                if away_since is None:
                    away_since = now
                    log.warning("The database does not answer (%s); trying again.", one_line(error))
                if now - away_since > limit:
                    raise DatabaseUnavailableError(
                        f"The database has not answered for {now - away_since:.0f} s: {one_line(error)}. Everything up "
                        "to here is in the run's folder; `cotrain work` goes on there when the database is back."
                    ) from error
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_PAUSE)
        with suppress(Exception), signals_wait():  # it is still away
            if not answers(schema.connection):
                connect_again(schema.connection)


def answers(connection: Any) -> bool:
    """Whether a connection lives; DataJoint's `is_connected` is true also for a server that is gone."""
    return connection._conn is not None and bool(connection.adapter.ping(connection._conn))


def lost_connection(connection: Any, error: Exception) -> bool:
    """Whether something failed because of the connection: drivers have many errors for that, a dead one is certain."""
    return isinstance(error, dj.errors.LostConnectionError) or not answers(connection)


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _collided(error: Exception) -> bool:
    found = {getattr(error, "pgcode", None), *(error.args[:1] if error.args else ())}
    return any(isinstance(code, (str, int)) and code in COLLISION_CODES for code in found)


@contextmanager
def signals_wait() -> Iterator[None]:
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
        elif handler == signal.SIG_DFL:
            signal.raise_signal(number)
