"""Runs leave the database, with all that hangs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError
from cotrain.tables._datajoint import dj
from cotrain.tables.runs import ParentRun, Run, TrainedModel
from cotrain.tables.selection import only
from cotrain.tables.states import states


@dataclass(frozen=True)
class Removal:
    """What deleting runs would take with it.

    Args:
        runs: Keys of the runs.
        rows: {table, in words: its rows}, of all tables with any.
        training: Keys of those that are being trained, and so cannot be deleted.
        needed: (run that stays, its parent that would go): without this the former cannot be trained, or repeated.
    """

    runs: list[str]
    rows: dict[str, int]
    training: list[str]
    needed: list[tuple[str, str]]


def plan_removal(selection: Any) -> Removal:
    """What deleting these runs would take with it; nothing is changed."""
    table = states(selection)
    runs = sorted(table.index)
    rows = {}
    for held in dj.Diagram.cascade(Run() & only(runs)) if runs else ():
        # len() would compare all keys with each other
        count = dj.U().aggr(held, n="COUNT(*)").fetch1("n")
        rows[held.table_name.strip("#_~").replace("__", " ").replace("_", " ")] = int(count)
    jobs = len(TrainedModel.jobs & only(runs))
    pairs = (ParentRun() & only(runs, "parent_key")).to_dicts(order_by="run_key, parent_key")
    return Removal(
        runs,
        {name: count for name, count in {**rows, "job": jobs}.items() if count},
        sorted(table.index[table.state == "running"]),
        [(pair["run_key"], pair["parent_key"]) for pair in pairs if pair["run_key"] not in table.index],
    )


def remove(runs: Sequence[str]) -> None:
    """Delete runs, given by their keys, with all rows that hang on them, and their jobs; all of them or none.

    Their weights stay in the store until it is swept (`cotrain gc`).

    Raises:
        DatabaseError: One of them is being trained.
    """
    with Run.connection.transaction:
        jobs = TrainedModel.jobs & only(runs)
        (jobs & "status <> 'reserved'").delete_quick()  # from here on no worker can take one
        table = states(Run() & only(runs))
        if training := sorted(table.index[table.state == "running"]):
            raise DatabaseError(
                f"{len(training)} of these runs are being trained: {', '.join(key[:8] for key in training[:5])}. Stop "
                "their workers first, or wait."
            )
        (Run() & only(runs)).delete(transaction=False, prompt=False)
        jobs.delete_quick()


def folders_of(runs: Sequence[str], home: Path) -> list[Path]:
    """The folders that these runs have on this machine."""
    return [folder for run in runs if (folder := home / "runs" / run).is_dir()]
