"""What may be deleted, and what never is."""

import fcntl
import os
import shutil
import time

import pytest

from cotrain.errors import DatabaseError, StoreError
from cotrain.tables._datajoint import dj
from cotrain.tables.gc import Garbage, delete, find_garbage
from cotrain.tables.runs import Attempt, ParentRun, Run, TrainedModel
from cotrain.tables.store import load_model, store_weights, stored_files, verify_checkpoints

LONG_AGO = 1_600_000_000  # (s since 1970) in September 2020


@pytest.fixture
def copied(trained):
    """A function that makes another finished run, with folder and row, out of the first of `Tiny`; all long ago."""
    original = {"run_key": trained.recipe("Tiny")().expand()[0].key()}
    made = []

    def make(seed):
        experiment = trained.recipe("Tiny")().expand()[0].vary("copy", seed=1000 + seed)
        key = Run.add(experiment)
        made.append(key)
        folder = trained.home / "runs" / key["run_key"]
        shutil.copytree(trained.home / "runs" / original["run_key"], folder)
        Attempt.insert1({**(Attempt() & original).fetch1(), **key})
        row = {**(TrainedModel() & original).fetch1(), **key, "state": folder / "best.pt"}
        TrainedModel.insert1(row, allow_direct_insert=True)
        old(folder / "result.json")
        return key, old(stored(trained, key)), folder

    yield make
    for key in made:
        (Run() & key).delete()
        shutil.rmtree(trained.home / "runs" / key["run_key"], ignore_errors=True)
    for path in stored_files().keys() - {row["state"].path for row in TrainedModel().proj("state").to_dicts()}:
        (trained.home / "store" / path).unlink()


def stored(lab, key):
    return lab.home / "store" / (TrainedModel() & key).fetch1("state").path


def old(path):
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def places(found):
    return {garbage.place for garbage in found}


def within(lab, path):
    return str(path.relative_to(lab.home / "store"))


# --- files in the store ---


def test_where_every_file_has_a_row_there_is_nothing_to_delete(trained, copied):
    copied(0)
    assert find_garbage(grace_hours=0) == []


def test_files_that_no_row_names(trained, copied):
    (key, file, _), (rolled, other, _), (_, kept, _) = copied(0), copied(1), copied(2)
    (Run() & key).delete()
    dj.conn().start_transaction()
    row = {**(TrainedModel() & rolled).fetch1(), "state": kept}
    (TrainedModel() & rolled).delete_quick()
    TrainedModel.insert1(row, allow_direct_insert=True)
    new = old(stored(trained, rolled))
    dj.conn().cancel_transaction()
    killed = old(shutil.copy(other, other.with_name(".state_abcdefgh.pt.77.tmp")))  # while it was copied
    found = find_garbage()
    assert {garbage.kind for garbage in found} == {"file"}
    assert places(found) == {within(trained, path) for path in (file, new, killed)}
    assert {garbage.size for garbage in found} == {kept.stat().st_size}
    assert all(path.is_file() for path in (file, new, killed)), "looking deletes nothing"
    assert delete(found) == found
    assert not any(path.exists() for path in (file, new, killed, file.parent))
    assert other.is_file() and kept.is_file() and verify_checkpoints(full=True) == []
    assert find_garbage() == []


def test_what_is_young_may_be_about_to_get_its_row(trained, copied):
    key, _, folder = copied(0)
    row = (TrainedModel() & key).fetch1()
    (TrainedModel() & key).delete_quick()
    weights = store_weights(key, folder / "best.pt")  # as a worker does whose database is away for a while
    assert weights.path not in places(find_garbage())
    assert weights.path in places(find_garbage(grace_hours=0))
    delete(find_garbage())
    TrainedModel.jobs.insert1({**key, "status": "reserved", "priority": 5})
    assert weights.path not in places(find_garbage(grace_hours=0)), "that worker is alive, for all one knows"
    TrainedModel.jobs.delete_quick()
    TrainedModel.insert1({**row, "state": weights}, allow_direct_insert=True)
    assert verify_checkpoints(full=True) == []
    load_model(key)


STORE_BIG = """
from pathlib import Path
from cotrain.tables.connect import connect
from cotrain.tables.store import store_weights
connect()
store_weights({"run_key": "0" * 32}, Path(FILE))
"""


@pytest.mark.slow
def test_what_a_killed_worker_had_copied_is_garbage(trained, tmp_path):
    big, store = tmp_path / "best.pt", trained.home / "store"
    with big.open("wb") as file:
        file.truncate(1_500_000_000)  # a hole: nothing is written but what the worker copies until it is killed
    worker = trained.start_python(STORE_BIG.replace("FILE", repr(str(big))))
    while not (copied := list(store.rglob(".state_*.tmp"))):
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.001)
    worker.kill()
    worker.communicate()
    found = find_garbage(grace_hours=0)
    assert places(found) == {within(trained, copied[0])}, "and nothing under the name that it was to have"
    assert find_garbage() == []
    assert delete(found) == found and not copied[0].parent.exists()


