"""Deep Mouse Trap's pipeline on generated files of its layout: 119 scenes, 4,096 projections, scores by area, layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cotrain.analysis import (
    Ridge,
    SparseProjection,
    aggregate_scores,
    extract,
    layer_scores,
    mouse_trap_scores,
    network_table,
)
from cotrain.data.recordings import read_recording

STIMULI, EACH = 119, 8
PLANTED = {("VISp", "23"): "0", ("VISp", "5"): "0", ("VISl", "23"): "4", ("VISl", "5"): "4"}  # the layer that is read
PROJECTION = SparseProjection()  # of 119 stimuli: 4,096 dimensions


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(4), nn.ReLU(), nn.Conv2d(12, 16, 5, 1, 2), nn.ReLU()
    )


@pytest.fixture(scope="module")
def mouse(tmp_path_factory):
    """Files of cells that read a layer of the network at some places, with noise in each half of the trials."""
    folder = tmp_path_factory.mktemp("mouse")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (STIMULI, 8, 8), np.uint8).repeat(4, 1).repeat(4, 2)
    features = extract(network(), images, ["0", "4"])
    rows, cells = [], []
    for (area, depth), layer in PLANTED.items():
        for _ in range(EACH):
            few = random.choice(features[layer].shape[1], 5, replace=False)
            signal = features[layer][:, few] @ random.normal(size=5)
            cells.append(signal / signal.std())
            rows.append({"cortical_area": area, "cortical_layer": depth})
    index = pd.Index(np.arange(len(cells)) + 517_000_000, name="cell_specimen_id")
    for half in ("even", "odd"):
        noisy = np.array(cells) + 0.3 * random.normal(size=(len(cells), STIMULI))
        pd.DataFrame(noisy, index).to_csv(folder / f"cell_response_{half}.csv")
    pd.DataFrame(rows, index).to_csv(folder / "cell_metadata.csv")
    np.save(folder / "stimulus_set.npy", images)
    return read_recording(folder).sessions["cells"]


@pytest.fixture(scope="module")
def features(mouse):
    found = extract(network(), mouse.images, ["0", "4"], reduce=PROJECTION, seed=1)
    assert {held.shape for held in found.values()} == {(STIMULI, 4096), (STIMULI, 16 * 8 * 8)}
    return found


def test_scores_by_area_and_layer_find_what_each_reads(mouse, features):
    group = [f"{area} {layer}" for area, layer in zip(mouse.neurons["area"], mouse.neurons["layer"], strict=True)]
    scores = layer_scores(features, mouse.responses, method=Ridge(standardise=True), area=group, metrics=["pearson"])
    assert scores.ceiling.median() > 0.8, "of the halves of the trials"
    found = aggregate_scores(scores, ["area", "layer"], draws=20).set_index(["area", "layer"]).value
    for (area, depth), layer in PLANTED.items():
        other = {"0": "4", "4": "0"}[layer]
        assert found[f"{area} {depth}", layer] > found[f"{area} {depth}", other]
    halves = [(np.arange(0, STIMULI, 2), np.arange(1, STIMULI, 2))]
    chosen = layer_scores(
        features, mouse.responses, method=Ridge(standardise=True), folds=halves, selection=5, area=group
    )
    table = network_table(chosen.assign(network="x"), {"x": {}}, by=["area"], draws=20).set_index("area")
    assert table.layer.to_dict() == {f"{area} {depth}": layer for (area, depth), layer in PLANTED.items()}


def test_the_published_score_agrees_on_signal(mouse, features):
    published = mouse_trap_scores(features, mouse.mean, area=mouse.neurons["area"]).set_index(["area", "layer"]).score
    assert published["VISp", "0"].median() > 0.3 and published["VISl", "4"].median() > 0.3
