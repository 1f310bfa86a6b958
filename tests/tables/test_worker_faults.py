"""What goes wrong around workers: restarts of the database, twins, broken machines, renamed recipes."""

import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial

import pytest

from cotrain.recipe import find_recipe
from cotrain.tables import claims, queue, worker
from cotrain.tables.connect import connect, embedded
from cotrain.tables.runs import Attempt, EpochScore, Recipe, Run, TrainedModel
from tests.tables import conftest
from tests.tables.conftest import OTHER_SERVER, TINY

ours = pytest.mark.skipif(OTHER_SERVER in os.environ, reason="the server is not ours to stop")


wait_for = partial(conftest.wait_for, seconds=100)


@pytest.fixture
def empty(lab):
    """No run, no job, no folder."""
    connect()
    Run().delete()
    TrainedModel.jobs.delete_quick()
    shutil.rmtree(lab.home / "runs", ignore_errors=True)
    return lab


def epochs():
    found = EpochScore() & {"task": "stripes", "split": "validation", "metric": "loss"}
    return sorted(row["epoch_number"] for row in found.proj().to_dicts())


@ours
@pytest.mark.slow
def test_restarts_of_the_database_while_a_worker_trains(empty, server_folder):
    """Stopped in order, killed, and away for some seconds: the attempt goes on, and each epoch is there once."""
    empty.enqueue("Long")
    process = empty.start("work")
    server = embedded(server_folder)
    wait_for(lambda: EpochScore() & "epoch_number >= 2" or process.poll() is not None)
    for away, kill in ((0, False), (0, True), (3, False)):
        if kill:
            os.kill(server.status().pid, 9)
        else:
            server.stop()
        time.sleep(away)
        server.start()
        time.sleep(0.5)
    connect()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.endswith("1 runs finished, 0 failed.\n")
    assert [(row["attempt"], row["status"], row["epoch"]) for row in Attempt().to_dicts()] == [(1, "done", 25)]
    assert epochs() == list(range(26))
    assert len(TrainedModel.jobs) == 0


@ours
@pytest.mark.slow
def test_a_run_that_ends_while_the_database_is_away_is_stored_when_it_is_back(empty, server_folder):
    empty.enqueue("Again")
    process = empty.start("work", "--max-runs", "1")
    server = embedded(server_folder)
    wait_for(lambda: EpochScore() or process.poll() is not None)
    key = Attempt().fetch1("run_key")
    server.stop()
    try:
        wait_for((empty.home / "runs" / key / "result.json").exists)
        time.sleep(1)
        assert process.poll() is None, "it waits"
    finally:
        server.start()
        connect()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "The database does not" in err
    assert len(TrainedModel() & {"run_key": key}) == 1
    assert epochs() == list(range(max(epochs()) + 1))


@ours
@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_while_the_database_is_away(empty, server_folder):
    """It ends in time; the next worker notices that it is gone."""
    empty.enqueue("Long")
    process = empty.start("work")
    server = embedded(server_folder)
    wait_for(lambda: EpochScore() & "epoch_number >= 2" or process.poll() is not None)
    server.stop()
    try:
        process.terminate()
        _, err = process.communicate(timeout=40)
    finally:
        server.start()
        connect()
    assert process.returncode == 143, err
    assert "another worker takes it over" in err
    assert Attempt().fetch1("status") == "running"
    assert empty.cotrain("work", COTRAIN_LOST_AFTER="2").returncode == 0
    assert [row["status"] for row in Attempt().to_dicts(order_by="attempt")] == ["lost", "done"]
    assert epochs() == list(range(26))


TWIN = """
import os, sys
from cotrain.cli import main
assert os.getpid() == 1, os.getpid()
sys.exit(main(["work", "--max-runs", "2"]))
"""