def test_what_others_keep_in_the_store_is_not_looked_at(trained, copied):
    root = trained.home / "store"
    others = [
        root / "notes.txt",
        root / "_schema" / "another_lab" / "__trained_model" / "run_key=1" / "state_x.pt",
        root / "_schema" / f"{trained.schema}_2" / "__trained_model" / "state_x.pt",
        root / "_schema" / trained.schema / "another_table" / "state_x.pt",
        root / "_schema" / trained.schema / "__trained_model_2" / "state_x.pt",
        root / "_hash" / trained.schema / "x",
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        old(path)
    assert find_garbage(grace_hours=0) == []
    for path in others:
        path.unlink()


def test_a_store_that_is_not_there_is_no_garbage(trained, monkeypatch, tmp_path):
    monkeypatch.setitem(dj.config.stores, "checkpoints", {"protocol": "file", "location": str(tmp_path / "nowhere")})
    with pytest.raises(StoreError, match=r"^The files in the store cannot be listed: "):
        find_garbage()


# --- folders ---


def test_folders_of_stored_runs_go_when_they_are_asked_for(trained, copied):
    _, file, folder = copied(0)
    expected = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert find_garbage() == find_garbage(folders=["unknown"]) == []
    found = find_garbage(folders=["stored"])
    assert found == [Garbage("stored", str(folder), expected)], "those of the last day stay"
    assert delete(found) == found
    assert not folder.exists() and file.is_file()
    load_model({"run_key": folder.name})


def test_folders_that_the_database_does_not_know(trained, copied):
    key, file, folder = copied(0)
    (Run() & key).delete()
    assert places(find_garbage(folders=["stored"])) == {within(trained, file)}
    found = find_garbage(folders=["stored", "unknown"])
    assert [garbage.kind for garbage in found] == ["file", "unknown"]
    assert delete(found) == found and not folder.exists()


@pytest.mark.parametrize("state", ["no result", "no model", "unknown", "young", "needed", "linked", "named"])
def test_folders_that_stay(state, trained, copied):
    key, file, folder = copied(0)
    assert len(find_garbage(folders=["stored", "unknown"])) == 1
    if state in ("no result", "unknown"):  # it goes on where it stopped
        (folder / "result.json").unlink()
    if state in ("no model", "unknown"):  # of a run that is queued; of `cotrain run`
        (TrainedModel() & key if state == "no model" else Run() & key).delete()
    if state == "young":
        os.utime(folder / "result.json")
    if state == "needed":
        child = {"run_key": Run.add(trained.recipe("Named")().expand()[0])["run_key"]}
        ParentRun.insert1({**child, "parent_key": key["run_key"]})
    if state in ("linked", "named"):
        folder = folder.rename(folder.with_name("my best run"))
    if state == "linked":
        (trained.home / "runs" / key["run_key"]).symlink_to(folder)
    found = find_garbage(folders=["stored", "unknown"])
    assert places(found) <= {within(trained, file)}
    delete(found)
    assert folder.is_dir()
    if state == "needed":
        (Run() & child).delete()
    if state == "linked":
        (trained.home / "runs" / key["run_key"]).unlink()
    if state in ("linked", "named"):
        shutil.rmtree(folder)


def test_a_folder_in_which_a_process_works_stays(trained, copied, caplog):
    _, _, folder = copied(0)
    before = find_garbage(folders=["stored"])
    with (folder / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_garbage(folders=["stored"]) == []
        assert delete(before) == []
        assert f"{folder} is in use by now, and stays." in caplog.text
    assert delete(before) == before


def test_a_folder_stays_where_the_store_has_lost_its_weights(trained, copied, caplog):
    _, file, folder = copied(0)
    found = find_garbage(folders=["stored"])
    file.write_bytes(b"x" * file.stat().st_size)
    assert delete(found) == []
    assert f"{folder} stays, for the store has no whole copy of its weights: The weights" in caplog.text
    shutil.copy(folder / "best.pt", file)  # what the error says
    assert verify_checkpoints(full=True) == []
    assert delete(found) == found


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"folders": ["all"]}, r"^folders are any of stored, unknown; found all\.$"),
        ({"grace_hours": -1}, r"^A grace time is a number of hours, 0 or more; found -1\.$"),
        ({"grace_hours": float("nan")}, r"found nan\.$"),
    ],
)
def test_wrong_arguments(wrong, told, lab):
    with pytest.raises(DatabaseError, match=told):
        find_garbage(**wrong)


# --- the command ---


def test_the_command_deletes_only_when_told_to(trained, copied, command):
    assert command("gc") == (0, "0 may be deleted, 0.0 MB.\n", "")
    key, file, folder = copied(0)
    (Run() & key).delete()
    status, out, err = command("gc", "--folders", "unknown", "--folders", "stored")
    assert (status, err) == (0, "")
    first, second, last = out.splitlines()
    assert first == f"       0.0 MB  {within(trained, file)}  (no row names it)"
    assert second.endswith(f" MB  {folder}  (not in the database)")
    assert last.startswith("2 may be deleted, 0.") and last.endswith(" MB. Add --yes to delete them.")
    assert file.is_file() and folder.is_dir()
    status, out, _ = command("gc", "--yes")
    assert (status, out.splitlines()[-1]) == (0, "1 of 1 deleted, 0.0 MB.")
    assert not file.exists() and folder.is_dir()
    assert command("gc", "--grace", "-1")[::2] == (
        1,
        "cotrain: A grace time is a number of hours, 0 or more; found -1.0.\n",
    )
