"""A worker: takes runs out of the queue and trains them, one after the other."""

from __future__ import annotations

import logging
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import Any

from cotrain.errors import CotrainError, DatabaseError, DatabaseUnavailableError, FolderInUseError, LostClaimError
from cotrain.settings import home_folder
from cotrain.tables import claims, queue
from cotrain.tables.attempt import log_file, train
from cotrain.tables.masking import masked
from cotrain.tables.provenance import record_provenance
from cotrain.tables.reconnect import one_line, persistently
from cotrain.tables.reporter import Reporter, reporting
from cotrain.tables.runs import Run

log = logging.getLogger(__name__)

WAIT_SECONDS = 2.0
FAREWELL_SECONDS = 4.0  # Docker kills what has not ended ten seconds after it was told to stop
IN_USE_SECONDS = 30  # until a run is tried again in whose folder another process still trains
FAILURES_IN_A_ROW = 5  # more are a fault of the machine, not of the runs


@dataclass(frozen=True)
class Work:
    """What a worker is to do.

    Args:
        recipe: Take only runs of this one, and what they need.
        max_runs: Stop after so many.
        forever: Wait for more when the queue is empty.
        home: Where runs, logs and checkpoints go; default: the setting.
        progress: Show a progress bar for each run.
        on_start: Is told the key of each run that is begun.
        ranks: Processes that share each batch (see `cotrain.run`); this one alone talks to the database.
        max_failures: Stop when so many runs in a row have failed.
    """

    recipe: str | None = None
    max_runs: int | None = None
    forever: bool = False
    home: Path | None = None
    progress: bool = False
    on_start: Callable[[dict[str, Any]], None] = lambda _: None
    ranks: int | None = None
    max_failures: int = FAILURES_IN_A_ROW


def work(**options: Any) -> tuple[int, int]:
    """Take runs out of the queue and train them until it is empty.

    A run is taken when those that it needs are finished. While another worker trains one of these, this one waits for
    it; what needs a failed run stays in the queue. Runs of workers that fall silent are taken over, from their last
    checkpoint where its folder can be seen from here.

    Args:
        options: Fields of `Work`.

    Returns:
        How many runs were finished and how many failed. A failed one keeps its curve and its traceback.

    Raises:
        SystemExit: The process was told to stop (SIGTERM 143, Ctrl-C 130); the run is back in the queue.
        DatabaseError: Too many runs in a row have failed.
        DatabaseUnavailableError: The database was away for too long.
    """
    asked = Work(**options)
    worker = token_hex(16)  # hosts may share a name, and containers a process number
    home = (asked.home or home_folder()).resolve()
    finished = failed = in_a_row = 0
    with _stop_signals(), reporting(worker) as reporter:
        try:
            while asked.max_runs is None or finished + failed < asked.max_runs:
                outcome = _next(asked, worker, home, reporter)
                if outcome == "nothing":
                    time.sleep(WAIT_SECONDS)
                elif outcome == "empty":
                    break
                finished, failed = finished + (outcome == "done"), failed + (outcome == "failed")
                in_a_row = in_a_row + 1 if outcome == "failed" else 0 if outcome == "done" else in_a_row
                if in_a_row >= asked.max_failures:
                    raise DatabaseError(
                        f"{in_a_row} runs in a row failed here; this worker stops, so that it does not spoil the whole "
                        "queue. `cotrain ls --status failed` tells of them; mend the cause, then `cotrain retry --all`."
                    )
        except (SystemExit, KeyboardInterrupt) as stop:
            _say_farewell(worker)
            raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
    return finished, failed


def _next(asked: Work, worker: str, home: Path, reporter: Reporter) -> str:
    """Train one run: done, failed or lost; else nothing (for now) or empty."""
    for key in persistently(lambda: queue.pending(asked.recipe)):
        provenance = persistently(record_provenance)
        attempt = persistently(partial(claims.claim, key, worker, provenance))
        if attempt is not None:
            asked.on_start(key)
            return _train(attempt, asked, worker, home, reporter)
    if asked.forever or reporter.unsure or persistently(lambda: queue.worth_waiting(asked.recipe)):
        return "nothing"
    return "empty" if not persistently(lambda: queue.pending(asked.recipe)) else "nothing"


def _train(attempt: dict[str, Any], asked: Work, worker: str, home: Path, reporter: Reporter) -> str:
    reporter.begin(attempt)
    key = {"run_key": attempt["run_key"]}
    try:
        with log_file(attempt, home):
            try:
                log.info("attempt %d at run %s begins", attempt["attempt"], key["run_key"])
                experiment = persistently(lambda: Run.load(key))
                result = train(attempt, experiment, home, reporter, progress=asked.progress, ranks=asked.ranks)
                log.info("attempt %d at run %s is trained", attempt["attempt"], key["run_key"])
                persistently(lambda: claims.finish(attempt, worker, result))
                log.info("attempt %d at run %s is done", attempt["attempt"], key["run_key"])
                return "done"
            except BaseException as error:
                traced = error if isinstance(error, Exception) else None
                log.info("attempt %d ends: %s", attempt["attempt"], type(error).__name__, exc_info=traced)
                raise
    except DatabaseUnavailableError:
        raise
    except LostClaimError as error:
        log.warning("%s", error)
        return "lost"
    except FolderInUseError as error:
        log.warning("%s It is tried again in %d s.", error, IN_USE_SECONDS)
        why = str(error)
        persistently(lambda: claims.put_back(attempt, worker, why, later=IN_USE_SECONDS))
        return "lost"
    except Exception as error:
        text, stack = masked(explained(error)), masked(traceback.format_exc())
        told = masked(str(error)) if isinstance(error, CotrainError) else text
        log.error("Run %s failed: %s", key["run_key"], told)
        try:
            persistently(lambda: claims.fail(attempt, worker, text, stack))
        except LostClaimError as lost:
            log.warning("%s", lost)
            return "lost"
        return "failed"
    finally:
        reporter.end()


def explained(error: Exception) -> str:
    """What a run failed with: its kind, its text, and what to do where that is known."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return (
            f"OutOfMemoryError: the GPU ran out of memory: {one_line(error)} Train with smaller batches "
            "(mixing.batch_size, with mixing.accumulate to keep the step), in half precision (precision), or on a "
            "larger GPU (`cotrain retry` puts the run back)."
        )
    return f"{type(error).__name__}: {error}"


def _say_farewell(worker: str) -> None:
    """Put back what this worker has, within the time that containers are given."""
    try:
        persistently(lambda: claims.release(worker), patience=FAREWELL_SECONDS)
    except Exception as error:  # another worker will notice
        log.warning("The run could not be put back (%s); another worker takes it over.", one_line(error))


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM ends the worker in order also while nothing trains."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
