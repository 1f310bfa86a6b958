"""A worker's thread: signs of life, scores that wait while the database is away, workers that fall silent."""

import os
import time
from functools import partial

import pytest

from cotrain.errors import DatabaseUnavailableError, LostClaimError
from cotrain.tables import claims, reporter
from cotrain.tables.connect import connect, embedded
from cotrain.tables.provenance import record_provenance
from cotrain.tables.runs import Attempt, EpochScore, Run, TrainedModel
from tests.tables import conftest
from tests.tables.conftest import OTHER_SERVER

MINE, OTHER = "a" * 32, "b" * 32
SOON = 1.2  # seconds after which a silent worker is lost in these tests


wait_for = partial(conftest.wait_for, seconds=30)


def rows(epoch, value=0.5):
    columns = {"task": "cells", "session": "", "split": "validation", "metric": "correlation"}
    return [{"epoch_number": epoch, **columns, "value": value}]


@pytest.fixture
def attempt(lab, monkeypatch):
    """A running attempt of the worker MINE."""
    monkeypatch.setattr(reporter, "LOST_AFTER_SECONDS", SOON)
    Run().delete()
    TrainedModel.jobs.delete_quick()
    lab.enqueue("Long")
    return claims.claim(Run().proj().fetch1(), MINE, record_provenance())


@pytest.fixture
def mine(attempt):
    with reporter.reporting(MINE) as found:
        found.begin(attempt)
        yield found


def told():
    return {row["epoch_number"]: row["value"] for row in EpochScore().to_dicts()}


def test_it_shows_life_until_the_attempt_ends(mine, attempt):
    first = (Attempt() & attempt).fetch1("heartbeat")
    wait_for(lambda: (Attempt() & attempt).fetch1("heartbeat") > first)
    mine.end()
    time.sleep(0.3)
    last = (Attempt() & attempt).fetch1("heartbeat")
    time.sleep(0.3)
    assert (Attempt() & attempt).fetch1("heartbeat") == last


def test_scores_are_told_at_once_and_in_order(mine, attempt):
    mine.restart([], -1)
    for epoch in range(5):
        mine.epoch(epoch, rows(epoch, epoch / 10))
    mine.flush()
    assert told() == {epoch: epoch / 10 for epoch in range(5)}
    assert (Attempt() & attempt).fetch1("epoch") == 4


def test_after_a_restart_each_epoch_is_there_once(mine, attempt):
    for epoch in range(5):
        mine.epoch(epoch, rows(epoch, 1.0))
    mine.flush()
    mine.restart([row for epoch in range(3) for row in rows(epoch, 2.0)], 2)
    mine.epoch(3, rows(3, 2.0))
    mine.flush()
    assert told() == {0: 1.0, 1: 1.0, 2: 1.0, 3: 2.0}
    # what an earlier attempt did not get through comes from the history
    EpochScore().delete_quick()
    mine.restart([row for epoch in range(4) for row in rows(epoch, 3.0)], 3)
    mine.flush()
    assert told() == dict.fromkeys(range(4), 3.0)


def test_a_run_that_was_taken_ends_training(mine, attempt):
    mine.epoch(0, rows(0))
    mine.flush()
    Attempt.update1({**attempt, "status": "lost"})
    wait_for(lambda: mine._lost)
    with pytest.raises(LostClaimError, match="was taken from this worker"):
        mine.epoch(1, rows(1))
    with pytest.raises(LostClaimError):
        mine.flush()
    assert told() == {0: 0.5}, "nothing was stored after that"


@pytest.mark.skipif(OTHER_SERVER in os.environ, reason="the server is not ours to stop")
def test_while_the_database_is_away_scores_wait(mine, server_folder):
    server = embedded(server_folder)
    mine.restart([], -1)
    mine.epoch(0, rows(0))
    mine.flush()
    server.stop()
    try:
        began = time.monotonic()
        mine.epoch(1, rows(1))
        mine.epoch(2, rows(2))
        assert time.monotonic() - began < 1, "training does not wait"
        with pytest.raises(DatabaseUnavailableError, match="The run is whole in its folder"):
            mine.flush(patience=0.5)
    finally:
        server.start()
        connect()
    mine.flush(patience=60)
    assert sorted(told()) == [0, 1, 2]


def test_a_worker_that_falls_silent_is_lost_and_one_that_lives_is_not(attempt):
    with reporter.reporting(OTHER) as other, reporter.reporting(MINE) as mine:
        mine.begin(attempt)
        wait_for(lambda: not other.unsure)
        time.sleep(2 * SOON)
        assert (Attempt() & attempt).fetch1("status") == "running"
        mine.end()  # as if it were killed
        wait_for(lambda: other.unsure)
        wait_for(lambda: (Attempt() & attempt).fetch1("status") == "lost")
        wait_for(lambda: not other.unsure)
        assert TrainedModel.jobs.fetch1("status") == "pending"


def test_nobody_is_sure_before_the_first_look(attempt):
    with reporter.reporting(OTHER) as other:
        assert other.unsure
        wait_for(lambda: other._unsure == 1)
        assert other.unsure, "it may be dead"


@pytest.mark.skipif(OTHER_SERVER in os.environ, reason="the server is not ours to stop")
def test_an_outage_makes_nobody_look_dead(attempt, server_folder):
    """The others could not beat while the database was away."""
    server = embedded(server_folder)
    with reporter.reporting(OTHER) as other:
        wait_for(lambda: other._unsure == 1)
        server.stop()
        time.sleep(2 * SOON)
        server.start()
        connect()
        before = (Attempt() & attempt).fetch1("status", "heartbeat")
        assert before[0] == "running"
        with reporter.reporting(MINE) as mine:
            mine.begin(attempt)
            wait_for(lambda: (Attempt() & attempt).fetch1("heartbeat") > before[1])
            wait_for(lambda: not other.unsure)
            assert (Attempt() & attempt).fetch1("status") == "running"
