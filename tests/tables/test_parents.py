"""Runs that need others: what is queued with them, who waits for whom, and what a worker elsewhere gets."""

import re
import shutil

import pytest
import torch

from cotrain.tables import configs, queries, queue
from cotrain.tables._datajoint import dj
from cotrain.tables.connect import connect
from cotrain.tables.restore import in_order, restore, with_order
from cotrain.tables.runs import Attempt, ParentRun, Recipe, RecipeRun, Run, TrainedModel
from cotrain.tables.upgrade import upgrade
from cotrain.tables.worker import work
from cotrain.training import RunFolder, load
from cotrain.training import run as run_in_folder

OLD = "2020-01-01 00:00:00"


@pytest.fixture
def empty(lab):
    """No run, no job, no folder of a run."""
    Run().delete()
    Recipe().delete()
    TrainedModel.jobs.delete_quick()
    shutil.rmtree(lab.home / "runs", ignore_errors=True)
    return lab


@pytest.fixture
def one_chain(empty):
    """The recipe `one`, with one seed, is queued: three runs."""

    class One(empty.recipe("Last")):
        """Does a chain with one seed come to its end?"""

        seeds = (0,)

    assert queue.enqueue(One, "one").needed == 2
    return empty


def keys_of(lab, name, seed=0):
    return {e.label: e.key() for e in lab.recipe(name)().expand() if e.seed == seed}


def states():
    table = queries.overview(queries.runs())
    return dict(zip(table.label, table.state, strict=True))


def pairs():
    return {(row["run_key"], row["parent_key"]) for row in ParentRun().to_dicts()}


def parents_first(begun):
    """Each run was begun after those that it needs."""
    begun = [key["run_key"] for key in begun]
    return all(begun.index(parent) < begun.index(run) for run, parent in pairs())


def test_what_a_run_needs_is_queued_with_it(empty):
    assert empty.enqueue("Last", priority=3) == queue.Enqueued(queued=2, finished=0, waiting=0, needed=4)
    expected = set()
    for seed in (0, 1):
        keys = keys_of(empty, "Chain", seed)
        expected |= {(keys["started"], keys["student"]), (keys["student"], keys["teacher"])}
    assert pairs() == expected
    assert (len(Run()), len(RecipeRun()), len(TrainedModel.jobs)) == (6, 2, 6)
    assert {job["priority"] for job in TrainedModel.jobs.to_dicts()} == {3}
    assert empty.enqueue("Last") == queue.Enqueued(queued=0, finished=0, waiting=2, needed=0)
    assert empty.enqueue("Chain") == queue.Enqueued(queued=0, finished=0, waiting=6, needed=0)
    assert pairs() == expected


def test_a_recipe_that_has_them_counts_them_as_its_own(empty):
    assert empty.enqueue("Chain") == queue.Enqueued(queued=6, finished=0, waiting=0, needed=0)
    assert len(RecipeRun()) == 6


def test_runs_that_no_recipe_has_are_called_after_those_that_need_them(empty):
    empty.enqueue("Last")
    table = queries.overview(queries.runs())
    assert sorted(table.label) == ["for started"] * 4 + ["started"] * 2
    keys = keys_of(empty, "Chain")
    assert table.state[keys["teacher"]] == "queued"
    assert table.state[keys["student"]] == f"waiting for {keys['teacher'][:8]}"
    assert table.state[keys["started"]] == f"waiting for {keys['student'][:8]}"
    empty.enqueue("Chain")
    assert sorted(set(queries.overview(queries.runs()).label)) == ["started", "student", "teacher"]


def test_a_worker_takes_what_is_needed_first(empty):
    empty.enqueue("Last", priority=1)
    begun = []
    assert work(on_start=begun.append) == (6, 0)
    assert parents_first(begun) and len(begun) == 6, "each once"
    assert empty.enqueue("Chain") == queue.Enqueued(queued=0, finished=6, waiting=0, needed=0)


def test_a_worker_of_one_recipe_takes_what_that_needs_and_nothing_else(one_chain):
    one_chain.enqueue("Failing", priority=0)
    begun = []
    assert work(recipe="one", on_start=begun.append) == (3, 0)
    assert parents_first(begun)
    assert len(TrainedModel.jobs) == 3, "other recipes' runs were left alone"


@pytest.mark.slow
def test_what_is_finished_is_not_queued_again(empty):
    keys = keys_of(empty, "Chain")
    empty.enqueue("Tiny")  # whose second experiment is the teacher of seed 0
    assert work() == (2, 0)
    assert empty.enqueue("Last").needed == 3
    assert (keys["student"], keys["teacher"]) in pairs(), "recorded all the same"
    assert work() == (5, 0)