@pytest.mark.slow
def test_two_workers_with_one_host_name_and_one_process_number(empty):
    """As in two containers that were given the same name."""
    unshare = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", 'hostname twin && exec "$0" -c "$1"']
    if subprocess.run([*unshare, sys.executable, "pass"], capture_output=True).returncode:
        pytest.skip("needs the right to make name spaces")
    empty.enqueue("Six")
    twins = [
        subprocess.Popen(
            [*unshare, sys.executable, TWIN],
            cwd=empty.home,
            env=empty.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    empty.started.extend(twins)
    wait_for(lambda: len(Attempt()) >= 2 or all(twin.poll() is not None for twin in twins))
    twins[0].kill()  # the shell and all in its name space
    _, err = twins[1].communicate(timeout=120)
    twins[0].communicate()
    assert twins[1].returncode == 0, err
    rows = Attempt().to_dicts()
    assert {(row["host"], row["pid"]) for row in rows} == {("twin", 1)}
    assert len({row["worker"] for row in rows}) == 2
    assert len(TrainedModel()) >= 2
    assert [row["attempt"] for row in (Attempt() & "status = 'done'").to_dicts()] == [1] * len(TrainedModel())


def test_a_machine_on_which_everything_fails_stops_before_it_spoils_the_queue(empty):
    empty.enqueue("Six")
    (empty.home / "tiny.npz").rename(empty.home / "away.npz")
    try:
        done = empty.cotrain("work", "--max-failures", "2")
    finally:
        (empty.home / "away.npz").rename(empty.home / "tiny.npz")
    assert done.returncode == 1
    assert "cotrain: 2 runs in a row failed here; this worker stops" in done.stderr
    assert len(TrainedModel.jobs.errors) == 2
    assert len(TrainedModel.jobs.pending) == 4
    assert claims.retry(claims.failed()) == 2


def test_each_attempt_has_a_log_file(empty):
    empty.enqueue("Failing")
    assert worker.work() == (2, 1)
    for row in Attempt().to_dicts():
        text = (empty.home / "logs" / row["run_key"] / "attempt_1.log").read_text()
        assert f"attempt 1 at run {row['run_key']} begins" in text
        if row["status"] == "done":
            assert re.search(r"INFO cotrain\.tables\.attempt: epoch 1, [\d.]+ s: .*cells correlation [-\d.]+", text)
            assert text.endswith(f"attempt 1 at run {row['run_key']} is done\n")
        else:
            assert "Traceback (most recent call last)" in text
            assert "is not finite in epoch 1" in text


def test_a_recipe_that_is_renamed_after_it_was_enqueued(empty, tmp_path):
    """Runs are known by their content: the queue needs no recipe, and the new name finds them."""
    source = TINY.read_text()
    old, new = tmp_path / "old_name.py", tmp_path / "new_name.py"
    old.write_text(source)
    recipe = find_recipe(f"{old}:Again")
    assert queue.enqueue(recipe, recipe.name()).queued == 2
    old.unlink()
    new.write_text(source.replace("class Again(", "class Renamed("))
    assert worker.work(recipe="old_name.Again") == (2, 0)
    recipe = find_recipe(f"{new}:Renamed")
    counts = queue.enqueue(recipe, recipe.name())
    assert (counts.queued, counts.finished) == (0, 2)
    assert {"new_name.Renamed", "old_name.Again"} <= {row["recipe"] for row in Recipe().proj().to_dicts()}


def test_memory_of_the_gpu_is_named():
    import torch

    text = worker.explained(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"))
    assert text.startswith(
        "OutOfMemoryError: the GPU ran out of memory: CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    assert "mixing.batch_size" in text
    assert worker.explained(ValueError("no")) == "ValueError: no"


@pytest.mark.slow
def test_a_worker_for_ever_takes_what_comes_later(empty):
    process = empty.start("work", "--forever")
    time.sleep(8)
    assert process.poll() is None
    empty.enqueue("Again")
    wait_for(lambda: len(TrainedModel()) == 2 or process.poll() is not None)
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert len(out.splitlines()) == 2


def test_failed_runs_are_retried_on_request(empty, command):
    empty.enqueue("Failing")
    worker.work()
    (key,) = claims.failed()
    assert command("retry") == (1, "", "cotrain: Say which: `cotrain retry RUN ...`, `--recipe RECIPE` or `--all`.\n")
    assert command("retry", "before")[2].startswith("cotrain: Run ")
    assert command("retry", key["run_key"][:8])[:2] == (0, "1 runs are in the queue again.\n")
    assert worker.work() == (0, 1)
    assert command("retry", "--recipe", "Failing")[1] == "1 runs are in the queue again.\n"
    assert command("retry", "--all")[1] == "0 runs are in the queue again.\n"
    assert command("reap")[1] == "0 runs were taken from silent workers and are in the queue again.\n"
    assert "1 of these have failed" not in command("enqueue", f"{TINY}:Failing")[1]


def test_devices_that_are_not_there(empty, command, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert command("work", "--device", "tpu")[2] == "cotrain: --device is cpu, cuda or cuda:N, found 'tpu'.\n"
    assert "There is no cuda:7 here" in command("work", "--device", "cuda:7")[2]
    assert command("work", "--device", "cpu")[0] == 0
