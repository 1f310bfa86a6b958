"""The queue in one process: what goes in, what comes out, and what is recorded of it."""

import re
import shutil

import pytest
import torch

from cotrain.errors import DatabaseError, RecipeError
from cotrain.tables import queries, queue
from cotrain.tables.runs import Attempt, Recipe, RecipeRun, Run, TrainedModel
from cotrain.tables.store import load_model
from cotrain.tables.worker import work
from cotrain.training import load
from cotrain.training import run as run_in_folder

EPOCH_COLUMNS = ["epoch", "task", "session", "split", "metric", "value"]


def jobs():
    return {row["run_key"]: row for row in TrainedModel.jobs.to_dicts()}


def keys_of(lab, name):
    return {experiment.label: {"run_key": experiment.key()} for experiment in lab.recipe(name)().expand()}


def folder_of(lab, key):
    return load(lab.home / "runs" / key["run_key"])


def in_order(frame):
    return frame.sort_values(EPOCH_COLUMNS[:-1], ignore_index=True)[EPOCH_COLUMNS]


def clear(lab):
    """No run, no job, no folder of a run."""
    Run().delete()
    Recipe().delete()
    TrainedModel.jobs.delete_quick()
    shutil.rmtree(lab.home / "runs", ignore_errors=True)


@pytest.fixture
def empty(lab):
    clear(lab)
    return lab


def test_a_recipe_goes_in_once(empty):
    assert empty.enqueue("Tiny") == queue.Enqueued(queued=2, finished=0, waiting=0)
    assert empty.enqueue("Tiny") == queue.Enqueued(queued=0, finished=0, waiting=2)
    assert empty.enqueue("Again") == queue.Enqueued(queued=1, finished=0, waiting=1)
    assert (len(Run()), len(RecipeRun()), len(jobs())) == (3, 4, 3)
    assert {job["status"] for job in jobs().values()} == {"pending"}
    assert work(recipe="tiny.Tiny", max_runs=1) == (1, 0)
    assert empty.enqueue("Tiny") == queue.Enqueued(queued=0, finished=1, waiting=1)


def test_a_wrong_recipe_leaves_nothing_behind(empty):
    good = empty.recipe("Tiny")

    class Wrong(good):
        """Is nothing stored when the last of its experiments is wrong?"""

        def experiments(self):
            """Two right ones, and one with a name that no config knows."""
            yield from super().experiments()
            yield next(iter(super().experiments())).vary("wrong", trainer={"epoch": 3})

    with pytest.raises(RecipeError, match=r"Wrong has 1 error[^\n]*\n'wrong', trainer: .* Did you mean 'epochs'"):
        queue.enqueue(Wrong, "wrong")
    assert not any(table() for table in (Recipe, RecipeRun, Run))
    assert jobs() == {}


def test_what_fails_on_its_way_in_is_rolled_back(empty, monkeypatch):
    whole = Run.add.__func__

    def add(cls, experiment):
        if experiment.label == "stripes only":
            raise OSError("the disk of the database is full")
        return whole(cls, experiment)

    monkeypatch.setattr(Run, "add", classmethod(add))
    with pytest.raises(OSError, match="disk of the database"):
        empty.enqueue("Tiny")
    assert not any(table() for table in (Recipe, RecipeRun, Run))
    monkeypatch.undo()
    assert empty.enqueue("Tiny").queued == 2


def test_smaller_priorities_are_taken_first(empty):
    empty.enqueue("Failing", priority=7)
    empty.enqueue("Again", priority=3)
    begun = []
    assert work(max_runs=2, on_start=begun.append) == (2, 0)
    assert sorted(begun, key=str) == sorted(keys_of(empty, "Again").values(), key=str)


@pytest.mark.parametrize("priority", [-1, 128, 300])
def test_priorities_that_not_every_database_holds_are_refused(priority, empty):
    with pytest.raises(DatabaseError, match=rf"^A priority is a whole number from 0 to 127, found {priority}\.$"):
        empty.enqueue("Tiny", priority=priority)
    assert jobs() == {}


def test_a_recipe_may_rename_its_experiments(empty):
    first = empty.recipe("Tiny")

    class Renamed(first):
        """Has a new label reached the database?"""

        def experiments(self):
            """The same two the other way round, under new labels."""
            yield from reversed([cell.vary(f"new {cell.label}") for cell in super().experiments()])

    empty.enqueue("Tiny")
    queue.enqueue(Renamed, first.name())
    assert queries.labels("tiny.Tiny") == ["new stripes only", "new together"]
    assert Recipe().fetch1("question") == "Has a new label reached the database?"


