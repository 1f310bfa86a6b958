"""Smooth manifolds of stored models' layers: shifts by whole pixels, made by hand, and what must not matter."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from cotrain.analysis import manifold_geometry
from cotrain.errors import ConfigError, DataError, ModelError
from cotrain.evaluations import LayerSmoothManifolds, SmoothManifoldsConfig, StimulusFileConfig, smooth_manifolds

CPU = torch.device("cpu")
CONFIG = SmoothManifoldsConfig(
    layers=("layer2",), families=("x_translation",), displacements=(2.0,), points=5, images=9, reduce="",
    directions=60, seed=5,
)  # fmt: skip


def shifted_clouds(model, images) -> list[np.ndarray]:
    """(features, 5) of the second layer for each image, moved by -2 to 2 pixels to the right, its edges drawn out."""
    held = []
    hook = model.backbone.layer2.register_forward_hook(lambda *inputs: held.append(inputs[-1]))
    model.eval()
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 0), (2, 2)), mode="edge")
    with torch.no_grad():
        for start in (4, 3, 2, 1, 0):
            model.pass_backbone(torch.from_numpy(wide[..., start : start + images.shape[3]].copy()), "animals")
    hook.remove()
    return list(torch.stack(held).flatten(2).permute(1, 2, 0).double().numpy())


def test_rows_are_the_geometry_of_shifted_images(model, data):
    source = data.splits["test"]["animals"][""]
    chosen = [0, 1, 2, 3, 4, 5, 6, 7, 8]  # labels go round, so that the first of each class and two second ones are
    expected = manifold_geometry(shifted_clouds(model, source.images[chosen]), n_t=60, seed=5)
    (row,) = smooth_manifolds(model, data, CONFIG, device=CPU, seed=3)
    assert (row.target, row.session, row.family, row.displacement_place, row.displacement) == (
        "animals", "", "x_translation", 0, 2.0,
    )  # fmt: skip
    assert (row.layer_place, row.layer, row.depth, row.manifolds, row.points) == (0, "layer2", 1.0, 9, 5)
    assert row.mean_capacity == pytest.approx(1 / np.mean(1 / expected.capacity), rel=1e-3)
    assert row.mean_radius == pytest.approx(expected.radius.mean(), rel=1e-3)
    assert row.mean_dimension == pytest.approx(expected.dimension.mean(), rel=1e-3)
    assert row.mean_radius_error == pytest.approx(np.sqrt((expected.radius_error**2).sum()) / 9, rel=1e-2)
    assert row.mean_dimension_class_error == pytest.approx(expected.dimension.std(ddof=1) / 3, rel=1e-2)
    assert row.center_correlation == pytest.approx(expected.center_correlation, rel=1e-3)
    assert (row.mean_floor, row.features, row.unknown, row.undefined) == (
        pytest.approx(2 / 5), expected.neurons, 0.0, "",
    )  # fmt: skip


def test_images_are_of_all_classes_in_turn(model, data):
    """Where a class has few images, the others' next ones are taken."""
    source = data.splits["test"]["animals"][""]
    labels = np.r_[np.zeros(20, int), [1, 2], np.zeros(8, int)]
    changed = {"": dataclasses.replace(source, targets=torch.from_numpy(labels))}
    other = dataclasses.replace(
        data, splits={**data.splits, "test": {**data.splits["test"], "animals": changed}}
    )  # fmt: skip
    (row,) = smooth_manifolds(model, other, CONFIG.replace(images=5), device=CPU)
    expected = manifold_geometry(shifted_clouds(model, source.images[[0, 20, 21, 1, 2]]), n_t=60, seed=5)
    assert row.mean_capacity == pytest.approx(1 / np.mean(1 / expected.capacity), rel=1e-3)


def test_families_and_displacements_in_all_layers(model, data):
    config = CONFIG.replace(
        layers=("blocks",), families=("translation", "rotation"), displacements=(4, 0.5), points=12, removed=0
    )
    rows = smooth_manifolds(model, data, config, device=CPU)
    at = [(row.family, row.displacement_place, row.displacement, row.layer) for row in rows]
    assert at == [
        (family, place, pixels, layer)
        for family in ("translation", "rotation")
        for place, pixels in enumerate((4.0, 0.5))
        for layer in ("layer1", "layer2")
    ]
    by = {row[:1] + row[2:]: value.mean_capacity for row, value in zip(at, rows, strict=True)}
    assert all(by[family, 0.5, layer] > 1.2 * by[family, 4.0, layer] for family, _, _, layer in at), by
    again = smooth_manifolds(model, data, config.replace(batch_size=7), device=CPU, seed=8)
    assert [row.mean_capacity for row in again] == pytest.approx([row.mean_capacity for row in rows], rel=1e-4)
    drawn = smooth_manifolds(model, data, config.replace(families=("translation",), seed=6), device=CPU)
    assert drawn[0].mean_capacity != pytest.approx(rows[0].mean_capacity, rel=1e-4)


def test_windows_and_what_lies_outside(model, data, monkeypatch):
    """A window with margins shows nothing from outside, so that it does not matter what would be there."""
    small = CONFIG.replace(size=24)
    (none,) = smooth_manifolds(model, data, small.replace(fill=None), device=CPU)
    (edge,) = smooth_manifolds(model, data, small, device=CPU)
    assert none == edge
    (grey,) = smooth_manifolds(model, data, CONFIG.replace(fill=0.5), device=CPU)
    (whole,) = smooth_manifolds(model, data, CONFIG, device=CPU)
    assert grey.mean_capacity != pytest.approx(whole.mean_capacity, rel=1e-3)
    monkeypatch.setattr("cotrain.evaluations._smooth_manifolds.layer_features", None)  # refused before anything passes
    with pytest.raises(DataError, match=r"x_translation by 2 pixels would show what lies up to 2 pixels outside"):
        smooth_manifolds(model, data, CONFIG.replace(fill=None), device=CPU)
    for fill in ("mirror", 1.5):
        with pytest.raises(ConfigError, match="fill"):
            CONFIG.replace(fill=fill)
    with pytest.raises(ConfigError, match="each is named once"):
        CONFIG.replace(displacements=(1, 1.0))


def test_what_cannot_be_told_is_missing_and_logged(model, model_of, data, caplog, tmp_path, monkeypatch):
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in silent.backbone.layer2.parameters():
            parameter.zero_()
    (row,) = smooth_manifolds(silent, data, CONFIG, device=CPU)
    assert math.isnan(row.mean_capacity)
    assert (row.unknown, bool(row.undefined)) == (1.0, True)
    assert f"Manifolds of animals, x_translation by 2 pixels, layer2: {row.undefined}" in caplog.text

    assert smooth_manifolds(model_of("cells"), data, CONFIG.replace(tasks=("cells",)), device=CPU) == []
    with pytest.raises(ModelError, match="no layer 'layer9'"):
        smooth_manifolds(model, data, CONFIG.replace(layers=("layer9",)), device=CPU)

    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 32), np.uint8)
    np.savez(tmp_path / "one.npz", images=pixels, labels=["a"])
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    file = StimulusFileConfig(name="one", path="one.npz", labels="labels")
    rows = smooth_manifolds(model, data, CONFIG.replace(files=(file,)), device=CPU)
    assert [row.target for row in rows] == ["animals"]
    assert "one has no geometry of smooth manifolds: it has 1 image." in caplog.text
    assert isinstance(rows[0], LayerSmoothManifolds)
