"""Weights over training in the lab's database: stored, found again, deleted, and evaluated epoch by epoch."""

import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from cotrain import Config, build
from cotrain.errors import DatabaseError
from cotrain.evaluations import Epochs
from cotrain.tables import configs, evaluate, evaluations, queries
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import Trainer
from cotrain.tables.evaluation import Evaluation, EvaluationTable, table_definition  # noqa: F401 a definition refers to it
from cotrain.tables.export import export
from cotrain.tables.gc import delete, find_garbage
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.runs import Run, TrainedModel
from cotrain.tables.store import load_model, stored_files, verify_checkpoints
from cotrain.tables.worker import work
from cotrain.training import RunFolder, load_state

# --- a small measure of each of a run's weights ---


class LargestConfig(Config):
    """The largest weight of each parameter."""

    kind: ClassVar[str] = "keptlab.largest"
    epochs: Epochs = ("best",)


@dataclass(frozen=True)
class Largest:
    """One parameter."""

    parameter: str
    largest: float


def largest(model, data, config: LargestConfig, *, device, seed) -> list[Largest]:
    """The signature of evaluations."""
    assert not model.training and "stripes" in data.info.tasks
    return [Largest(name, value.abs().max().item()) for name, value in model.named_parameters()]


measures = dj.Schema()


@measures
class LargestWeights(EvaluationTable):
    """The largest weights of a run."""

    kinds = ("keptlab.largest",)
    prefix = "largest"
    rows = "Parameter"
    by_epoch = True
    within = ("epoch", "parameter")
    shown = ("largest",)
    definition = table_definition(prefix, "Largest weights of a run", "of parameters and epochs")

    class Parameter(dj.Part):
        """One parameter after an epoch."""

        definition = """
        # Largest weight of a parameter
        -> master
        epoch : int32           # weights after so many epochs; 0: as initialised
        parameter : varchar(128)
        ---
        largest : float64
        """


@pytest.fixture(scope="module")
def kept(lab):
    """A lab that has trained `Kept`, and knows the measure."""
    lab.enqueue("Kept")
    assert work() == (2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "keptlab", sys.modules[__name__])
        patch.setenv("COTRAIN_BUILDERS", "keptlab")
        patch.setitem(evaluations.TABLES, "keptlab.largest", LargestWeights)
        measures.activate(lab.schema, connection=configs.schema.connection)
        yield lab


@pytest.fixture(scope="module")
def keys(kept):
    """{label: primary key}."""
    return {held.label: {"run_key": held.key()} for held in kept.recipe("Kept")().expand()}


@pytest.fixture(scope="module")
def states(kept, keys):
    """{epoch: weights} that the first run's folder has."""
    folder = RunFolder(kept.home / "runs" / keys["kept"]["run_key"])
    return {epoch: load_state(file)["model"] for epoch, file in folder.kept_epochs().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


# --- stored and found ---


def test_a_worker_stores_what_was_kept(kept, keys, states):
    rows = KeptWeights().to_dicts(order_by="epoch")
    assert [(row["run_key"], row["epoch"]) for row in rows] == [(keys["kept"]["run_key"], epoch) for epoch in (1, 2)]
    for row in rows:
        assert same(row["kept_state"].load()["model"], states[row["epoch"]])
        assert re.fullmatch(
            rf"_schema/{kept.schema}/kept_weights/run_key=\w{{32}}/epoch=[12]/kept_state_[\w-]+\.pt",
            row["kept_state"].path,
        )
    assert len(stored_files()) == 4, "and the best ones of two runs"
    assert verify_checkpoints(full=True) == [] and find_garbage(grace_hours=0) == []


def test_models_after_an_epoch(kept, keys, states, tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))  # nothing there
    best = (TrainedModel() & keys["kept"]).fetch1("best_epoch")
    for epoch in (1, 2):
        model = load_model("kept", epoch=epoch)
        assert same(model.state_dict(), states[epoch]) and not model.training
    assert same(load_model("kept", epoch=best).state_dict(), load_model("kept").state_dict())
    run = keys["kept"]["run_key"]
    with pytest.raises(DatabaseError, match=rf"^Of run {run} there are no weights after epoch 9, but after 0, 1, 2"):
        load_model("kept", epoch=9)
    with pytest.raises(DatabaseError, match=r"after epoch 2, but after 0, 1\. `keep_epochs` of the trainer's config "):
        load_model("started", epoch=2)


def test_the_initial_network_of_a_chain_needs_neither_data_nor_folders(kept, keys, tmp_path, monkeypatch):
    found = RunFolder(kept.home / "runs" / keys["started"]["run_key"])
    experiment = Run.load(keys["started"])
    info = build(experiment.data, seed=0).info
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path))  # what it starts from is in the database alone
    first = load_model("started", epoch=0).state_dict()
    best = load_model("kept").state_dict()
    backbone = [name for name in first if name.startswith("backbone")]
    assert backbone and all(torch.equal(first[name], best[name]) for name in backbone)
    assert not same(first, best) and not same(first, load_state(found.best)["model"])
    plain = load_model("kept", epoch=0).state_dict()
    assert same(plain, build(Run.load(keys["kept"]).model, info, seed=0).state_dict())


def test_a_lost_file_is_told(kept, keys):
    weights = (KeptWeights() & {"epoch": 2}).fetch1("kept_state")
    place = kept.home / "store" / weights.path
    content = place.read_bytes()
    place.write_bytes(content[:-1])
    (problem,) = verify_checkpoints()
    place.write_bytes(content)
    assert problem.startswith(f"Run {keys['kept']['run_key']}: The weights {weights.path} cannot be read: ")
    assert verify_checkpoints(full=True) == []


