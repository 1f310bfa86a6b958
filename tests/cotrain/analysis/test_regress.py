"""Cross-validated regression: against plain loops of scikit-learn, and that nothing held out is ever seen."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cotrain.analysis import (
    Ols,
    Pls,
    Ridge,
    brain_score_splits,
    given_folds,
    group_k_fold,
    k_fold,
    regress,
    stratified_k_fold,
)
from cotrain.errors import DataError

NAN = float("nan")
ALPHAS = tuple(np.logspace(-1, 4, 8))


def problem(stimuli=80, features=30, targets=4, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(stimuli, features))
    return x, x @ random.normal(size=(features, targets)) + random.normal(size=(stimuli, targets)) * 3


def assert_folds_are_a_partition(folds):
    tests = np.concatenate([test for _, test in folds.pairs])
    np.testing.assert_array_equal(np.sort(tests), np.arange(folds.stimuli))
    for train, test in folds.pairs:
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(folds.stimuli))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), stimuli=st.integers(10, 60), folds=st.integers(2, 6))
def test_every_stimulus_is_held_out_once(seed, stimuli, folds):
    groups = np.random.default_rng(seed).integers(0, 8, stimuli)
    folds = min(folds, len(np.unique(groups)))
    strata = np.arange(stimuli) % 2
    for found in (
        k_fold(stimuli, folds, seed=seed),
        group_k_fold(groups, folds, seed=seed),
        stratified_k_fold(strata, min(folds, stimuli // 2), seed=seed),
    ):
        assert_folds_are_a_partition(found)
        assert found.seed == seed
    for train, test in group_k_fold(groups, folds, seed=seed).pairs:
        assert not set(groups[train]) & set(groups[test])


def test_strata_are_dealt_out_evenly_and_large_groups_too():
    strata = np.repeat(np.arange(8), 10)
    for _, test in stratified_k_fold(strata, 5, seed=0).pairs:
        assert np.bincount(strata[test]).tolist() == [2] * 8
    sizes = [len(test) for _, test in group_k_fold(strata, 4, seed=0).pairs]
    assert sizes == [20] * 4


def test_folds_depend_on_the_seed():
    strata = np.arange(60) // 3
    for draw in (
        lambda seed: k_fold(60, 5, seed=seed),
        lambda seed: group_k_fold(strata, 5, seed=seed),
        lambda seed: stratified_k_fold(strata, 3, seed=seed),
    ):
        same, other = [
            all(np.array_equal(a[1], b[1]) for a, b in zip(draw(0).pairs, draw(seed).pairs, strict=True))
            for seed in (0, 1)
        ]
        assert same and not other


def test_brain_score_s_splits_are_scikit_learn_s_with_state_1():
    labels = np.repeat([f"object {i}" for i in range(8)], 20)
    expected = StratifiedShuffleSplit(10, train_size=0.9, random_state=1).split(np.zeros(160), labels)
    found = brain_score_splits(labels)
    assert len(found) == 10 and found.seed == 1
    for (train, test), (other_train, other_test) in zip(found.pairs, expected, strict=True):
        np.testing.assert_array_equal(train, np.sort(other_train))
        np.testing.assert_array_equal(test, np.sort(other_test))


@pytest.mark.parametrize(
    ("method", "estimator"),
    [
        (Ridge(ALPHAS), RidgeCV(ALPHAS, alpha_per_target=True)),
        (Ridge(ALPHAS, standardise=True), make_pipeline(StandardScaler(), RidgeCV(ALPHAS, alpha_per_target=True))),
        (Ols(), LinearRegression()),
        (Pls(5), PLSRegression(5, scale=False)),
        (Pls(5, scale=True), PLSRegression(5)),
        (make_pipeline(StandardScaler(), LinearRegression()), LinearRegression()),
    ],
)
def test_methods_are_those_of_scikit_learn_in_a_plain_loop(method, estimator):
    x, y = problem()
    folds = k_fold(80, 4, seed=3)
    found = regress(x, y, method, folds)
    for train, test in folds.pairs:
        np.testing.assert_allclose(
            found.predictions[test], estimator.fit(x[train], y[train]).predict(x[test]), atol=1e-8
        )
    for metric in ("r2", "explained_variance", "pearson"):
        assert (found.scores(metric) > 0.1).all()
    np.testing.assert_allclose(found.scores("mse"), ((found.predictions - y) ** 2).mean(0))
    if isinstance(method, Ridge):
        assert found.alphas.shape == (4, 4) and set(found.alphas.ravel()) <= set(ALPHAS)
    else:
        assert found.alphas is None


def test_brain_score_s_protocol_on_synthetic_neurons():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 20)
    x = random.normal(size=(10, 60))[labels] + random.normal(size=(200, 60))
    y = x @ random.normal(size=(60, 6)) + random.normal(size=(200, 6)) * np.linspace(1, 20, 6)
    found = regress(x, y, Pls(), brain_score_splits(labels))
    medians = []
    for train, test in StratifiedShuffleSplit(10, train_size=0.9, random_state=1).split(x, labels):
        guess = PLSRegression(25, scale=False).fit(x[train], y[train]).predict(x[test])
        medians.append(np.median([np.corrcoef(guess[:, t], y[test, t])[0, 1] for t in range(6)]))
    center, error = found.median_over_targets("pearson")
    assert center == pytest.approx(np.mean(medians), abs=1e-9)
    assert error == pytest.approx(np.std(medians, ddof=1) / 10**0.5, abs=1e-9)
    assert found.fold_scores("pearson").shape == (10, 6) and center > 0.4
    # a stimulus that several splits held out has the mean of their predictions, one that none did has none
    times = np.bincount(np.concatenate([test for _, test in found.folds.pairs]), minlength=200)
    np.testing.assert_array_equal(np.isnan(found.predictions).all(1), times == 0)
    assert not np.isnan(found.scores("pearson")).any()


class Spy(RegressorMixin, BaseEstimator):
    """Remembers whom it has seen by the first feature, which is the stimulus's number."""

    seen: ClassVar[list[set[int]]] = []
    asked: ClassVar[list[set[int]]] = []

    def fit(self, x, y):
        assert not hasattr(self, "mean_"), "each fold has a new one"
        self.mean_ = y.mean(0)
        Spy.seen.append(set(x[:, 0].astype(int)))
        return self

    def predict(self, x):
        Spy.asked.append(set(x[:, 0].astype(int)))
        return np.tile(self.mean_, (len(x), 1))


