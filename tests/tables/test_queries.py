"""Questions to the database, asked of what two recipes left there."""

import pandas as pd
import pytest

from cotrain.errors import DatabaseError
from cotrain.tables import queries
from cotrain.tables.removal import remove
from cotrain.tables.runs import Attempt, EpochScore, Run, TrainedModel
from cotrain.training import load


@pytest.fixture(scope="module")
def asked(trained):
    """`Tiny` is trained; six seeds of another and `Again` wait."""
    trained.enqueue("Again")
    trained.enqueue("Six")
    return trained


def key_of(lab, name, label):
    return next({"run_key": e.key()} for e in lab.recipe(name)().expand() if e.label == label)


def labels(query):
    return set(queries.overview(query).label)


def test_runs_are_found_by_recipe(asked):
    assert len(queries.runs()) == 9
    assert labels(queries.runs(recipe="tiny.Tiny")) == {"once more / together", "stripes only"}
    assert len(queries.runs(recipe="tiny.Six")) == 6
    assert len(queries.runs(recipe="tiny.None")) == 0


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"epochs": 2}, 2),
        ({"trainer.epochs": 2.0}, 2),
        ({"epochs": 2, "seed": 0}, 2),
        ({"seed": 3}, 1),
        ({"seed": 99}, 0),
        ({"optimiser.lr": 2e-3}, 9),
        ({"kind": "cotrain.data.select_tasks"}, 1),
        ({"data.kind": "cotrain.data.select_tasks"}, 1),
        ({"model.kind": "cotrain.data.select_tasks"}, 0),
        ({"data.data.path": "tiny.npz"}, 1),
        ({"path": "tiny.npz"}, 8),
        ({"model.tasks.cells.tap": "layer1"}, 8),
        ({"clip_norm": None}, 9),
        ({"model.backbone.layers[1][0]": 6, "trainer.epochs": 40}, 6),
        ({"no.such.path": 1}, 0),
    ],
)
def test_runs_are_found_by_what_their_configs_hold(where, count, asked):
    assert len(queries.runs(where=where)) == count


def test_both_at_once(asked):
    assert labels(queries.runs(recipe="tiny.Again", where={"epochs": 3})) == {"longer"}


def test_the_overview_has_one_row_a_run_in_the_order_of_recipes(asked):
    table = queries.overview(queries.runs())
    assert list(table.label) == ["once more / together", "longer", *["watched"] * 6, "stripes only"]
    assert list(table.columns[:6]) == ["label", "seed", "state", "epoch", "best", "monitored"]
    assert set(table.columns[6:]) == {"stripes accuracy", "cells correlation", "cell_rdm spearman"}
    assert sorted(table.seed) == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    done = table[table.state == "done"]
    assert list(done.label) == ["once more / together", "stripes only"]
    assert table[table.state != "done"][["epoch", "best", "monitored"]].isna().all(axis=None)
    for run, row in done.iterrows():
        held = load(asked.home / "runs" / run)
        test = held.scores[(held.scores.split == "test") & (held.scores.session == "")].set_index("task")
        assert (row["epoch"], row["best"]) == (2, held.best_epoch)
        assert row["stripes accuracy"] == test[test.metric == "accuracy"].value["stripes"]
        if "cells" in test.index:
            assert row["cells correlation"] == test[test.metric == "correlation"].value["cells"]
        else:
            assert row[["cells correlation", "cell_rdm spearman"]].isna().all()


def test_an_overview_of_nothing_is_empty(asked):
    assert len(queries.overview(queries.runs(recipe="tiny.None"))) == 0


@pytest.mark.parametrize(
    ("attempt", "job", "state"),
    [
        (None, None, "not queued"),
        (None, "pending", "queued"),
        (None, "reserved", "running"),
        (None, "error", "failed"),
        ("silent", "reserved", "lost"),
        ("lost", None, "lost"),
        ("lost", "pending", "queued"),
        ("running", "reserved", "running"),
        ("running", "pending", "queued"),
        ("interrupted", "pending", "queued"),
        ("interrupted", None, "interrupted"),
        ("failed", "error", "failed"),
    ],
)
def test_each_state_has_its_word(attempt, job, state, asked):
    key = key_of(asked, "Again", "longer")
    (Attempt() & key).delete()
    (TrainedModel.jobs & key).delete_quick()
    if attempt:
        some = (Attempt() & key_of(asked, "Tiny", "together")).fetch1()
        del some["heartbeat"]  # now
        Attempt.insert1({**some, **key, "attempt": 1, "status": "done"})
        silent = {"status": "running", "heartbeat": "2026-01-01"} if attempt == "silent" else {}
        Attempt.insert1({**some, **key, "attempt": 2, "status": attempt, "epoch": 1, **silent})
    if job:
        TrainedModel.jobs.insert1({**key, "status": job, "priority": 5})
    row = queries.overview(queries.runs() & key).iloc[0]
    assert row["state"] == state
    assert row["epoch"] == 1 if attempt else pd.isna(row["epoch"])


def test_curves_of_a_run(asked):
    curves = queries.curves(key_of(asked, "Tiny", "stripes only"))
    assert list(curves.columns) == ["epoch", "task", "session", "split", "metric", "value"]
    assert set(curves.epoch) == {0, 1, 2}
    assert set(curves.task) == {"stripes", ""}
    assert curves.epoch.is_monotonic_increasing


def test_a_run_that_was_not_begun_has_empty_curves_and_scores(asked):
    key = key_of(asked, "Six", "watched")
    assert list(queries.curves(key).columns) == ["epoch", "task", "session", "split", "metric", "value"]
    assert len(queries.curves(key)) == len(queries.held_out_scores(queries.runs() & key)) == 0


