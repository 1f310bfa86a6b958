"""Geometry of manifolds over seeds and its pictures: intervals by SciPy, and what is drawn is what was summed up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from cotrain.analysis import (
    manifold_layers_figure,
    manifold_runs,
    manifold_summary,
    manifold_training_figure,
    save_figure,
)
from cotrain.errors import CotrainError

MEASURES = ("mean_capacity", "mean_radius", "mean_dimension", "center_correlation")


def table(*, seeds=(0, 1, 2), labels=("alone", "with V4"), epochs=(0, 1, 2), layers=("layer1", "layer2"), controls=()):
    """Any numbers in the columns of an evaluation."""
    random = np.random.default_rng(0)
    rows = [
        {
            "run_key": f"{label[0]}{seed}".ljust(32, "0"), "label": label, "seed": seed, "epoch": epoch,
            "target": "objects", "session": "", "control": control, "layer_place": place, "layer": layer,
            "depth": (place + 1) / len(layers), "manifolds": 10, "unknown": 0.0, "mean_floor": 0.04,
            "at_floor": 0.0, "few_points": 1.0,
        }
        | {name: random.uniform(0.1, 1) for name in MEASURES}
        | {f"{name}_class_error": random.uniform(0.01, 0.02) for name in MEASURES[:3]}
        for label in labels for seed in seeds for epoch in epochs
        for control in ("", *controls) for place, layer in enumerate(layers)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def lines_of(axes) -> dict[tuple[str, str], list[float]]:
    """{(colour, style): heights}."""
    return {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in axes.lines}


def test_intervals_are_over_seeds_or_of_one_over_classes():
    frame = table(epochs=(2,))
    found = manifold_summary(manifold_runs(frame), ("layer",))
    row = found[(found.label == "with V4") & (found.layer == "layer2") & (found.measure == "mean_radius")].iloc[0]
    values = frame[(frame.label == "with V4") & (frame.layer == "layer2")].mean_radius
    low, high = t.interval(0.95, 2, values.mean(), values.std(ddof=1) / 3**0.5)
    assert (row["mean"], row.low, row.high, row.seeds) == pytest.approx((values.mean(), low, high, 3))

    frame = table(epochs=(2,), seeds=(1,))
    found = manifold_summary(manifold_runs(frame), ("layer",), confidence=0.9).set_index(["label", "layer", "measure"])
    one = frame[(frame.label == "alone") & (frame.layer == "layer1")].iloc[0]
    row = found.loc[("alone", "layer1", "mean_capacity")]
    low, high = t.interval(0.9, 9, one.mean_capacity, one.mean_capacity_class_error)
    assert (row["mean"], row.low, row.high, row.floor) == pytest.approx((one.mean_capacity, low, high, 0.04))
    assert np.isnan(found.loc[("alone", "layer1", "center_correlation")].low)


def test_undefined_values_are_left_out_of_means():
    frame = table(epochs=(2,))
    frame.loc[(frame.seed == 0) & (frame.layer == "layer1"), list(MEASURES)] = np.nan
    found = manifold_summary(manifold_runs(frame), ("layer",))
    assert set(found[found.layer == "layer1"].seeds) == {2}
    assert found["mean"].notna().all()


def test_which_epoch_stands_for_a_run():
    frame = table(epochs=(0, 1, 2))
    assert manifold_runs(frame).rows.groupby("stage").epoch.unique().map(list).to_dict() == {
        "": [1], "initial": [0], "trained": [2],
    }  # fmt: skip
    best = manifold_runs(frame.assign(best=frame.epoch == 1)).rows
    assert best.groupby("stage").epoch.unique().map(list).to_dict() == {"": [2], "initial": [0], "trained": [1]}
    only = manifold_runs(frame[frame.epoch == 0].assign(best=False)).rows
    assert set(only.stage) == {"trained"}, "a network that was only looked at before training is drawn as it is"
    without = manifold_runs(frame[frame.epoch == 2].drop(columns=["epoch", "run_key"])).rows
    assert set(without.stage) == {"trained"}


def test_layers_are_drawn_as_summed_up(tmp_path):
    held = manifold_runs(table(controls=("shuffled_points",)), labels=("with V4", "alone"))
    figure = manifold_layers_figure(held)
    found = manifold_summary(held, ("stage", "control", "layer_place"))
    for axes, measure in zip(figure.axes, MEASURES, strict=True):
        drawn = lines_of(axes)
        for label, colour, style in (("with V4", "#0072B2", "-"), ("alone", "#D55E00", "-")):
            own = found[(found.label == label) & (found.measure == measure) & (found.control == "")]
            assert drawn[colour, style] == pytest.approx(list(own[own.stage == "trained"]["mean"]))
            untrained = list(own[own.stage == "initial"]["mean"])
            assert any(list(line.get_ydata()) == pytest.approx(untrained) for line in axes.lines)
        assert len(axes.lines) == (7 if measure == "mean_capacity" else 4), "the controls, and noise, in capacity alone"
    assert [text.get_text() for text in figure.axes[2].get_xticklabels()] == ["layer1", "layer2"]
    assert (
        figure.legends[0].get_title().get_text()
        == "Means over 3 seeds; bands: 95% intervals over seeds; dotted: epoch 0"
    )
    save_figure(figure, tmp_path / "layers.png")

    deep = pd.concat([table(labels=("deep",), layers=("a", "b", "c")), table(labels=("flat",), layers=("x",))])
    figure = manifold_layers_figure(manifold_runs(deep))
    assert figure.axes[2].get_xlabel() == "depth (share of blocks)"
    assert list(figure.axes[1].lines[0].get_xdata()) == pytest.approx([1 / 3, 2 / 3, 1])


def test_training_is_drawn_where_all_seeds_have_the_epoch():
    frame = table()
    frame = frame[(frame.seed != 1) | (frame.epoch != 1)]
    held = manifold_runs(frame)
    figure = manifold_training_figure(held, layer="layer1")
    expected = manifold_summary(manifold_runs(frame[frame.layer == "layer1"]), ("epoch",))
    expected = expected[(expected.label == "alone") & (expected.measure == "mean_dimension") & (expected.epoch != 1)]
    line = figure.axes[2].lines[0]
    assert list(line.get_xdata()) == [0, 2]
    assert list(line.get_ydata()) == pytest.approx(list(expected["mean"]))
    assert figure.axes[2].get_xlabel() == "epoch (0: as initialised); layer1"
    with pytest.raises(CotrainError, match=r"No layer .layer3. is evaluated\. Did you mean"):
        manifold_training_figure(held, layer="layer3")
    with pytest.raises(CotrainError, match="needs several epochs that all seeds have"):
        manifold_training_figure(manifold_runs(table(epochs=(3,))))


def test_what_is_refused():
    frame = table()
    for given, options, message in (
        (frame.drop(columns="mean_radius"), {}, "A table of manifolds lacks mean_radius"),
        (frame[:0], {}, "has no row"),
        (pd.concat([frame, frame.assign(target="other")]), {}, "manifolds of objects, other. Say which target"),
        (frame, {"target": "object"}, "no manifolds of 'object', session ''. Did you mean 'objects'"),
        (frame, {"session": "a"}, "session 'a'. Its sessions are ''."),
        (frame, {"labels": ["with V1"]}, "the label 'with V1'. Did you mean 'with V4'"),
        (pd.concat([frame, frame.assign(run_key="z" * 32)]), {}, "'alone' is that of several runs with seed 0"),
        (pd.concat([frame, frame]), {}, "holds a layer of a run twice"),
    ):
        with pytest.raises(CotrainError, match=message):
            manifold_runs(given, **options)
