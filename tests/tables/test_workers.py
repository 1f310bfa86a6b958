"""Workers as processes: each run once, live epochs, and runs that go on after a signal or a crash."""

import re
import shutil
import signal
from functools import partial

import pytest

from cotrain.tables import queries
from cotrain.tables.runs import Attempt, EpochScore, Run, TrainedModel
from cotrain.tables.worker import work
from cotrain.training import load
from cotrain.training import run as run_in_folder
from tests.tables import conftest

BUSY = """
import sys
from cotrain.cli import main
from cotrain.tables import claims, worker
from cotrain.tables.runs import Attempt

finish = claims.finish

def slow(*arguments):
    finish(*arguments)
    for _ in range(400):
        Attempt().to_dicts()

claims.finish = slow
sys.exit(main(["work"]))
"""
SCORE = ["epoch", "task", "session", "split", "metric", "value"]


wait_for = partial(conftest.wait_for, seconds=60)


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
    assert work() == (1, 0)
    require_resumed(lab_again, key, uninterrupted)
    assert len(TrainedModel.jobs) == 0


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_transaction(lab_again):
    """It waits: a connection whose driver is written in Python, as MySQL's is, would not survive it."""
    lab_again.enqueue("Tiny")
    worker = lab_again.start_python(BUSY)
    wait_for(lambda: len(TrainedModel()) == 1 or worker.poll() is not None)
    worker.terminate()
    said = ended(worker)
    assert worker.returncode == 143, said
    assert [row["status"] for row in Attempt().to_dicts()] == ["done"], "what was being stored is stored"
    assert [job["status"] for job in TrainedModel.jobs.to_dicts()] == ["pending"]


@pytest.mark.slow
def test_a_run_of_a_killed_worker_goes_on(begun, lab_again, uninterrupted):
    worker, key = begun
    worker.kill()
    ended(worker)
    assert (Attempt() & key).fetch1("status") == "running", "a killed process tells nobody"
    assert (TrainedModel.jobs & key).fetch1("status") == "reserved"
    after = lab_again.cotrain("work", "-v", COTRAIN_LOST_AFTER="3")
    assert after.returncode == 0, after.stderr
    assert f"Run {key['run_key']} was taken from a worker that has been silent for" in after.stderr
    assert (Attempt() & key & {"attempt": 1}).fetch1("status") == "lost"
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

    wait_for(lambda: look() or live)
    listed = lab_again.cotrain("ls", "--csv").stdout
    wait_for(look, seconds=120)
    said = [ended(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert {"queued", "running"} <= states
    assert live, "epochs of unfinished runs were seen"
    assert re.search(r"watched,\d,(running|reserved),", listed), listed
    assert sum(int(re.search(r"(\d+) runs finished, 0 failed\.\n$", out)[1]) for out, _ in said) == 6
    assert len(TrainedModel()) == 6
    attempts = Attempt().to_dicts()
    assert [(row["attempt"], row["status"], row["epoch"]) for row in attempts] == [(1, "done", 40)] * 6
    assert {row["pid"] for row in attempts} == {worker.pid for worker in workers}
    assert len(TrainedModel.jobs) == 0
    for row in attempts:
        key = {"run_key": row["run_key"]}
        assert epochs_of(key, 1) == list(range(41))
        assert told(queries.curves(key)).equals(told(load(lab_again.home / "runs" / row["run_key"]).scores))


def test_a_worker_without_work_ends(lab_again):
    done = lab_again.cotrain("work")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 runs finished, 0 failed.\n", "")