def test_no_estimator_sees_what_it_is_asked_for():
    x, y = problem(30)
    x[:, 0] = np.arange(30)
    Spy.seen, Spy.asked = [], []
    regress(x, y, Spy(), group_k_fold(np.arange(30) // 5, 3, seed=0))
    assert len(Spy.seen) == 3 and set().union(*Spy.asked) == set(range(30))
    for seen, asked in zip(Spy.seen, Spy.asked, strict=True):
        assert not seen & asked and len(seen | asked) == 30
        assert not {i // 5 for i in seen} & {i // 5 for i in asked}


def test_selection_and_alphas_inside_folds_find_nothing_in_noise():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 3000)), random.normal(size=60)
    best = SelectKBest(f_regression, k=20)
    leaking = regress(best.fit_transform(x, y), y, Ols(), 5).scores("pearson")[0]

    class One(LinearRegression):
        def fit(self, a, b):
            return super().fit(a, b.ravel())

    honest = regress(x, y, make_pipeline(SelectKBest(lambda a, b: f_regression(a, b.ravel()), k=20), One()), 5)
    assert leaking > 0.7 and abs(honest.scores("pearson")[0]) < 0.35
    assert regress(x, y, Ridge(), 5).scores("r2")[0] < 0.1


@pytest.mark.parametrize("method", [Ridge(ALPHAS), Ols()])
def test_unknown_responses_are_left_out_for_their_target_alone(method):
    x, y = problem()
    y[:9, 1], y[5:20, 3] = NAN, NAN
    folds = k_fold(80, 4, seed=0)
    found = regress(x, y, method, folds)
    for target in range(4):
        known = np.flatnonzero(~np.isnan(y[:, target]))
        alone = regress(x[known], y[known, target], method, folds.within(known))
        np.testing.assert_allclose(found.predictions[known, target], alone.predictions, atol=1e-8)
        np.testing.assert_allclose(found.scores()[target], alone.scores()[0], atol=1e-8)
    assert not np.isnan(found.predictions).any(), "stimuli without a response are predicted too"


def test_ends_of_the_grid_are_counted_once_over_all_folds(caplog):
    x, y = problem()
    with caplog.at_level(logging.WARNING):
        regress(x, y, Ridge((1e-6, 1e-5)), 4)
    (record,) = caplog.records
    assert "regress, targets times folds: 0 of 16 chose the smallest alpha and 16 the largest" in record.getMessage()


def test_constant_targets_have_no_score_and_are_counted(caplog):
    x, y = problem()
    y[:, 2] = 0.1
    with caplog.at_level(logging.WARNING):
        found = regress(x, y, Ridge(ALPHAS), 4)
    assert "1 of 4 targets are constant" in caplog.text
    for metric in ("r2", "pearson", "mse"):
        assert np.isnan(found.scores(metric)).tolist() == [False, False, True, False]
        assert np.isnan(found.fold_scores(metric)[:, 2]).all()
    assert np.isfinite(found.median_over_targets()).all()


def test_tensors_and_one_target():
    x, y = problem()
    arrays, tensors = (
        regress(x, y[:, 0], Ridge(ALPHAS), 4),
        regress(torch.tensor(x), torch.tensor(y[:, 0]), Ridge(ALPHAS), 4),
    )
    assert arrays.predictions.shape == (80,) and arrays.scores().shape == (1,)
    assert isinstance(tensors.predictions, torch.Tensor) and isinstance(tensors.scores(), torch.Tensor)
    assert isinstance(tensors.alphas, torch.Tensor) and isinstance(tensors.fold_scores(), torch.Tensor)
    np.testing.assert_allclose(tensors.predictions.numpy(), arrays.predictions)
    assert regress(x.astype(np.float32), y.astype(np.float32), Ols(), 4).predictions.dtype == np.float32


def test_masks_are_pairs_too():
    x, y = problem()
    mask = np.arange(80) < 60
    found, other = (regress(x, y, Ols(), [pair]) for pair in ((mask, ~mask), (range(60), range(60, 80))))
    np.testing.assert_array_equal(found.predictions, other.predictions)
    assert np.isnan(found.median_over_targets()[1]), "one fold has no error"


@pytest.mark.parametrize(
    ("folds", "wrong"),
    [
        ([(range(10), range(9, 20))], r"Fold 0: 1 stimuli are in both parts, first \[9\]"),
        ([(range(10), range(75, 81))], "Fold 0: expected each of the positions 0 to 79"),
        ([(range(10), [3, 3])], "expected each of the positions 0 to 79 once at most"),
        ([(range(10), [])], "Fold 0: 10 stimuli to be fitted and 0 held out"),
        ([(range(10),)], "expected a pair"),
        ([(np.ones(9, bool), np.ones(80, bool))], r"a mask of shape \(9,\) for 80 stimuli"),
        ([], "There are no folds"),
        (1, "Folds must be 2 or more"),
        (k_fold(30, 3, seed=0), "the folds are of 30 stimuli, the features of 80"),
    ],
)
def test_wrong_folds_are_named(folds, wrong):
    with pytest.raises(DataError, match=wrong):
        regress(*problem(), Ols(), folds)


def test_wrong_methods_and_unknown_responses_are_named():
    x, y = problem()
    with pytest.raises(DataError, match=r"'ridge' is no way to predict. Give Ridge"):
        regress(x, y, "ridge")
    with pytest.raises(DataError, match="an object, not its class"):
        regress(x, y, LinearRegression)
    with pytest.raises(DataError, match="Pls: 25 components, but 64 training stimuli with 20 features have 20 at most"):
        regress(x[:, :20], y, Pls())
    with pytest.raises(DataError, match="no metric 'r'"):
        regress(x, y, Ols()).scores("r")
    y[3, 1] = NAN
    for method in (Pls(3), LinearRegression()):
        with pytest.raises(
            DataError, match=r"1 targets are not known for all stimuli, and .* fits all targets together"
        ):
            regress(x, y, method)
    with pytest.raises(DataError, match="no more than the 2 stimuli of the rarest stratum; found 3"):
        stratified_k_fold([0, 0, 0, 1, 1], 3, seed=0)
    with pytest.raises(DataError, match="brain_score_splits: "):
        brain_score_splits(np.arange(8) // 2)
    with pytest.raises(DataError, match="no more than the 2 groups"):
        group_k_fold([0, 0, 1], 3, seed=0)
    assert given_folds([(range(5), [7])], 8).name == "given"
