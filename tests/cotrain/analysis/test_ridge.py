"""Ridge against scikit-learn and against explicit refits without each stimulus."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import explained_variance_score, r2_score
from sklearn.model_selection import KFold

from cotrain.analysis import given_folds, k_fold, neuron_correlations, ridge
from cotrain.errors import DataError

ALPHAS = np.logspace(-1, 5, 20)
NAN = float("nan")


def problem(stimuli=60, features=200, targets=7, seed=0):
    """Features of all levels and sizes; targets with from little noise to almost nothing else."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(stimuli, features)) * random.uniform(0.1, 3, features) + 5 * random.normal(size=features)
    y = x @ random.normal(size=(features, targets)) * 0.2
    return x, y + random.normal(size=y.shape) * np.logspace(-1, 1.5, targets) + 3


def refits(x, y, alpha):
    """Predictions (stimuli, targets), each by a fit to all other stimuli."""
    found = np.empty(y.shape)
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        found[i] = Ridge(alpha, solver="svd").fit(x[rest], y[rest]).predict(x[i : i + 1])[0]
    return found


SCORES = {
    "r2": r2_score,
    "explained_variance": explained_variance_score,
    "pearson": lambda y, p: np.corrcoef(y, p)[0, 1],
    "mse": lambda y, p: -np.mean((y - p) ** 2),
}


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(40, 90), (90, 40), (40, 40), (41, 40), (30, 1), (4, 9)]))
def test_alphas_and_coefficients_are_those_of_scikit_learn(seed, shape):
    x, y = problem(*shape, seed=seed)
    found, expected = ridge(x, y, ALPHAS), RidgeCV(ALPHAS, alpha_per_target=True).fit(x, y)
    np.testing.assert_array_equal(found.alphas, expected.alpha_)
    scale = np.abs(expected.coef_).max()
    np.testing.assert_allclose(found.coefficients / scale, expected.coef_.T / scale, atol=1e-8)
    np.testing.assert_allclose(found.intercept, expected.intercept_, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.predict(x), expected.predict(x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 80), (40, 15)])
@pytest.mark.parametrize("metric", list(SCORES))
def test_held_out_predictions_are_those_of_explicit_refits(shape, metric):
    x, y = problem(*shape, targets=4)
    alphas = [0.3, 30, 3e3]
    each = [refits(x, y, alpha) for alpha in alphas]
    scores = np.array([[SCORES[metric](y[:, t], guess[:, t]) for t in range(4)] for guess in each])
    found = ridge(x, y, alphas, metric=metric)
    best = scores.argmax(0)
    np.testing.assert_array_equal(found.alphas, np.array(alphas)[best])
    np.testing.assert_allclose(found.scores, scores.max(0), atol=1e-8)
    np.testing.assert_allclose(found.predictions, np.stack([each[b][:, t] for t, b in enumerate(best)], 1), atol=1e-7)
    assert len(set(best)) > 1, "targets with much and with little noise want other alphas"


def test_features_without_full_rank_are_no_matter():
    x, y = problem(30, 8)
    doubled = np.concatenate([x, x, np.ones((30, 40))], 1)  # more features than stimuli, of rank 8
    np.testing.assert_allclose(ridge(doubled, y, [2.0]).predictions, refits(doubled, y, 2.0), atol=1e-6)


def test_the_order_of_features_does_not_matter_and_that_of_stimuli_goes_through():
    x, y = problem()
    base = ridge(x, y, ALPHAS)
    turned = ridge(x[:, ::-1].copy(), y, ALPHAS)
    np.testing.assert_allclose(turned.predictions, base.predictions, atol=1e-8)
    np.testing.assert_allclose(turned.coefficients, base.coefficients[::-1], atol=1e-10)
    np.testing.assert_allclose(ridge(x[::-1], y[::-1], ALPHAS).predictions, base.predictions[::-1], atol=1e-8)


