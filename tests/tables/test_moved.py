"""A database that moves: dumped here, restored on another server, and everything is found again."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny import write_data

from cotrain.tables.embedded import EmbeddedPostgres, _find_programs

TINY = Path(__file__).with_name("tiny.py")

# enqueue and work; then tell every run, score, config and attempt, and the weights of each model
WORK_AND_TELL = """
import hashlib, json, sys
from cotrain.recipe import find_recipe
from cotrain.tables import queries, queue
from cotrain.tables.worker import work
from cotrain.tables.connect import connect
from cotrain.tables.gc import find_garbage
from cotrain.tables.runs import Attempt, Run, TrainedModel
from cotrain.tables.store import load_model, verify_checkpoints
connect()
recipe = find_recipe(sys.argv[1])
queue.enqueue(recipe, recipe.name())
worked = work()
found = {"problems": verify_checkpoints(full=True) + find_garbage(grace_hours=0), "runs": {}}
for key in sorted(row["run_key"] for row in Run().proj().to_dicts()):
    run = {"run_key": key}
    weights = hashlib.sha256()
    for name, value in load_model(run).state_dict().items():
        weights.update(name.encode() + value.numpy().tobytes())
    found["runs"][key] = {
        "experiment": Run.load(run).record(),
        "attempts": [row["status"] for row in (Attempt() & run).to_dicts()],
        "epochs": queries.curves(run).to_csv(),
        "scores": sorted(map(str, (TrainedModel.Score() & run).to_dicts())),
        "weights": weights.hexdigest(),
    }
found["overview"] = queries.overview(queries.runs()).sort_index(axis=1).to_csv()
print(json.dumps([worked, found]))
"""


@pytest.fixture
def homes():
    """Two homes that root's server may enter; no server is left running there."""
    folder = Path(tempfile.mkdtemp(prefix="cotrain-moved-"))
    folder.chmod(0o755)
    yield folder / "here", folder / "there" / "far"
    for home in (folder / "here", folder / "there" / "far"):
        EmbeddedPostgres(home / "database").stop()
    shutil.rmtree(folder)


def work_and_tell(home):
    """A process that knows the home alone: (finished, failed) runs, and what is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJ_", "COTRAIN_"))}
    settings = {"COTRAIN_HOME": str(home), "COTRAIN_DATA": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORK_AND_TELL, f"{TINY}:Tiny"]
    done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def program(name, database, *arguments):
    """One of PostgreSQL's own programs on an embedded database; as it comes with the server, of the same release."""
    server = EmbeddedPostgres(database).start()
    place = _find_programs(EmbeddedPostgres(database).status().version, {})
    where = ("-h", server.host, "-p", str(server.port), "-U", server.user, "-d", server.database)
    environment = {**os.environ, "PGPASSWORD": server.password}
    done = subprocess.run([place / name, *where, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_everything_is_found_on_another_server(homes):
    here, there = homes
    for home in homes:
        home.mkdir(parents=True)
    write_data(here)
    worked, before = work_and_tell(here)
    assert worked == [2, 0] and len(before["runs"]) == 2 and before["problems"] == []

    dump = here.parent / "lab.dump"
    program("pg_dump", here / "database", "--format=custom", "--no-owner", f"--file={dump}")
    shutil.copytree(here / "store", there / "store")
    EmbeddedPostgres(here / "database").stop()
    here.rename(here.with_name("gone"))
    program("pg_restore", there / "database", "--no-owner", "--exit-on-error", str(dump))

    worked, found = work_and_tell(there)  # where there are neither data nor folders of runs
    assert worked == [0, 0], "nothing is trained again"
    assert found == before
