"""Tables of neurons' scores: medians and means by hand, intervals by simulation and by scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from cotrain.analysis import aggregate_scores, score_table
from cotrain.errors import DataError

NAN = float("nan")


def of_subjects(subjects, *, layers=1, area="V4"):
    """{subject: scores} as a table; with several layers, all have the same scores."""
    return pd.concat(
        [
            score_table({f"layer{n}": values for n in range(layers)}, metric="pearson", subject=name, area=area)
            for name, values in subjects.items()
        ]
    )


def test_a_table_has_the_columns_of_the_contract():
    table = score_table(
        {"conv": [0.1, 0.2], "fc": [0.3, NAN]},
        metric="r2",
        session="s1",
        area=["V1", "V4"],
        subject="a",
        ceiling=[1, 0],
    )
    names = ["layer", "layer_place", "depth", "session", "neuron", "area", "subject", "metric", "score", "ceiling"]
    assert list(table.columns) == names
    assert table.layer_place.tolist() == [0, 0, 1, 1] and table.depth.tolist() == [0.5, 0.5, 1, 1]
    assert table.neuron.tolist() == [0, 1, 0, 1] and table.area.tolist() == ["V1", "V4"] * 2
    with pytest.raises(DataError, match="'fc' has shape"):
        score_table({"conv": [0.1, 0.2], "fc": [0.3]}, metric="r2")


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_groups_are_summed_up_and_what_is_left_out_is_counted(statistic):
    random = np.random.default_rng(0)
    values, ceiling = random.normal(size=(2, 31)), random.uniform(0, 1, 31)
    values[0, :3], ceiling[:5] = NAN, 0.05
    ceiling[5] = NAN
    table = score_table(
        {"conv": values[0], "fc": values[1]}, metric="pearson", area=["V1"] * 15 + ["V4"] * 16, ceiling=ceiling
    )
    found = aggregate_scores(table, ["area", "layer"], statistic=statistic, least_ceiling=0.1, draws=50)
    over = getattr(np, statistic)
    for row in found.itertuples():
        part = slice(0, 15) if row.area == "V1" else slice(15, 31)
        one, bound = values[0 if row.layer == "conv" else 1][part], ceiling[part]
        used = ~np.isnan(one) & (bound >= 0.1)
        assert row.value == pytest.approx(over(one[used]))
        assert (row.neurons, row.without_score) == (used.sum(), np.isnan(one).sum())
        assert row.neurons + row.without_score + row.unreliable == len(one)
        assert row.low < row.value < row.high and row.drawn == "neurons" and row.subjects == 1
    assert found.unreliable.sum() > 0 and len(found) == 4
    every = aggregate_scores(table, "layer", draws=2)
    assert every.neurons.tolist() == [28, 31] and every.unreliable.tolist() == [0, 0]


def test_the_interval_of_one_subject_is_that_of_scipy_s_bootstrap():
    values = np.random.default_rng(1).normal(size=60)
    found = aggregate_scores(score_table({"a": values}, metric="r2"), ["layer"], statistic="mean", draws=20_000)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=0)
    assert found[["low", "high"]].values[0] == pytest.approx(tuple(expected.confidence_interval), abs=0.01)


def test_animals_that_differ_widen_the_interval_as_a_naive_hierarchical_bootstrap_says():
    random = np.random.default_rng(2)
    held = {f"animal{n}": random.normal(n, 1, size=20 + 5 * n) for n in range(4)}
    (row,) = aggregate_scores(of_subjects(held), ["area"], draws=4000).itertuples()
    samples = []
    for _ in range(4000):
        drawn = [list(held.values())[n] for n in random.integers(4, size=4)]
        samples.append(np.median(np.concatenate([random.choice(one, len(one)) for one in drawn])))
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])), abs=0.12)
    assert row.drawn == "subjects and neurons" and row.subjects == 4
    (pooled,) = aggregate_scores(of_subjects({"": np.concatenate(list(held.values()))}), ["area"]).itertuples()
    assert pooled.value == row.value and pooled.high - pooled.low < 0.5 * (row.high - row.low)


def test_layers_with_the_same_scores_have_the_same_interval_whatever_the_order_of_rows():
    table = of_subjects({"a": [0.1, 0.5, 0.2], "b": [0.7, 0.3]}, layers=2)
    found = aggregate_scores(table, ["layer"])
    assert found.low[0] == found.low[1] and found.high[0] == found.high[1]
    pd.testing.assert_frame_equal(aggregate_scores(table.sample(frac=1, random_state=0), ["layer"]), found)
    other = aggregate_scores(table, ["layer"], seed=1)
    assert other.value.tolist() == found.value.tolist()


def test_a_neuron_without_others_and_a_group_without_neurons_have_no_interval():
    table = score_table({"a": [0.1, NAN], "b": [NAN, NAN]}, metric="r2")
    found = aggregate_scores(table, ["layer"])
    assert found.neurons.tolist() == [1, 0] and found.value[0] == 0.1
    assert found[["low", "high"]].isna().all(axis=None) and np.isnan(found.value[1])


def test_what_would_give_a_false_number_is_refused():
    table = of_subjects({"a": [0.1, 0.5]}, layers=2)
    with pytest.raises(
        DataError, match=r"would count several times. They differ in \['layer', 'layer_place', 'depth'\]"
    ):
        aggregate_scores(table, ["area"])
    with pytest.raises(DataError, match="Drop copies"):
        aggregate_scores(pd.concat([table, table]))
    with pytest.raises(DataError, match=r"no columns \['subject'\]"):
        aggregate_scores(table.drop(columns="subject"))
    with pytest.raises(DataError, match='write "" there'):
        aggregate_scores(table.assign(subject=None))
    with pytest.raises(DataError, match="Did you mean 'median'"):
        aggregate_scores(table, statistic="medain")
    with pytest.raises(DataError, match="2 draws or more"):
        aggregate_scores(table, draws=1)
    with pytest.raises(DataError, match="no rows"):
        aggregate_scores(table[:0])
