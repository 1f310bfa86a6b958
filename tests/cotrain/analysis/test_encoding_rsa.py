"""RSA of held-out predictions: against scikit-learn and scipy, and against what pairs of other folds would say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import Ridge as SklearnRidge

from cotrain.analysis import Ols, Ridge, compare_rdms, encoding_rsa, k_fold, rdm, regress
from cotrain.errors import DataError

METHOD = Ridge((30.0,))


def problem(stimuli=60, features=30, neurons=9, seed=0):
    """Neurons read a few of the features, with noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(stimuli, features))
    weights = random.normal(size=(features, neurons)) * (np.arange(features) < 4)[:, None]
    return x, x @ weights + random.normal(size=(stimuli, neurons)) + 3


@pytest.mark.parametrize("folds", [k_fold(60, 3, seed=1), [(np.arange(40), np.arange(40, 60))]])
def test_each_fold_s_similarity_is_that_of_a_naive_loop(folds):
    x, y = problem()
    found = encoding_rsa(x, y, METHOD, folds)
    for value, size, (train, test) in zip(found.fold_similarities, found.stimuli, found.folds.pairs, strict=True):
        guess = SklearnRidge(30).fit(x[train], y[train]).predict(x[test])
        expected = spearmanr(pdist(guess, "correlation"), pdist(y[test], "correlation")).statistic
        assert value == pytest.approx(expected, abs=1e-9) and size == len(test)
    assert found.similarity == pytest.approx(found.fold_similarities.mean())
    assert (found.neurons, found.left_out) == (9, 0)


def test_encoding_cka_is_the_closed_form():
    x, y = problem()
    split = [(np.arange(30), np.arange(30, 60))]
    found = encoding_rsa(x, y, METHOD, split, dissimilarity="squared_euclidean", comparison="cka").similarity
    a, b = SklearnRidge(30).fit(x[:30], y[:30]).predict(x[30:]), y[30:]
    a, b = a - a.mean(0), b - b.mean(0)
    norms = [np.linalg.norm(p.T @ q) for p, q in ((a, b), (a, a), (b, b))]
    assert found == pytest.approx(norms[0] ** 2 / (norms[1] * norms[2]))
    unbiased = encoding_rsa(x, y, METHOD, split, dissimilarity="squared_euclidean", comparison="unbiased_cka")
    assert 0 < unbiased.similarity < found


def test_in_noise_it_is_0_where_pairs_of_other_folds_would_be_alike():
    honest, mixed, alone = [], [], []
    arguments = {"dissimilarity": "squared_euclidean", "comparison": "pearson"}
    for seed in range(12):
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(40, 10)), random.normal(size=(40, 8))
        honest.append(encoding_rsa(x, y, METHOD, 2, **arguments, seed=seed).similarity)
        # where nothing is found, a prediction is the mean of the training responses, and so of other folds
        for folds, found in ((5, mixed), (40, alone)):
            guess = regress(x, y, Ridge((1e9,)), folds, seed=seed).predictions
            found.append(pearsonr(pdist(guess, "sqeuclidean"), pdist(y, "sqeuclidean")).statistic)
    assert abs(np.mean(honest)) < 3 * np.std(honest, ddof=1) / 12**0.5 and abs(np.mean(honest)) < 0.06
    assert np.mean(mixed) > 0.03 and min(alone) > 0.999


def test_it_finds_the_features_that_neurons_follow():
    x, y = problem(200, 60, 40)
    found = encoding_rsa(x, y, Ridge(), 4).similarity
    assert found > 0.6 and found > compare_rdms(rdm(x), rdm(y), "spearman") + 0.3
    order = np.random.default_rng(0).permutation(200)
    assert abs(encoding_rsa(x[order], y, Ridge(), 4).similarity) < 0.1


def test_a_target_stands_for_the_rdm_of_the_responses_and_constant_neurons_are_left_out():
    x, y = problem()
    base = encoding_rsa(x, y, METHOD, 3)
    same = encoding_rsa(x, y, METHOD, 3, target=squareform(pdist(y, "correlation")))
    np.testing.assert_allclose(same.fold_similarities, base.fold_similarities, atol=1e-9)
    wider = encoding_rsa(x, np.column_stack([y, np.ones(60)]), METHOD, 3)
    assert (wider.neurons, wider.left_out) == (9, 1) and wider.similarity == pytest.approx(base.similarity)


def test_bad_input():
    x, y = problem()
    with pytest.raises(DataError, match="1 responses are NaN"):
        encoding_rsa(x, np.where(np.arange(540).reshape(60, 9) == 5, np.nan, y), Ols())
    with pytest.raises(DataError, match="needs 3 stimuli or more, found 1"):
        encoding_rsa(x, y, Ols(), 60)
    with pytest.raises(DataError, match="one RDM among the 60 stimuli"):
        encoding_rsa(x, y, Ols(), target=np.zeros((5, 5)))
    with pytest.raises(DataError, match="no neuron was predicted"):
        encoding_rsa(x, np.ones((60, 2)), Ols())
