"""A worker whose runs are shared by two processes: it alone knows the database."""

from pathlib import Path

import pytest

from cotrain.tables import queries
from cotrain.tables.runs import Attempt, EpochScore, TrainedModel
from cotrain.tables.worker import work
from cotrain.training import load

pytestmark = pytest.mark.slow


def children(process):
    return [
        int(number)
        for tasks in Path(f"/proc/{process}/task").glob("*/children")
        for number in tasks.read_text().split()
        if b"cotrain.training._rank_process" in Path(f"/proc/{number}/cmdline").read_bytes()
    ]


def test_only_the_worker_connects_and_a_stopped_run_goes_on_with_any_number(lab):
    (experiment,) = lab.recipe("Long")().expand()
    lab.enqueue("Long", priority=2)
    worker = lab.start("work", "--ranks", "2")
    try:
        while not (EpochScore() & "epoch_number >= 2"):
            assert worker.poll() is None, worker.communicate()
        ranks = children(worker.pid)
        assert len(ranks) == 2
        for rank in ranks:
            assert "psycopg" not in Path(f"/proc/{rank}/maps").read_text(), "what cannot connect does not"
        assert "psycopg" in Path(f"/proc/{worker.pid}/maps").read_text()
    finally:
        worker.terminate()
        _, err = worker.communicate(timeout=100)
    assert worker.returncode == 143, err
    assert "Traceback" not in err
    assert (Attempt() & "attempt = 1").fetch1("status", "pid") == ("interrupted", worker.pid)
    assert queries.overview(queries.runs())["state"].item() == "queued"
    assert work(ranks=2) == (1, 0)
    assert (Attempt() & "attempt = 2").fetch1("status", "epoch") == ("done", 25)
    epochs = sorted(
        row["epoch_number"] for row in (Attempt().proj() * EpochScore()).to_dicts() if row["metric"] == "monitored"
    )
    assert epochs == list(range(1, 26)), "each once"
    assert len(TrainedModel()) == 1
    assert load(lab.home / "runs" / experiment.key()).scores.epoch.max() == 25
