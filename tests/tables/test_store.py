"""The store of weights: what goes in comes out, and every damage is one clear error."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cotrain.errors import DatabaseError, RunFolderError, StoreError, TrainingError
from cotrain.tables import queue
from cotrain.tables._datajoint import dj
from cotrain.tables.runs import Attempt, Run, TrainedModel
from cotrain.tables.store import load_model, store_weights, stored_files, verify_checkpoints
from cotrain.tables.worker import work
from cotrain.training import load
from cotrain.training import run as run_in_folder

KEY = {"run_key": "0" * 32}


@pytest.fixture
def together(trained):
    """The first run of `Tiny`: its key, and its weights in the store."""
    key = {"run_key": trained.recipe("Tiny")().expand()[0].key()}
    return key, (TrainedModel() & key).fetch1("state")


@pytest.fixture
def file(trained, together):
    """The first run's file in the store; it is put back in the end."""
    place = trained.home / "store" / together[1].path
    content = place.read_bytes()
    yield place
    place.write_bytes(content)


@pytest.fixture
def elsewhere(lab, tmp_path, monkeypatch):
    """A function that makes a folder the store."""

    def move(folder, **more):
        monkeypatch.setitem(dj.config.stores, "checkpoints", {"protocol": "file", "location": str(folder), **more})
        return folder

    return move


def same(model, other):
    states = model.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][n], states[1][n]) for n in states[0])


# --- what goes in comes out ---


def test_the_row_tells_place_size_and_checksum(trained, together):
    key, weights = together
    best = trained.home / "runs" / key["run_key"] / "best.pt"
    content = (trained.home / "store" / weights.path).read_bytes()
    assert content == best.read_bytes() == weights.open().getvalue()
    assert (weights.size, weights.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    raw = TrainedModel().connection.query(
        f"SELECT state FROM {TrainedModel().full_table_name} WHERE run_key = %s", args=(key["run_key"],)
    )
    assert str(trained.home) not in str(raw.fetchone()[0]), "the store may move"
    assert re.fullmatch(rf"_schema/{trained.schema}/__trained_model/run_key=\w{{32}}/state_[\w-]+\.pt", weights.path)
    assert weights.load()["model"].keys() == torch.load(best, weights_only=True)["model"].keys()


def test_nothing_else_is_in_the_store(trained):
    files = stored_files()
    assert files == {row["state"].path: row["state"].size for row in TrainedModel().proj("state").to_dicts()}
    assert len([path for path in (trained.home / "store").rglob("*") if path.is_file()]) == len(files) == 2


def test_download(together, tmp_path):
    key, weights = together
    found = weights.download(tmp_path / "new" / "folder")
    assert found == tmp_path / "new" / "folder" / f"{key['run_key']}.pt"
    assert found.read_bytes() == weights.open().getvalue()
    found.write_bytes(b"old")
    assert weights.download(found.parent).read_bytes() == weights.open().getvalue(), "written over"
    assert list(found.parent.iterdir()) == [found]


def test_a_folder_that_takes_no_download(together, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        StoreError, match=rf"^The weights \S+ cannot be copied to {tmp_path}/file/\w+\.pt: File exists\."
    ):
        together[1].download(tmp_path / "file")


def test_a_file_may_be_inserted_by_its_path(trained, together):
    """As DataJoint's own codecs do; what is in the store already is not copied again."""
    row, other = (TrainedModel() & together[0]).fetch1(), trained.recipe("Six")().expand()[0]
    Run.add(other)
    Attempt.insert1({**(Attempt() & together[0]).fetch1(), "run_key": other.key()})
    new = {**row, "run_key": other.key()}
    for state in (trained.home / "runs" / together[0]["run_key"] / "best.pt", together[1]):
        TrainedModel.insert1({**new, "state": state}, allow_direct_insert=True)
        stored = (TrainedModel() & {"run_key": other.key()}).fetch1("state")
        assert stored.open().getvalue() == together[1].open().getvalue()
        assert (stored == together[1]) == (state == together[1])
        (TrainedModel() & {"run_key": other.key()}).delete()
        if stored != together[1]:
            (trained.home / "store" / stored.path).unlink()
    with pytest.raises(TypeError, match=r"^<weights> expects the path of a file, got bytes$"):
        TrainedModel.insert1({**new, "state": b"weights"}, allow_direct_insert=True)
    (Run() & {"run_key": other.key()}).delete()


# --- models ---


def test_a_model_needs_neither_its_data_nor_its_folder(trained, together, monkeypatch, tmp_path):
    key, _ = together
    folder = trained.home / "runs" / key["run_key"]
    expected = load(folder).model
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))  # nothing there
    folder.rename(tmp_path / "away")
    try:
        for name in (key, key["run_key"], key["run_key"][:6], "together"):
            model = load_model(name)
            assert same(model, expected) and not model.training
            assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
        assert same(load_model("together", device="auto").cpu(), expected)
        images = torch.zeros(2, 1, 12, 12, dtype=torch.uint8)
        with torch.no_grad():
            assert torch.equal(model(images, "cells", "first"), expected(images, "cells", "first"))
    finally:
        (tmp_path / "away").rename(folder)


