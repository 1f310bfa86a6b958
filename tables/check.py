"""Look through the whole database for what is wrong: tables, configs edited by hand, the queue, checkpoints, clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from cotrain.config import Config
from cotrain.errors import CotrainError
from cotrain.recipe import Experiment
from cotrain.resolve import read_config
from cotrain.tables import version
from cotrain.tables.configs import leaves, schema
from cotrain.tables.runs import PARTS, Attempt, Run, TrainedModel
from cotrain.tables.server import clock_skew
from cotrain.tables.store import verify_checkpoints
from cotrain.tables.upgrade import differences

SKEW_SECONDS = 5.0  # the reach of a heartbeat, which the server's clock stamps
FRESH_SECONDS = 60  # a job is reserved for a moment before its attempt is there

Configs = dict[str, dict[str, Config | None]]  # {part: {key: what was read, or None where it cannot be}}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or, as a warning, that may become so."""

    where: str
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning: ' * self.warning}{self.where}: {self.text}"


def check(*, checkpoints: bool = True, full: bool = False, progress: bool = False) -> list[Finding]:
    """Everything that is wrong in the database that is connected.

    Args:
        checkpoints: Also look whether the file of each checkpoint is in the store, with its size.
        full: Read these files as well, and compare their checksums.
        progress: Show a bar while it takes long.
    """

    def bar(rows: list[Any], text: str) -> Iterable[Any]:
        return tqdm(rows, desc=text, disable=not progress, delay=1, leave=False)

    found = [*_clock(), *_tables()]
    if any(not finding.warning for finding in found):
        return found  # questions to tables that are missing would fail
    read: Configs = {}
    for part, table in PARTS.items():
        read[part] = {}
        found += _configs(bar(table().to_dicts(), f"{part} configs"), table, read[part])
    found += _runs(bar(Run().to_dicts(), "runs"), read)
    found += _queue()
    if checkpoints:
        found += _checkpoints(full=full)
    return found


def _clock(*, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    ahead = clock_skew(schema.connection, now=now)
    if abs(ahead) > SKEW_SECONDS:
        side = "ahead of" if ahead > 0 else "behind"
        text = f"this machine's clock is {abs(ahead):.0f} s {side} the server's; set both by NTP"
        yield Finding("clock", text, warning=True)


def _tables() -> Iterator[Finding]:
    for missing in differences(version.look(schema.connection, schema.database).tables):
        yield Finding("tables", f"{missing}: {missing.obstacle or 'it is missing; `cotrain db upgrade` adds it'}")


def _configs(rows: Iterable[dict[str, Any]], table: Any, read: dict[str, Config | None]) -> Iterator[Finding]:
    column = f"{table.part}_key"
    attributes: dict[str, dict[str, tuple[float | None, str]]] = {}
    for leaf in table.Attr().to_dicts():
        attributes.setdefault(leaf[column], {})[leaf["path"]] = leaf["num"], leaf["txt"]
    for row in rows:
        key, record = row[column], row[f"{table.part}_config"]
        where = f"{table.__name__} {key}"
        try:
            config = read[key] = read_config(record, stored=True)
        except CotrainError as error:
            read[key] = None
            yield Finding(where, f"cannot be read here: {error}", warning=True)
        else:
            if config.key() != key:
                yield Finding(where, f"edited by hand: its content has the key {config.key()}")
        if wrong := _unlike(attributes.get(key, {}), record):
            yield Finding(where, f"rows of Attr that disagree with the config: {', '.join(wrong[:5])}")


def _unlike(held: dict[str, tuple[float | None, str]], record: dict[str, Any]) -> list[str]:
    """Paths at which the rows to search by and the config differ; a number is one, however it is written."""
    wanted = {path: number if number is not None else text for path, number, text in leaves(record)}
    there = {path: number if number is not None else text for path, (number, text) in held.items()}
    return sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def _runs(rows: Iterable[dict[str, Any]], read: Configs) -> Iterator[Finding]:
    for row in rows:
        where = f"Run {row['run_key']}"
        parts = {part: row[f"{table.part}_key"] for part, table in PARTS.items()}
        if missing := [f"{part} {key}" for part, key in parts.items() if key not in read[part]]:
            yield Finding(where, f"its {', '.join(missing)} is missing")
            continue
        configs: dict[str, Any] = {part: read[part][key] for part, key in parts.items()}
        if None in configs.values():
            continue  # told of the config
        key = Experiment(label=row["run_key"], seed=row["seed"], **configs).key()
        if key != row["run_key"]:
            yield Finding(where, f"edited by hand, or its configs were: its content has the key {key}")


def _queue() -> Iterator[Finding]:
    jobs = {row["run_key"]: row["status"] for row in TrainedModel.jobs.to_dicts()}
    since = f"reserved_time < CURRENT_TIMESTAMP - INTERVAL '{FRESH_SECONDS}' SECOND"
    reserved = {row["run_key"] for row in (TrainedModel.jobs.reserved & since).keys()}
    running = {row["run_key"] for row in (Attempt() & "status = 'running'").proj().to_dicts()}
    finished = {row["run_key"] for row in TrainedModel().proj().to_dicts()}
    known = {row["run_key"] for row in Run().proj().to_dicts()}
    for run in sorted(reserved - running):
        yield Finding(f"Run {run}", "a worker took it from the queue, and no attempt at it is running; `cotrain reap`")
    for run in sorted(running):
        if jobs.get(run) != "reserved":
            yield Finding(f"Run {run}", "an attempt is running, and no worker holds it; `cotrain reap`")
    for run in sorted(jobs.keys() - known):
        yield Finding(f"Run {run}", "it stands in the queue, and is deleted", warning=True)
    for run in sorted(run for run in jobs.keys() & finished if jobs[run] in ("pending", "error")):
        yield Finding(f"Run {run}", f"it is finished, and stands in the queue as {jobs[run]!r}", warning=True)


def _checkpoints(*, full: bool) -> Iterator[Finding]:
    for sentence in verify_checkpoints(full=full):
        place, _, text = sentence.partition(": ")
        yield Finding(place, text)
