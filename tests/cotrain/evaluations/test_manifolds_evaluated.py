"""Manifolds of stored models' layers: the library's geometry of features from hooks of our own, called by hand."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from cotrain.analysis import (
    SparseProjection,
    extract,
    joint_geometry,
    manifold_geometry,
    manifold_spectrum,
    randomise_manifolds,
)
from cotrain.data import Data
from cotrain.errors import DataError, ModelError
from cotrain.evaluations import ClassManifold, LayerManifolds, ManifoldsConfig, StimulusFileConfig, manifolds

CPU = torch.device("cpu")
CONFIG = ManifoldsConfig(layers=("layer2",), reduce="", directions=80, joint_draws=20, seed=5)


def features_of(model, images) -> np.ndarray:
    """What the second layer gives: (images, features)."""
    held = []
    hook = model.backbone.layer2.register_forward_hook(lambda *inputs: held.append(inputs[-1]))
    model.eval()
    with torch.no_grad():
        model.pass_backbone(images, "animals")
    hook.remove()
    return held[0].flatten(1).double().numpy()


def split(rows) -> tuple[list[LayerManifolds], list[ClassManifold]]:
    """Layers and classes."""
    return [row for row in rows if isinstance(row, LayerManifolds)], [r for r in rows if isinstance(r, ClassManifold)]


def classes_of(data: Data, labels: np.ndarray) -> Data:
    """With other labels of the animals that are tested."""
    source = data.splits["test"]["animals"][""]
    changed = {"": dataclasses.replace(source, targets=torch.from_numpy(labels))}
    test = {**data.splits["test"], "animals": changed}
    return dataclasses.replace(data, splits={**data.splits, "test": test})


@pytest.fixture(scope="module")
def clouds(model, data) -> list[np.ndarray]:
    """(features, images) of each class of the animals."""
    source = data.splits["test"]["animals"][""]
    features = features_of(model, source.images)
    return [features[source.targets.numpy() == label].T for label in range(7)]


def test_rows_are_the_geometry_by_hand(model, data, clouds):
    (layer,), classes = split(manifolds(model, data, CONFIG, device=CPU, seed=9))
    expected = manifold_geometry(clouds, n_t=80, seed=5)
    assert (layer.target, layer.session, layer.control, layer.layer_place, layer.layer) == (
        "animals", "", "", 0, "layer2",
    )  # fmt: skip
    assert (layer.manifolds, layer.points, layer.features, layer.depth) == (7, 4, expected.neurons, 1.0)
    for name in ("capacity", "capacity_error", "radius", "radius_error", "dimension", "dimension_error", "floor"):
        assert [getattr(row, name) for row in classes] == pytest.approx(list(getattr(expected, name)), rel=1e-5), name
    assert [row.class_name for row in classes] == list(data.splits["test"]["animals"][""].class_names)
    assert [(row.manifold, row.own_points, row.reason) for row in classes] == [
        (number, cloud.shape[1], "") for number, cloud in enumerate(clouds)
    ]
    assert layer.mean_capacity == pytest.approx(1 / np.mean(1 / expected.capacity), rel=1e-5)
    assert layer.mean_radius == pytest.approx(expected.radius.mean(), rel=1e-5)
    assert layer.center_correlation == pytest.approx(expected.center_correlation, rel=1e-5)
    assert layer.residual_correlation == pytest.approx(expected.residual_correlation, rel=1e-4)
    assert (layer.removed, layer.unknown) == (expected.n_removed, 0.0)
    assert layer.mean_floor == pytest.approx(1 / np.mean(1 / expected.floor))
    assert layer.at_floor == pytest.approx(np.mean(expected.at_floor))
    together = joint_geometry(clouds, n_t=20, seed=5)
    assert layer.joint_capacity == pytest.approx(together.capacity, rel=1e-5)
    assert layer.axis_alignment == pytest.approx(together.axis_alignment, abs=1e-4)
    spectrum = manifold_spectrum(clouds)
    assert layer.participation_ratio == pytest.approx(spectrum.participation_ratio.mean(), rel=1e-5)
    assert layer.total_participation_ratio == pytest.approx(spectrum.total_participation_ratio, rel=1e-5)


def test_errors_of_means(model, data):
    """Over classes by the jackknife, over directions by drawing others."""
    (layer,), classes = split(manifolds(model, data, CONFIG.replace(removed=0), device=CPU))
    capacity = np.array([row.capacity for row in classes])
    left_out = [1 / np.mean(1 / np.delete(capacity, number)) for number in range(7)]
    jackknife = math.sqrt(6 / 7 * np.sum((left_out - np.mean(left_out)) ** 2))
    assert layer.mean_capacity_class_error == pytest.approx(jackknife, rel=0.2)
    radius = np.array([row.radius for row in classes])
    assert layer.mean_radius_class_error == pytest.approx(radius.std(ddof=1) / math.sqrt(7))
    drawn = [
        split(manifolds(model, data, CONFIG.replace(removed=0, joint_draws=0, seed=seed), device=CPU))[0][0]
        for seed in range(12)
    ]
    for name in ("mean_radius", "mean_dimension"):
        spread = np.std([getattr(row, name) for row in drawn], ddof=1)
        assert np.mean([getattr(row, f"{name}_error") for row in drawn]) == pytest.approx(spread, rel=0.6), name
    assert math.isnan(drawn[0].joint_capacity)
    assert drawn[0].undefined == ""


def test_controls_are_those_of_the_library(model, data, clouds):
    names = ("shuffled_points", "random_centers")
    rows = manifolds(model, data, CONFIG.replace(controls=names, joint_draws=0), device=CPU)
    layers, classes = split(rows)
    assert [row.control for row in layers] == ["", *names]
    assert len(classes) == 7, "controls have no rows of classes"
    for row in layers[1:]:
        expected = manifold_geometry(randomise_manifolds(clouds, row.control, seed=5), n_t=80, seed=5)
        assert row.mean_capacity == pytest.approx(expected.mean_capacity, rel=1e-3)


def test_wide_layers_are_projected_as_stated(model, data, clouds):
    source = data.splits["test"]["animals"][""]
    projected = CONFIG.replace(reduce="sparse_projection", widest=40)
    (layer,), _ = split(manifolds(model, data, projected, device=CPU))
    features = extract(model, source.images, ["layer2"], reduce=SparseProjection(40), task="animals", seed=5)["layer2"]
    held = [features[source.targets == label].T.double().numpy() for label in range(7)]
    assert len(clouds[0]) > layer.features == 40
    assert layer.mean_capacity == pytest.approx(manifold_geometry(held, n_t=80, seed=5).mean_capacity, rel=1e-5)
    (pooled,), _ = split(manifolds(model, data, CONFIG.replace(reduce="average_pool"), device=CPU))
    assert pooled.features == 8


def test_some_classes_and_images(model, data):
    (layer,), classes = split(manifolds(model, data, CONFIG.replace(classes=3, of_class=3), device=CPU))
    assert (layer.manifolds, layer.points) == (3, 3)
    assert [row.own_points for row in classes] == [3, 3, 3]
    again = split(manifolds(model, data, CONFIG.replace(classes=3, of_class=3), device=CPU, seed=4))[1]
    assert [row.class_name for row in again] == [row.class_name for row in classes], "the same for all runs"
    others = split(manifolds(model, data, CONFIG.replace(classes=3, of_class=3, seed=6), device=CPU))[1]
    assert {row.class_name for row in others} != {row.class_name for row in classes}


def test_what_cannot_be_told_is_missing_and_logged(model, data, caplog):
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in silent.backbone.layer2.parameters():
            parameter.zero_()
    (layer,), classes = split(manifolds(silent, data, CONFIG, device=CPU))
    assert math.isnan(layer.mean_capacity)
    assert all(math.isnan(row.capacity) and row.reason for row in classes)
    assert layer.unknown == 1.0
    assert layer.undefined
    assert f"Manifolds of animals, layer2: {layer.undefined}" in caplog.text

    labels = np.r_[np.zeros(15, int), np.ones(14, int), 2]
    (layer,), classes = split(manifolds(model, classes_of(data, labels), CONFIG, device=CPU))
    assert [math.isnan(row.capacity) for row in classes] == [False, False, True]
    assert layer.unknown == pytest.approx(1 / 3)
    assert layer.undefined == classes[2].reason
    assert "has one point" in layer.undefined
    assert layer.mean_capacity > 0


def test_radii_of_centres_that_are_next_to_nothing_are_not_in_the_mean(model, data, monkeypatch, caplog):
    """One class keeps 0.1 % of its centre, and its radius is in lengths of that."""
    found = manifold_geometry

    def one_lost(*args, **options):
        geometry = found(*args, **options)
        share, radius = geometry.center_share.copy(), geometry.radius.copy()
        share[2], radius[2] = 1e-3, 1e3
        return dataclasses.replace(geometry, center_share=share, radius=radius, stability=1e-3)

    monkeypatch.setattr("cotrain.evaluations._manifolds.manifold_geometry", one_lost)
    (layer,), classes = split(manifolds(model, data, CONFIG.replace(joint_draws=0), device=CPU))
    assert classes[2].radius == 1e3
    assert layer.mean_radius == pytest.approx(np.mean([row.radius for row in classes if row.manifold != 2]))
    assert layer.mean_dimension == pytest.approx(np.mean([row.dimension for row in classes]))
    assert "leave 0.001 of a centre's length" in caplog.text


def test_without_classes_to_part(model, model_of, data, caplog):
    assert manifolds(model, classes_of(data, np.zeros(30, int)), CONFIG, device=CPU) == []
    assert "animals has no geometry of manifolds: its images are of 1 class." in caplog.text
    assert manifolds(model_of("cells"), data, CONFIG.replace(tasks=("cells",)), device=CPU) == []
    with pytest.raises(ModelError, match="no layer 'layer9'"):
        manifolds(model, data, CONFIG.replace(layers=("layer9",)), device=CPU)


def test_files(model, data, tmp_path, monkeypatch):
    random = np.random.default_rng(4)
    images = np.repeat(random.integers(0, 200, (3, 32, 32)), 8, 0) + random.integers(0, 40, (24, 32, 32))
    np.savez(tmp_path / "objects.npz", images=images.astype(np.uint8), labels=np.repeat(["c", "a", "b"], 8))
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    file = StimulusFileConfig(name="objects", path="objects.npz", labels="labels")
    config = CONFIG.replace(tasks=("none",), files=(file,))
    (layer,), classes = split(manifolds(model, data, config, device=CPU))
    assert (layer.target, layer.manifolds, layer.points) == ("objects", 3, 8)
    assert [row.class_name for row in classes] == ["a", "b", "c"]
    with pytest.raises(DataError, match="'objects': manifolds need its array `labels`"):
        manifolds(model, data, config.replace(files=(file.replace(labels=""),)), device=CPU)