def test_models_that_there_are_not(trained):
    experiment = trained.recipe("Long")().expand()[0]
    Run.add(experiment)
    with pytest.raises(DatabaseError, match=rf"^Run {experiment.key()} is not finished, or not in this database\."):
        load_model({"run_key": experiment.key()})
    (Run() & {"run_key": experiment.key()}).delete()
    with pytest.raises(DatabaseError, match=r"^No runs have a key that begins with 'nothing'"):
        load_model("nothing")
    with pytest.raises(TrainingError, match=r"^There is no device 'gpu'; write 'auto'"):
        load_model("together", device="gpu")


# --- damage ---


def remove(file):
    file.unlink()


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def change(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = [
    (remove, r"there is no such file"),
    (cut, r"it has \d+ bytes, not the \d+ that were stored"),
    (change, r"its content has changed \(SHA-256 \w{12}\.\.\., stored was \w{12}\.\.\.\)"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_told(damage, told, together, file, tmp_path):
    key, weights = together
    damage(file)
    text = (
        rf"^The weights {re.escape(weights.path)} cannot be (read|copied to \S+): {told}\. The store is "
        r"file://\S+/store\. Give all machines one store \(`stores` of DataJoint's settings\)\. Where that is so: "
        r"put the file back, from a backup or from `best\.pt`, or `kept`, in the run's folder on the machine that "
        r"trained it\.$"
    )
    for read in (weights.open, weights.load, weights.check, lambda: weights.download(tmp_path / "a" / "b")):
        with pytest.raises(StoreError, match=text):
            read()
    assert not list(tmp_path.iterdir()), "nothing half-copied"
    with pytest.raises(StoreError, match=told):
        load_model(key)
    with pytest.raises(StoreError, match=told):
        load_model("together")
    assert (TrainedModel() & key).fetch1("best_epoch"), "the row is read without the file"


@pytest.mark.parametrize(("damage", "told"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_found(damage, told, together, file):
    key, _ = together
    assert verify_checkpoints() == verify_checkpoints(full=True) == []
    damage(file)
    (problem,) = verify_checkpoints(full=True)
    assert re.match(rf"Run {key['run_key']}: The weights .* cannot be read: {told}\. ", problem)
    assert verify_checkpoints() == ([] if damage is change else [problem]), "only reading all of it shows one bit"
    assert verify_checkpoints(Run() & key, full=True) == [problem]
    assert verify_checkpoints(Run() - key, full=True) == []


def test_what_was_no_state_when_it_was_stored(trained, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"no weights")
    weights = store_weights(KEY, tmp_path / "best.pt")
    with pytest.raises(RunFolderError, match="is damaged"):
        weights.load()
    shutil.rmtree((trained.home / "store" / weights.path).parent)


# --- stores that do not work ---


def test_a_store_that_is_not_there(together, elsewhere, tmp_path):
    elsewhere(tmp_path / "nowhere")
    with pytest.raises(
        StoreError, match=r"cannot be read: the store 'checkpoints' is not usable \(Inaccessible local "
    ):
        together[1].open()
    with pytest.raises(
        StoreError, match=r"cannot be put into the store: the store 'checkpoints' is not usable .*DJ_ST"
    ):
        store_weights(KEY, Path(__file__))
    with pytest.raises(StoreError, match=r"cannot be listed: the store 'checkpoints' is not usable"):
        verify_checkpoints()


def test_settings_that_are_wrong(together, elsewhere, tmp_path):
    elsewhere(tmp_path, bucket="b")
    with pytest.raises(
        StoreError, match=r"not usable \(Invalid key\(s\) in config\.stores\[\"checkpoints\"\]: bucket\)"
    ):
        together[1].open()
    elsewhere(tmp_path, protocol="ftpp")
    with pytest.raises(StoreError, match=r"not usable \(Unknown protocol \"ftpp\""):
        together[1].open()


def test_s3_without_its_package(together, elsewhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for name in ("s3", "s3a"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    keys = {"access_key": "who", "secret_key": "hush"}
    elsewhere("lab", protocol="s3", endpoint="127.0.0.1:1", bucket="b", secure=False, **keys)
    with pytest.raises(
        StoreError, match=r"has the protocol s3, for which .* For S3: pip install 'cotrain\[s3\]'\.$"
    ) as told:
        together[1].open()
    assert "hush" not in str(told.value) and "who" not in str(told.value)


@pytest.fixture
def full(lab, tmp_path):
    """A folder on a disk of its own that has room for 8 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_store_fails_the_run_which_is_stored_later(trained, full, elsewhere, caplog):
    elsewhere(full)

    class Short(trained.recipe("Tiny")):
        """Is a run that cannot be stored trained once?"""

        def experiments(self):
            """One epoch."""
            yield next(super().experiments()).vary("short", trainer={"epochs": 1})

    queue.enqueue(Short, "short")
    experiment = Short().expand()[0]
    key, folder = {"run_key": experiment.key()}, trained.home / "runs" / experiment.key()
    run_in_folder(experiment, out=folder)
    assert work(recipe="short") == (0, 1)
    text = (
        rf"{folder}/best\.pt \(0\.\d MB\) cannot be put into the store: No space left on device\. The store is "
        rf"file://{full}\. The run is whole in its folder: make the store well, then `cotrain retry`; nothing is "
        r"trained again\."
    )
    assert re.search(text, caplog.text)
    row = (Attempt() & key).fetch1()
    assert row["status"] == "failed" and re.fullmatch(f"StoreError: {text}", row["error"])
    assert not TrainedModel() & key
    assert not list(full.iterdir()), "nothing half-stored"
    before = (folder / "journal.jsonl").stat().st_mtime_ns
    subprocess.run(["mount", "-o", "remount,size=10m", str(full)], check=True)
    TrainedModel.jobs.update1({**key, "status": "pending"})
    assert work(recipe="short") == (1, 0)
    assert (folder / "journal.jsonl").stat().st_mtime_ns == before, "nothing is trained again"
    assert same(load_model(key), load(folder).model)
    (Run() & key).delete()


UNDER_A_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from pathlib import Path
from cotrain.errors import StoreError
from cotrain.tables.connect import connect
from cotrain.tables.store import store_weights
connect()
try:
    store_weights({"run_key": "0" * 32}, Path(FILE))
except StoreError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_store_that_takes_no_file_of_that_size(trained, together):
    """As with a quota; for those who cannot mount a small disk."""
    file = trained.home / "runs" / together[0]["run_key"] / "best.pt"
    before = stored_files()
    done = trained.python(UNDER_A_LIMIT.replace("FILE", repr(str(file))))
    assert re.search(
        r"best\.pt \(0\.\d MB\) cannot be put into the store: File too large\. The store is", done.stdout
    ), done
    assert stored_files() == before
    assert not list((trained.home / "store").rglob(f"run_key={'0' * 32}"))