@pytest.mark.parametrize("shape", [(60, 200), (60, 20)])
@pytest.mark.parametrize("metric", list(SCORES))
def test_with_folds_predictions_are_those_of_refits_without_each_fold(shape, metric):
    x, y = problem(*shape, targets=5)
    pairs = list(KFold(4, shuffle=True, random_state=3).split(x))
    each = []
    for alpha in ALPHAS[::4]:
        guess = np.empty(y.shape)
        for train, test in pairs:
            guess[test] = Ridge(alpha, solver="svd").fit(x[train], y[train]).predict(x[test])
        each.append(guess)
    scores = np.array([[SCORES[metric](y[:, t], guess[:, t]) for t in range(5)] for guess in each])
    best = scores.argmax(0)
    found = ridge(x, y, ALPHAS[::4], folds=pairs, metric=metric)
    np.testing.assert_array_equal(found.alphas, ALPHAS[::4][best])
    np.testing.assert_allclose(found.scores, scores.max(0), atol=1e-8)
    np.testing.assert_allclose(found.predictions, np.stack([each[b][:, t] for t, b in enumerate(best)], 1), atol=1e-7)
    whole = Ridge(found.alphas, solver="svd").fit(x, y)
    np.testing.assert_allclose(found.coefficients, whole.coef_.T, atol=1e-8)


def test_as_many_folds_as_stimuli_are_leave_one_out():
    x, y = problem(25, 40)
    alone, folds = ridge(x, y, ALPHAS), ridge(x, y, ALPHAS, folds=25)
    np.testing.assert_array_equal(alone.alphas, folds.alphas)
    np.testing.assert_allclose(alone.predictions, folds.predictions, atol=1e-8)
    assert alone.folds is None and (folds.folds.name, folds.folds.seed) == ("25-fold", 0)


def test_stimuli_that_no_fold_holds_out_have_no_prediction():
    x, y = problem(20, 30)
    found = ridge(x, y, ALPHAS, folds=[(range(10), range(10, 15))])
    assert np.isnan(found.predictions).all(1).tolist() == [True] * 10 + [False] * 5 + [True] * 5


@pytest.mark.parametrize("shape", [(50, 120), (50, 10)])
@pytest.mark.parametrize("folds", [None, 5])
def test_each_target_is_fitted_where_it_is_known(shape, folds, caplog):
    x, y = problem(*shape, targets=4)
    y[:7, 1], y[20:31, 2], y[:7, 3] = NAN, NAN, NAN
    split = None if folds is None else k_fold(50, folds, seed=1)
    found = ridge(x, y, ALPHAS, folds=split)
    for target in range(4):
        known = ~np.isnan(y[:, target])
        inner = None if split is None else split.within(np.flatnonzero(known))
        alone = ridge(x[known], y[known, target], ALPHAS, folds=inner)
        assert found.alphas[target] == alone.alphas[0]
        np.testing.assert_allclose(found.predictions[known, target], alone.predictions, atol=1e-8)
        np.testing.assert_allclose(found.coefficients[:, target], alone.coefficients[:, 0], atol=1e-10)
        np.testing.assert_allclose(found.predictions[~known, target], alone.predict(x[~known])[:, 0], atol=1e-8)


def test_targets_without_a_fit_are_nan_and_counted_and_leave_others_alone(caplog):
    x, y = problem()
    alone = ridge(x, y[:, 3:], ALPHAS)
    y[:, 0], y[2:, 1], y[:, 2] = 0.1, NAN, NAN
    with caplog.at_level(logging.WARNING):
        found = ridge(x, y, ALPHAS)
    assert "3 of 7 targets are constant or known for fewer than 3 stimuli" in caplog.text
    for values in (found.alphas, found.scores, found.predictions.T, found.coefficients.T, found.intercept):
        assert np.isnan(values[:3]).all() and not np.isnan(values[3:]).any()
    np.testing.assert_allclose(found.predictions[:, 3:], alone.predictions)
    assert np.isnan(ridge(x, y[:, :1], ALPHAS).predictions).all()


@pytest.mark.parametrize("shape", [(119, 1000), (300, 60)])
def test_float32_chooses_the_same_alphas(shape):
    x, y = problem(*shape, targets=30)
    double, single = ridge(x, y, ALPHAS), ridge(x.astype(np.float32), y.astype(np.float32), ALPHAS)
    np.testing.assert_array_equal(single.alphas, double.alphas)
    assert single.predictions.dtype == single.coefficients.dtype == np.float32
    scale = np.abs(double.coefficients).max()
    np.testing.assert_allclose(single.coefficients / scale, double.coefficients / scale, atol=1e-3)


