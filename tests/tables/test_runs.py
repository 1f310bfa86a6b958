"""Runs: what was asked for, stored once whoever asked, and read back as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import SimulatedV1Config
from cotrain.tables import queries
from cotrain.tables.configs import Dataset, Model, Trainer
from cotrain.tables.runs import Attempt, EpochScore, Recipe, RecipeRun, Run, Seed, TrainedModel

TABLES = (Dataset, Model, Trainer, Seed, Run)


@pytest.fixture(scope="module")
def experiment(lab):
    return next(iter(lab.recipe("Tiny")().experiments()))


def without_label(experiment):
    return {name: value for name, value in experiment.record().items() if name != "label"}


def test_a_run_is_read_as_it_was(lab, experiment):
    key = Run.add(experiment)
    assert key == {"run_key": experiment.key()}
    loaded = Run.load(key)
    assert without_label(loaded) == without_label(experiment)
    assert loaded.key() == experiment.key()
    assert loaded.label == experiment.key()  # labels belong to recipes


def test_a_run_is_stored_once(lab, experiment):
    key = Run.add(experiment)
    counts = [len(table()) for table in TABLES]
    assert Run.add(experiment) == key
    assert Run.add(experiment.vary("the same under another name")) == key
    assert Run.add(experiment.vary("on another device", trainer={"device": "auto"})) == key
    assert [len(table()) for table in TABLES] == counts


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31 - 1), stimuli=st.integers(10, 2**40))
def test_every_experiment_keeps_its_key(seed, stimuli, lab, experiment):
    varied = experiment.vary("varied", seed=seed, data=SimulatedV1Config(stimuli=stimuli))
    key = Run.add(varied)
    assert key == {"run_key": varied.key()}
    assert without_label(Run.load(key)) == without_label(varied)


def test_seeds_share_their_configs(lab, experiment):
    counts = {table: len(table()) for table in TABLES}
    keys = [Run.add(experiment.vary("seeded", seed=seed, trainer={"epochs": 77})) for seed in (901, 902, 903)]
    assert len({key["run_key"] for key in keys}) == 3
    found = {table: len(table()) - counts[table] for table in TABLES}
    assert found == {Dataset: 0, Model: 0, Trainer: 1, Seed: 3, Run: 3}


def test_two_recipes_may_ask_for_one_run(lab):
    lab.enqueue("Tiny")
    lab.enqueue("Again")
    shared = {"run_key": next(iter(lab.recipe("Again")().experiments())).key()}
    assert len(Run() & shared) == 1
    rows = (RecipeRun() & shared).to_dicts(order_by="recipe")
    assert [(row["recipe"], row["label"], row["place"]) for row in rows] == [
        ("tiny.Again", "once more", 0),
        ("tiny.Tiny", "together", 0),
    ]
    assert len(queries.runs(recipe="tiny.Tiny")) == len(queries.runs(recipe="tiny.Again")) == 2
    assert len(queries.runs(recipe="tiny.Tiny") & queries.runs(recipe="tiny.Again").proj()) == 1
    asked = {row["recipe"]: row["question"] for row in Recipe().to_dicts()}
    assert asked["tiny.Tiny"] == "Do two layers learn stripes and cells at once?"


def test_deleting_a_run_deletes_all_that_hangs_on_it(trained):
    key = {"run_key": next(iter(trained.recipe("Tiny")().experiments())).key()}
    hanging = (RecipeRun, Attempt, EpochScore, TrainedModel, TrainedModel.Score)
    others = [len(table() - key) for table in hanging]
    assert all(table() & key for table in hanging)
    (Run() & key).delete()
    assert not any(table() & key for table in hanging)
    assert [len(table()) for table in hanging] == others
    assert len(Recipe() & {"recipe": "tiny.Tiny"}) == 1
