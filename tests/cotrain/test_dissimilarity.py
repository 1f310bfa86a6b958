"""RDMs agree with NumPy and SciPy, and stimuli without any response do no harm."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import sklearn.covariance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.dissimilarity import (
    DISSIMILARITIES,
    cosine,
    crossnobis,
    pairs,
    pearson,
    rdm,
    unbiased_cka,
)
from cotrain.errors import ModelError

MANY = settings(max_examples=50, deadline=None)
FEW = settings(max_examples=12, deadline=None)
SEEDS = st.integers(0, 10**6)
SIZES = st.integers(2, 12)


def normal(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close(found, expected, tolerance=1e-10) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance, rtol=0)


@MANY
@given(SIZES, st.integers(3, 20), SEEDS)
def test_rdm_is_one_minus_pearson(stimuli, features, seed):
    values = normal(stimuli, features, seed=seed)
    assert_close(rdm(values), 1 - np.corrcoef(values))
    condensed = scipy.spatial.distance.pdist(values, "correlation")
    assert_close(pairs(rdm(values)), condensed)
    assert_close(rdm(values), scipy.spatial.distance.squareform(condensed))


@MANY
@given(SIZES, st.integers(3, 20), SEEDS)
def test_rdm_is_symmetric_and_zero_on_the_diagonal(stimuli, features, seed):
    matrix = rdm(normal(stimuli, features, seed=seed, dtype=torch.float32))
    assert_close(matrix, matrix.T, 1e-6)
    assert torch.equal(matrix.diagonal(), torch.zeros(stimuli))
    assert matrix.min() >= 0 and matrix.max() <= 2


@MANY
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), SEEDS)
def test_rdm_ignores_the_order_of_units_and_scale_and_offset_of_a_stimulus(offset, scale, seed):
    values = normal(6, 15, seed=seed)
    expected = rdm(values)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
    assert_close(rdm(values[:, order]), expected)
    assert_close(rdm(values * torch.tensor([1, scale, 1, 1, 1, 2.0])[:, None]), expected)
    assert_close(rdm(values + torch.tensor([0, offset, 0, 0, 0, 2.0])[:, None]), expected, 1e-8)
    assert_close(rdm(-values), expected)


@pytest.mark.parametrize("scale", [1e-15, 1e-9, 1.0, 1e12])
def test_rdm_of_tiny_and_of_huge_features(scale):
    values = normal(5, 30, dtype=torch.float32)
    assert_close(rdm(values * scale), rdm(values), 1e-6)


def test_rdm_follows_the_order_of_stimuli():
    values, order = normal(7, 9), torch.tensor([3, 0, 6, 1, 2, 5, 4])
    assert_close(rdm(values[order]), rdm(values)[order][:, order])


def test_equal_and_opposite_stimuli_are_at_the_ends_of_the_scale():
    values = normal(1, 9, dtype=torch.float32)
    matrix = rdm(torch.cat([values, 2 * values + 1, -values]))
    assert_close(matrix, [[0, 0, 2], [0, 0, 2], [2, 2, 0]], 1e-6)


def test_gradients_are_those_of_finite_differences():
    values = normal(5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pairs(rdm(x)), values)
    target = normal(10)
    assert torch.autograd.gradcheck(lambda x: pearson(pairs(rdm(x)), target), values)
    assert torch.autograd.gradcheck(pearson, (normal(8, seed=1).requires_grad_(), normal(8, seed=2).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, -3.3, 1234.567, 3.3e5])
@pytest.mark.parametrize("features", [1, 7, 100, 333])
def test_a_stimulus_without_structure_is_at_1_from_all_and_pulls_at_nothing(level, features, dtype):
    values = normal(6, features, dtype=dtype)
    values[0], values[3] = level, level * 1.7
    values.requires_grad_()
    matrix = rdm(values)
    assert_close(matrix[0].detach(), [0, 1, 1, 1, 1, 1])
    assert_close(matrix[3].detach(), [1, 1, 1, 0, 1, 1])
    (matrix * normal(6, 6, dtype=dtype)).sum().backward()
    assert values.grad.isfinite().all()
    assert not values.grad[[0, 3]].any()


@pytest.mark.parametrize("level", [0.0, 0.1, 1234.567])
def test_pearson_of_a_constant_is_0_and_pulls_at_nothing(level):
    constant, other = torch.full((333,), level), normal(333, dtype=torch.float32)
    for a, b in ((constant, other), (other, constant), (constant, constant * 1.3)):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        value = pearson(a, b)
        value.backward()
        assert value == 0
        assert not a.grad.any() and not b.grad.any()


def test_features_that_are_all_constant_give_a_gradient_without_nan():
    values = torch.zeros(5, 8, requires_grad=True)
    pearson(pairs(rdm(values)), normal(10, dtype=torch.float32)).backward()
    assert not values.grad.any()


@MANY
@given(SIZES)
def test_pairs_are_those_of_scipy(stimuli):
    matrix = normal(stimuli, stimuli)
    matrix = (matrix + matrix.T).fill_diagonal_(0)
    assert_close(pairs(matrix), scipy.spatial.distance.squareform(matrix.numpy()))


def test_a_single_stimulus_has_no_pairs():
    assert pairs(rdm(normal(1, 4))).shape == (0,)
    assert pearson(torch.ones(0), torch.ones(0)) == 0


@MANY
@given(st.integers(2, 40), st.floats(-100, 100), st.floats(0.01, 100), SEEDS)
def test_pearson_is_that_of_scipy(number, offset, scale, seed):
    a, b = normal(2, number, seed=seed)
    assert_close(pearson(a, b), scipy.stats.pearsonr(a, b).statistic)
    assert_close(pearson(a * scale + offset, -b), -pearson(a, b), 1e-9)
    assert_close(pearson(a, a * scale + offset), 1.0, 1e-9)


def by_loops(values, dissimilarity):
    """From the definition, pair by pair."""
    values = np.asarray(values, dtype=np.float64)
    if dissimilarity == "correlation":
        values = values - values.mean(1, keepdims=True)
    if dissimilarity == "centred_cosine":
        values = values - values.mean(0)
    found = np.zeros((len(values), len(values)))
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            if dissimilarity == "squared_euclidean":
                found[i, j] = np.mean((a - b) ** 2)
            elif i != j:
                found[i, j] = 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    return found


@FEW
@given(st.integers(3, 9), st.integers(3, 20), SEEDS)
@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_each_dissimilarity_is_that_of_its_definition(dissimilarity, stimuli, features, seed):
    values = normal(stimuli, features, seed=seed) + 0.5
    assert_close(rdm(values, dissimilarity), by_loops(values, dissimilarity))
    order = torch.randperm(features, generator=torch.Generator().manual_seed(seed))
    assert_close(rdm(values[:, order], dissimilarity), rdm(values, dissimilarity))


def test_dissimilarities_are_those_of_scipy():
    values = normal(6, 15) + 0.5
    for name, metric, scale in (("cosine", "cosine", 1), ("squared_euclidean", "sqeuclidean", 1 / 15)):
        assert_close(pairs(rdm(values, name)), scipy.spatial.distance.pdist(values, metric) * scale)


@FEW
@given(st.floats(1e-3, 1e3), st.floats(-10, 10), SEEDS)
def test_what_each_dissimilarity_leaves_out(scale, level, seed):
    values = normal(6, 15, seed=seed) + 0.3
    unit_levels = level * normal(15, seed=seed + 1)
    assert_close(rdm(scale * values, "cosine"), rdm(values, "cosine"))
    assert_close(rdm(scale * values + unit_levels, "centred_cosine"), rdm(values, "centred_cosine"), 1e-7)
    assert_close(
        rdm(scale * values + unit_levels, "squared_euclidean") / scale**2, rdm(values, "squared_euclidean"), 1e-4
    )
    turned = values @ torch.linalg.qr(normal(15, 15, seed=seed))[0]
    for name in ("cosine", "centred_cosine", "squared_euclidean"):
        assert_close(rdm(turned, name), rdm(values, name))


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_gradients_of_each_dissimilarity(dissimilarity):
    weights = normal(10)
    values = normal(5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: (pairs(rdm(x, dissimilarity)) * weights).sum(), values)


@pytest.mark.parametrize("dissimilarity", ["cosine", "centred_cosine"])
def test_a_stimulus_without_a_direction_is_at_1_from_all(dissimilarity):
    values = normal(6, 30, dtype=torch.float32)
    values[2] = 0 if dissimilarity == "cosine" else values[[0, 1, 3, 4, 5]].mean(0)
    values.requires_grad_()
    matrix = rdm(values, dissimilarity)
    assert_close(matrix[2].detach(), [1, 1, 0, 1, 1, 1], 1e-6)
    matrix.sum().backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_images_that_are_all_alike_have_no_direction_but_rounding_and_no_nan(dissimilarity):
    values = (normal(1, 300, dtype=torch.float32) + 100).expand(6, -1).clone().requires_grad_()
    matrix = rdm(values, dissimilarity)
    (matrix * normal(6, 6, dtype=torch.float32)).sum().backward()
    assert values.grad.isfinite().all() and values.grad.abs().max() < 1
    others = ~torch.eye(6, dtype=torch.bool)
    assert_close(matrix[others].detach(), float(dissimilarity == "centred_cosine"), 1e-5)


def test_unknown_names_are_errors_that_name_the_known_ones():
    with pytest.raises(
        ModelError, match=r"no dissimilarity 'corelation'; expected one of correlation, .* 'correlation'"
    ):
        rdm(normal(3, 4), "corelation")
    with pytest.raises(ModelError, match=r"no whitening 'full'; expected one of none, diagonal, shrinkage"):
        crossnobis(normal(2, 3, 4), whitening="full")


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_under_autocast_an_rdm_is_computed_in_float32(dissimilarity):
    values = normal(6, 40, dtype=torch.float32).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rdm(values, dissimilarity)
        assert torch.equal(rdm(values.float(), dissimilarity), found)
    assert found.dtype == torch.float32
    assert_close(found, rdm(values.double(), dissimilarity), 1e-5)


@FEW
@given(st.integers(1, 9), SEEDS)
def test_cosine_is_that_of_scipy_and_0_for_nothing(number, seed):
    a, b = normal(2, number, seed=seed)
    assert_close(cosine(a, b), 1 - scipy.spatial.distance.cosine(a, b))
    assert cosine(a, 0 * b) == 0


def test_unbiased_cka_of_squared_distances_is_that_of_linear_kernels():
    """Song et al. 2012, for the kernels themselves."""
    x, y = normal(9, 5, seed=1).numpy(), normal(9, 30, seed=2).numpy()

    def hsic(k, m):
        k, m, n = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), len(k)
        both = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        return both / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    one, two = (rdm(torch.tensor(values), "squared_euclidean") for values in (x, y))
    assert_close(unbiased_cka(one, two), expected)
    assert_close(unbiased_cka(one, one * 3 + 1), 1)
    assert unbiased_cka(one, torch.full((9, 9), 0.3, dtype=torch.float64)) == 0
    cosines = 1 - scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(x, "cosine"))
    assert_close(
        unbiased_cka(rdm(torch.tensor(x), "cosine"), two),
        hsic(cosines, m) / np.sqrt(hsic(cosines, cosines) * hsic(m, m)),
    )


def test_unbiased_cka_of_independent_features_is_0_on_average():
    found = [
        unbiased_cka(rdm(normal(8, 50, seed=2 * i), "squared_euclidean"), rdm(normal(8, 50, seed=2 * i + 1)))
        for i in range(150)
    ]
    values = np.array(found)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def crossnobis_by_loops(repeats):
    """Mean over ordered pairs of different repeats of the product of their differences."""
    times, stimuli, neurons = repeats.shape
    found = np.zeros((stimuli, stimuli))
    for a in range(times):
        for b in range(times):
            if a != b:
                for i in range(stimuli):
                    for j in range(stimuli):
                        found[i, j] += (repeats[a, i] - repeats[a, j]) @ (repeats[b, i] - repeats[b, j]) / neurons
    return found / (times * (times - 1))


@pytest.mark.parametrize("times", [2, 3, 5])
def test_crossnobis_is_that_of_its_definition(times):
    repeats = normal(times, 6, 8).numpy() + normal(6, 8, seed=5).numpy()
    assert_close(crossnobis(torch.tensor(repeats), whitening="none"), crossnobis_by_loops(repeats))
    centred = repeats - repeats.mean(1, keepdims=True)
    noise = (centred - centred.mean(0)).reshape(-1, 8)
    free = 5 * (times - 1)
    spread = np.sqrt((noise**2).sum(0) / free)
    assert_close(crossnobis(torch.tensor(repeats)), crossnobis_by_loops(repeats / spread))
    covariance = sklearn.covariance.ledoit_wolf(noise, assume_centered=True)[0] * len(noise) / free
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    assert_close(crossnobis(torch.tensor(repeats), whitening="shrinkage"), crossnobis_by_loops(repeats @ root.T), 1e-8)


def test_crossnobis_is_unbiased_where_plain_distances_are_mostly_noise():
    patterns = normal(5, 40, seed=3)
    true = rdm(patterns, "squared_euclidean")
    noisy = patterns + 2 * normal(150, 2, 5, 40, seed=10)
    found = torch.stack([crossnobis(repeats, whitening="none") for repeats in noisy])
    plain = torch.stack([rdm(repeats.mean(0), "squared_euclidean") for repeats in noisy]).mean(0)
    assert ((found.mean(0) - true).abs() <= 4 * found.std(0) / np.sqrt(150)).all()
    assert (pairs(plain - true) > 3).all()
    assert (found < 0).any()


@pytest.mark.parametrize(("whitening", "stimuli"), [("none", 4), ("diagonal", 4), ("diagonal", 12)])
def test_crossnobis_of_stimuli_without_a_difference_is_0_on_average_but_for_the_stated_level(whitening, stimuli):
    found = torch.stack([pairs(crossnobis(held, whitening=whitening)) for held in normal(150, 3, stimuli, 20)])
    level = 0 if whitening == "none" else 4 / (3 * (2 * (stimuli - 1) - 2))
    assert ((found.mean(0) - level).abs() < 4.5 * found.std(0) / np.sqrt(150)).all()


@pytest.mark.parametrize("whitening", ["none", "diagonal", "shrinkage"])
def test_crossnobis_ignores_order_and_the_level_of_a_repeat_and_is_symmetric(whitening):
    repeats = normal(3, 6, 8)
    expected = crossnobis(repeats, whitening=whitening)
    assert_close(expected, expected.T)
    assert_close(expected.diagonal(), torch.zeros(6))
    assert_close(crossnobis(repeats[[2, 0, 1]], whitening=whitening), expected)
    assert_close(crossnobis(repeats + normal(3, 1, 8, seed=7), whitening=whitening), expected)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert_close(crossnobis(repeats[:, order], whitening=whitening), expected[order][:, order])
    if whitening != "none":
        assert_close(crossnobis(repeats * 7, whitening=whitening), expected)
    assert crossnobis(repeats.bfloat16(), whitening=whitening).dtype == torch.float32


def test_crossnobis_leaves_out_neurons_that_never_vary_and_refuses_what_it_cannot_do():
    repeats = normal(3, 6, 8)
    silent = torch.cat([repeats, torch.zeros(3, 6, 2, dtype=torch.float64)], 2)
    assert_close(crossnobis(silent), crossnobis(repeats))
    with pytest.raises(ModelError, match="needs 2 repeats of each stimulus or more, found 1"):
        crossnobis(repeats[:1])
    with pytest.raises(ModelError, match="no neuron varies between repeats"):
        crossnobis(repeats[:1].expand(3, -1, -1))
    repeats[0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match="found responses that are NaN"):
        crossnobis(repeats)


@pytest.mark.filterwarnings("ignore")
def test_rdms_are_those_of_rsatoolbox():
    toolbox = pytest.importorskip("rsatoolbox")
    values = normal(6, 15).numpy()
    held = toolbox.data.Dataset(values)
    for theirs, ours in (("correlation", "correlation"), ("euclidean", "squared_euclidean")):
        found = toolbox.rdm.calc_rdm(held, method=theirs, noise=None).get_vectors()[0]
        assert_close(pairs(rdm(torch.tensor(values), ours)), found, 1e-9)
    repeats = normal(3, 6, 8).numpy()
    descriptors = {"stimulus": list(range(6)) * 3, "repeat": np.repeat(range(3), 6).tolist()}
    long = toolbox.data.Dataset(repeats.reshape(-1, 8), obs_descriptors=descriptors)
    found = toolbox.rdm.calc_rdm(long, method="crossnobis", descriptor="stimulus", cv_descriptor="repeat").get_vectors()
    assert_close(pairs(crossnobis(torch.tensor(repeats), whitening="none")), found[0], 1e-9)