def test_what_float32_would_lose_is_computed_in_float64(caplog):
    x, y = problem(40, 100, targets=3)
    x[:, 0] *= 1e4  # its variance hides the others' from float32
    tiny = [1e-3, 1.0]
    with caplog.at_level(logging.INFO):
        found = ridge(x.astype(np.float32), y.astype(np.float32), tiny)
    assert "below float32's rounding" in caplog.text
    expected = ridge(x.astype(np.float32).astype(float), y.astype(np.float32).astype(float), tiny)
    np.testing.assert_array_equal(found.alphas, expected.alphas)
    np.testing.assert_allclose(found.predictions, expected.predictions, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("folds", [None, 5])
def test_standardised_features_have_no_unit_and_constant_ones_no_effect(folds):
    x, y = problem(80, 20)
    found = ridge(x, y, ALPHAS, standardise=True, folds=folds)
    scaled = np.concatenate([x * np.logspace(-3, 3, 20) + 7, np.full((80, 2), 0.1)], 1)
    other = ridge(scaled, y, ALPHAS, standardise=True, folds=folds)
    np.testing.assert_allclose(other.predictions, found.predictions, atol=1e-6)
    np.testing.assert_array_equal(other.coefficients[-2:], 0)
    if folds is None:
        z = (x - x.mean(0)) / x.std(0)
        np.testing.assert_allclose(found.predictions, ridge(z, y, ALPHAS).predictions, atol=1e-8)
        np.testing.assert_allclose(found.predict(x), ridge(z, y, ALPHAS).predict(z), atol=1e-8)


def test_tensors_give_tensors_arrays_arrays_and_one_target_one_column():
    x, y = problem()
    tensors = ridge(torch.tensor(x), torch.tensor(y), ALPHAS)
    arrays = ridge(x, y, ALPHAS)
    for name in ("alphas", "scores", "predictions", "coefficients", "intercept"):
        found = getattr(tensors, name)
        assert isinstance(found, torch.Tensor) and isinstance(getattr(arrays, name), np.ndarray), name
        np.testing.assert_allclose(found.numpy(), getattr(arrays, name))
    assert isinstance(arrays.predict(torch.tensor(x)), torch.Tensor)
    one = ridge(x, y[:, 2], ALPHAS)
    assert one.predictions.shape == (60,) and one.alphas.shape == (1,) and one.coefficients.shape == (200, 1)
    np.testing.assert_allclose(one.predictions, arrays.predictions[:, 2])


def test_what_was_given_is_not_changed():
    x, y = problem()
    before = x.copy(), y.copy()
    ridge(x, y, ALPHAS).coefficients  # noqa: B018
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_ends_of_the_grid_are_counted(caplog):
    x, y = problem(60, 5, targets=2)
    y[:, 1] = np.random.default_rng(1).normal(size=60)
    with caplog.at_level(logging.WARNING):
        found = ridge(x, np.stack([x @ np.ones(5), y[:, 1]], 1), [1e-6, 1, 1e7])
    assert (found.at_smallest, found.at_largest) == (1, 1)
    assert "ridge, targets: 1 of 2 chose the smallest alpha and 1 the largest; a wider grid" in caplog.text
    caplog.clear()
    assert ridge(x, y, 3.0).at_smallest == 0 and not caplog.text


def test_shuffled_stimuli_predict_nothing():
    x, y = problem(300, 50)
    shuffled = x[np.random.default_rng(0).permutation(300)]
    assert np.abs(ridge(shuffled, y, np.logspace(0, 6, 13)).scores).max() < 0.1
    assert np.abs(ridge(shuffled, y, np.logspace(0, 6, 13), folds=5).scores).max() < 0.1


def test_of_a_neuron_that_nothing_predicts_the_mean_of_the_others_is_the_prediction():
    """So it is anticorrelated with the response: leave-one-out predictions are scored by R2, not by correlation."""
    x, y = problem(30, 5)
    found = ridge(np.random.default_rng(0).normal(size=x.shape), y[:, :1], [1e12])
    np.testing.assert_allclose(found.predictions[:, 0], (y[:, 0].sum() - y[:, 0]) / 29)
    assert neuron_correlations(found.predictions, y[:, :1])[0] == pytest.approx(-1)
    assert found.scores[0] == pytest.approx(1 - (30 / 29) ** 2)


@pytest.mark.parametrize(
    ("x", "y", "settings", "wrong"),
    [
        (np.ones((5, 3)), np.ones((4, 2)), {}, "5 rows of features but 4 of targets"),
        (np.ones((2, 3)), np.ones((2, 2)), {}, "2 stimuli are too few; give 3 or more"),
        (np.ones((5, 0)), np.ones((5, 2)), {}, "0 features and 2 targets"),
        (np.array([[1.0], [NAN], [3.0]]), np.ones((3, 1)), {}, r"features of 1 stimuli hold NaN.* rows \[1\]"),
        (np.eye(3), np.full((3, 1), np.inf), {}, "targets hold infinite values"),
        (np.ones((3, 3, 3)), np.ones((3, 1)), {}, r"features: expected a matrix .* found shape \(3, 3, 3\)"),
        (np.array([["a"]] * 3), np.ones((3, 1)), {}, "expected numbers, found an array of <U1"),
        ([[1.0]] * 3, np.ones((3, 1)), {}, "expected a tensor or an array, found a list"),
        (np.eye(3), np.eye(3), {"alphas": [1.0, 0.0]}, "alphas must be above 0 and finite, found .*'0'"),
        (np.eye(3), np.eye(3), {"alphas": []}, "alphas must be above 0"),
        (np.eye(3), np.eye(3), {"metric": "pearsn"}, "no metric 'pearsn'.*Did you mean 'pearson'"),
        (np.eye(9), np.eye(9), {"folds": 10}, "Folds must be 2 or more, and no more than the 9 stimuli; found 10"),
    ],
)
def test_wrong_input_is_named(x, y, settings, wrong):
    with pytest.raises(DataError, match=wrong):
        ridge(x, y, settings.pop("alphas", [1.0]), **settings)


def test_a_fit_answers_for_as_many_features_only():
    x, y = problem()
    with pytest.raises(DataError, match="The fit is of 200 features, found 199"):
        ridge(x, y, [1.0]).predict(x[:, 1:])


def test_folds_that_leave_too_few_known_stimuli_are_refused():
    x, y = problem(20, 5)
    y[3:, 1] = NAN
    with pytest.raises(DataError, match="some targets are known for 3 of 20 stimuli, and a fold leaves fewer than 3"):
        ridge(x, y, [1.0], folds=given_folds([(range(10), range(10, 20)), (range(10, 20), range(10))], 20))


@pytest.mark.parametrize("shape", [(60, 200), (60, 20)])
@pytest.mark.parametrize("metric", ["r2", "pearson"])
def test_alphas_that_are_looked_at_in_parts_are_those_that_all_together_give(shape, metric, monkeypatch):
    x, y = problem(*shape)
    whole = ridge(x, y, ALPHAS, metric=metric)
    assert len(set(whole.alphas)) > 2
    for together in (1, 3 * y.size):  # one alpha at a time, and three
        monkeypatch.setattr("cotrain.analysis._ridge_training.TOGETHER", together)
        found = ridge(x, y, ALPHAS, metric=metric)
        np.testing.assert_array_equal(found.alphas, whole.alphas)
        np.testing.assert_allclose(found.predictions, whole.predictions, atol=1e-9)
        np.testing.assert_allclose(found.coefficients, whole.coefficients, atol=1e-9)


@pytest.mark.parametrize("shape", [(10, 20), (20, 10)])
def test_features_whose_products_overflow_are_refused(shape):
    x, y = problem(*shape)
    with pytest.raises(DataError, match=r"too large for torch\.float32\. Divide the features by a constant"):
        ridge((x * 1e25).astype(np.float32), y, [1.0])
