"""Layers of trained runs evaluated into tables and drawn: numbers recomputed with SciPy from what is stored."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from cotrain import build
from cotrain.analysis import extract, linear_svm_score
from cotrain.errors import DatabaseError
from cotrain.evaluations import LinearSvmScoresConfig, RsaConfig, SitScoresConfig
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import LinearSvmScores, Rsa, SitScores
from cotrain.tables.runs import RecipeRun
from cotrain.training import load

pytestmark = pytest.mark.slow  # training two runs takes long on busy machines

RSA = RsaConfig(draws=20)


@pytest.fixture
def key(trained):
    return {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}


@pytest.fixture
def stored(fresh, key):
    """The run's model and test split, from its folder."""
    run = load(fresh.home / "runs" / key["run_key"])
    return run.model, build(run.experiment.data, seed=run.experiment.seed).splits["test"]


def test_geometry_of_layers_is_that_of_scipy(fresh, key, stored):
    found = evaluate.evaluate(RSA, queries.runs())
    assert (found.done, found.failed) == (2, {}), "also the run without targets, which has no rows"
    rows = (Rsa.Layer() & key).to_dicts(order_by=["target", "layer_place"])
    assert [(row["target"], row["session"], row["layer"]) for row in rows] == [
        (task, session, layer)
        for task, session in (("cell_rdm", ""), ("cells", "first"))
        for layer in ("layer1", "layer2")
    ]
    model, test = stored
    for row in rows:
        source = test[row["target"]][row["session"]]
        features = extract(model, source.images, [row["layer"]], task=row["target"])[row["layer"]].double().numpy()
        targets = source.targets.double().numpy()
        of_target = squareform(targets, checks=False) if source.kind == "rdm" else pdist(targets, "correlation")
        expected = spearmanr(pdist(features, "correlation"), of_target).statistic
        assert row["similarity"] == pytest.approx(expected, abs=2e-4)
        assert row["low"] < row["similarity"] < row["high"]
        assert (row["ceiling_lower"], row["ceiling_of"], row["subjects"]) == (None, "", 1)
        assert row["stimuli"] == len(source)
    master = (Rsa() & key).fetch1()
    assert (master["rsa_count"], master["rsa_seed"], master["rsa_device"]) == (4, 0, "cpu")
    table = evaluate.frame(RSA, queries.runs() & key)
    assert table["similarity"].tolist() == [row["similarity"] for row in rows]
    assert table["ceiling_upper"].isna().all()


def test_order_of_objects_and_readout(fresh, key, stored):
    model, test = stored
    # stripes of three widths are too few objects for an interval
    assert evaluate.evaluate(SitScoresConfig(), queries.runs() & key).done == 1
    assert len(SitScores.Layer()) == 0
    sit = SitScoresConfig(variant="published", layers=("layer1",), share=0.5, draws=3, seed=4)
    assert evaluate.evaluate(sit, queries.runs() & key).done == 1
    row = (SitScores.Layer() & key).fetch1()
    assert (row["target"], row["session"], row["objects"], row["neurons"], row["sit_low"]) == (
        "cells", "first", 3, 5, None,
    )  # fmt: skip
    assert -1 <= row["sit"] <= 1
    assert (SitScores() & key & {"sit_seed": 4}).fetch1("sit_variant") == "published"

    svm = LinearSvmScoresConfig(layers=("layer2",), splits=2)
    assert evaluate.evaluate(svm, queries.runs()).done == 2
    row = (LinearSvmScores.Layer() & key).fetch1()
    source = test["stripes"][""]
    features = extract(model, source.images, ["layer2"], reduce="average_pool", task="stripes")["layer2"]
    expected = linear_svm_score(features, source.targets, variant="nested", splits=2)
    assert (row["svm"], row["svm_low"]) == (expected.mean, expected.low)
    assert row["images"] == len(source)


