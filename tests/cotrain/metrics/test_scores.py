"""Scores equal those of scikit-learn and SciPy, with unknown responses left out and edge cases decided."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from cotrain.dissimilarity import rdm, unbiased_cka
from cotrain.manifolds import inverse_capacity
from cotrain.metrics import classification_scores, manifold_scores, neural_scores, neuron_correlations, rdm_scores
from cotrain.tasks import KINDS, PRIMARY_METRIC

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def responses(seed=0, images=30, neurons=6, unknown=0.0):
    """(output, responses), float32; a share of the responses is NaN."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, (images, neurons))
    output = truth + rng.normal(0, 3, (images, neurons))
    truth[rng.random(truth.shape) < unknown] = math.nan
    return torch.tensor(output, dtype=torch.float32), torch.tensor(truth, dtype=torch.float32)


def by_scipy(output, truth):
    """pearsonr of each neuron over the images with a response."""
    known = ~np.isnan(truth.numpy())
    columns = zip(output.double().numpy().T, truth.double().numpy().T, known.T, strict=True)
    return [pearsonr(a[where], b[where]).statistic for a, b, where in columns]


def square(seed=0, stimuli=8, units=20):
    return torch.tensor(np.random.default_rng(seed).normal(0, 1, (stimuli, units)), dtype=torch.float32)


def target(seed=1, stimuli=8):
    return torch.tensor(squareform(pdist(np.random.default_rng(seed).normal(0, 1, (stimuli, 5)))), dtype=torch.float32)


@FEW
@given(seed=SEEDS, images=st.integers(1, 40))
def test_accuracy_is_that_of_scikit_learn(seed, images):
    rng = np.random.default_rng(seed)
    output, labels = rng.normal(0, 1, (images, 4)), rng.integers(0, 4, images)
    found = dict(classification_scores(torch.tensor(output), torch.tensor(labels)))
    assert found == {"accuracy": pytest.approx(accuracy_score(labels, output.argmax(1)))}


@FEW
@given(seed=SEEDS, images=st.integers(1, 40), classes=st.integers(2, 12))
def test_top5_is_that_of_scikit_learn_and_only_given_where_it_says_something(seed, images, classes):
    rng = np.random.default_rng(seed)
    output, labels = rng.normal(0, 1, (images, classes)), rng.integers(0, classes, images)
    found = dict(classification_scores(torch.tensor(output), torch.tensor(labels)))
    if classes <= 5:
        assert set(found) == {"accuracy"}
        return
    expected = top_k_accuracy_score(labels, output, k=5, labels=np.arange(classes))
    assert found == {"accuracy": pytest.approx((output.argmax(1) == labels).mean()), "top5": pytest.approx(expected)}
    assert found["top5"] >= found["accuracy"]


def test_top5_counts_labels_among_the_five_highest():
    output = torch.arange(7.0).expand(7, -1)  # class 6 is the highest, class 0 the lowest
    assert dict(classification_scores(output, torch.arange(7))) == {
        "accuracy": pytest.approx(1 / 7),
        "top5": pytest.approx(5 / 7),
    }


@FEW
@given(seed=SEEDS, unknown=st.sampled_from([0.0, 0.1, 0.5]))
def test_each_neuron_has_the_pearson_correlation_over_its_known_images(seed, unknown):
    output, truth = responses(seed, unknown=unknown)
    found = neuron_correlations(output, truth)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), by_scipy(output, truth), atol=1e-10)


@pytest.mark.parametrize("level", [1e2, 1e4, -1e4])
def test_a_large_level_of_responses_or_predictions_does_not_spoil_the_correlation(level):
    output, truth = responses(images=200)
    high, tall = output + level, truth + level
    np.testing.assert_allclose(neuron_correlations(high, tall).numpy(), by_scipy(high, tall), atol=1e-9)
    np.testing.assert_allclose(neuron_correlations(high, tall).numpy(), by_scipy(output, truth), atol=2e-3)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e8])
def test_the_unit_of_the_responses_does_not_matter(scale):
    output, truth = responses()
    expected = neuron_correlations(output, truth)
    torch.testing.assert_close(neuron_correlations(output * scale, truth), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(neuron_correlations(-output, truth * scale), -expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e4, -3e-9])
def test_a_constant_prediction_scores_0_and_a_constant_response_has_no_score(constant):
    output, truth = responses()
    output[:, 0] = constant
    truth[:, 1] = constant
    output[:, 2], truth[:, 2] = constant, constant
    found = neuron_correlations(output, truth)
    assert found[0] == 0 and found[1:3].isnan().all() and not found[3:].isnan().any()


def test_a_prediction_that_varies_only_where_nothing_is_known_is_constant():
    output, truth = responses()
    output[1:, 0] = 0.3
    truth[0, 0] = math.nan
    assert neuron_correlations(output, truth)[0] == 0


@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_neuron_with_fewer_than_two_known_images_has_no_score(known):
    output, truth = responses()
    truth[known:, 0] = math.nan
    found = neuron_correlations(output, truth)
    assert found[0].isnan() == (known < 2) and not found[1:].isnan().any()
    assert known < 2 or abs(found[0].item()) == pytest.approx(1)


@FEW
@given(seed=SEEDS, neurons=st.integers(1, 9))
def test_a_task_has_the_median_and_the_mean_over_neurons_with_a_score(seed, neurons):
    values = np.random.default_rng(seed).uniform(-1, 1, neurons)
    with_gaps = torch.tensor(np.r_[math.nan, values, math.nan])
    found = dict(neural_scores(with_gaps))
    assert found == {"correlation": pytest.approx(np.median(values)), "correlation_mean": pytest.approx(values.mean())}


