"""The picture of smooth manifolds: what is drawn is what was summed up, and all of it is seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cotrain.analysis import (
    manifold_layers_figure,
    manifold_runs,
    manifold_summary,
    manifold_training_figure,
    save_figure,
    smooth_manifolds_figure,
)
from cotrain.errors import CotrainError

FAMILIES, REACHES = ("affine", "x_translation"), (1.0, 4.0)
COLOURS = {1.0: "#0072B2", 4.0: "#D55E00"}


def table(layers=("layer1", "layer2"), seeds=(0, 1), labels=("alone", "with V4")):
    """Any numbers; those of the second family are far larger."""
    random = np.random.default_rng(0)
    rows = [
        {
            "run_key": f"{label[0]}{seed}".ljust(32, "0"), "label": label, "seed": seed, "epoch": epoch,
            "target": "objects", "session": "", "family": family, "displacement": reach, "layer_place": place,
            "layer": layer, "depth": (place + 1) / len(layers), "manifolds": 10, "unknown": 0.0, "mean_floor": 0.04,
            "mean_capacity": random.uniform(0.1, 1) * (1 + 9 * (family == "x_translation")),
            "mean_radius": 1.0, "mean_dimension": 2.0, "center_correlation": 0.1, "mean_capacity_class_error": 0.02,
            "mean_radius_class_error": 0.1, "mean_dimension_class_error": 0.1,
        }
        for label in labels for seed in seeds for epoch in (0, 2) for family in FAMILIES for reach in REACHES
        for place, layer in enumerate(layers)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_lines_are_as_summed_up_and_all_are_seen(tmp_path):
    held = manifold_runs(table())
    figure = smooth_manifolds_figure(held)
    by = ["label", "family", "displacement", "stage", "layer_place"]
    found = manifold_summary(held, by[1:])
    means = found[found.measure == "mean_capacity"].set_index(by)["mean"].sort_index()
    assert len(figure.axes) == 4
    for axes, (label, family) in zip(
        figure.axes, [(label, family) for label in held.labels for family in FAMILIES], strict=True
    ):
        lines = {(line.get_color(), line.get_linestyle()): line for line in axes.lines}
        assert len(lines) == 5, "two displacements before and after training, and noise"
        for reach, colour in COLOURS.items():
            for stage, style in (("trained", "-"), ("initial", "--")):
                drawn = list(lines[colour, style].get_ydata())
                assert drawn == pytest.approx(list(means.loc[label, family, reach, stage]))
                assert axes.get_ylim()[0] == 0 < max(drawn) < axes.get_ylim()[1]
        assert list(lines["0.45", ":"].get_ydata()) == [0.04, 0.04]
        assert axes.get_ylabel() == (f"{label}\ncapacity" if family == "affine" else "")
    assert [axes.get_title() for axes in figure.axes] == ["affine", "x translation", "", ""]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1 pixel", "4 pixels"]
    assert "dashed: epoch 0" in figure.legends[0].get_title().get_text()
    save_figure(figure, tmp_path / "smooth.png")


def test_other_layers_are_drawn_over_depth_and_other_rows_refused():
    frame = table()
    other = table(layers=("a", "b", "c"), labels=("deep",))
    figure = smooth_manifolds_figure(manifold_runs(pd.concat([frame[frame.epoch == 2], other[other.epoch == 2]])))
    drawn = [list(line.get_xdata()) for line in figure.axes[-1].lines if len(line.get_xdata())]
    assert drawn == [pytest.approx([1 / 3, 2 / 3, 1])] * 3, "two displacements and noise, and no epoch 0"
    assert figure.get_supxlabel() == "depth (share of blocks)"
    assert "epoch 0" not in figure.legends[0].get_title().get_text()
    for draw in (manifold_layers_figure, manifold_training_figure):
        with pytest.raises(CotrainError, match="smooth_manifolds_figure draws them"):
            draw(manifold_runs(frame))
    with pytest.raises(CotrainError, match="These are no smooth manifolds"):
        smooth_manifolds_figure(manifold_runs(frame[frame.family == "affine"].iloc[::2].drop(columns=["family"])))
    with pytest.raises(CotrainError, match="holds a layer of a run twice"):
        manifold_runs(pd.concat([frame, frame]))
