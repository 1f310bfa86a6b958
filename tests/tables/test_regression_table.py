"""Neurons predicted from trained runs' layers, by command, into the table and into pictures."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import RidgeCV

from cotrain import build
from cotrain.analysis import extract
from cotrain.evaluations import NeuralRegressionConfig, RidgeConfig, neural_regression
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Evaluation, NeuralRegression
from cotrain.tables.runs import RecipeRun, TrainedModel
from cotrain.training import load

pytestmark = pytest.mark.slow  # training two runs takes long on busy machines

ALPHAS = (0.1, 10.0, 1000.0)
FIELDS = "epochs: [initial, best]\nmethod: {alphas: [0.1, 10.0, 1.0e+3]}\ndraws: 50\n"
CONFIG = NeuralRegressionConfig(epochs=("initial", "best"), method=RidgeConfig(alphas=ALPHAS), draws=50)


@pytest.fixture
def key(trained):
    return {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}


@pytest.fixture
def fields(tmp_path):
    """A file with the fields of `CONFIG`."""
    path = tmp_path / "regression.yaml"
    path.write_text(FIELDS)
    return str(path)


def test_the_command_stores_what_scikit_learn_finds(fresh, key, command, fields):
    status, out, err = command("evaluate", "--suite", "neural_regression", "--config", fields)
    assert (status, err) == (0, "")
    assert out.endswith("2 runs evaluated, 0 were before, 0 failed.\n"), "also of the run without neurons"
    assert re.search(r"^together +0 +\w{8} +0 +cells +first +pearson +layer1 ", out, re.MULTILINE)
    assert Evaluation.load(Evaluation().proj().fetch1()) == CONFIG
    best = (TrainedModel() & key).fetch1("best_epoch")
    run = load(fresh.home / "runs" / key["run_key"])
    data = build(run.experiment.data, seed=run.experiment.seed)
    fitted, scored = (data.splits[split]["cells"]["first"] for split in ("train", "test"))
    x, others = (extract(run.model, source.images, ["layer2"], task="cells")["layer2"] for source in (fitted, scored))
    fit = RidgeCV(ALPHAS, alpha_per_target=True).fit(x.double().numpy(), fitted.targets.double().numpy())
    guesses, truth = fit.predict(others.double().numpy()), scored.targets.double().numpy()
    of_layer = {"layer": "layer2", "metric": "pearson"}
    rows = (NeuralRegression.Neuron() & key & of_layer & {"epoch": best}).to_dicts(order_by="neuron")
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(guesses.T, truth.T, strict=True)]
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=1e-4)
    assert [row["alpha"] for row in rows] == fit.alpha_.tolist()
    assert {(row["ceiling"], row["normalised"], row["stimuli"]) for row in rows} == {(None, None, len(scored))}
    layer = (NeuralRegression.Layer() & key & of_layer & {"epoch": best}).fetch1()
    assert layer["median"] == pytest.approx(np.median(expected), abs=1e-4)
    assert (layer["neurons"], layer["fitted"], layer["depth"]) == (len(rows), len(fitted), 1.0)
    master = (NeuralRegression() & key).fetch1()
    epochs, layers, metrics = 2, 2, 2
    assert (master["regression_count"], master["regression_seed"]) == (epochs * layers * metrics, 0)
    assert len(NeuralRegression.Neuron()) == epochs * layers * metrics * len(rows)
    # the same rows without a database, of the untrained network
    first = build(run.experiment.model, data.info, seed=run.experiment.seed)
    found = neural_regression(first, data, CONFIG, device=torch.device("cpu"))
    table = evaluate.frame(CONFIG, queries.runs() & key, "Neuron")
    stored = table[(table.epoch == 0) & (table.metric == "pearson")].score
    assert stored.tolist() == [row.score for row in found if hasattr(row, "score") and row.metric == "pearson"]


def test_what_is_stored_is_drawn(fresh, key, command, fields, tmp_path):
    path = tmp_path / "picture.png"

    def plot(*arguments):
        path.unlink(missing_ok=True)
        return *command("plot", "regression", *arguments, "--out", str(path)), path.exists()

    status, _, err, drawn = plot()
    assert (status, drawn) == (1, False)
    assert "None of these 2 runs is evaluated so yet. `cotrain evaluate --suite neural_regression [RUN ...]`" in err
    evaluate.evaluate(CONFIG, queries.runs())
    table = evaluate.frame(CONFIG, queries.runs() & key)
    for show, options in (
        ("depth", ["--untrained"]), ("neurons", []), ("scatter", ["--untrained"]), ("map", []), ("training", []),
    ):  # fmt: skip
        status, out, err, drawn = plot("together", "--show", show, *options)
        assert (status, err, drawn) == (0, "", True)
        assert out.startswith("cells: r (ridge; fitted on train, scored on test)\n")
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
        best = table[(table.metric == "pearson") & (table.epoch == table.epoch.max())]
        for row in best.itertuples():
            assert f"{row.layer}  {row.median:.3f} [" in out
    for options, message in (
        (("--show", "scatter"), "A scatter is of two labels, found 1: together"),
        (("--normalised",), "there are no repeats that tell a ceiling"),
        (("--evaluation", "f" * 32), r"no such evaluation of neural regression\. They have: ridge \(\w{8}\)"),
    ):
        status, _, err, drawn = plot("together", *options)
        assert (status, drawn) == (1, False)
        assert re.search(message, err), err
    evaluate.evaluate(CONFIG.replace(tasks=("nothing",)), queries.runs() & key)
    assert plot("together")[0] == 0, "an evaluation without rows is none to choose from"
    evaluate.evaluate(CONFIG.replace(seed=3, epochs=("best",)), queries.runs() & key)
    assert re.search(r"several evaluations of neural regression:\n(.*seed [03]; \d runs\n?){2}", plot("together")[2])
    three = (NeuralRegression() & {"regression_seed": 3}).fetch1("evaluation_key")
    assert "Epoch 0 was not evaluated" in plot("together", "--untrained", "--evaluation", three[:10])[2]