def test_a_run_whose_parent_is_finished_asks_for_nothing_beyond(one_chain):
    keys = keys_of(one_chain, "Chain")
    assert work(max_runs=2) == (2, 0)
    (TrainedModel() & {"run_key": keys["teacher"]}).delete()
    assert TrainedModel() & {"run_key": keys["student"]}
    one_chain.enqueue("Last")
    assert not TrainedModel.jobs & {"run_key": keys["teacher"]}, "a teacher that nobody needs any more"


def test_what_needs_a_failed_run_waits(empty, command):
    empty.enqueue("Broken")
    keys = keys_of(empty, "Broken")
    assert work() == (1, 1)
    waiting = {"needing": f"waiting for {keys['absurd'][:8]}", "far": f"waiting for {keys['needing'][:8]}"}
    assert states() == {"absurd": "failed", "free": "done", **waiting}
    status, out, _ = command("ls", "--recipe", "Broken")
    assert status == 0 and f"waiting for {keys['absurd'][:8]}" in out
    assert work() == (0, 0)
    assert not Attempt() & {"run_key": keys["needing"]}


@pytest.mark.parametrize(
    ("parent", "heartbeat", "worth"),
    [
        ("running", "CURRENT", True),
        ("running", OLD, False),
        ("failed", "CURRENT", False),
        ("reserved", "CURRENT", True),
        ("reserved", OLD, False),
        ("pending", "CURRENT", False),
    ],
)
def test_a_worker_waits_while_another_trains_what_is_needed(parent, heartbeat, worth, empty):
    empty.enqueue("Tiny")
    assert work(recipe="tiny.Tiny", max_runs=1) == (1, 0)
    some = (Attempt()).fetch1()
    Run().delete()
    TrainedModel.jobs.delete_quick()
    assert not queue.worth_waiting(None)
    empty.enqueue("Last")
    key = {"run_key": keys_of(empty, "Chain")["teacher"]}
    now = configs.schema.connection.query("SELECT CURRENT_TIMESTAMP").fetchone()[0].replace(tzinfo=None)
    time = now if heartbeat == "CURRENT" else heartbeat
    if parent in ("running", "failed"):
        Attempt.insert1({**some, **key, "status": parent, "heartbeat": time})
    if parent == "reserved":
        TrainedModel.jobs.update1({**key, "status": "reserved", "reserved_time": time})
    assert queue.worth_waiting(None) == queue.worth_waiting("tiny.Last") == worth
    assert not queue.worth_waiting("tiny.Tiny")


@pytest.mark.slow
def test_several_workers_share_a_chain(empty):
    """All of them go on to the end, and nothing is trained twice."""
    empty.enqueue("Chain")
    workers = [empty.start("work") for _ in range(3)]
    said = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert sum(int(re.search(r"(\d+) runs finished, 0 failed\.\n$", out)[1]) for out, _ in said) == 6
    assert len(Attempt()) == len(TrainedModel()) == 6


def test_a_run_that_is_named_by_its_key_is_waited_for_where_the_database_has_it(empty):
    parent = keys_of(empty, "Again")["once more"]
    assert empty.enqueue("Named") == queue.Enqueued(queued=1, finished=0, waiting=0, needed=0)
    assert states() == {"named": "queued"}, "its folder alone may be there"
    empty.enqueue("Again")
    assert states()["named"] == f"waiting for {parent[:8]}"
    TrainedModel.jobs.delete_quick()
    assert empty.enqueue("Named").needed == 1
    assert work() == (2, 0)
    assert states()["named"] == states()["once more"] == "done"


def test_a_run_that_is_nowhere_is_a_failure_that_names_it(empty):
    parent = keys_of(empty, "Again")["once more"]
    empty.enqueue("Named")
    assert work() == (0, 1)
    assert re.match(rf"MissingRunError: There is no finished run {parent}, which ", Attempt().fetch1("error"))


def test_a_schema_of_before_gets_the_table(empty):
    ParentRun().drop_quick()
    assert not ParentRun().is_declared
    upgrade()
    assert ParentRun().is_declared
    assert empty.enqueue("Last").needed == 4


def test_deleting_a_parent_leaves_what_was_learnt_from_it(empty):
    keys = keys_of(empty, "Chain")
    empty.enqueue("Last")
    (Run() & {"run_key": keys["student"]}).delete()
    assert Run() & {"run_key": keys["started"]}
    assert pairs() >= {(keys["started"], keys["student"])}
    assert (keys["student"], keys["teacher"]) not in pairs()


