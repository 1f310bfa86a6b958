"""Who has which run: what a worker may do with a run that is, and with one that is no longer, its own."""

import pytest

from cotrain.errors import DatabaseError, LostClaimError
from cotrain.tables import claims
from cotrain.tables._datajoint import dj
from cotrain.tables.connect import second_connection
from cotrain.tables.provenance import record_provenance
from cotrain.tables.runs import Attempt, Run, Seed, TrainedModel
from cotrain.tables.worker import work

MINE, OTHER = "a" * 32, "b" * 32
RESULT = {
    "best_epoch": 1,
    "monitored": 0.5,
    "seconds": 1.0,
    "data_info": {},
    "scores": [{"task": "cells", "session": "", "split": "test", "metric": "correlation", "value": 0.5}],
}


@pytest.fixture
def queued(lab):
    """The key of the only run, which waits in the queue with priority 3."""
    Run().delete()
    TrainedModel.jobs.delete_quick()
    lab.enqueue("Long", priority=3)
    return Run().proj().fetch1()


def claim(key, worker=MINE):
    return claims.claim(key, worker, record_provenance())


def job(key):
    return (TrainedModel.jobs & key).fetch1("status", "priority")


def status(attempt):
    return (Attempt() & attempt).fetch1("status")


@pytest.fixture
def result(tmp_path):
    state = tmp_path / "best.pt"
    state.write_bytes(b"weights")
    return {**RESULT, "state": str(state)}


def reap(attempt, **changes):
    row = (Attempt() & attempt).fetch1()
    connection = second_connection()
    try:
        return claims.reap(connection, **{name: row[name] for name in ("run_key", "attempt", "heartbeat")} | changes)
    finally:
        connection.close()


def test_a_claim_reserves_the_job_and_begins_an_attempt(queued):
    attempt = claim(queued)
    assert attempt == {**queued, "attempt": 1}
    assert job(queued) == ("reserved", 3)
    assert (Attempt() & attempt).fetch1("status", "worker") == ("running", MINE)
    assert claim(queued, OTHER) is None, "it is taken"
    assert claim(queued) == attempt, "asked again, since the answer was lost"
    assert len(Attempt()) == 1


def test_what_was_put_back_is_claimed_as_the_next_attempt(queued):
    first = claim(queued)
    claims.put_back(first, MINE, "told to stop")
    claims.put_back(first, MINE, "told to stop")
    assert job(queued) == ("pending", 3)
    assert (Attempt() & first).fetch1("status", "error") == ("interrupted", "told to stop")
    second = claim(queued, OTHER)
    assert second["attempt"] == 2
    for change in (
        lambda: claims.put_back(first, OTHER, ""),
        lambda: claims.fail(first, MINE, "", ""),
        lambda: claims.put_back(second, MINE, ""),
    ):
        with pytest.raises(LostClaimError, match="Nothing more is stored"):
            change()
    assert job(queued) == ("reserved", 3), "the other worker has it still"


def test_put_back_for_later(queued):
    claims.put_back(claim(queued), MINE, "its folder is in use", later=3600)
    assert job(queued)[0] == "pending"
    assert claim(queued) is None
    assert len(TrainedModel.jobs & "scheduled_time > CURRENT_TIMESTAMP + INTERVAL '3000' SECOND") == 1


def test_finishing_stores_all_at_once_and_once(queued, result):
    attempt = claim(queued)
    claims.finish(attempt, MINE, result)
    claims.finish(attempt, MINE, result)
    assert (TrainedModel() & queued).fetch1("attempt", "best_epoch") == (1, 1)
    assert len(TrainedModel.Score()) == 1
    assert status(attempt) == "done"
    assert len(TrainedModel.jobs) == 0


def test_a_result_that_cannot_be_stored_leaves_everything_as_it_was(queued, result):
    attempt = claim(queued)
    with pytest.raises(dj.DataJointError):
        claims.finish(attempt, MINE, {**result, "best_epoch": None})
    assert (status(attempt), job(queued)[0]) == ("running", "reserved")
    assert not TrainedModel()


