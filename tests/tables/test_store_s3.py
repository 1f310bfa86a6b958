"""Weights in an S3 store: a server of its own on the loopback, and all that a folder can."""

import json
import re
import subprocess
import sys

import pytest

from cotrain.errors import StoreError
from cotrain.tables._datajoint import dj
from cotrain.tables.gc import delete, find_garbage
from cotrain.tables.runs import TrainedModel
from cotrain.tables.store import load_model, store_weights, stored_files, verify_checkpoints
from cotrain.tables.worker import work
from cotrain.training import load

s3fs = pytest.importorskip("s3fs", reason="needs pip install 'cotrain[s3-tests]'")
pytest.importorskip("moto.server", reason="needs pip install 'cotrain[s3-tests]'")
pytestmark = pytest.mark.slow  # importing the server and its client takes seconds

SECRET = "hush-this-is-secret"


@pytest.fixture(scope="module")
def endpoint():
    """A server that forgets all in the end."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    found = next(found for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    yield found[0]
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def store(lab, endpoint):
    """The settings of a bucket, which is the lab's store."""
    keys = {"access_key": "someone", "secret_key": SECRET}
    spec = {"protocol": "s3", "endpoint": endpoint, "bucket": "lab", "location": "weights/of us", **keys}
    s3fs.S3FileSystem(key="someone", secret=SECRET, client_kwargs={"endpoint_url": endpoint}).mkdir("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dj.config.stores, "checkpoints", spec)
        yield spec


@pytest.fixture(scope="module")
def key(lab, store):
    """The first run of `Again`, whose weights are in the bucket."""
    lab.enqueue("Again")
    assert work(max_runs=1) == (1, 0)
    assert not [path for path in (lab.home / "store").rglob("*") if path.is_file()]
    return {"run_key": TrainedModel().fetch1("run_key")}


def test_what_goes_in_comes_out(lab, key, tmp_path):
    weights = (TrainedModel() & key).fetch1("state")
    best = lab.home / "runs" / key["run_key"] / "best.pt"
    assert stored_files() == {weights.path: best.stat().st_size}
    assert weights.open().getvalue() == weights.download(tmp_path).read_bytes() == best.read_bytes()
    expected = load(best.parent).model.state_dict()
    assert {name: value.sum() for name, value in load_model(key).state_dict().items()} == {
        name: value.sum() for name, value in expected.items()
    }
    assert SECRET not in repr(weights) and SECRET not in str(weights.record())


def test_another_process_finds_the_store_by_the_environment(lab, key, store):
    done = lab.python(
        "from cotrain.tables.connect import connect; from cotrain.tables.store import load_model\n"
        f"connect(); print(load_model({key['run_key']!r}).training)",
        DJ_STORES=json.dumps({"default": "checkpoints", "checkpoints": store}),
    )
    assert done.stdout == "False\n", done.stderr


def test_damage_and_garbage(lab, key, store, endpoint):
    weights = (TrainedModel() & key).fetch1("state")
    files = s3fs.S3FileSystem(key="someone", secret=SECRET, client_kwargs={"endpoint_url": endpoint})
    place = f"lab/weights/of us/{weights.path}"
    content = files.cat_file(place)
    assert verify_checkpoints(full=True) == find_garbage(grace_hours=0) == []
    files.pipe_file(place, content[:-1])
    (problem,) = verify_checkpoints()
    assert re.search(r"it has \d+ bytes, not the \d+ that were stored\. The store is s3://lab/weights/of us", problem)
    files.pipe_file(place, content[:-1] + b"x")
    assert verify_checkpoints() == []
    (problem,) = verify_checkpoints(full=True)
    assert "its content has changed" in problem
    files.rm(place)
    for full in (False, True):
        (problem,) = verify_checkpoints(full=full)
        assert "there is no such file" in problem
    files.pipe_file(place, content)
    files.pipe_file("lab/weights/of us/others", b"x")
    files.pipe_file(orphan := place.replace("/state_", "/state_x"), content)
    assert find_garbage() == []
    (found,) = find_garbage(grace_hours=0)
    assert (found.place, found.size) == (orphan.removeprefix("lab/weights/of us/"), len(content))
    assert delete([found]) == [found]
    files.invalidate_cache()
    assert not files.exists(orphan) and files.exists("lab/weights/of us/others")
    assert verify_checkpoints(full=True) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bucket": "of-nobody"}, r"(there is no such file|The specified bucket does not exist)\."),
        (
            {"endpoint": "http://127.0.0.1:1"},
            r"Could not connect to the endpoint URL: \S+\. The store is s3://",
        ),
        ({"secret_key": ""}, r"not usable \(Incomplete S3 credentials"),
        ({"bucket": ""}, r"not usable \(Missing S3 configuration: bucket"),
    ],
)
def test_a_store_that_does_not_work_is_told_without_keys(change, told, lab, key, store, monkeypatch):
    monkeypatch.setitem(dj.config.stores, "checkpoints", {**store, **change})
    weights = (TrainedModel() & key).fetch1("state")
    with pytest.raises(StoreError, match=rf"^The weights .* cannot be read: .*{told}") as reading:
        weights.open()
    with pytest.raises(StoreError, match=rf"best\.pt \(0\.\d MB\) cannot be put into the store: .*{told}") as writing:
        store_weights(key, lab.home / "runs" / key["run_key"] / "best.pt")
    for error in (reading, writing):
        assert SECRET not in str(error.value) and "someone" not in str(error.value)
