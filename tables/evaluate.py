"""Evaluate finished runs: model and data of each, shared among processes, failures recorded."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cotrain.config import Config, canonical
from cotrain.data import Data
from cotrain.errors import CotrainError, DatabaseError, DataError
from cotrain.resolve import build, read_config
from cotrain.settings import home_folder
from cotrain.tables._frames import frame as rows_of
from cotrain.tables.evaluations import Evaluation, table_of
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.masking import mask_failure, masked
from cotrain.tables.restore import fetch_needed, restore
from cotrain.tables.runs import RecipeRun, Run, TrainedModel
from cotrain.tables.store import load_model
from cotrain.training import RunFolder, load, looking_beside

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from cotrain.models import MultiTaskModel

log = logging.getLogger(__name__)

_on_condition: ContextVar[Callable[[], Any]] = ContextVar("on_condition", default=lambda: None)
"""What an evaluation tells of its progress; DataJoint, which stands between, hands on values that can be compared."""


@dataclass
class Evaluated:
    """What an evaluation came to: counts of runs, and {key of a run: why it failed}.

    `known` were evaluated before, `elsewhere` are being evaluated by other processes.
    """

    done: int = 0
    known: int = 0
    elsewhere: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def evaluate(
    config: Config,
    runs: Any,
    *,
    home: Path | None = None,
    progress: bool = False,
    take_over: bool = False,
    on_failure: Callable[[str, str], None] = lambda _key, _text: None,
) -> Evaluated:
    """Evaluate the finished ones of some runs unless they are.

    Several processes may do so at once: each run is taken by one of them. What failed before is tried again. An
    evaluation under many conditions keeps each that is finished in `evaluations` in the home folder, and goes on there.

    Args:
        config: Of the evaluation.
        runs: A DataJoint query of runs.
        home: Whose `runs` hold what data need; default: the setting.
        progress: Show a progress bar, over conditions where there are several.
        take_over: Also evaluate what other processes seem to hold, which are known to have died on other machines.
        on_failure: Is told the key of each run that fails, and why.

    Raises:
        DatabaseError: No table holds such evaluations.
        DataError: The data of some of these runs are not here, or are others; all are named, nothing is computed.
        SystemExit: The process was told to stop (SIGTERM 143, Ctrl-C 130).
    """
    table = table_of(config.kind)
    added = Evaluation.add(config)
    finished = ((TrainedModel() & runs.proj()).proj() * Run().proj("dataset_key", "seed")).to_dicts()
    finished.sort(key=lambda row: (row["dataset_key"], row["seed"]))  # those of the same data follow each other
    done = {row["run_key"] for row in (table() & added).proj().to_dicts()}
    todo = [row for row in finished if row["run_key"] not in done]
    folder = str((home or home_folder()).resolve())
    _drop_journals(folder, added, done)
    _require_data(todo, folder)
    if table.by_epoch and "kept" in config.epochs:  # type: ignore[attr-defined]
        _warn_of_none_kept(config, [row["run_key"] for row in todo])
    keys = [{"run_key": row["run_key"], **added} for row in todo]
    _queue(table, keys, take_over)
    found = Evaluated(known=len(done & {row["run_key"] for row in finished}))
    steps = table.steps(config)
    name, unit = config.kind.rpartition(".")[2], "run" if steps is None else "condition"
    with tqdm(total=len(keys) * (steps or 1), desc=name, unit=unit, disable=not progress) as bar, _telling(bar):
        for place, key in enumerate(keys, 1):
            outcome = _one(table, key, folder)
            if isinstance(outcome, str):
                found.failed[key["run_key"]] = outcome
                on_failure(key["run_key"], outcome)
            elif outcome:
                found.done += 1
                _drop_journals(folder, added, [key["run_key"]])
            else:
                found.elsewhere += 1
            bar.update(place * (steps or 1) - bar.n)  # also for a run that lacks such tasks, or failed
    return found


def frame(config: Config, runs: Any, part: str = "") -> pd.DataFrame:
    """What was evaluated of some runs: run_key, label, seed, and the columns of the table's part; null is NaN.

    Rows are in the order of the part's primary key. Of corruptions they are those of the config's version alone.

    Args:
        config: Of the evaluation.
        runs: A DataJoint query of runs.
        part: Name of the part, of tables that have several; default: the first.
    """
    table = table_of(config.kind).part(part)()
    query = (table & {"evaluation_key": config.key()} & runs.proj()) * Run().proj("seed")
    own = [name for name in table.heading.names if name not in ("run_key", "evaluation_key")]
    found = rows_of(query, "run_key", "seed", *own)
    numbers = {name for name in own if str(table.heading.attributes[name].original_type) == "float64"}
    found = found.astype(dict.fromkeys(numbers, float))
    keys = ["run_key", *(name for name in own if name in table.primary_key)]
    found = found.sort_values(keys, ignore_index=True)
    labels = {row["run_key"]: row["label"] for row in (RecipeRun() & runs.proj()).to_dicts(order_by="recipe")}
    found.insert(1, "label", found["run_key"].map(labels).fillna(""))
    return found


def journal_of(home: str | Path, evaluation_key: str, run_key: str) -> Path:
    """Where the finished conditions of an evaluation that is under way are kept."""
    return Path(home) / "evaluations" / evaluation_key / f"{run_key}.jsonl"


def computed(key: dict[str, Any], config: Config, fingerprint: str, home: str) -> dict[str, Any]:
    """What an evaluation's table stores of one run."""
    import torch

    started = time.monotonic()
    run = {"run_key": key["run_key"]}
    data = _data(run, fingerprint, home)
    table = table_of(config.kind)
    more: dict[str, Any] = {}
    if table.steps(config) is not None:
        more = {"journal": journal_of(home, key["evaluation_key"], run["run_key"]), "on_condition": _on_condition.get()}
    seed, device = (Run() & run).fetch1("seed"), _device()
    parts: dict[str, list[dict[str, Any]]] = {table.rows: []}
    for columns, model in _models(run, config, Path(home) / "runs"):
        for found in build(config, model.to(device), data, device=device, seed=seed, **more):
            row = columns | {name: _stored(value) for name, value in asdict(found).items()}
            parts.setdefault(table.by_type.get(type(found).__name__, table.rows), []).append(row)
    return {
        "parts": parts,
        f"{table.prefix}_count": len(parts[table.rows]),
        f"{table.prefix}_seconds": time.monotonic() - started,
        f"{table.prefix}_device": torch.cuda.get_device_name()[:128] if device.type == "cuda" else "cpu",
        **table.facts(config),
    }


