"""Manifolds of trained runs in the database: recomputed from stored weights, and printed as they are held."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain import build
from cotrain.analysis import extract, manifold_geometry
from cotrain.errors import DatabaseError
from cotrain.evaluations import ManifoldsConfig, SmoothManifoldsConfig, smooth_manifolds
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Manifolds, SmoothManifolds
from cotrain.tables.manifolds import measured_manifolds
from cotrain.tables.runs import RecipeRun, TrainedModel
from cotrain.tables.store import load_model
from cotrain.training import load

pytestmark = pytest.mark.slow  # training two runs takes long on busy machines

CONFIG = ManifoldsConfig(epochs=("initial", "best"), directions=60, joint_draws=10, controls=("shuffled_points",))


@pytest.fixture
def plot(command, tmp_path):
    """A function that runs `cotrain plot`: status, output, errors and whether there is a picture."""

    def run(*arguments, name="manifolds"):
        path = tmp_path / "manifolds.png"
        path.unlink(missing_ok=True)
        return *command("plot", name, *arguments, "--out", str(path)), path.exists()

    return run


def test_layers_and_classes_are_stored_by_epoch(fresh):
    assert evaluate.evaluate(CONFIG, queries.runs()).done == 2
    key = {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}
    best = (TrainedModel() & key).fetch1("best_epoch")
    rows = (Manifolds.Layer() & key).to_dicts(order_by=["epoch", "control", "layer_place"])
    assert [(row["epoch"], row["control"], row["layer"]) for row in rows] == [
        (epoch, control, layer)
        for epoch in (0, best)
        for control in ("", "shuffled_points")
        for layer in ("layer1", "layer2")
    ]
    classes = (Manifolds.Class() & key).to_dicts(order_by=["epoch", "layer_place", "manifold"])
    assert [row["class_name"] for row in classes] == ["thin", "middle", "broad"] * 4
    run = load(fresh.home / "runs" / key["run_key"])
    source = build(run.experiment.data, seed=run.experiment.seed).splits["test"]["stripes"][""]
    for epoch in (0, best):
        model = load_model(key, epoch=epoch)
        features = extract(model, source.images, ["layer2"], task="stripes")["layer2"].double().numpy()
        clouds = [features[source.targets.numpy() == label].T for label in range(3)]
        expected = manifold_geometry(clouds, n_t=60)
        held = [row for row in classes if (row["epoch"], row["layer"]) == (epoch, "layer2")]
        assert [row["capacity"] for row in held] == pytest.approx(list(expected.capacity), rel=1e-3)
        assert [row["radius"] for row in held] == pytest.approx(list(expected.radius), rel=1e-3)
    assert (Manifolds() & key).fetch1("manifolds_count", "manifolds_variant", "manifolds_seed") == (8, "default", 0)
    frame = evaluate.frame(CONFIG, queries.runs() & key, part="Class")
    assert frame["capacity"].tolist() == pytest.approx([row["capacity"] for row in classes])


def test_the_commands_print_what_is_held(fresh, command, plot, tmp_path):
    assert "is measured as manifolds yet" in plot("together")[2]
    quick = tmp_path / "manifolds.yaml"
    quick.write_text("directions: 60\njoint_draws: 0\nepochs: [initial, best]\n")
    status, out, _ = command("evaluate", "--suite", "manifolds", "--config", str(quick))
    assert status == 0
    assert re.search(r"^ *together +0 +\w{8} +0 +stripes +layer1 ", out, re.MULTILINE)
    status, out, err, drawn = plot("--recipe", "Tiny")
    assert (status, err, drawn) == (0, "", True)
    assert out.startswith("Manifolds of stripes (test images, at most 50 a class)\n")
    held = measured_manifolds(recipe="Tiny").rows
    row = held[(held.label == "together") & (held.layer == "layer2") & held.best].iloc[0]
    shown = re.search(r"^ *together +layer2 +1 +(\d\.\d+) \[.*?\] +(\d\.\d+) ", out, re.MULTILINE)
    assert float(shown[1]) == pytest.approx(row.mean_capacity, abs=0.006)
    assert float(shown[2]) == pytest.approx(row.mean_floor, abs=0.006)
    assert "One seed, and so intervals over classes: together, stripes only." in out
    assert "together, epoch 0" in out
    with Image.open(tmp_path / "manifolds.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    status, _, err, drawn = plot("--recipe", "Tiny", "--show", "training", "--layer", "layer1")
    assert (status, err, drawn) == (0, "", True)
    assert "--layer is for --show training" in plot("together", "--layer", "layer1")[2]

    assert evaluate.evaluate(CONFIG, queries.runs()).done == 2
    status, _, err, drawn = plot("together")
    assert (status, drawn) == (1, False)
    assert re.search(r"several evaluations of manifolds:\n( +\w{8}  test images.*; [12] runs\n){2}Choose one", err)
    key = CONFIG.key()
    assert plot("together", "--evaluation", key[:8])[0] == 0
    with pytest.raises(DatabaseError, match=r"no such evaluation of manifolds\. They have: "):
        measured_manifolds(evaluation="z")


def test_smooth_manifolds_are_stored_and_drawn(fresh, command, plot, tmp_path):
    assert "is measured as smooth manifolds yet" in plot("together", name="smooth-manifolds")[2]
    file = tmp_path / "smooth.yaml"
    file.write_text("displacements: [2, 0.5]\nfamilies: [x_shear]\npoints: 5\nimages: 6\ndirections: 60\n")
    status, out, _ = command("evaluate", "--suite", "smooth_manifolds", "--config", str(file))
    assert status == 0
    assert re.search(r"^ *together +0 +\w{8} +0 +stripes +x_shear +0.5", out, re.MULTILINE)
    key = {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}
    best = (TrainedModel() & key).fetch1("best_epoch")
    rows = (SmoothManifolds.Layer() & key).to_dicts(order_by=["epoch", "displacement_place", "layer_place"])
    assert [(row["epoch"], row["family"], row["displacement"], row["layer"]) for row in rows] == [
        (epoch, "x_shear", pixels, layer)
        for epoch in (0, best)
        for pixels in (2.0, 0.5)
        for layer in ("layer1", "layer2")
    ]
    run = load(fresh.home / "runs" / key["run_key"])
    data = build(run.experiment.data, seed=run.experiment.seed)
    config = SmoothManifoldsConfig.from_yaml(file.read_text())
    again = [
        row
        for epoch in (0, best)
        for row in smooth_manifolds(load_model(key, epoch=epoch), data, config, device=torch.device("cpu"))
    ]
    for name in ("mean_capacity", "mean_radius", "mean_dimension", "center_correlation"):
        assert [row[name] for row in rows] == pytest.approx([getattr(row, name) for row in again], rel=1e-3), name
    assert (SmoothManifolds() & key).fetch1("smooth_count", "smooth_seed") == (8, 0)

    status, out, err, drawn = plot("--recipe", "Tiny", name="smooth-manifolds")
    assert (status, err, drawn) == (0, "", True)
    assert out.startswith("Smooth manifolds of stripes (6 test images, 5 points)\n")
    shown = re.search(r"^ *together +x_shear 2 px +layer2 +1 +(\d\.\d+) ", out, re.MULTILINE)
    assert float(shown[1]) == pytest.approx(again[5].mean_capacity, abs=0.006)
    assert "together, epoch 0" in out
    assert "One seed, and so intervals over images: together, stripes only." in out
