"""Workers as processes: each run once, live epochs, and runs that go on after a signal or a crash."""

import os
import re
import shutil
import signal
import time

import pytest

from cotrain.tables import attempt, queries, queue
from cotrain.tables.runs import Attempt, EpochScore, Run, TrainedModel
from cotrain.training import load
from cotrain.training import run as run_in_folder

BUSY = """
import sys
from cotrain.cli import main
from cotrain.tables import attempt

class Busy(attempt.DatabaseSink):
    def _insert(self, scores):
        super()._insert(scores)
        for _ in range(100):
            attempt.Attempt().to_dicts()

attempt.DatabaseSink = Busy
sys.exit(main(["work"]))
"""
SCORE = ["epoch", "task", "session", "split", "metric", "value"]


def wait_for(what, *, seconds=60):
    """The first true answer of `what`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def epochs_of(key, number):
    rows = (Attempt() & key & {"attempt": number}).proj() * EpochScore().proj()
    return sorted({row["epoch_number"] for row in rows.to_dicts()})


def told(scores):
    """Scores of the epochs in one order; NaN is equal to NaN here."""
    return scores[scores.split != "test"].sort_values(SCORE[:-1], ignore_index=True)[SCORE]


def ended(process):
    """Output and errors of a process, when it has ended."""
    return process.communicate(timeout=120)


@pytest.fixture
def lab_again(lab):
    """No run, no job, no folder."""
    Run().delete()
    TrainedModel.jobs.delete_quick()
    shutil.rmtree(lab.home / "runs", ignore_errors=True)
    return lab


@pytest.fixture(scope="module")
def uninterrupted(lab):
    """The scores of `Long` where nobody stops it."""
    (experiment,) = lab.recipe("Long")().expand()
    return told(run_in_folder(experiment, out=lab.home / "uninterrupted").scores)


@pytest.fixture
def begun(lab_again):
    """A worker that has trained some epochs of `Long`, and the key of the run."""
    (experiment,) = lab_again.recipe("Long")().expand()
    key = {"run_key": experiment.key()}
    lab_again.enqueue("Long", priority=2)
    worker = lab_again.start("work")
    wait_for(lambda: EpochScore() & key & "epoch_number >= 3" or worker.poll() is not None)
    assert worker.poll() is None, ended(worker)
    return worker, key


def require_resumed(lab, key, uninterrupted):
    """The second attempt went on after the first one's checkpoint, and together they are one run."""
    first, second = epochs_of(key, 1), epochs_of(key, 2)
    assert first[:3] == [0, 1, 2]  # the checkpoint of epoch 3 was perhaps not yet written
    assert first + second == list(range(26)), "each epoch once"
    journal = (lab.home / "runs" / key["run_key"] / "journal.jsonl").read_text().splitlines()
    assert len(journal) == 27, "epochs 0 to 25 and the test"
    assert told(queries.curves(key)).equals(uninterrupted)
    assert told(load(lab.home / "runs" / key["run_key"]).scores).equals(uninterrupted)
    assert (Attempt() & key & {"attempt": 2}).fetch1("status", "epoch") == ("done", 25)
    assert (TrainedModel() & key).fetch1("attempt") == 2


@pytest.mark.parametrize(
    ("number", "status"),
    [pytest.param(signal.SIGTERM, 143, id="TERM"), pytest.param(signal.SIGINT, 130, id="INT", marks=pytest.mark.slow)],
)
def test_a_worker_that_is_told_to_stop_puts_its_run_back(number, status, begun, lab_again, uninterrupted):
    worker, key = begun
    worker.send_signal(number)
    out, err = ended(worker)
    assert worker.returncode == status
    assert "Traceback" not in err
    assert re.fullmatch(r"long \(\w{8}\)\n", out)
    row = (Attempt() & key).fetch1()
    assert (row["status"], row["pid"]) == ("interrupted", worker.pid)
    assert row["finished"] is not None
    job = (TrainedModel.jobs & key).fetch1()
    assert (job["status"], job["priority"], job["error_message"]) == ("pending", 2, "")
    assert job["error_stack"] is None
    assert queries.overview(queries.runs())["state"].item() == "queued"
    assert not TrainedModel()
    assert queue.work() == (1, 0)
    require_resumed(lab_again, key, uninterrupted)
    assert len(TrainedModel.jobs) == 0


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_query(lab_again):
    """It waits: a connection whose driver is written in Python, as MySQL's is, would not survive it."""
    lab_again.enqueue("Long", priority=0)  # a short run would end while the signal waits
    worker = lab_again.start_python(BUSY)
    wait_for(lambda: EpochScore() or worker.poll() is not None)
    time.sleep(0.2)
    worker.terminate()
    said = ended(worker)
    assert worker.returncode == 143, said
    assert Attempt().fetch1("status") == "interrupted"
    assert [(job["status"], job["priority"]) for job in TrainedModel.jobs.to_dicts()] == [("pending", 0)]


