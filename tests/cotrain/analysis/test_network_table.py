"""Networks in one table: layers are chosen on other stimuli than those that are reported, and facts stand beside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from torch import nn

from cotrain.analysis import (
    Ridge,
    layer_scores,
    network_correlations,
    network_figure,
    network_size,
    network_table,
)
from cotrain.errors import DataError

STIMULI, NEURONS = 90, 12
HALVES = [(np.arange(0, STIMULI, 2), np.arange(1, STIMULI, 2))]


def scored(features, responses, name, **fit):
    table = layer_scores(features, responses, method=Ridge((1.0, 1e2, 1e4)), folds=HALVES, selection=3, **fit)
    return table.assign(network=name)


@pytest.fixture(scope="module")
def tables():
    """A network whose second layer is read by all neurons, one with noise in as many layers, and one in forty."""
    random = np.random.default_rng(0)
    signal = random.normal(size=(STIMULI, 6))
    responses = signal @ random.normal(size=(6, NEURONS)) + random.normal(size=(STIMULI, NEURONS))
    noise = [random.normal(size=(STIMULI, 6)) for _ in range(40)]
    areas = ["V1"] * 5 + ["V4"] * 7
    return pd.concat(
        [
            scored({"one": noise[0], "two": signal}, responses, "good", area=areas),
            scored({"one": noise[1], "two": noise[2]}, responses, "noise", area=areas),
            scored({f"layer{n}": held for n, held in enumerate(noise)}, responses, "deep noise", area=areas),
        ]
    )


FACTS = {
    "good": {"depth": 2, "accuracy": 0.9, "trained": True},
    "noise": {"depth": 2, "accuracy": float("nan"), "trained": False},
    "deep noise": {"depth": 40, "accuracy": 0.2, "trained": True},
}


def test_the_layer_is_chosen_on_one_half_and_reported_on_the_other(tables):
    found = network_table(tables, FACTS, draws=50).set_index("network")
    assert list(found.index) == [*FACTS] and found.layer["good"] == "two" and found.layer_depth["good"] == 1.0
    reported = tables[(tables.network == "good") & (tables.layer == "two") & (tables.split == "report")].score
    assert found.value["good"] == pytest.approx(reported.median()) and found.value["good"] > 0.7
    assert found.low["good"] <= found.value["good"] <= found.high["good"] and found.neurons["good"] == NEURONS
    assert found.accuracy["good"] == 0.9 and found.depth["deep noise"] == 40
    # the best of forty layers of noise looks good on the stimuli that chose it, and is not on the others
    deep = tables[tables.network == "deep noise"]
    naive = deep[deep.split == "report"].groupby("layer").score.median().max()
    assert naive > 0.1 > abs(found.value["deep noise"])


def test_selection_never_sees_the_stimuli_that_are_reported(tables):
    random = np.random.default_rng(1)
    features = {"a": random.normal(size=(STIMULI, 4)), "b": random.normal(size=(STIMULI, 4))}
    responses = random.normal(size=(STIMULI, NEURONS))
    changed = responses.copy()
    changed[HALVES[0][1]] = random.normal(size=(STIMULI // 2, NEURONS))
    one, other = (scored(features, held, "x") for held in (responses, changed))
    np.testing.assert_array_equal(one[one.split == "selection"].score, other[other.split == "selection"].score)
    assert not np.allclose(one[one.split == "report"].score, other[other.split == "report"].score)


def test_areas_have_layers_of_their_own(tables):
    found = network_table(tables, FACTS, by=["area"], draws=50)
    assert found[["network", "area"]].values.tolist() == [[name, area] for name in FACTS for area in ("V1", "V4")]
    assert found.neurons.tolist() == [5, 7] * 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: (t.drop(columns="network"), FACTS), "lack the column network"),
        (lambda t: (t, {**FACTS, "other": {}}), "no 'pearson' scores of other"),
        (lambda t: (t, {"good": {"value": 1.0}}), "facts are called as columns of scores are: value"),
        (lambda t: (t[t.split == "report"], FACTS), "no split 'selection'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, change, text):
    scores, facts = change(tables)
    with pytest.raises(DataError, match=text):
        network_table(scores, facts, draws=2)


def test_layers_are_chosen_among_the_stimuli_of_one_pair():
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(DataError, match="there are 5 folds"):
        layer_scores({"a": x}, x, folds=5, selection=3)


def test_correlations_are_spearmans_with_exact_permutations():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"network": list("abcdefg"), "value": random.normal(size=7)})
    table["depth"], table["width"] = random.permutation(7), np.exp(table.value)
    table["accuracy"] = [0.1, np.nan, np.nan, np.nan, np.nan, np.nan, 0.4]
    found = network_correlations(table).set_index("fact")
    assert found.spearman["depth"] == pytest.approx(spearmanr(table.depth, table.value).statistic)
    assert found.spearman["width"] == pytest.approx(1) and found.p["width"] == pytest.approx(2 / 5040)
    assert np.isnan(found.spearman["accuracy"]) and found.networks.tolist() == [7, 7, 2]
    with pytest.raises(DataError, match="several times"):
        network_correlations(pd.concat([table, table]))


def test_sizes_count_weight_layers():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 16))
    size = network_size(network)
    assert (size.depth, size.width, size.parameters) == (3, 16, sum(held.numel() for held in network.parameters()))


def test_the_picture_has_a_panel_a_fact_and_hollow_marks_for_untrained_networks(tables):
    table = network_table(tables, FACTS, draws=50)
    figure = network_figure(table, ("depth", "accuracy"), title="of networks")
    panels = figure.axes
    assert [held.get_xlabel() for held in panels] == ["depth", "accuracy"]
    assert panels[0].get_xscale() == "log" and panels[1].get_xscale() == "linear"
    drawn = [container.lines[0] for container in panels[0].containers]
    assert [len(line.get_xdata()) for line in drawn] == [2, 1] and drawn[1].get_markerfacecolor() == "w"
    assert sum(len(container.lines[0].get_xdata()) for container in panels[1].containers) == 2, "no accuracy, no mark"
    with pytest.raises(DataError, match="no width"):
        network_figure(table, ("width",))