def test_the_command_says_what_was_queued_besides(empty, command):
    status, out, _ = command("enqueue", f"{empty.recipe('Last').__module__.removeprefix('cotrain_recipe_')}.py:Last")
    assert status == 1  # no such file from here
    tiny = __file__.replace("test_parents.py", "tiny.py")
    status, out, _ = command("enqueue", f"{tiny}:Last")
    assert status == 0
    assert out.endswith("0 are finished. 4 more that these need were queued with them.\n")


# --- a second machine ---


@pytest.fixture
def shared(empty, tmp_path, monkeypatch):
    """All machines have one store; a function that makes this process one with another home."""
    store = {"protocol": "file", "location": str(tmp_path / "store")}
    (tmp_path / "store").mkdir()
    monkeypatch.setitem(dj.config.stores, "checkpoints", store)

    def move(name):
        home = tmp_path / name
        home.mkdir()
        monkeypatch.setenv("COTRAIN_HOME", str(home))
        return home

    return move


def same_model(first, second):
    states = first.model.state_dict(), second.model.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][n], states[1][n]) for n in states[0])


def test_a_worker_on_another_machine_gets_what_it_needs(one_chain, shared):
    keys = keys_of(one_chain, "Chain")
    homes = []
    for name in ("first", "second", "third"):
        homes.append(shared(name))
        assert work(max_runs=1) == (1, 0)
    assert [len(list((home / "runs").iterdir())) for home in homes] == [1, 2, 2]
    assert not (homes[2] / "runs" / keys["teacher"]).exists(), "what a finished run needed is needed no more"
    for label, place in (("teacher", 0), ("student", 1)):
        held, fetched = (load(homes[number] / "runs" / keys[label]) for number in (place, place + 1))
        assert fetched.experiment.key() == held.experiment.key() and same_model(fetched, held)
        assert (fetched.info, fetched.best_epoch) == (held.info, held.best_epoch)
        order = ["epoch", "task", "session", "split", "metric"]
        frames = [run.scores.sort_values(order, ignore_index=True) for run in (held, fetched)]
        assert frames[0].equals(frames[1])
    # and what comes of it is what comes of a chain in one home, bit for bit
    alone = shared("alone")
    for experiment in reversed([e for e in one_chain.recipe("Chain")().expand() if e.seed == 0]):
        run_in_folder(experiment, out=alone / "runs" / experiment.key())
    assert same_model(load(alone / "runs" / keys["started"]), load(homes[2] / "runs" / keys["started"]))


def test_the_order_of_tasks_comes_back(empty, shared, tmp_path):
    """Databases sort the keys of JSON; the first task is whose eyes a teacher sees with."""
    shared("first")
    empty.enqueue("Again")
    assert work(max_runs=1) == (1, 0)
    row = TrainedModel().fetch1()
    held = load(tmp_path / "first" / "runs" / row["run_key"])
    restore({"run_key": row["run_key"]}, RunFolder(tmp_path / "copy"))
    found = load(tmp_path / "copy")
    assert list(found.info.tasks) == list(held.info.tasks) == ["stripes", "cells", "cell_rdm"]
    assert found.info == held.info and same_model(found, held)
    assert found.experiment.label in ("once more", "longer")
    assert (tmp_path / "copy" / "info.json").read_text() == (held.folder / "info.json").read_text()


def test_records_come_back_in_their_order():
    record = {"b": {"z": 1, "a": [1, 2]}, "a": None, "fingerprint": "x"}
    stored = with_order(record)
    shuffled = {name: stored[name] for name in sorted(stored)} | {"b": {"a": [1, 2], "z": 1}}
    assert str(in_order(shuffled)) == str(record)
    assert in_order(record) == record, "one of before has no order"


def test_a_store_that_other_machines_do_not_see_is_told(one_chain, tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / name))
        connect()
        if name == "first":
            assert work(max_runs=1) == (1, 0)
    assert work() == (0, 1)
    error = Attempt().to_dicts(order_by="started")[-1]["error"]
    assert re.match(
        r"StoreError: The weights _schema/\w+/__trained_model/run_key=\w{32}/state_\S+\.pt cannot be read: there is no "
        r"such file\. The store is file:///.*/second/store\. Give all machines one store \(`stores` of DataJoint's ",
        error,
    )
    monkeypatch.undo()
    connect()