def restored(run: dict[str, str], *, home: Path | None = None) -> tuple[MultiTaskModel, Data, torch.device]:
    """The model of a finished run, the data that it was trained on, and where the model is: the GPU if there is one.

    Args:
        run: Its primary key.
        home: Whose `runs` hold what data need; default: the setting.

    Raises:
        DatabaseError: The run is not finished.
        DataError: Its data are not here, or are others.
    """
    rows = (TrainedModel() & run).to_dicts()
    if not rows:
        raise DatabaseError(f"The run {run['run_key'][:8]} is not finished. `cotrain ls` says how far it is.")
    data = _data(run, rows[0]["data_info"]["fingerprint"], str((home or home_folder()).resolve()))
    device = _device()
    return _model(run).to(device), data, device


def epochs_of(run: dict[str, str], which: Collection[str]) -> list[int]:
    """The epochs of a finished run that a field of type `cotrain.evaluations.Epochs` names, in their order; 0: initial.

    Those kept are what the database has: none of a run that kept none.
    """
    found = set(KeptWeights.epochs(run)) if "kept" in which else set()
    found |= {(TrainedModel() & run).fetch1("best_epoch")} if "best" in which else set()
    return sorted(found | ({0} if "initial" in which else set()))


def _models(run: dict[str, str], config: Any, runs: Path) -> Iterator[tuple[dict[str, int], MultiTaskModel]]:
    """The models that an evaluation is of, one at a time, each with the columns that say which it is."""
    if not table_of(config.kind).by_epoch:
        yield {}, _model(run)
        return
    for epoch in epochs_of(run, config.epochs):
        with looking_beside(runs):  # for what the first weights of a run start from
            model = load_model(run, epoch=epoch)
        yield {"epoch": epoch}, model


def _warn_of_none_kept(config: Any, runs: list[str]) -> None:
    kept = {row["run_key"] for row in KeptWeights().proj().to_dicts()}
    if without := [run for run in runs if run not in kept]:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        others = " and ".join(name for name in config.epochs if name != "kept")
        log.warning(
            "No epochs were kept of %s%s (by `keep_epochs` of the trainer's config, when a run is trained); %s.",
            ", ".join(run[:8] for run in without[:3]),
            more,
            f"these are evaluated at {others} alone" if others else "they get no rows",
        )