@pytest.mark.parametrize("neurons", [0, 3])
def test_without_any_scored_neuron_the_score_is_nan(neurons):
    found = dict(neural_scores(torch.full((neurons,), math.nan, dtype=torch.float64)))
    assert math.isnan(found["correlation"]) and math.isnan(found["correlation_mean"])


@FEW
@given(seed=SEEDS)
def test_rdms_are_compared_as_scipy_does(seed):
    features, wanted = square(seed).double(), target(seed + 1)
    found, upper = pdist(features.numpy(), "sqeuclidean"), wanted.double().numpy()[np.triu_indices(8, 1)]
    distances = torch.tensor(squareform(found))
    assert dict(rdm_scores(distances, wanted)) == {
        "spearman": pytest.approx(spearmanr(found, upper).statistic, abs=1e-9),
        "pearson": pytest.approx(pearsonr(found, upper).statistic, abs=1e-9),
        "cka": pytest.approx(unbiased_cka(distances, wanted.double()).item(), abs=1e-12),
    }


def test_rdm_scores_see_ranks_and_only_pearson_sees_distances():
    wanted = torch.tensor(squareform(pdist(square().double().numpy(), "correlation")))
    found = dict(rdm_scores(wanted, wanted**5))
    assert found["spearman"] == pytest.approx(1) and found["pearson"] < 0.999


@pytest.mark.parametrize("dissimilarity", ["correlation", "cosine", "squared_euclidean", "centred_cosine"])
@pytest.mark.parametrize("which", ["equal features", "equal stimuli", "target", "both"])
def test_an_rdm_without_differences_has_no_score(which, dissimilarity):
    features, wanted = square(stimuli=37).double(), target(stimuli=37)
    if which in ("equal features", "both"):
        features = torch.full((37, 20), 0.3).double()
    elif which == "equal stimuli":
        features = features[:1].expand(37, -1)
    if which in ("target", "both"):
        wanted = torch.full((37, 37), 0.7)
    found = dict(rdm_scores(rdm(features, dissimilarity), wanted))
    assert set(found) == {"spearman", "pearson", "cka"} and all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e6])
def test_the_unit_of_an_rdm_does_not_matter(scale):
    found, wanted = rdm(square().double(), "squared_euclidean"), target()
    assert dict(rdm_scores(scale * found, wanted)) == pytest.approx(dict(rdm_scores(found, wanted)))


def test_three_stimuli_are_enough_for_an_rdm_score_but_not_for_cka():
    found = dict(rdm_scores(target(2, stimuli=3), target(stimuli=3)))
    assert set(found) == {"spearman", "pearson"} and -1 <= found["spearman"] <= 1
    assert all(math.isnan(value) for value in dict(rdm_scores(torch.zeros(1, 1), torch.zeros(1, 1))).values())


def manifolds(classes=4, images=9, units=30, spread=1.0, seed=0):
    """(output, labels), float32, classes one after the other."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    output = rng.normal(0, 1, (classes, units))[labels] + rng.normal(0, spread, (len(labels), units))
    return torch.tensor(output, dtype=torch.float32), torch.tensor(labels)


def capacity(output, labels, **seed):
    return dict(manifold_scores(output, labels, **seed))["capacity"]


def test_capacity_is_the_harmonic_mean_over_classes():
    output, labels = manifolds()
    clouds = [output[labels == label] for label in range(4)]
    inverse = inverse_capacity(clouds, draws=200, generator=torch.Generator().manual_seed(0))
    assert capacity(output, labels) == pytest.approx(4 / inverse.sum().item())
    assert capacity(output, labels) == capacity(output, labels) != capacity(output, labels, seed=1)


def test_capacity_is_that_of_points_for_equal_images_and_falls_to_the_floor_without_class_means():
    output, labels = manifolds(classes=20, spread=0.0)
    assert capacity(output, labels) == pytest.approx(2, rel=0.1)
    values = [capacity(*manifolds(spread=spread)) for spread in (0.1, 0.5, 1.0, 3.0)]
    assert values == sorted(values, reverse=True)
    noise = torch.randn(200, 2000, generator=torch.Generator().manual_seed(0))
    assert capacity(noise, torch.arange(200) // 20) == pytest.approx(2 / 20, rel=0.1)


def test_fifty_images_a_class_are_looked_at_whatever_their_order_of_classes():
    output, labels = manifolds(images=150)
    few = manifolds(images=50)
    assert capacity(output, labels) == pytest.approx(capacity(*few), rel=0.15)
    assert capacity(output, labels + 3) == capacity(output, labels)


def test_output_that_is_not_finite_has_the_worst_capacity_and_one_class_has_none():
    output, labels = manifolds()
    broken = output.clone()
    broken[labels == 2, 5] = math.nan
    assert 0 < capacity(broken, labels) < capacity(output, labels)
    assert capacity(output * math.nan, labels) == pytest.approx(1 / 8.5)
    assert capacity(torch.ones(36, 30), labels) == pytest.approx(1 / 8.5)
    assert math.isnan(capacity(output, labels * 0))


def test_each_kind_of_task_has_its_primary_metric():
    names = {
        "classification": classification_scores(torch.eye(3), torch.arange(3)),
        "neural": neural_scores(torch.ones(3)),
        "rdm": rdm_scores(target(2), target()),
        "manifolds": manifold_scores(square(), torch.arange(8) % 2),
    }
    assert set(names) == set(KINDS)
    for kind, scores in names.items():
        assert PRIMARY_METRIC[kind] in dict(scores), kind