def test_the_command_evaluates_layers(fresh, command, tmp_path):
    quick = tmp_path / "rsa.yaml"
    quick.write_text("draws: 20\ncomparisons: [pearson]\nlayers: ['layer?']\n")
    status, out, err = command("evaluate", "--suite", "rsa", "together", "--config", str(quick))
    assert (status, err) == (0, "")
    assert re.search(r"^together +0 +\w{8} +cells +first +correlation +pearson +layer2 ", out, re.MULTILINE)
    assert len(Rsa.Layer()) == 4
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("layers: [layer7]\n")
    status, _, err = command("evaluate", "--suite", "rsa", "together", "--config", str(wrong))
    assert status == 1
    assert "no layer 'layer7'" in err


@pytest.fixture
def plot(command, tmp_path):
    """A function that runs `cotrain plot rdm`: status, output, errors and whether there is a picture."""

    def run(*arguments):
        path = tmp_path / "rdm.png"
        path.unlink(missing_ok=True)
        return *command("plot", "rdm", *arguments, "--out", str(path)), path.exists()

    return run


def test_rdms_are_drawn_with_bars(fresh, plot, tmp_path, stored):
    bars = tmp_path / "bars.pdf"
    quick = tmp_path / "rsa.yaml"
    quick.write_text("draws: 20\n")
    options = ("--layer", "layer2", "--target", "cell_rdm", "--bars", str(bars), "--config", str(quick))
    status, out, err, drawn = plot("together", *options)
    assert (status, err, drawn) == (0, "", True)
    assert bars.read_bytes().startswith(b"%PDF")
    assert out.startswith("layer2 and cell_rdm: correlation RDMs of ")
    model, test = stored
    source = test["cell_rdm"][""]
    features = extract(model, source.images, ["layer1"], task="cell_rdm")["layer1"].double().numpy()
    targets = squareform(source.targets.double().numpy(), checks=False)
    expected = spearmanr(pdist(features, "correlation"), targets).statistic
    shown = float(re.search(r"^ *layer1 +(-?0\.\d+)", out, re.MULTILINE)[1])
    assert shown == pytest.approx(expected, abs=1e-3)
    assert "No noise ceiling" in out
    with Image.open(tmp_path / "rdm.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_one_layer_needs_no_others(fresh, plot):
    status, out, _, drawn = plot("together", "--layer", "layer1", "--target", "cells/first", "--order", "cluster")
    assert (status, drawn) == (0, True)
    assert "layer2" not in out


def test_what_is_not_drawn(fresh, plot, key):
    for options, message in (
        (("together", "--layer", "layer1"), r"several targets: cells/first, cell_rdm\. Choose one by --target"),
        (("together", "--layer", "layer1", "--target", "cell"), r"no target 'cell'\. It has: "),
        (("together", "--layer", "layer8", "--target", "cell_rdm"), "no layer 'layer8'"),
        (("together", "--layer", "layer?", "--target", "cell_rdm"), "means layer1, layer2. Name one"),
        (("stripes only", "--layer", "layer1"), "The run has no target"),
        (("no such run", "--layer", "layer1"), "no such run"),
    ):
        status, out, err, drawn = plot(*options)
        assert (status, out, drawn) == (1, "", False)
        assert re.search(message, err), err


def test_runs_must_be_single_and_finished(fresh, plot):
    fresh.enqueue("Six")
    status, _, err, _ = plot("watched", "--layer", "layer1")
    assert status == 1
    assert re.search(r"One run is drawn, and 'watched' means 6: \w{8}, ", err)
    waiting = {"run_key": (RecipeRun() & {"label": "watched", "place": 0}).to_dicts()[0]["run_key"]}
    with pytest.raises(DatabaseError, match=r"is not finished\. `cotrain ls` says how far it is"):
        evaluate.restored(waiting)


def test_restored_is_the_stored_model(fresh, key, stored):
    model, data, device = evaluate.restored(key)
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert set(data.splits["test"]) == {"stripes", "cells", "cell_rdm"}
    expected = stored[0].state_dict()
    assert all(torch.equal(value.cpu(), expected[name]) for name, value in model.state_dict().items())
