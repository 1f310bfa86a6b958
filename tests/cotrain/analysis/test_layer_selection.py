"""Layers chosen with some stimuli, scored with others: of noise the reported score is 0, the naive maximum is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import cross_val_predict

from cotrain.analysis import (
    Ridge,
    aggregate_scores,
    chosen_layers,
    group_k_fold,
    k_fold,
    neuron_correlations,
    regress,
    score_table,
    select_layers,
)
from cotrain.errors import DataError

METHOD = Ridge((10.0,))
NAN = float("nan")


def test_in_noise_the_reported_score_is_0_while_the_naive_maximum_is_above():
    naive, honest, halves = [], [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        layers = {f"layer{n}": random.normal(size=(60, 15)) for n in range(6)}
        y = random.normal(size=(60, 50))
        fits = [regress(x, y, METHOD, 3, seed=seed).predictions for x in layers.values()]
        naive.append(np.max([neuron_correlations(fit, y) for fit in fits], 0).mean())
        first, second = (np.array([neuron_correlations(fit[h::2], y[h::2]) for fit in fits]) for h in (0, 1))
        halves.append(second[first.argmax(0), np.arange(50)].mean())
        honest.append(select_layers(layers, y, METHOD, 2, inner=3, seed=seed).scores.mean())
    error = np.std(honest, ddof=1) / len(honest) ** 0.5
    assert np.mean(naive) > 0.1
    assert abs(np.mean(honest)) < 3 * error and error < 0.02
    # halves of the predictions of one cross-validation are no way out: these are fitted to each other's responses
    assert np.mean(halves) > np.mean(honest) + 0.02


@pytest.mark.parametrize("areas", [None, ["V1", "V1", "V4", "V4", "V4", "V4"]])
def test_layers_and_scores_are_those_of_a_naive_loop(areas):
    random = np.random.default_rng(0)
    layers = {name: random.normal(size=(80, 10)) for name in ("early", "middle", "late")}
    y = np.concatenate([layers["early"][:, :2] * 2, layers["late"][:, :4] * 2], 1) + random.normal(size=(80, 6))
    folds, inner = k_fold(80, 2, seed=3), k_fold(80, 5, seed=4)
    found = select_layers(layers, y, METHOD, folds, areas=areas, inner=inner)
    for number, (train, test) in enumerate(folds.pairs):
        parts = inner.within(train).pairs
        scores = []
        for x in layers.values():
            guess = cross_val_predict(SklearnRidge(10), x[train], y[train], cv=list(parts))
            scores.append([np.corrcoef(guess[:, n], y[train, n])[0, 1] for n in range(6)])
        scores = np.array(scores)
        if areas is not None:
            scores = np.stack([np.median(scores[:, s], 1) for s in (slice(0, 2), slice(2, 6))], 1)[
                :, [0, 0, 1, 1, 1, 1]
            ]
        assert found.chosen[number].tolist() == [list(layers)[n] for n in scores.argmax(0)]
        for n in range(6):
            x = layers[found.chosen[number, n]]
            guess = SklearnRidge(10).fit(x[train], y[train, n]).predict(x[test])
            assert found.fold_scores[number, n] == pytest.approx(np.corrcoef(guess, y[test, n])[0, 1])
    assert found.chosen.tolist() == [["early"] * 2 + ["late"] * 4] * 2
    assert found.shares == pytest.approx({"early": 1 / 3, "middle": 0, "late": 2 / 3})
    np.testing.assert_allclose(found.scores, found.fold_scores.mean(0))


def test_smaller_errors_are_better_and_constant_neurons_choose_nothing():
    random = np.random.default_rng(1)
    layers = {"noise": random.normal(size=(60, 5)), "right": random.normal(size=(60, 5))}
    y = np.column_stack([layers["right"][:, 0], np.ones(60)])
    found = select_layers(layers, y, METHOD, 2, metric="mse")
    assert found.chosen.tolist() == [["right", ""]] * 2
    assert found.scores[0] < 0.5 and np.isnan(found.scores[1])


def test_groups_of_stimuli_stay_together_inside_too():
    groups = np.repeat(np.arange(10), 4)
    random = np.random.default_rng(2)
    layers, y = {"a": random.normal(size=(40, 3))}, random.normal(size=(40, 2))
    inner = group_k_fold(groups, 5, seed=0)
    found = select_layers(layers, y, METHOD, group_k_fold(groups, 2, seed=1), inner=inner)
    assert found.fold_scores.shape == (2, 2)
    with pytest.raises(DataError, match=r"areas have shape \(1,\)"):
        select_layers(layers, y, METHOD, areas=["V1"])
    with pytest.raises(DataError, match="no layers"):
        select_layers({}, y, METHOD)
    with pytest.raises(DataError, match="'a': 40 rows of features but 39"):
        select_layers(layers, y[1:], METHOD)


def two_splits(seed, layers=6, neurons=40):
    """Pure noise, two areas."""
    random = np.random.default_rng(seed)
    area = ["V1"] * (neurons // 2) + ["V4"] * (neurons // 2)
    parts = []
    for split in ("validation", "test"):
        values = {f"l{n}": random.normal(0, 0.1, neurons) for n in range(layers)}
        parts.append(score_table(values, metric="pearson", area=area).assign(split=split))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("per", [["area"], ["subject", "session", "neuron"]])
def test_rows_of_the_other_split_are_given_of_the_layers_that_one_split_chose(per):
    reported, selecting = [], []
    for seed in range(4):
        table = two_splits(seed)
        found = chosen_layers(table, selection="validation", report="test", per=per)
        assert set(found.split) == {"test"} and list(found.columns) == list(table.columns)
        assert not found.duplicated("neuron").any() and len(found) == 40
        wide = table[table.split == "validation"].pivot(index="neuron", columns="layer", values="score")
        for row in found.itertuples():
            rows = wide.loc[[row.neuron]] if per != ["area"] else wide.loc[:19] if row.area == "V1" else wide.loc[20:]
            assert rows.median().idxmax() == row.layer
        reported.append(aggregate_scores(found, ["area"], draws=2).value.mean())
        selecting.append(wide.max(axis=1).median())
    assert abs(np.mean(reported)) < 0.03 and np.mean(selecting) > 0.1


def test_the_split_that_chose_is_not_reported():
    table = two_splits(0)
    with pytest.raises(DataError, match="cannot both choose and be reported"):
        chosen_layers(table, selection="test", report="test")
    copied = table[table.split == "test"]
    with pytest.raises(DataError, match="both splits hold the same scores"):
        chosen_layers(pd.concat([copied, copied.assign(split="other")]), selection="other", report="test")
    with pytest.raises(DataError, match=r"no split 'tets'\. Did you mean 'test'"):
        chosen_layers(table, selection="validation", report="tets")
    with pytest.raises(DataError, match=r"no columns \['split'\]"):
        chosen_layers(table.drop(columns="split"), selection="validation", report="test")
    with pytest.raises(DataError, match="would count several times"):
        chosen_layers(pd.concat([table, table.assign(label="b")]), selection="validation", report="test")
    (best, *_) = chosen_layers(table, selection="validation", report="test").layer
    gone = (table.split == "test") & (table.layer == best) & (table.area == "V1")
    with pytest.raises(DataError, match="no scores of the chosen layer of 1 groups"):
        chosen_layers(table[~gone], selection="validation", report="test")


def test_an_error_chooses_the_smallest():
    choosing = score_table({"a": [0.3, 0.4], "b": [0.1, 0.2]}, metric="mse").assign(split="x")
    reported = score_table({"a": [1, 2], "b": [3, 4]}, metric="mse").assign(split="y")
    table = pd.concat([choosing, reported])
    assert chosen_layers(table, selection="x", report="y").score.tolist() == [3, 4]
