"""Finished runs that others need: found, required, and written from what a database holds of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from cotrain.chains import NeededRun, RunOfConfig, needed_runs, resolved, run_of
from cotrain.errors import CotrainError, MissingRunError, RunFolderError
from cotrain.recipe import Experiment
from cotrain.settings import home_folder
from cotrain.training._checkpoint import RunFolder
from cotrain.training._sinks import JournalSink, Score, write_atomically

__all__ = [
    "RunOfConfig",
    "find_run",
    "finished_folder",
    "looking_beside",
    "read_experiment",
    "require_needed_runs",
    "run_of",
    "write_finished",
]

# Folders of runs in which a run that is needed is looked for before the home folder.
_beside: ContextVar[tuple[Path, ...]] = ContextVar("beside", default=())


@contextmanager
def looking_beside(runs: Path) -> Iterator[None]:
    """Look for finished runs in this folder, too, before the home folder."""
    token = _beside.set((runs, *_beside.get()))
    try:
        yield
    finally:
        _beside.reset(token)


def find_run(key: str) -> RunFolder | None:
    """The folder of a finished run; None where there is none."""
    folders = [RunFolder(runs / key) for runs in _places()]
    return next((folder for folder in folders if folder.result.is_file()), None)


def finished_folder(reference: str | RunOfConfig, *, seed: int) -> RunFolder:
    """The folder of the finished run that a field names.

    Args:
        reference: Key of the run, or what it is of.
        seed: Of the experiment that names it.

    Raises:
        MissingRunError: It is not there.
        RunFolderError: Its folder holds another run.
    """
    return _required(resolved(reference, seed=seed))


def require_needed_runs(experiment: Experiment) -> None:
    """Refuse to start where a run that the experiment needs is not finished.

    Raises:
        MissingRunError: Names the run and how to train it.
    """
    for needed in needed_runs(experiment):
        _required(needed, f", which {experiment.label!r} needs,")


def read_experiment(folder: RunFolder) -> Experiment:
    """What was trained in a folder.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    try:
        text = folder.experiment.read_text(encoding="utf-8")
        return Experiment.from_yaml(text)
    except (OSError, UnicodeDecodeError, CotrainError) as error:
        raise RunFolderError(f"{folder.experiment} cannot be read: {error}") from None


def write_finished(
    folder: RunFolder,
    experiment: Experiment,
    *,
    info: Mapping[str, Any],
    weights: bytes,
    best_epoch: int,
    epochs: Sequence[Score],
    tested: Sequence[Score],
    seconds: float,
) -> None:
    """Write the files of a run that was finished elsewhere. Each is whole or not there, and the result comes last.

    Several processes may do so at once: they write the same.

    Args:
        folder: Where to; what an unfinished run left there is written over.
        experiment: What was run.
        info: The record of its data's info.
        weights: The content of its `best.pt`.
        best_epoch: The epoch that validation chose.
        epochs: The scores of all epochs, in their order.
        tested: The test scores.
        seconds: Wall time of training.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    write_atomically(folder.experiment, experiment.to_yaml().encode())
    write_atomically(folder.info, json.dumps(info).encode())
    # not in its place: of two processes that write the same run, each would add the last line
    journal = JournalSink(folder.path / f".{folder.journal.name}.written.{os.getpid()}.tmp")
    journal.start(epochs, max((score.epoch for score in epochs), default=None))
    journal.finish(best_epoch, tested)
    journal.path.replace(folder.journal)
    write_atomically(folder.best, weights)
    result = {"best_epoch": best_epoch, "seconds_since_last_start": round(seconds, 1)}
    write_atomically(folder.result, json.dumps(result).encode())


def _places() -> tuple[Path, ...]:
    return tuple(dict.fromkeys((*_beside.get(), home_folder() / "runs")))


def _required(needed: NeededRun, by: str = "") -> RunFolder:
    folder = find_run(needed.key)
    if folder is None:
        only = "" if needed.experiment is None else f' --only "{needed.experiment.label}"'
        raise MissingRunError(
            f"There is no finished run {needed}{by} in {' or '.join(map(str, _places()))}. Train it first "
            f"(`cotrain run RECIPE{only}` or `cotrain work` with this COTRAIN_HOME), or copy its folder there."
        )
    if (held := read_experiment(folder).key()) != needed.key:
        raise MissingRunError(f"{folder.path} holds the run {held}. Give its folder that name, and name that run.")
    return folder
