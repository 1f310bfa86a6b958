"""RDMs of features and of repeats agree with SciPy, with loops and with rsatoolbox, and refuse what has no distance."""

import itertools
import logging

import numpy as np
import pytest
import scipy.spatial.distance as distance
import sklearn.covariance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain import dissimilarity as of_training
from cotrain.analysis import crossvalidated_rdm, noise_precision, rdm
from cotrain.analysis._rdm import DISSIMILARITIES
from cotrain.errors import CotrainError, DataError

FEW = settings(max_examples=20)
SEEDS = st.integers(0, 10**6)
TO_SCIPY = {
    "correlation": lambda x: distance.pdist(x, "correlation"),
    "cosine": lambda x: distance.pdist(x, "cosine"),
    "centred_cosine": lambda x: distance.pdist(x - x.mean(0), "cosine"),
    "squared_euclidean": lambda x: distance.pdist(x, "sqeuclidean") / x.shape[1],
    "euclidean": lambda x: distance.pdist(x) / np.sqrt(x.shape[1]),
}


def poisson_distance(x, y, prior_rate=1.0, prior_weight=0.1):
    x, y = ((one + prior_rate * prior_weight) / (1 + prior_weight) for one in (x, y))
    return np.mean(x * np.log(x / y) + y * np.log(y / x))  # two divergences; x - y cancels


@FEW
@given(SEEDS, st.sampled_from(sorted(TO_SCIPY)))
def test_rdms_are_those_of_scipy(seed, name):
    values = np.random.default_rng(seed).normal(size=(7, 12))
    found = rdm(values, name)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, distance.squareform(TO_SCIPY[name](values)), atol=1e-9)
    assert rdm(values.astype(np.float32), name).dtype == np.float32


def test_correlation_distance_is_that_of_numpy():
    """Not centred over stimuli, as a predecessor's once was."""
    values = np.random.default_rng(0).normal(size=(6, 30)) + 3
    np.testing.assert_allclose(rdm(values), 1 - np.corrcoef(values), atol=1e-12)


def test_poisson_and_mahalanobis_are_sums_over_features():
    rates = np.random.default_rng(0).poisson(2, size=(5, 8))
    expected = [poisson_distance(x, y) for x, y in itertools.combinations(rates, 2)]
    np.testing.assert_allclose(rdm(rates, "poisson"), distance.squareform(expected), atol=1e-12)
    values, root = np.random.default_rng(1).normal(size=(5, 4)), np.random.default_rng(2).normal(size=(4, 4))
    precision = root @ root.T + np.eye(4)
    expected = [(x - y) @ precision @ (x - y) / 4 for x, y in itertools.combinations(values, 2)]
    found = rdm(values, "mahalanobis", precision=precision)
    np.testing.assert_allclose(found, distance.squareform(expected), atol=1e-10)