def test_jobs_of_deleted_runs_block_nobody(empty):
    ghosts = [{"run_key": f"{number:032x}", "status": "pending", "priority": 0} for number in range(30)]
    TrainedModel.jobs.insert(ghosts)
    empty.enqueue("Failing")
    assert work() == (2, 1)


@pytest.fixture(scope="module")
def worked(lab):
    """A lab in which `Failing` was worked through: its second run fails."""
    clear(lab)
    lab.enqueue("Failing")
    assert work(recipe="tiny.Failing") == (2, 1)
    return lab


def test_the_database_tells_what_the_journal_does(worked):
    for label in ("before", "after"):
        key = keys_of(worked, "Failing")[label]
        told = folder_of(worked, key).scores
        told = in_order(told[told.split != "test"])
        found = in_order(queries.curves(key))
        assert len(found) > 20
        assert found.equals(told)
        assert set(found.epoch) == {0, 1}


def test_scores_of_the_best_epoch_are_stored(worked):
    for label in ("before", "after"):
        key = keys_of(worked, "Failing")[label]
        held, row = folder_of(worked, key), (TrainedModel() & key).fetch1()
        best = held.scores[held.scores.epoch == held.best_epoch]
        found = (TrainedModel.Score() & key).to_pandas().reset_index().assign(epoch=row["best_epoch"])
        assert in_order(found).equals(in_order(best))
        assert set(found.split) == {"train", "validation", "test"}
        assert row["monitored"] == best[best.metric == "monitored"].value.item()
        assert row["data_info"]["fingerprint"] == held.info.fingerprint
        assert 0 < row["seconds"] < 100


def test_the_stored_model_answers_as_the_trained_one(worked):
    key = keys_of(worked, "Failing")["after"]
    held, stored = folder_of(worked, key), load_model(key)
    images = torch.randint(0, 256, (7, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert not stored.training
    for task, session in (("stripes", ""), ("cells", "first"), ("cell_rdm", "")):
        with torch.no_grad():
            assert torch.equal(stored(images, task, session), held.model(images, task, session))


def test_a_finished_run_is_not_trained_again(worked):
    attempts, begun = len(Attempt()), []
    assert worked.enqueue("Failing").queued == 0
    assert work(on_start=begun.append) == (0, 0)
    key = keys_of(worked, "Failing")["after"]
    TrainedModel.jobs.insert1({**key, "status": "pending", "priority": 1})  # by hand, though it is done
    assert work() == (0, 0)
    assert len(Attempt()) == attempts
    assert key["run_key"] not in jobs()


def test_a_failure_is_recorded_and_others_go_on(worked):
    keys = keys_of(worked, "Failing")
    row = (Attempt() & keys["absurd"]).fetch1()
    assert (row["status"], row["attempt"], row["epoch"]) == ("failed", 1, 0)
    assert re.search(
        r"^TrainingError: The loss of task '\w+', at the tap '[\w.]+', is not finite in epoch 1\.", row["error"]
    )
    assert "Traceback (most recent call last)" in row["stack"]
    assert "training_scores" in row["stack"]
    assert row["started"] <= row["heartbeat"]
    assert row["started"] <= row["finished"]
    assert jobs()[keys["absurd"]["run_key"]]["status"] == "error"
    assert not TrainedModel() & keys["absurd"]
    assert set(queries.curves(keys["absurd"]).epoch) == {0}, "its curve is kept"
    assert {(Attempt() & keys[label]).fetch1("status") for label in ("before", "after")} == {"done"}
    states = queries.overview(queries.runs(recipe="tiny.Failing")).set_index("label").state
    assert states.to_dict() == {"before": "done", "absurd": "failed", "after": "done"}
    assert work() == (0, 0), "a failed run waits for a person"


def test_one_failure_is_told_once(worked, caplog):
    key = keys_of(worked, "Failing")["absurd"]
    TrainedModel.jobs.update1({**key, "status": "pending"})
    assert work() == (0, 1)
    assert len(Attempt() & key) == 2
    told = [record for record in caplog.records if "is not finite" in record.getMessage()]
    assert [record.name for record in told] == ["cotrain.tables.worker"]
    assert key["run_key"] in told[0].getMessage()


def test_a_run_that_was_trained_without_the_database_is_taken_over(empty):
    experiment = next(iter(empty.recipe("Again")().expand()))
    key = {"run_key": experiment.key()}
    run_in_folder(experiment, out=empty.home / "runs" / experiment.key())
    empty.enqueue("Again")
    assert work() == (2, 0)
    told = folder_of(empty, key).scores
    assert in_order(queries.curves(key)).equals(in_order(told[told.split != "test"]))
    assert (Attempt() & key).fetch1("epoch") == 2
