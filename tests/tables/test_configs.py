"""Tables of configs: each config once, searched by any of its values, read back as it was."""

import importlib
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig
from cotrain.errors import DatabaseError
from cotrain.models import SharedBackboneConfig
from cotrain.tables.configs import Dataset, Model, Trainer, leaf_columns, leaves
from cotrain.tables.runs import Run
from cotrain.training import AdamWConfig, SgdConfig, TrainerConfig

MIXING = MixingConfig(main="stripes", ratios=((1, (("cells", 1.0), ("rdm", "1/3"))), (20, (("cells", 0.3),))))
POND = """
from typing import Annotated, ClassVar
from cotrain import AddedLater, Config

class PondConfig(Config):
    '''A pond, with ducks since its second release.'''
    kind: ClassVar[str] = "pondlab.pond"
    frogs: int = 3
    ducks: Annotated[int, AddedLater(neutral=0)] = 2

def pond(config: PondConfig): ...
"""


def trainer(**changes):
    return TrainerConfig(mixing=MIXING, **changes)


def paths(record):
    return {path: text for path, _, text in leaves(record)}


def kept(table, key):
    return {row["path"]: (row["num"], row["txt"]) for row in (table.Attr() & key).to_dicts()}


# --- paths ---


def test_paths_read_as_people_write_them(lab):
    together = next(iter(lab.recipe("Tiny")().experiments()))
    assert paths(trainer(optimiser=AdamWConfig(lr=1e-3)).record()) | {
        "optimiser.lr": "0.001",
        "optimiser.betas[1]": "0.999",
        "mixing.ratios@1.cells": "1.0",
        "mixing.ratios@1.rdm": "1/3",
        "mixing.ratios@20.cells": "0.3",
        "clip_norm": "null",
    } == paths(trainer(optimiser=AdamWConfig(lr=1e-3)).record())
    found = paths(together.model.record())
    assert found["tasks.cells.tap"] == "layer1"
    assert found["tasks.cells.head.kind"] == "cotrain.models.gaussian_readout"
    assert [found[f"backbone.layers[{layer}][0]"] for layer in (0, 1)] == ["4", "6"]
    assert paths(together.data.record())["tasks.cells.responses"] == "responses"


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({}, {}),
        ({"a": []}, {"a": "[]"}),
        ({"a": {"b": [1, [2, 3]]}}, {"a.b[0]": "1", "a.b[1][0]": "2", "a.b[1][1]": "3"}),
        ({"a": [{"name": "x", "b": 1}]}, {"a.x.name": "x", "a.x.b": "1"}),
        ({"a": [{"name": "x"}, {"name": "x"}]}, {"a[0].name": "x", "a[1].name": "x"}),
        ({"a": [{"name": ""}, {"task": "t"}]}, {"a[0].name": "", "a.t.task": "t"}),
        ({"a": [["x", 1], ["y", 2]]}, {"a.x": "1", "a.y": "2"}),
        ({"a": [["x", 1], ["x", 2]]}, {"a[0][0]": "x", "a[0][1]": "1", "a[1][0]": "x", "a[1][1]": "2"}),
        ({"a": [["x", 1], ["X", 2]]}, {"a[0][0]": "x", "a[0][1]": "1", "a[1][0]": "X", "a[1][1]": "2"}),
        ({"a": [["x.y", 1]]}, {"a[0][0]": "x.y", "a[0][1]": "1"}),
        ({"a": [[1, [["x", 2]]], [2, []]]}, {"a@1.x": "2", "a@2": "[]"}),
        (
            {"a": [True, None, 2, 2.0, "true"]},
            {f"a[{i}]": t for i, t in enumerate(["true", "null", "2", "2.0", "true"])},
        ),
    ],
)
def test_paths_of(record, found):
    assert paths(record) == found


RECORDS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,3}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["a", "a.b", "b[0]"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "task", "a", "b"]), inner, max_size=3)
            | st.lists(st.tuples(st.text("ab.[@", max_size=3) | st.integers(-1, 1), inner), max_size=3)
        ),
        max_leaves=12,
    ),
    max_size=3,
)


@given(RECORDS)
@example({"a": [{"name": "b.c"}, {"name": "b", "c": {"name": 0}}]})
@example({"a" * 100: {"b" * 100: {"c": 1, "d": 2}}})
def test_every_value_has_a_path_of_its_own(record):
    found = [path.casefold() for path, _, _ in leaves(record)]  # MySQL takes V4 and v4 for one
    assert len(found) == len(set(found))
    assert all(len(path) <= 190 for path in found)


@given(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_kept_exactly(number):
    held = leaf_columns(number)
    assert held["num"] == number
    assert json.loads(held["txt"]) == number


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400])
def test_what_no_column_holds_is_text(number):
    assert leaf_columns(number)["num"] is None


# --- rows ---


def test_a_config_is_stored_once(lab):
    config = trainer(epochs=7)
    key = Trainer.add(config)
    assert key == {"trainer_key": config.key()}
    rows, values = len(Trainer()), len(Trainer.Attr())
    assert Trainer.add(config) == key
    assert Trainer.add(config.replace(device="cpu")) == key  # the device is no part of its identity
    assert (len(Trainer()), len(Trainer.Attr())) == (rows, values)
    assert (Trainer() & key).fetch1("trainer_kind") == "cotrain.training.trainer"
    assert kept(Trainer, key) == {path: (number, text) for path, number, text in leaves(config.record())}


