"""What may be deleted: files in the store that no row names, and folders of finished runs."""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cotrain.errors import DatabaseError, StoreError
from cotrain.settings import home_folder
from cotrain.tables._datajoint import dj
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.runs import ParentRun, Run, TrainedModel
from cotrain.tables.store import stored_files, stored_weights
from cotrain.tables.weights import folders_of_key, opened_store
from cotrain.training import RunFolder

log = logging.getLogger(__name__)

GRACE_HOURS = 24.0  # longer than a worker that has stored its weights may wait for the database
FOLDERS = ("stored", "unknown")
FAILED = "Garbage cannot be collected"
ADVICE = "Nothing else was changed; the same command goes on."


@dataclass(frozen=True)
class Garbage:
    """Something that may be deleted.

    Args:
        kind: "file" in the store that no row names; folder of a run that is finished and "stored", or "unknown" to the
            database.
        place: Path within the store, or of the folder.
        size: In bytes.
    """

    kind: str
    place: str
    size: int


def find_garbage(
    *, folders: Collection[str] = (), grace_hours: float = GRACE_HOURS, home: Path | None = None
) -> list[Garbage]:
    """What may be deleted; nothing is.

    Left alone are what was written less than `grace_hours` ago (a worker stores weights before it inserts their row),
    files of runs that a worker has, folders of unfinished runs, folders in which a process trains, and those of runs
    that an unfinished one needs.

    Args:
        folders: Also look for folders of finished runs: of those "stored", of those "unknown" to the database.
        grace_hours: The least age.
        home: Whose `runs` are looked through; default: the setting.

    Raises:
        DatabaseError: Wrong arguments.
        StoreError: The store does not answer, or refuses.
    """
    if wrong := sorted(set(folders) - set(FOLDERS)):
        raise DatabaseError(f"folders are any of {', '.join(FOLDERS)}; found {', '.join(wrong)}.")
    if not 0 <= grace_hours < float("inf"):
        raise DatabaseError(f"A grace time is a number of hours, 0 or more; found {grace_hours}.")
    oldest = time.time() - 3600 * grace_hours
    runs = (home or home_folder()) / "runs"
    return [*_files(oldest), *(_folders(runs, folders, oldest) if folders else ())]


def delete(garbage: Sequence[Garbage]) -> list[Garbage]:
    """Delete what `find_garbage` found; what was deleted.

    A folder stays where a process trains in it by now, or where the copy of its weights in the store is not whole.

    Raises:
        StoreError: The store does not answer, or refuses.
    """
    return [found for found in garbage if (_delete_file if found.kind == "file" else _delete_folder)(found)]


def _files(oldest: float) -> Iterator[Garbage]:
    files = stored_files()  # before the jobs, and these before the rows: what is inserted meanwhile is seen
    busy = {f"run_key={job['run_key']}" for job in TrainedModel.jobs.reserved.keys()}
    named = {weights.path for _, weights in stored_weights()}
    with opened_store(dj.config, FAILED, ADVICE) as backend:
        for path, size in sorted(files.items()):
            if path in named or busy.intersection(PurePosixPath(path).parts):
                continue
            if backend.fs.modified(backend._full_path(path)).timestamp() <= oldest:
                yield Garbage("file", path, size)


def _folders(runs: Path, wanted: Collection[str], oldest: float) -> Iterator[Garbage]:
    known = {row["run_key"] for row in Run().proj().to_dicts()}
    stored = {row["run_key"] for row in TrainedModel().proj().to_dicts()}
    needed = {row["parent_key"] for row in (ParentRun() - TrainedModel().proj()).to_dicts()}
    for path in sorted(runs.iterdir()) if runs.is_dir() else ():
        result = RunFolder(path).result
        if not re.fullmatch("[0-9a-f]{32}", path.name) or path.is_symlink() or path.name in needed:
            continue
        kind = "stored" if path.name in stored else "unfinished" if path.name in known else "unknown"
        if kind in wanted and result.is_file() and result.stat().st_mtime <= oldest and not _in_use(path):
            size = sum(held.lstat().st_size for held in path.rglob("*") if not held.is_dir())
            yield Garbage(kind, str(path), size)


def _delete_file(found: Garbage) -> bool:
    with opened_store(dj.config, FAILED, ADVICE) as backend:
        backend.remove(found.place)
        if backend.protocol == "file":
            with suppress(OSError):  # other files lie there
                for folder in folders_of_key(PurePosixPath(found.place)):
                    (Path(backend.spec["location"]) / folder).rmdir()
    return True


def _delete_folder(found: Garbage) -> bool:
    folder = Path(found.place)
    with _locked(folder) as free:
        if not free or not RunFolder(folder).result.is_file():
            log.warning("%s is in use by now, and stays.", folder)
            return False
        if found.kind == "stored":
            try:
                _require_stored(folder)
            except (StoreError, dj.DataJointError) as error:
                log.warning("%s stays, for the store has no whole copy of its weights: %s", folder, error)
                return False
        shutil.rmtree(folder)
    return True


def _require_stored(folder: Path) -> None:
    """Refuse a folder some of whose weights are not whole in the store."""
    key = {"run_key": folder.name}
    (TrainedModel() & key).fetch1("state").check()
    for epoch in RunFolder(folder).kept_epochs():
        (KeptWeights() & key & {"epoch": epoch}).fetch1("kept_state").check()


def _in_use(folder: Path) -> bool:
    with _locked(folder) as free:
        return not free


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether no process trains there; none can begin to within."""
    try:
        lock = (folder / ".lock").open("rb+")
    except OSError as error:
        yield isinstance(error, FileNotFoundError)  # fetched from the database, never trained here; else not ours
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