@pytest.mark.slow
def test_a_run_of_a_killed_worker_goes_on(begun, lab_again, uninterrupted):
    worker, key = begun
    worker.kill()
    ended(worker)
    assert (Attempt() & key).fetch1("status") == "running", "a killed process tells nobody"
    assert (TrainedModel.jobs & key).fetch1("status") == "reserved"
    assert queue.work() == (0, 0)
    TrainedModel.jobs.update1({**key, "status": "pending"})
    assert queue.work() == (1, 0)
    require_resumed(lab_again, key, uninterrupted)


@pytest.mark.slow
def test_two_workers_share_six_runs_and_tell_while_they_run(lab_again):
    lab_again.enqueue("Six")
    workers = [lab_again.start("work") for _ in range(2)]
    live, states = set(), set()

    def look():
        scored = (EpochScore() - TrainedModel().proj()).proj().to_dicts()
        live.update((row["run_key"], row["epoch_number"]) for row in scored if row["epoch_number"] > 0)
        states.update(queries.overview(queries.runs()).state)
        return all(worker.poll() is not None for worker in workers)

    wait_for(lambda: look() or len(live) >= 2)
    listed = lab_again.cotrain("ls", "--csv").stdout
    wait_for(look, seconds=120)
    said = [ended(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert {"queued", "running"} <= states
    assert len({run for run, _ in live}) >= 2, "epochs of unfinished runs were seen"
    assert re.search(r"watched,\d,(running|reserved),", listed), listed
    assert sum(int(re.search(r"(\d+) runs finished, 0 failed\.\n$", out)[1]) for out, _ in said) == 6
    assert len(TrainedModel()) == 6
    attempts = Attempt().to_dicts()
    assert [(row["attempt"], row["status"], row["epoch"]) for row in attempts] == [(1, "done", 10)] * 6
    assert {row["pid"] for row in attempts} == {worker.pid for worker in workers}
    assert len(TrainedModel.jobs) == 0
    for row in attempts:
        key = {"run_key": row["run_key"]}
        assert epochs_of(key, 1) == list(range(11))
        assert told(queries.curves(key)).equals(told(load(lab_again.home / "runs" / row["run_key"]).scores))


def test_a_worker_without_work_ends(lab_again):
    done = lab_again.cotrain("work")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 runs finished, 0 failed.\n", "")


def test_only_own_reservations_are_put_back(lab_again):
    lab_again.enqueue("Long")
    (experiment,) = lab_again.recipe("Long")().expand()
    key = {"run_key": experiment.key()}
    TrainedModel.jobs.reserve(key)
    TrainedModel.jobs.update1({**key, "pid": os.getpid() + 1})
    queue._put_back(key)
    assert (TrainedModel.jobs & key).fetch1("status") == "reserved", "another process has it"
    TrainedModel.jobs.update1({**key, "pid": os.getpid()})
    queue._put_back(key)
    assert (TrainedModel.jobs & key).fetch1("status", "pid") == ("pending", 0)


@pytest.fixture
def running(lab_again):
    """An attempt that seems to run and whose last sign of life is old."""
    lab_again.enqueue("Tiny")
    assert queue.work(max_runs=1) == (1, 0)
    row = Attempt().fetch1()
    key = {name: row[name] for name in ("run_key", "attempt")}
    Attempt.update1({**key, "status": "running", "heartbeat": "2020-01-01 00:00:00"})
    return key


def heartbeat(key):
    return (Attempt() & key).fetch1("heartbeat").year


def test_a_running_attempt_shows_life(running, monkeypatch):
    monkeypatch.setattr(attempt, "HEARTBEAT_SECONDS", 0.05)
    stop = attempt._start_heartbeat(running)
    try:
        wait_for(lambda: heartbeat(running) > 2020, seconds=20)
        Attempt.update1({**running, "status": "done", "heartbeat": "2020-01-01 00:00:00"})
        time.sleep(0.3)
        assert heartbeat(running) == 2020, "what has ended shows none"
    finally:
        stop()
    Attempt.update1({**running, "status": "running"})
    time.sleep(0.3)
    assert heartbeat(running) == 2020, "nor does what was stopped"


def test_a_heartbeat_outlives_the_database_for_a_while(running, monkeypatch):
    monkeypatch.setattr(attempt, "HEARTBEAT_SECONDS", 0.05)
    connect_again, tries = attempt.second_connection, []

    def second_connection():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the database is away")
        return connect_again()

    monkeypatch.setattr(attempt, "second_connection", second_connection)
    stop = attempt._start_heartbeat(running)
    try:
        wait_for(lambda: heartbeat(running) > 2020, seconds=20)
    finally:
        stop()
    assert len(tries) == 3