@settings(deadline=None, max_examples=20)
@given(lr=st.floats(0, exclude_min=True, allow_infinity=False), ratio=st.floats(0, 1e300) | st.just("2/7"))
@example(lr=1e16, ratio=1e22)
@example(lr=5e-324, ratio=0.0)
@example(lr=1.7976931348623157e308, ratio=1.0)
@example(lr=0.1 + 0.2, ratio=1e-5)
def test_a_config_is_read_as_it_was(lr, ratio, lab):
    mixing = MixingConfig(main="stripes", ratios=((1, (("cells", ratio),)),))
    config = TrainerConfig(mixing=mixing, optimiser=AdamWConfig(lr=lr))
    key = Trainer.add(config)
    assert Trainer.load(key) == config
    assert Trainer.load(key).key() == key["trainer_key"]
    assert len(Trainer.where(**{"optimiser.lr": lr, "mixing.ratios@1.cells": ratio}) & key) == 1


# a backslash is left out: DataJoint 2.3.5 doubles it in restrictions, which PostgreSQL does not undo
@pytest.mark.parametrize("text", ["it's", 'a "quote"', "50 % of {x} %s", "µ-ΔF/F ✓ 😀", "x' OR 'a'='a"])
def test_any_text_is_stored_and_found(text, lab):
    config = ArraysConfig(path=text, tasks=(LabelArrayConfig(task="t"),))
    key = Dataset.add(config)
    assert Dataset.load(key) == config
    assert Dataset.where(path=text).to_dicts() == (Dataset() & key).to_dicts()


def test_where_finds_by_each_sort_of_value(lab):
    plain = trainer(epochs=31)
    clipped = trainer(epochs=31, clip_norm=2.0, optimiser=SgdConfig(lr=0.25, nesterov=True))
    keys = {config: Trainer.add(config)["trainer_key"] for config in (plain, clipped)}

    def found(**values):
        rows = Trainer.where(**values, epochs=31).proj().to_dicts()
        return [config for config in (plain, clipped) if {"trainer_key": keys[config]} in rows]

    assert found() == [plain, clipped]
    assert found(**{"optimiser.lr": 0.25}) == [clipped]
    assert found(**{"optimiser.lr": 2e-3}) == [plain]
    assert found(clip_norm=2) == found(clip_norm=2.0) == [clipped]
    assert found(clip_norm=None) == [plain]
    assert found(**{"optimiser.nesterov": True}) == [clipped]
    assert found(**{"optimiser.nesterov": False}) == []
    assert found(**{"optimiser.kind": "cotrain.training.adamw"}) == [plain]
    assert found(**{"mixing.ratios@1.rdm": "1/3"}) == [plain, clipped]
    assert found(**{"optimiser.lr": 0.25, "clip_norm": 3}) == []
    assert found(no_such_path=1) == found(clip_norm=float("nan")) == found(clip_norm=float("inf")) == []


def test_models_are_searched_by_task(lab):
    together = next(iter(lab.recipe("Tiny")().experiments()))
    key = Model.add(together.model)
    assert Model.where(**{"tasks.cells.tap": "layer1"}).proj().to_dicts() == [key]
    assert isinstance(Model.load(key), SharedBackboneConfig)


# --- rows that another release, or a hand, has written ---


@pytest.fixture
def pond(tmp_path, monkeypatch):
    (tmp_path / "pondlab.py").write_text(POND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COTRAIN_BUILDERS", "pondlab")
    return importlib.import_module("pondlab").PondConfig


def test_a_row_of_an_older_release_gets_neutral_values(lab, pond):
    before = pond(frogs=4, ducks=0)
    key = {"dataset_key": before.key()}
    record = {"kind": "pondlab.pond", "frogs": 4}  # as the release wrote it that knew no ducks
    Dataset.insert1({**key, "dataset_kind": "pondlab.pond", "dataset_config": record})
    assert Dataset.load(key) == before
    assert Dataset.add(before) == key
    assert Dataset.add(pond(frogs=4)) != key
    assert len(Dataset() & {"dataset_kind": "pondlab.pond"}) == 2


def test_a_row_that_was_changed_by_hand_is_noticed(lab):
    experiment = next(iter(lab.recipe("Again")().experiments()))
    run = Run.add(experiment)
    key = {"trainer_key": experiment.trainer.key()}
    assert Run.load(run).key() == run["run_key"]
    Trainer.update1({**key, "trainer_config": {**experiment.trainer.record(), "epochs": 3}})
    try:
        with pytest.raises(DatabaseError, match=rf"^Trainer {key['trainer_key']} holds another config than "):
            Trainer.add(experiment.trainer)
        with pytest.raises(DatabaseError, match=rf"^Run {run['run_key']} reads back as \w+: .* changed by hand\.$"):
            Run.load(run)
    finally:
        Trainer.update1({**key, "trainer_config": experiment.trainer.record()})
    assert Run.load(run).trainer == experiment.trainer


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"kind": "cotrain.training.trainr"}, "Did you mean 'trainer'"),
        ({"kind": "elsewhere.pond"}, "builders of package 'elsewhere' are not allowed"),
        ({"kind": "cotrain.training.trainer"}, "the stored record lacks 'mixing'"),
        ({}, "A config needs 'kind'"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(record, text, lab):
    key = {"trainer_key": re.sub(r"\W", "", f"broken{text}")[:32]}
    Trainer.insert1({**key, "trainer_kind": "x", "trainer_config": record})
    with pytest.raises(Exception, match=text) as caught:
        Trainer.load(key)
    assert type(caught.value).__module__ == "cotrain.errors"
