"""Pictures of neurons predicted from layers: what is drawn is what NumPy makes of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from cotrain import analysis
from cotrain.errors import CotrainError

LAYERS, NEURONS = ("conv1", "layer1", "layer2", "layer3", "layer4"), 30


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Two labels, two seeds, three epochs, two areas; one neuron has no score with one seed."""
    random = np.random.default_rng(0)
    rows = []
    for label in ("one", "two"):
        for seed in (0, 1):
            for epoch in (0, 4, 9 + seed):
                for place, layer in enumerate(LAYERS):
                    for neuron in range(NEURONS):
                        score = 0.1 * place + 0.02 * epoch + 0.1 * random.normal() + 0.2 * (label == "two")
                        rows.append({
                            "label": label, "seed": seed, "epoch": epoch, "best": epoch > 4, "target": "cells",
                            "session": "a", "metric": "pearson", "layer_place": place, "neuron": neuron, "layer": layer,
                            "depth": (place + 1) / 5, "area": "V4" if neuron < 20 else "IT", "subject": "",
                            "score": np.nan if (neuron, seed) == (3, 1) else score, "ceiling": 0.64,
                            "normalised": score / 0.8,
                        })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def best(table: pd.DataFrame) -> pd.DataFrame:
    """Of the best epoch of each run, which are not the same."""
    return table[table.best].drop(columns="epoch")


def curves(figure: Figure) -> list[list[np.ndarray]]:
    """(points, 2) of each line with several points, panel by panel."""
    return [
        [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 2]
        for axes in figure.axes
        if axes.get_visible()
    ]


def medians(rows: pd.DataFrame, by: list[str]) -> pd.Series:
    """Means over seeds of each neuron, none where one is missing; then the median."""
    neurons = rows.groupby([*by, "neuron"]).score.agg(lambda values: values.mean(skipna=False))
    return neurons.groupby(by).median()


def test_medians_over_depth(best):
    held = analysis.regression_scores(best)
    assert (held.labels, held.seeds, held.metric) == (("one", "two"), {"one": 2, "two": 2}, "pearson")
    figure = analysis.regression_depth_figure(held)
    expected = medians(best, ["area", "label", "layer_place"])
    for (area, axes), lines in zip(zip(("V4", "IT"), figure.axes, strict=False), curves(figure), strict=True):
        assert axes.get_title() == area
        for label, line in zip(held.labels, lines, strict=True):
            assert line[:, 0] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
            assert line[:, 1] == pytest.approx(expected[area, label].to_numpy())
        (ceiling,) = [line for line in axes.lines if line.get_ydata()[0] == pytest.approx(0.8)]
        assert len(ceiling.get_ydata()) == 2, "the root of the reliability"
    points = analysis.regression_summary(held, ["label", "area", "layer"])
    assert set(points.without_score[points.area == "V4"]) == {1}
    (lines,) = curves(analysis.regression_depth_figure(analysis.regression_scores(best, area="IT", normalised=True)))
    assert lines[0][:, 1] == pytest.approx(expected["IT", "one"].to_numpy() / 0.8)


def test_it_is_said_of_how_many_neurons_the_ceiling_is(best):
    notes = {}
    for known in (NEURONS, 10):
        table = best.assign(ceiling=best.ceiling.where(best.neuron < known))
        figure = analysis.regression_depth_figure(analysis.regression_scores(table))
        notes[known] = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
    assert "grey: ceiling of a perfect prediction (of 10 neurons with repeats)" in notes[10]
    assert "grey: ceiling of a perfect prediction" in notes[NEURONS]
    assert "with repeats" not in notes[NEURONS]


def test_neuron_by_neuron(best):
    held = analysis.regression_scores(best)
    figure = analysis.regression_neurons_figure(held)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(LAYERS)
    assert max(patch.get_xy()[:, 1].max() for patch in panels[0].patches) <= NEURONS - 1
    pairs = analysis.regression_pairs(held, "one", "two")
    assert len(pairs) == len(LAYERS) * (NEURONS - 1)
    figure = analysis.regression_scatter_figure(held, "one", "two")
    above = int((pairs.two > pairs.one)[pairs.layer == "conv1"].sum())
    assert figure.axes[0].get_title() == f"conv1\n{above} of {NEURONS - 1} above the line"
    assert len(np.concatenate([held.get_offsets() for held in figure.axes[0].collections])) == NEURONS - 1
    with pytest.raises(CotrainError, match="no scores of 'three'"):
        analysis.regression_scatter_figure(held, "one", "three")


def test_layers_by_areas(best):
    figure = analysis.regression_map_figure(analysis.regression_scores(best))
    expected = medians(best, ["label", "layer", "area"])
    for label, axes in zip(("one", "two"), figure.axes, strict=False):
        cells = np.asarray(axes.images[0].get_array())
        wanted = [[expected[label, layer, area] for area in ("V4", "IT")] for layer in LAYERS[::-1]]
        assert cells == pytest.approx(np.array(wanted))


def test_over_training_only_epochs_of_all_seeds_are_drawn(table, best):
    held = analysis.regression_scores(table)
    assert sorted(set(held.rows.epoch)) == [0, 4]
    alone = analysis.regression_scores(table[table.seed == 1])
    lines = curves(analysis.regression_training_figure(alone))
    assert [len(panel) for panel in lines] == [2] * 5
    expected = medians(table[table.seed == 1], ["layer", "label", "epoch"])
    assert lines[3][1][:, 0].tolist() == [0, 4, 10]
    assert lines[3][1][:, 1] == pytest.approx(expected["layer3", "two"].to_numpy())
    with pytest.raises(CotrainError, match="No experiment has scores of two epochs"):
        analysis.regression_training_figure(analysis.regression_scores(best))


def test_what_cannot_be_chosen_is_told(best):
    for change, message in (
        ({"target": "cell"}, "no target 'cell'. Did you mean 'cells'"),
        ({"metric": "r2"}, "no metric 'r2'"),
        ({"area": "V1"}, "no area 'V1'"),
        ({"labels": ["one", "twos"]}, "no evaluated run has the label 'twos'"),
    ):
        with pytest.raises(CotrainError, match=f"(?i){message}"):
            analysis.regression_scores(best, **change)
    with pytest.raises(CotrainError, match="Two runs share a label and a seed"):
        analysis.regression_scores(pd.concat([best, best]))
    with pytest.raises(CotrainError, match=r"has the columns .*; no \['ceiling'\]"):
        analysis.regression_scores(best.drop(columns="ceiling"))
    with pytest.raises(CotrainError, match="no repeats that tell a ceiling"):
        analysis.regression_scores(best.assign(normalised=np.nan), normalised=True)
