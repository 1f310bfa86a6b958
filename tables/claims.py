"""Who has which run: every transaction that changes it (docs/decisions/0013-workers.md).

Each may be done again where the database did it and the answer was lost. Those of an attempt do nothing unless it is
`running` under the worker's name.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from typing import Any

from cotrain.errors import DatabaseError, LostClaimError
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.masking import masked
from cotrain.tables.runs import Attempt, RecipeRun, Run, TrainedModel

JOB_WAITS = "status = 'pending', reserved_time = NULL, completed_time = NULL, error_message = '', host = '', pid = 0"


def claim(key: dict[str, str], worker: str, provenance: dict[str, str]) -> dict[str, Any] | None:
    """Take a run out of the queue; the primary key of the attempt, or None where it is taken.

    Args:
        key: Of the run.
        worker: Name of the worker.
        provenance: Primary key of the code and environment that it runs with.
    """
    held = (Attempt() & key & {"worker": worker, "status": "running"}).keys()
    if held:  # claimed, and the answer was lost
        return dict(held[0])
    try:
        with schema.connection.transaction:
            if not TrainedModel.jobs.reserve(key):
                return None
            if TrainedModel() & key:
                (TrainedModel.jobs & key).delete_quick()
                return None
            attempt = {**key, "attempt": 1 + max((row["attempt"] for row in (Attempt() & key).keys()), default=0)}
            Attempt.insert1(
                {
                    **attempt,
                    **provenance,
                    "status": "running",
                    "worker": worker,
                    "host": platform.node()[:64],
                    "pid": os.getpid(),
                    "device": _device(),
                    "command": masked(shlex.join(sys.argv))[:1024],
                }
            )
    except dj.errors.DuplicateError:  # another worker was here since this transaction's view of the table began
        return None
    return attempt


def finish(attempt: dict[str, Any], worker: str, result: dict[str, Any]) -> None:
    """Store what an attempt came to: columns of `TrainedModel`, `scores`, rows of its part, and `kept`.

    `kept`, which may be missing, is {epoch: weights after it}.

    Raises:
        LostClaimError: The run is no longer this worker's.
    """
    key = {"run_key": attempt["run_key"]}
    row = {**attempt, **{name: value for name, value in result.items() if name not in ("scores", "kept")}}
    with schema.connection.transaction:
        if _end(schema.connection, attempt, worker, "done"):
            TrainedModel.insert1(row, allow_direct_insert=True)
            TrainedModel.Score.insert(({**key, **score} for score in result["scores"]), allow_direct_insert=True)
            kept = result.get("kept", {}).items()
            KeptWeights.insert({**key, "epoch": epoch, "kept_state": weights} for epoch, weights in kept)
            (TrainedModel.jobs & key).delete_quick()


def fail(attempt: dict[str, Any], worker: str, error: str, stack: str) -> None:
    """Record what an attempt failed with; its run waits for `cotrain retry`.

    Raises:
        LostClaimError: The run is no longer this worker's.
    """
    key = {"run_key": attempt["run_key"]}
    with schema.connection.transaction:
        if _end(schema.connection, attempt, worker, "failed"):
            Attempt.update1({**attempt, "error": error[:2047], "stack": stack})
            if TrainedModel.jobs & key:  # it may have been removed from the queue
                TrainedModel.jobs.error(key, error, stack)


def put_back(attempt: dict[str, Any], worker: str, why: str, *, later: int = 0) -> None:
    """Interrupt an attempt: its run waits in the queue again, for at least `later` seconds."""
    with schema.connection.transaction:
        if _end(schema.connection, attempt, worker, "interrupted"):
            Attempt.update1({**attempt, "error": why[:2047]})
            _requeue(schema.connection, attempt["run_key"], later=later)


def release(worker: str) -> None:
    """Put back whatever a worker has: it ends."""
    for row in (Attempt() & {"worker": worker, "status": "running"}).keys():
        put_back(dict(row), worker, "the worker was told to stop")


def reap(connection: Any, run_key: str, attempt: int, heartbeat: Any) -> bool:
    """Take a run from a worker whose sign of life has been the same for too long; whether it had stayed the same.

    Args:
        connection: The caller's own.
        run_key, attempt: Which attempt.
        heartbeat: Its last sign of life, as it was read.
    """
    with connection.transaction:
        found = connection.query(
            f"UPDATE {Attempt.full_table_name} SET status = 'lost', finished = CURRENT_TIMESTAMP, error = %s "
            "WHERE run_key = %s AND attempt = %s AND status = 'running' AND heartbeat = %s",
            args=("its worker fell silent; another one goes on", run_key, attempt, heartbeat),
        )
        if found.rowcount != 1:
            return False
        _requeue(connection, run_key)
    return True


def is_held(connection: Any, attempt: dict[str, Any], worker: str) -> bool:
    """Whether an attempt is still this worker's."""
    found = connection.query(
        f"SELECT status FROM {Attempt.full_table_name} WHERE run_key = %s AND attempt = %s AND worker = %s",
        args=(attempt["run_key"], attempt["attempt"], worker),
    ).fetchone()
    return found is not None and found[0] == "running"