def test_they_are_exported(kept, keys, states, tmp_path):
    counts = export(queries.runs(), tmp_path / "out", checkpoints=True)
    names = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    first, second = keys["kept"]["run_key"], keys["started"]["run_key"]
    assert names == sorted([f"{first}.pt", f"{first}-epoch-1.pt", f"{first}-epoch-2.pt", f"{second}.pt"])
    assert counts["checkpoints"] == 4
    assert same(load_state(tmp_path / "out" / "checkpoints" / f"{first}-epoch-2.pt")["model"], states[2])


def test_a_trainer_that_was_stored_keeps_what_any_recipe_asks_for(kept, keys):
    """Which epochs are kept is no part of its key: what a recipe adds must nevertheless be kept of runs to come."""
    key = {"trainer_key": (Run() & keys["started"]).fetch1("trainer_key")}
    before = Trainer.load(key)
    for asked, wanted in (((3,), (3,)), ((5, 4), (3, 4, 5)), ((), (3, 4, 5))):
        assert Trainer.add(before.replace(keep_epochs=asked, device="cuda:7")) == key
        assert Trainer.load(key) == before.replace(keep_epochs=wanted), "where others train is not this recipe's to say"
    paths = {row["path"]: row["num"] for row in (Trainer.Attr() & key & "path LIKE 'keep%%'").to_dicts()}
    assert paths == {f"keep_epochs[{place}]": epoch for place, epoch in enumerate((3, 4, 5))}
    assert Run.load(keys["started"]).key() == keys["started"]["run_key"]


# --- evaluated ---


def test_an_evaluation_by_epoch(kept, keys, states, caplog):
    config = LargestConfig(epochs=("initial", "kept", "best"))
    with caplog.at_level(logging.WARNING):
        found = evaluate.evaluate(config, queries.runs())
    assert (found.done, found.failed) == (2, {})
    (said,) = [record.message for record in caplog.records if "kept" in record.message]
    assert keys["started"]["run_key"][:8] in said and keys["kept"]["run_key"][:8] not in said
    rows = evaluate.frame(config, queries.runs())
    best = {label: (TrainedModel() & key).fetch1("best_epoch") for label, key in keys.items()}
    epochs = {label: sorted(held.epoch.unique()) for label, held in rows.groupby("label")}
    assert epochs == {"kept": sorted({0, 1, 2, best["kept"]}), "started": [0, best["started"]]}
    assert not rows.duplicated(["run_key", "epoch", "parameter"]).any()
    for epoch, state in {**states, 0: load_model("kept", epoch=0).state_dict()}.items():
        held = rows[(rows.label == "kept") & (rows.epoch == epoch)].set_index("parameter").largest
        assert len(held) > 5
        assert held.to_dict() == {name: state[name].abs().max().item() for name in held.index}
    assert (LargestWeights() & keys["kept"]).fetch1("largest_count") == (rows.label == "kept").sum()


def test_the_best_epoch_alone_by_default(kept, keys):
    evaluate.evaluate(LargestConfig(), queries.runs() & keys["kept"])
    rows = evaluate.frame(LargestConfig(), queries.runs())
    assert set(rows.epoch) == {(TrainedModel() & keys["kept"]).fetch1("best_epoch")}


def test_a_run_that_kept_none_gets_no_rows_where_only_these_are_asked_for(kept, keys, caplog):
    config = LargestConfig(epochs=("kept",))
    with caplog.at_level(logging.WARNING):
        found = evaluate.evaluate(config, queries.runs() & keys["started"])
    assert (found.done, found.failed) == (1, {}) and "they get no rows" in caplog.text
    assert len(evaluate.frame(config, queries.runs())) == 0


# --- deleted ---


def test_a_folder_stays_where_the_store_lacks_some(kept, keys, tmp_path):
    folder = kept.home / "runs" / keys["kept"]["run_key"]
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(folder / "result.json", (1_600_000_000, 1_600_000_000))
    row = (KeptWeights() & {"epoch": 2}).fetch1()
    (KeptWeights() & {"epoch": 2}).delete_quick()
    found = [garbage for garbage in find_garbage(folders=["stored"]) if garbage.kind == "stored"]
    assert [garbage.place for garbage in found] == [str(folder)]
    assert delete(found) == [] and folder.is_dir()
    KeptWeights.insert1(row)
    assert delete(found) == found and not folder.exists()
    shutil.copytree(tmp_path / "copy", folder)


def test_with_a_run_go_its_kept_weights(kept, keys, command):
    status, out, _ = command("rm", keys["kept"]["run_key"])
    assert status == 0 and re.search(r"^ +2 kept weights$", out, re.MULTILINE)
    assert command("rm", keys["kept"]["run_key"], "--folders", "--yes")[0] == 0
    assert not KeptWeights() and len(TrainedModel()) == 1
    assert not (kept.home / "runs" / keys["kept"]["run_key"]).exists()
    assert verify_checkpoints(full=True) == []
    found = find_garbage(grace_hours=0)
    assert len(found) == 3 and {garbage.place for garbage in found} < set(stored_files())
    assert delete(found) == found
    assert len(stored_files()) == 1
    assert len(list((kept.home / "store").rglob("*=*"))) == 1, "no folders of what is gone"
