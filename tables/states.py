"""How far runs are, in a word each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotrain.tables._frames import frame
from cotrain.tables.runs import Attempt, ParentRun, TrainedModel

if TYPE_CHECKING:
    import pandas as pd

STATES = ("not queued", "queued", "waiting", "running", "done", "failed", "interrupted", "lost")
"""A waiting run needs another one, which is named with it; a lost one's worker has fallen silent."""

SILENT_SECONDS = 60  # several heartbeats

ATTEMPT_COLUMNS = ("attempt", "status", "worker", "host", "device", "started", "finished", "epoch", "error")


def states(selection: Any) -> pd.DataFrame:
    """One row a run, by its key: its state and its last attempt (`ATTEMPT_COLUMNS`, NaN before the first)."""
    import pandas as pd

    keys = selection.proj()
    found = frame(keys, "run_key").set_index("run_key")
    found = found.join(last_attempts(keys))
    job_table = TrainedModel.jobs.restrict(keys, semantic_check=False)
    jobs: dict[str, str] = dict(frame(job_table, "run_key", "status").itertuples(index=False))
    waiting: dict[str, str] = {}
    for pair in (ParentRun.unfinished() & keys).to_dicts(order_by="run_key, parent_key"):
        waiting.setdefault(pair["run_key"], pair["parent_key"])
    done = set(frame(TrainedModel() & keys, "run_key").run_key)
    silent = set(frame(_silent() & keys, "run_key").run_key)

    def state(run: str, status: Any) -> str:
        job = jobs.get(run)
        if run in done:
            return "done"
        if job == "pending":  # also after an interruption: it will go on
            return f"waiting for {waiting[run][:8]}" if run in waiting else "queued"
        if status == "running" and run in silent:
            return "lost"
        if isinstance(status, str):
            return status
        return {"reserved": "running", "error": "failed"}.get(str(job), "not queued")

    words = [state(run, status) for run, status in zip(found.index, found.status, strict=True)]
    found["state"] = pd.Series(words, index=found.index, dtype="str")  # also where there is none
    return found


def last_attempts(keys: Any) -> pd.DataFrame:
    """The last attempt at each run that has one."""
    found = frame(Attempt() & keys, "run_key", *ATTEMPT_COLUMNS)
    return found.sort_values("attempt").drop_duplicates("run_key", keep="last").set_index("run_key")


def _silent() -> Any:
    since = f"CURRENT_TIMESTAMP - INTERVAL '{SILENT_SECONDS}' SECOND"
    return Attempt() & "status = 'running'" & f"heartbeat < {since}"