def _end(connection: Any, attempt: dict[str, Any], worker: str, status: str) -> bool:
    """End a running attempt; False where that was done before."""
    where = (attempt["run_key"], attempt["attempt"], worker)
    found = connection.query(
        f"UPDATE {Attempt.full_table_name} SET status = %s, finished = CURRENT_TIMESTAMP "
        "WHERE run_key = %s AND attempt = %s AND worker = %s AND status = 'running'",
        args=(status, *where),
    )
    if found.rowcount == 1:
        return True
    now = connection.query(
        f"SELECT status FROM {Attempt.full_table_name} WHERE run_key = %s AND attempt = %s AND worker = %s", args=where
    ).fetchone()
    if now is not None and now[0] == status:
        return False
    what = "was deleted" if now is None else f"is {now[0]}: this worker was silent for too long"
    raise LostClaimError(f"Attempt {attempt['attempt']} at run {attempt['run_key']} {what}. Nothing more is stored.")


def _requeue(connection: Any, run_key: str, *, later: int = 0) -> None:
    jobs = TrainedModel.jobs.full_table_name
    when = f", scheduled_time = CURRENT_TIMESTAMP(3) + INTERVAL '{later}' SECOND" if later else ""
    connection.query(f"UPDATE {jobs} SET {JOB_WAITS}{when} WHERE run_key = %s AND status = 'reserved'", args=(run_key,))


def failed(recipe: str | None = None) -> list[dict[str, str]]:
    """Keys of the runs of a recipe (None: of all) whose last attempt failed."""
    found = TrainedModel.jobs.errors
    if recipe is not None:
        members = (RecipeRun() & {"recipe": recipe}).proj()
        found = found.restrict((Run() & members).proj(), semantic_check=False)
    keys: list[dict[str, str]] = found.keys()
    return keys


def retry(keys: list[dict[str, str]]) -> int:
    """Put failed runs into the queue again, with the priority that they had; how many there were.

    Raises:
        DatabaseError: One of them has not failed.
    """
    known = {row["run_key"] for row in (TrainedModel.jobs.errors & keys).keys()} if keys else set()
    for key in keys:
        if key["run_key"] not in known:
            raise DatabaseError(
                f"Run {key['run_key']} has not failed, so it is not tried again. `cotrain ls` shows its state."
            )
    jobs = TrainedModel.jobs.full_table_name
    with schema.connection.transaction:
        for run_key in sorted(known):
            query = f"UPDATE {jobs} SET {JOB_WAITS}, error_stack = NULL WHERE run_key = %s AND status = 'error'"
            schema.connection.query(query, args=(run_key,))
    return len(known)


def reap_all(silent: int) -> int:
    """Take the runs from all workers that have been silent for so many seconds of the database's clock; how many.

    Jobs that nobody has, which only work by hand on the tables can leave, wait again as well.
    """
    since = f"CURRENT_TIMESTAMP - INTERVAL '{silent}' SECOND"
    rows = (Attempt() & "status = 'running'" & f"heartbeat < {since}").proj("heartbeat").to_dicts()
    taken = sum(reap(schema.connection, row["run_key"], row["attempt"], row["heartbeat"]) for row in rows)
    held = {row["run_key"] for row in (Attempt() & "status = 'running'").keys()}
    for row in (TrainedModel.jobs.reserved & f"reserved_time < {since}").keys():
        if row["run_key"] not in held:
            _requeue(schema.connection, row["run_key"])
            taken += 1
    return taken


def _device() -> str:
    import torch

    return torch.cuda.get_device_name()[:128] if torch.cuda.is_available() else "cpu"