def test_undefined_scores_read_as_nan(asked):
    key = key_of(asked, "Tiny", "stripes only")
    row = (EpochScore() & key & {"epoch_number": 1, "metric": "loss", "split": "train"}).fetch1()
    EpochScore.update1({**row, "value": None})
    curves = queries.curves(key)
    assert curves.value.dtype == float
    assert curves.value.isna().sum() == 1
    EpochScore.update1(row)


def test_test_scores_carry_labels_and_seeds(asked):
    scores = queries.held_out_scores(queries.runs(recipe="tiny.Tiny"), recipe="tiny.Tiny")
    assert set(scores.label) == {"together", "stripes only"}
    assert set(queries.held_out_scores(queries.runs(recipe="tiny.Again"), recipe="tiny.Again").label) == {"once more"}
    assert set(queries.held_out_scores(queries.runs()).label) == {"once more / together", "stripes only"}
    assert set(scores.seed) == {0}
    assert len(scores) == len(TrainedModel.Score() & {"split": "test"})


def test_labels_keep_the_order_of_the_recipe(asked):
    assert queries.labels("tiny.Tiny") == ["together", "stripes only"]
    assert queries.labels("tiny.Six") == ["watched"]
    assert queries.labels("tiny.None") == []


@pytest.mark.parametrize(
    "text", ["tiny.Six", "Six", "tiny.py:Six", "recipes/tiny.py:Six", "tiny:Six", "cotrain.recipes.tiny:Six"]
)
def test_recipes_are_found_by_what_people_call_them(text, asked):
    assert queries.find_recipe_name(text) == "tiny.Six"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tiny", r"^3 recipes in the database are called 'tiny'\. It has: tiny\.Again, tiny\.Six, tiny\.Tiny\.$"),
        ("tiny.Sic", r"^No recipes in the database are called 'tiny\.Sic'\. It has: tiny\.Again, "),
        ("", r"^No recipes in the database are called ''"),
    ],
)
def test_names_of_no_or_several_recipes(text, error, asked):
    with pytest.raises(DatabaseError, match=error):
        queries.find_recipe_name(text)


def test_runs_are_found_by_key_and_by_label(asked):
    key = key_of(asked, "Tiny", "together")
    for text in (key["run_key"], key["run_key"][:8], key["run_key"][:4], "together", "once more"):
        assert queries.find_run(text) == key


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "watched",
            r"^6 runs have a key that begins with 'watched', or that label: \w{32}, .*\. Write more of the key",
        ),
        ("abc", r"^No runs have a key that begins with 'abc', or that label\. `cotrain ls` lists all runs\.$"),
        ("%", r"^No runs have"),
        ("", r"^No runs have"),
    ],
)
def test_names_of_no_or_several_runs(text, error, asked):
    with pytest.raises(DatabaseError, match=error):
        queries.find_run(text)


def test_attempts_are_told_with_their_code(asked):
    key = key_of(asked, "Tiny", "together")
    (attempt,) = queries.attempts_of(key)
    assert attempt["status"] == "done"
    assert attempt["cotrain_version"]
    assert "datajoint" in attempt["packages"]
    assert queries.attempts_of({"run_key": "0" * 32}) == []
    assert len(Run() & key) == 1


def test_runs_and_scores_in_python(asked):
    assert len(Run.where(lr=2e-3, epochs=2)) == 2
    assert len(Run.where(**{"mixing.ratios@1.cells": 1, "seed": 0})) == 3
    long = queries.scores(queries.runs())
    assert list(long.columns) == ["run_key", "label", "seed", "task", "session", "split", "metric", "value"]
    assert set(long.split) == {"test"}
    wide = queries.scores(queries.runs(), metric="accuracy", wide=True)
    assert list(wide.columns) == ["accuracy"]
    assert len(wide) == 2
    wide = queries.scores(queries.runs(), split=None, task="cells", wide=True).reset_index()
    held = (TrainedModel.Score() & {"task": "cells", "session": "", "split": "test", "metric": "correlation"}).fetch1()
    assert wide["test correlation"].item() == held["value"]


def test_learning_curves_in_python(asked):
    runs = queries.runs(recipe="tiny.Tiny")
    long = queries.epoch_scores(runs, task="stripes", metric="accuracy")
    assert len(long) == 6
    assert set(long.split) == {"validation"}
    wide = queries.epoch_scores(runs, task="stripes", metric="accuracy", wide=True)
    assert list(wide.index) == [0, 1, 2]
    assert set(wide.columns) == {row["run_key"] for row in runs.proj().to_dicts()}
    assert len(queries.epoch_scores(queries.runs() & key_of(asked, "Again", "longer"))) == 0


def test_all_runs_stay_where_one_of_them_is_trained(asked):
    keys = [experiment.key() for experiment in asked.recipe("Six")().expand()]
    one = {"run_key": keys[0]}
    some = (Attempt() & key_of(asked, "Tiny", "together")).fetch1()
    del some["heartbeat"]
    Attempt.insert1({**some, **one, "status": "running"})
    before = len(TrainedModel.jobs)
    try:
        with pytest.raises(DatabaseError, match=rf"^1 of these runs are being trained: {keys[0][:8]}\. Stop their"):
            remove(keys)
        assert len(Run() & [{"run_key": key} for key in keys]) == 6
        assert len(TrainedModel.jobs) == before
    finally:
        (Attempt() & one).delete()