@pytest.mark.parametrize("name", [name for name in DISSIMILARITIES if name != "mahalanobis"])
def test_rows_stay_in_their_order_and_gradients_are_numbers(name):
    values = torch.rand(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    np.testing.assert_allclose(rdm(values[order], name), rdm(values, name)[order][:, order], atol=1e-12)
    values[0] = values[1]  # at distance 0
    values.requires_grad_()
    found = rdm(values, name)
    assert isinstance(found, torch.Tensor) and found[0, 1].item() == pytest.approx(0, abs=1e-12)
    found.sum().backward()
    assert torch.isfinite(values.grad).all()


def test_a_constant_pattern_is_told_and_gives_no_nan(caplog):
    values = np.random.default_rng(0).normal(size=(5, 8))
    values[2] = 1.5
    with caplog.at_level(logging.WARNING):
        found = rdm(values)
    assert np.isfinite(found).all()
    assert (np.delete(found[2], 2) == 1).all()
    assert "1 of 5 stimuli have no direction to compare by correlation" in caplog.text and "row 2" in caplog.text
    caplog.clear()
    rdm(values, "squared_euclidean")
    assert not caplog.text


@pytest.mark.parametrize("name", of_training.DISSIMILARITIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_without_a_gradient_rdms_are_those_of_training(name, dtype):
    values = torch.randn(9, 30, generator=torch.Generator().manual_seed(0), dtype=dtype) + 5
    values[2], values[3], values[4], values[5] = 1.7, 0, values[1], 3 * values[1]
    found, expected = rdm(values, name), of_training.rdm(values, name)
    np.testing.assert_allclose(found, expected, atol=1e-12 if dtype == torch.float64 else 3e-5)
    assert found.dtype == dtype and torch.equal(found, found.T)
    alone = values - values.mean(0) if name == "centred_cosine" else values
    equal = alone[:, :1].expand(-1, 30)
    np.testing.assert_allclose(rdm(equal, name), of_training.rdm(equal, name), atol=1e-5, rtol=1e-5)


def test_bad_features_are_refused():
    values = np.ones((4, 3))
    with pytest.raises(DataError, match=r"must be \(stimuli, features\), found \(4, 3, 1\). Flatten"):
        rdm(values[..., None])
    with pytest.raises(CotrainError, match=r"no dissimilarity 'corelation'.*Did you mean 'correlation'\?"):
        rdm(values, "corelation")
    with pytest.raises(CotrainError, match="'mahalanobis', and no other, takes the precision"):
        rdm(values, "mahalanobis")
    with pytest.raises(CotrainError, match="'mahalanobis', and no other, takes the precision"):
        rdm(values, "correlation", precision=np.eye(3))
    with pytest.raises(DataError, match=r"must be \(3, 3\), as there are 3 features; found \(2, 2\)"):
        rdm(values, "mahalanobis", precision=np.eye(2))
    with pytest.raises(DataError, match="precision is not symmetric"):
        rdm(values, "mahalanobis", precision=np.triu(np.ones((3, 3))))
    with pytest.raises(DataError, match="precision is not positive"):
        rdm(values, "mahalanobis", precision=-np.eye(3))
    with pytest.raises(DataError, match="for spike counts or rates, 0 or more; 12 are negative"):
        rdm(-values, "poisson")
    with pytest.raises(CotrainError, match=r"prior rate and its weight must be above 0, found 0 and 0\.1"):
        rdm(values, "poisson", prior_rate=0)
    values[1, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinite: of 1 stimuli, 1 features"):
        rdm(values)


def recorded(stimuli=6, repeats=4, neurons=5, seed=0, missing=0.0):
    """Responses whose noise is shared by neurons, with a level a repeat; (stimuli, repeats, neurons) and the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(stimuli, neurons))
    mixing = generator.normal(size=(neurons, neurons)) / 2 + np.eye(neurons)
    noise = generator.normal(size=(stimuli, repeats, neurons)) @ mixing
    found = truth[:, None] + noise + generator.normal(size=(1, repeats, 1))
    lost = generator.random((stimuli, repeats)) < missing
    lost[:, :2] = False
    found[lost] = np.nan
    return found, truth


def slow_crossnobis(responses, precision):
    """Each product of two responses that are there, in different repeats, averaged."""
    stimuli, repeats, neurons = responses.shape
    product = np.full((stimuli, stimuli), np.nan)
    for i, j in np.ndindex(stimuli, stimuli):
        values = [
            responses[i, a] @ precision @ responses[j, b]
            for a, b in itertools.permutations(range(repeats), 2)
            if np.isfinite(responses[i, a]).all() and np.isfinite(responses[j, b]).all()
        ]
        product[i, j] = np.mean(values)
    square = np.diag(product)
    return (square[:, None] + square - product - product.T) / neurons


@FEW
@given(SEEDS, st.sampled_from((0.0, 0.4)))
def test_crossnobis_is_the_mean_over_pairs_of_different_repeats(seed, missing):
    responses, _ = recorded(seed=seed, missing=missing)
    responses = responses - np.nanmean(responses, axis=(0, 1))  # the loop is about the origin
    root = np.random.default_rng(seed).normal(size=(5, 5))
    precision = root @ root.T + np.eye(5)
    expected = slow_crossnobis(responses, precision)
    found = crossvalidated_rdm(responses, precision=precision)
    np.testing.assert_allclose(found, expected * (1 - np.eye(6)), atol=1e-9)


@pytest.mark.parametrize("precision", ["none", "diagonal", "shrinkage"])
def test_with_all_repeats_crossnobis_is_that_of_training(precision):
    responses, _ = recorded()
    other_order = torch.tensor(responses).transpose(0, 1)
    expected = of_training.crossnobis(other_order, whitening=precision)
    np.testing.assert_allclose(crossvalidated_rdm(responses, precision=precision), expected, atol=1e-9)


def test_crossnobis_is_right_on_average_and_plain_distances_are_not():
    gaps, truth = recorded(missing=0.3)
    rows = np.triu_indices(6, 1)
    expected = rdm(truth, "squared_euclidean")[rows]
    unbiased, plain = [], []
    for seed in range(300):
        noise = 2 * np.random.default_rng(seed).normal(size=gaps.shape)
        noisy = np.where(np.isnan(gaps), np.nan, truth[:, None] + noise)
        unbiased.append(crossvalidated_rdm(noisy)[rows] - expected)
        plain.append(rdm(np.nanmean(noisy, 1), "squared_euclidean")[rows] - expected)
    error = np.std(unbiased, 0) / 300**0.5
    assert np.abs(np.mean(unbiased, 0) / error).max() < 4
    assert np.mean(plain) > 1


def test_poisson_is_the_mean_over_all_folds():
    """rsatoolbox 0.3.2 returns that of the last fold only."""
    counts = np.random.default_rng(0).poisson(4, size=(5, 3, 7)).astype(float)
    folds = []
    for fold in range(3):
        train, test = np.delete(counts, fold, 1).mean(1), counts[:, fold]
        train, test = ((one + 0.1) / 1.1 for one in (train, test))
        both = list(zip(train, test, strict=True))
        folds.append([[(x - y) @ (np.log(u) - np.log(v)) / 7 for y, v in both] for x, u in both])
    found = crossvalidated_rdm(counts, "poisson")
    np.testing.assert_allclose(found, np.mean(folds, 0), atol=1e-12)
    assert np.abs(found - folds[-1]).max() > 1e-3
    counts[1, 2] = np.nan
    assert np.isfinite(crossvalidated_rdm(counts, "poisson")).all()


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_noise_precision_is_that_of_the_residuals(missing):
    responses, _ = recorded(stimuli=30, repeats=6, missing=missing)
    known = np.isfinite(responses).all(2)
    # means of stimuli and levels of repeats by least squares, written out
    stimulus, repeat = np.nonzero(known)
    design = np.zeros((len(stimulus), 36))
    design[np.arange(len(stimulus)), stimulus] = design[np.arange(len(stimulus)), 30 + repeat] = 1
    values = responses[known]
    noise = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    free = len(values) - np.linalg.matrix_rank(design)
    full = noise.T @ noise / free
    scale = len(noise) / free
    expected = {
        "full": full,
        "diagonal": np.diag(np.diag(full)),
        "shrinkage": scale * sklearn.covariance.ledoit_wolf(noise, assume_centered=True)[0],
        "oas": scale * sklearn.covariance.oas(noise, assume_centered=True)[0],
    }
    for estimator, covariance in expected.items():
        found = noise_precision(responses, estimator)
        np.testing.assert_allclose(found @ covariance, np.eye(5), atol=1e-6, err_msg=estimator)
    shrunk = np.linalg.inv(noise_precision(responses, "shrinkage_diagonal"))
    np.testing.assert_allclose(np.diag(shrunk), np.diag(full), rtol=1e-9)
    share = (shrunk / full)[~np.eye(5, dtype=bool)]
    assert share.std() < 1e-8 and 0 < share.mean() < 1


def test_shrinkage_of_correlations_estimates_their_sampling_variance():
    """Without any true correlation nearly all is taken away, with many strong ones nearly nothing."""
    off = ~np.eye(10, dtype=bool)
    for shared, low, high in ((0, 0, 0.2), (2, 0.95, 1)):
        kept = []
        for seed in range(20):
            generator = np.random.default_rng(seed)
            responses = generator.normal(size=(40, 4, 10)) + shared * generator.normal(size=(40, 4, 1))
            found, full = (np.linalg.inv(noise_precision(responses, name)) for name in ("shrinkage_diagonal", "full"))
            kept.append((found[off] / full[off]).mean())
        assert low <= np.mean(kept) <= high


def test_bad_repeats_are_refused():
    responses, _ = recorded()
    with pytest.raises(DataError, match=r"must be \(stimuli, repeats, neurons\), found \(6, 5\)"):
        crossvalidated_rdm(responses[:, 0])
    with pytest.raises(CotrainError, match="no crossvalidated dissimilarity 'correlation'"):
        crossvalidated_rdm(responses, "correlation")
    with pytest.raises(CotrainError, match="takes no precision"):
        crossvalidated_rdm(np.abs(responses), "poisson", precision="diagonal")
    with pytest.raises(CotrainError, match=r"no precision 'diagnal'.*Did you mean 'diagonal'\?"):
        crossvalidated_rdm(responses, precision="diagnal")
    with pytest.raises(CotrainError, match=r"no estimator 'ledoit' of the noise"):
        noise_precision(responses, "ledoit")
    with pytest.raises(DataError, match="6 of 6 stimuli have fewer than 2 repeats"):
        crossvalidated_rdm(responses[:, :1])
    with pytest.raises(DataError, match="leave no repeats to compare"):
        noise_precision(responses[:, :1])
    with pytest.raises(DataError, match="full noise covariance of 50 neurons cannot be inverted with 15 degrees"):
        noise_precision(np.random.default_rng(0).normal(size=(6, 4, 50)), "full")
    still = responses.copy()
    still[..., 3] = 1
    with pytest.raises(DataError, match="1 neurons do not vary between repeats, the first are numbers 3"):
        noise_precision(still)
    lost = responses.copy()
    lost[2] = np.nan
    with pytest.raises(DataError, match="1 of 6 stimuli have no repeat that all neurons answered"):
        crossvalidated_rdm(lost)
    lost = responses.copy()
    lost[..., 1] = np.nan
    with pytest.raises(DataError, match="1 neurons have no response at all"):
        crossvalidated_rdm(lost)
    apart = responses.copy()
    apart[0, 2:] = apart[1, :2] = np.nan
    with pytest.raises(DataError, match=r"1 pairs of stimuli were never shown .* rows 0 and 1"):
        crossvalidated_rdm(np.abs(apart), "poisson")
    responses[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="1 responses are infinite"):
        noise_precision(responses)


@pytest.mark.filterwarnings("ignore")
def test_rsatoolbox_computes_the_same_rdms():
    toolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (the extra `references`)")
    rates = np.random.default_rng(0).poisson(3, size=(6, 9)).astype(float)
    data = toolbox.data.Dataset(rates)
    root = np.random.default_rng(1).normal(size=(9, 9))
    precision = root @ root.T + np.eye(9)
    for theirs, ours, noise in (
        ("correlation", "correlation", None),
        ("euclidean", "squared_euclidean", None),
        ("poisson", "poisson", None),
        ("mahalanobis", "mahalanobis", precision),
    ):
        expected = toolbox.rdm.calc_rdm(data, method=theirs, noise=noise).get_matrices()[0]
        np.testing.assert_allclose(rdm(rates, ours, precision=noise), expected, atol=1e-9, err_msg=theirs)
    responses, _ = recorded()
    long = toolbox.data.Dataset(
        responses.reshape(-1, 5),
        obs_descriptors={"stimulus": np.repeat(range(6), 4).tolist(), "repeat": list(range(4)) * 6},
    )
    precision = precision[:5, :5]
    expected = toolbox.rdm.calc_rdm(
        long, method="crossnobis", descriptor="stimulus", cv_descriptor="repeat", noise=precision
    ).get_matrices()[0]
    np.testing.assert_allclose(crossvalidated_rdm(responses, precision=precision), expected, atol=1e-9)