def _model(run: dict[str, str]) -> MultiTaskModel:
    with tempfile.TemporaryDirectory(prefix="cotrain-") as folder:
        restore(run, RunFolder(Path(folder)))
        return load(folder).model


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def _telling(bar: Any) -> Iterator[None]:
    """Finished conditions move the bar."""
    token = _on_condition.set(lambda: bar.update())
    try:
        yield
    finally:
        _on_condition.reset(token)


def _drop_journals(home: str, evaluation: dict[str, str], run_keys: Iterable[str]) -> None:
    """What is stored needs no journal; one may also be left of a process that was killed between the two."""
    folder = journal_of(home, evaluation["evaluation_key"], "").parent
    there = {path.stem: path for path in folder.glob("*.jsonl")}
    for run_key in run_keys:
        if run_key in there:
            there[run_key].unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are under way, or there is none
        folder.rmdir()


def _stored(value: Any) -> Any:
    """MySQL stores neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _one(table: Any, key: dict[str, Any], home: str) -> bool | str:
    """Whether one was evaluated here; False: another process has it; text: why it failed."""
    result = None
    try:
        result = table.populate(
            key,
            reserve_jobs=True,
            refresh=False,
            suppress_errors=True,
            return_exception_objects=True,
            make_kwargs={"home": home},
        )
        error = result["error_list"][0][1] if result["error_list"] else None
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
    except (KeyboardInterrupt, SystemExit) as stop:
        (table.jobs & key).delete_quick()  # populate() takes a signal for a failure
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None
    if error is None:
        return bool(result["success_count"])
    mask_failure(table.jobs, key)
    return masked(str(error) if isinstance(error, CotrainError) else f"{type(error).__name__}: {error}")


def _queue(table: Any, keys: list[dict[str, Any]], take_over: bool) -> None:
    """Make a job of each key, but for those that a living process holds."""
    jobs = table.jobs
    held = [row for row in jobs.to_dicts() if row["status"] in ("error", "reserved")]
    for row in held:
        key = {name: row[name] for name in ("run_key", "evaluation_key")}
        here = row["host"] == platform.node() and not Path(f"/proc/{row['pid']}").exists() and os.name == "posix"
        if key in keys and (row["status"] == "error" or here or take_over):
            (jobs & key).delete_quick()
    jobs.insert([{**key, "status": "pending", "priority": 5} for key in keys], skip_duplicates=True)


def _require_data(todo: list[dict[str, Any]], home: str) -> None:
    """Refuse to begin where the data of a run cannot be built; of runs that differ in the seed alone one is tried."""
    first: dict[str, dict[str, Any]] = {}
    for row in todo:
        first.setdefault(row["dataset_key"], row)
    problems = []
    for row in reversed(first.values()):  # the first one's data are still there when its evaluation begins
        run = {"run_key": row["run_key"]}
        try:
            _data(run, (TrainedModel() & run).fetch1("data_info")["fingerprint"], home)
        except CotrainError as error:
            runs = sum(other["dataset_key"] == row["dataset_key"] for other in todo)
            problems.append(f"{run['run_key'][:8]}{f' and {runs - 1} more' * (runs > 1)}: {error}")
    if problems:
        raise DataError(
            "The data of these runs cannot be had here, and nothing was evaluated:\n  " + "\n  ".join(problems)
        )


def _data(run: dict[str, str], fingerprint: str, home: str) -> Data:
    """The data of a run, as it was trained on them."""
    row = (Run() & run).fetch1()
    experiment = Run.load(run)
    runs = Path(home) / "runs"
    fetch_needed(experiment, runs)
    with looking_beside(runs):
        data = _built(canonical(experiment.data.record()), row["seed"])
    if data.info.fingerprint != fingerprint:
        raise DataError(
            f"The run was trained on other data (fingerprint {fingerprint}, now {data.info.fingerprint}): a data file "
            "has changed. Restore it, or set COTRAIN_DATA to the folder of the old one."
        )
    return data


@functools.lru_cache(maxsize=1)
def _built(config: str, seed: int) -> Data:
    data: Data = build(read_config(json.loads(config)), seed=seed)
    return data