def test_a_silent_worker_loses_its_run_and_can_store_nothing(queued, result):
    attempt = claim(queued)
    assert not reap(attempt, heartbeat="2020-01-01 00:00:00"), "it has shown life since"
    assert status(attempt) == "running"
    assert reap(attempt)
    assert (status(attempt), job(queued)) == ("lost", ("pending", 3))
    assert not reap(attempt)
    with pytest.raises(LostClaimError, match="is lost: this worker was silent for too long"):
        claims.finish(attempt, MINE, result)
    assert not TrainedModel()
    assert claim(queued, OTHER)["attempt"] == 2


def test_a_run_that_was_deleted_meanwhile(queued, result):
    attempt = claim(queued)
    Run().delete()
    with pytest.raises(LostClaimError, match="was deleted"):
        claims.finish(attempt, MINE, result)


def test_what_failed_waits_until_it_is_retried(queued):
    attempt = claim(queued)
    claims.fail(attempt, MINE, "TrainingError: no luck", "Traceback ...")
    claims.fail(attempt, MINE, "TrainingError: no luck", "Traceback ...")
    assert (Attempt() & attempt).fetch1("status", "error", "stack") == (
        "failed",
        "TrainingError: no luck",
        "Traceback ...",
    )
    assert (TrainedModel.jobs & queued).fetch1("status", "error_message") == ("error", "TrainingError: no luck")
    assert claim(queued) is None
    assert claims.failed() == [queued]
    assert claims.retry([queued]) == 1
    assert (TrainedModel.jobs & queued).fetch1("status", "priority", "error_stack") == ("pending", 3, None)
    with pytest.raises(DatabaseError, match=f"Run {queued['run_key']} has not failed"):
        claims.retry([queued])
    assert claims.failed() == []


def test_all_that_a_worker_has_is_released(queued):
    attempt = claim(queued)
    claims.release(OTHER)
    assert status(attempt) == "running"
    claims.release(MINE)
    assert (status(attempt), job(queued)[0]) == ("interrupted", "pending")


def test_silent_by_the_clock_of_the_database(queued):
    attempt = claim(queued)
    assert claims.reap_all(60) == 0
    Attempt.update1({**attempt, "heartbeat": "2020-01-01 00:00:00"})
    assert claims.reap_all(60) == 1
    assert (status(attempt), job(queued)[0]) == ("lost", "pending")


def test_a_job_that_nobody_has_waits_again(queued):
    TrainedModel.jobs.reserve(queued)
    assert claims.reap_all(60) == 0
    TrainedModel.jobs.update1({**queued, "reserved_time": "2020-01-01 00:00:00"})
    assert claims.reap_all(60) == 1
    assert job(queued) == ("pending", 3)


def test_a_job_of_a_finished_run_goes(queued, result):
    attempt = claim(queued)
    claims.finish(attempt, MINE, result)
    TrainedModel.jobs.insert1({**queued, "status": "pending", "priority": 1})
    assert claim(queued) is None
    assert len(TrainedModel.jobs) == 0


def test_a_run_whose_rows_were_changed_by_hand_fails_and_holds_up_nobody(queued, lab):
    lab.enqueue("Again")
    seed = (Run() & queued).fetch1("seed")
    Seed.insert1({"seed": seed + 1}, skip_duplicates=True)
    edit = f"UPDATE {Run.full_table_name} SET seed = {seed + 1} WHERE run_key = %s"
    Run.connection.query(edit, args=(queued["run_key"],))
    assert work(max_runs=2) == (1, 1)
    error = (Attempt() & queued).fetch1("error")
    assert error.startswith("DatabaseError: ") and "its rows were changed by hand" in error


def test_populate_refuses(queued):
    with pytest.raises(DatabaseError, match="`cotrain work` trains what is in the queue"):
        TrainedModel.populate(queued)
