"""Comparisons of RDMs agree with SciPy, with loops and with rsatoolbox; a similarity is never taken for a distance."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance as distance
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cotrain.analysis import Rdm, compare_rdms, from_rsatoolbox, noise_ceiling, rdm, to_rsatoolbox
from cotrain.analysis._compare_rdms import COMPARISONS
from cotrain.dissimilarity import unbiased_cka
from cotrain.errors import CotrainError, DataError
from cotrain.losses import rdm_loss

SEEDS = st.integers(0, 10**6)
METHODS = tuple(name for name in COMPARISONS if name != "whitened_cosine")


def squared_distances(stimuli=9, features=20, seed=0):
    values = np.random.default_rng(seed).normal(size=(stimuli, features))
    return distance.squareform(distance.pdist(values, "sqeuclidean"))


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


def centred(matrix):
    hat = np.eye(len(matrix)) - 1 / len(matrix)
    return -hat @ matrix @ hat / 2


def slow_tau_a(x, y):
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i in range(len(x)) for j in range(i)]
    return sum(signs) / len(signs)


def slow_rho_a(x, y, rounds=4000):
    """Spearman's correlation with ties broken at random, many times."""
    generator = np.random.default_rng(0)
    broken = [[np.lexsort((generator.random(len(one)), one)).argsort() for one in (x, y)] for _ in range(rounds)]
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in broken])


def test_comparisons_are_those_of_scipy():
    a, b = squared_distances(seed=1), squared_distances(seed=2)
    x, y = upper(a), upper(b)
    expected = {
        "pearson": scipy.stats.pearsonr(x, y).statistic,
        "spearman": scipy.stats.spearmanr(x, y).statistic,
        "rho_a": scipy.stats.spearmanr(x, y).statistic,  # without ties
        "tau_b": scipy.stats.kendalltau(x, y).statistic,
        "tau_a": slow_tau_a(x, y),
        "cosine": 1 - distance.cosine(x, y),
        "cka": (centred(a) * centred(b)).sum() / np.linalg.norm(centred(a)) / np.linalg.norm(centred(b)),
        "unbiased_cka": float(unbiased_cka(torch.tensor(a), torch.tensor(b))),
    }
    root = scipy.linalg.sqrtm(centred(a)).real
    fidelity = np.trace(scipy.linalg.sqrtm(root @ centred(b) @ root).real)
    expected["bures"] = fidelity / np.sqrt(np.trace(centred(a)) * np.trace(centred(b)))
    for method, value in expected.items():
        assert compare_rdms(a, b, method) == pytest.approx(value, abs=1e-6 if method == "bures" else 1e-12), method


def test_whitened_comparisons_are_those_with_the_covariance_of_the_distances():
    """Diedrichsen et al.: V is the square of each entry of C C', C being the contrasts of pairs."""
    number = 7
    a, b = squared_distances(number, seed=3), squared_distances(number, seed=4)
    rows, columns = np.triu_indices(number, 1)
    contrast = np.zeros((len(rows), number))
    contrast[np.arange(len(rows)), rows], contrast[np.arange(len(rows)), columns] = 1, -1
    white = np.linalg.inv(np.linalg.cholesky((contrast @ contrast.T) ** 2))
    x, y = upper(a), upper(b)
    assert compare_rdms(a, b, "whitened_cosine") == pytest.approx(1 - distance.cosine(white @ x, white @ y), abs=1e-10)
    x, y = x - x.mean(), y - y.mean()
    assert compare_rdms(a, b, "whitened_pearson") == pytest.approx(1 - distance.cosine(white @ x, white @ y), abs=1e-10)


def test_ties_do_not_favour_a_model():
    data, model = squared_distances(6, seed=5), 1.0 - np.kron(np.eye(2), np.ones((3, 3)))
    x, y = upper(data), upper(model)
    assert compare_rdms(data, model, "tau_a") == pytest.approx(slow_tau_a(x, y), abs=1e-12)
    assert compare_rdms(data, model, "rho_a") == pytest.approx(slow_rho_a(x, y), abs=0.02)
    assert abs(compare_rdms(data, model, "rho_a")) < abs(compare_rdms(data, model, "spearman"))
    assert compare_rdms(model, model, "tau_a") < 1 == pytest.approx(compare_rdms(model, model, "tau_b"))


@pytest.mark.parametrize("method", METHODS)
def test_comparisons_are_symmetric_and_leave_out_scale_and_order(method):
    a, b = squared_distances(seed=6), squared_distances(seed=7)
    value = compare_rdms(a, b, method)
    order = np.random.default_rng(0).permutation(len(a))
    assert compare_rdms(b, a, method) == pytest.approx(value, abs=1e-7)
    assert compare_rdms(3.7 * a, b, method) == pytest.approx(value, abs=1e-7)
    assert compare_rdms(a[np.ix_(order, order)], b[np.ix_(order, order)], method) == pytest.approx(value, abs=1e-7)
    assert compare_rdms(a, a, method) == pytest.approx(1, abs=1e-7)
    if method in ("pearson", "spearman", "tau_a", "tau_b", "rho_a", "whitened_pearson"):
        moved = a + 5 * (1 - np.eye(len(a)))
        assert compare_rdms(moved, b, method) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_several_rdms_on_both_sides(method):
    a, b = (np.stack([squared_distances(7, seed=seed) for seed in seeds]) for seeds in ((0, 1), (2, 3, 4)))
    found = compare_rdms(a, b, method)
    assert found.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert found[i, j] == pytest.approx(compare_rdms(a[i], b[j], method), abs=1e-10)
    np.testing.assert_allclose(compare_rdms(a[0], b, method), found[0], atol=1e-10)
    np.testing.assert_allclose(compare_rdms(a, b[1], method), found[:, 1], atol=1e-10)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from(("pearson", "spearman", "tau_a", "tau_b", "rho_a", "cosine")))
def test_missing_pairs_are_left_out(seed, method):
    generator = np.random.default_rng(seed)
    a, b = squared_distances(6, seed=seed), squared_distances(6, seed=seed + 1)
    missing = np.triu(generator.random((6, 6)) < 0.2, 1)
    a[missing | missing.T] = np.nan
    known = ~missing[np.triu_indices(6, 1)]
    assume(4 <= known.sum() < 15)
    with pytest.raises(DataError, match=r"pairs are NaN, of .* stimuli.*missing='omit'"):
        compare_rdms(a, b, method)
    x, y = upper(a)[known], upper(b)[known]
    expected = {
        "pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr, "rho_a": scipy.stats.spearmanr,
        "tau_b": scipy.stats.kendalltau, "tau_a": slow_tau_a, "cosine": lambda x, y: 1 - distance.cosine(x, y),
    }[method](x, y)  # fmt: skip
    found = compare_rdms(a, b, method, missing="omit")
    assert found == pytest.approx(getattr(expected, "statistic", expected), abs=1e-10)


@pytest.mark.parametrize("method", ["cka", "whitened_pearson"])
def test_centring_with_missing_pairs_is_least_squares(method):
    """Written out: a part for each stimulus, fitted to the known entries of the whole symmetric matrix."""
    a, b = squared_distances(6, seed=1), squared_distances(6, seed=2)
    a[0, 3] = a[3, 0] = b[2, 4] = b[4, 2] = np.nan
    known = ~(np.isnan(a) | np.isnan(b))
    rows, columns = np.nonzero(known)
    design = np.zeros((len(rows), 6))
    np.add.at(design, (np.arange(len(rows)), rows), 1)
    np.add.at(design, (np.arange(len(rows)), columns), 1)
    left = []
    for matrix in (a, b):
        kernel = -matrix / 2
        if method == "whitened_pearson":
            off = known & ~np.eye(6, dtype=bool)
            kernel = np.where(off, kernel - kernel[off].mean(), kernel)
        values = kernel[known]
        left.append(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])
    expected = left[0] @ left[1] / np.linalg.norm(left[0]) / np.linalg.norm(left[1])
    assert compare_rdms(a, b, method, missing="omit") == pytest.approx(expected, abs=1e-10)


def test_what_cannot_leave_pairs_out_says_so():
    a, b = squared_distances(6), squared_distances(6, seed=1)
    a[0, 1] = a[1, 0] = np.nan
    for method in ("unbiased_cka", "bures"):
        with pytest.raises(DataError, match=f"'{method}' needs all pairs, some are NaN. .* or use 'cka'"):
            compare_rdms(a, b, method, missing="omit")
    a[~np.eye(6, dtype=bool)] = np.nan
    with pytest.raises(DataError, match="Only 0 pairs are known in both RDMs; 3 are needed"):
        compare_rdms(a, b, missing="omit")


@pytest.mark.parametrize("method", METHODS)
def test_an_rdm_that_says_nothing_is_nan_or_for_ties_zero(method):
    flat = 0.3 * (1 - np.eye(6))
    found = compare_rdms(flat, squared_distances(6), method)
    if method in ("tau_a", "rho_a"):
        assert found == pytest.approx(0, abs=1e-12)
    elif method in ("cosine", "cka", "bures"):  # whose zero means something
        assert np.isfinite(found)
        assert np.isnan(compare_rdms(np.zeros((6, 6)), squared_distances(6), method))
    else:
        assert np.isnan(found)


def test_tensors_give_tensors_with_a_gradient():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    target = torch.tensor(squared_distances(8))
    found = compare_rdms(rdm(features), target, "pearson")
    assert isinstance(found, torch.Tensor)
    found.backward()
    assert features.grad is not None and features.grad.abs().sum() > 0
    assert found.item() == pytest.approx(1 - rdm_loss(features, target).item(), abs=1e-9)
    mixed = compare_rdms(rdm(features.detach()), squared_distances(8), "spearman")
    assert isinstance(mixed, float)


def test_the_loss_cka_is_the_unbiased_one():
    features, target = np.random.default_rng(0).normal(size=(8, 5)), squared_distances(8)
    loss = rdm_loss(torch.tensor(features), torch.tensor(target), dissimilarity="squared_euclidean", comparison="cka")
    found = compare_rdms(rdm(features, "squared_euclidean"), target, "unbiased_cka")
    assert found == pytest.approx(1 - loss.item(), abs=1e-9)


def test_similarities_are_not_compared_with_distances():
    values = np.random.default_rng(0).normal(size=(6, 20))
    similar, distant = np.corrcoef(values), 1 - np.corrcoef(values)
    with pytest.raises(DataError, match=r"has 1 all along the diagonal, as matrices of similarities have.*kind='simil"):
        compare_rdms(similar, distant)
    with pytest.raises(DataError, match=r"first matrix holds values of the kind 'similarity', the second .*'distance'"):
        compare_rdms(Rdm(similar, kind="similarity"), distant)
    with pytest.raises(DataError, match="said to hold similarities, but a stimulus has none with itself"):
        Rdm(distant, kind="similarity")
    with pytest.raises(DataError, match="kind 'distance' or 'similarity', found 'angle'"):
        Rdm(distant, kind="angle")
    tagged = Rdm(similar, kind="similarity")
    assert compare_rdms(tagged.distances(), distant) == pytest.approx(1)
    assert compare_rdms(tagged, tagged) == pytest.approx(1)
    kernel = values @ values.T
    found = Rdm(kernel, kind="similarity").distances().values
    np.testing.assert_allclose(2 * found, distance.squareform(distance.pdist(values, "sqeuclidean")), atol=1e-9)


def test_bad_matrices_are_refused():
    good = squared_distances(5)
    for change, text in (
        ((0, 1), r"The second matrix: not symmetric: entry \[0, 1\] is 99, \[1, 0\]"),
        ((2, 2), "the distance of a stimulus from itself must be 0, found 99 on the diagonal"),
    ):
        bad = good.copy()
        bad[change] = 99
        with pytest.raises(DataError, match=text):
            compare_rdms(good, bad)
    bad = good.copy()
    bad[0, 1] = np.nan
    with pytest.raises(DataError, match=r"not symmetric: entry \[0, 1\] is nan"):
        compare_rdms(good, bad)
    bad[1, 0] = np.inf
    with pytest.raises(DataError, match="1 entries are infinite"):
        compare_rdms(good, bad)
    with pytest.raises(DataError, match=r"found \(10\). Of pairs in one row, scipy.spatial.distance.squareform"):
        compare_rdms(upper(good), good)
    with pytest.raises(DataError, match="must be among the same stimuli, found 5 and 4 of them"):
        compare_rdms(good, squared_distances(4))
    with pytest.raises(DataError, match="'pearson' of RDMs needs 3 stimuli or more, found 2"):
        compare_rdms(squared_distances(2), squared_distances(2))
    with pytest.raises(DataError, match="'unbiased_cka' of RDMs needs 4 stimuli or more, found 3"):
        compare_rdms(squared_distances(3), squared_distances(3), "unbiased_cka")
    with pytest.raises(CotrainError, match=r"no comparison of RDMs 'spaerman'.*Did you mean 'spearman'\?"):
        compare_rdms(good, good, "spaerman")
    with pytest.raises(DataError, match="must be numbers, found <U1"):
        compare_rdms(np.array([["a"]]), good)
    assert compare_rdms(good.astype(np.float32), good) == pytest.approx(1, abs=1e-6)


def test_stimuli_with_names_are_matched_by_them():
    """rsatoolbox sorts rows by the alphabet, so that matrices of other origin would be compared row by other row."""
    names = ("zebra", "apple", "house", "face", "car")
    matrix, other = squared_distances(5, seed=1), squared_distances(5, seed=2)
    order = np.argsort(names)
    by_alphabet = Rdm(other[np.ix_(order, order)], ids=tuple(np.array(names)[order]))
    expected = compare_rdms(matrix, other)
    assert compare_rdms(Rdm(matrix, ids=names), by_alphabet) == pytest.approx(expected)
    assert by_alphabet.in_order(names).ids == names
    np.testing.assert_array_equal(by_alphabet.in_order(names).values, other)
    renamed = Rdm(other, ids=("zebra", "apple", "house", "face", "tree"))
    with pytest.raises(DataError, match=r"not among the same stimuli: 'car', 'tree' \(2 in all\)"):
        compare_rdms(Rdm(matrix, ids=names), renamed)
    with pytest.raises(DataError, match="has no stimuli 'tree' "):
        by_alphabet.in_order(("tree",))
    with pytest.raises(DataError, match="has no ids"):
        Rdm(matrix).in_order(names)
    with pytest.raises(DataError, match="5 stimuli needs as many ids, each once; found 5, 4 different"):
        Rdm(matrix, ids=("a", "a", "b", "c", "d"))


@pytest.fixture(scope="module")
def images92():
    root = os.environ.get("COTRAIN_TEST_DATA", "")
    path = Path(root) / "images92" / "images92.npz"
    if not root or not path.is_file():
        pytest.skip("needs images92/images92.npz in the folder that COTRAIN_TEST_DATA names")
    with np.load(path) as held:
        return {name: held[name] for name in ("rdm_mIT", "rdm_hIT", "rdm_hIT_subj_sess")}


def test_macaque_and_human_it_are_as_alike_as_published(images92):
    """Measured with rsatoolbox 0.3.2 and SciPy; Kriegeskorte et al. 2008 for the data."""
    expected = {"pearson": 0.4912, "spearman": 0.4389, "tau_a": 0.3040, "rho_a": 0.4389, "cosine": 0.9950}
    expected |= {"cka": 0.7928, "cosine_cov": 0.7928, "corr_cov": 0.5270}
    for method, value in expected.items():
        assert compare_rdms(images92["rdm_mIT"], images92["rdm_hIT"], method) == pytest.approx(value, abs=1e-4), method


def test_ceilings_of_human_it_are_those_of_rsatoolbox(images92):
    subjects = images92["rdm_hIT_subj_sess"].mean(1)
    expected = {"spearman": (0.3723, 0.6657), "pearson": (0.3944, 0.6804), "tau_a": (0.2539, 0.4767)}
    for method, bounds in expected.items():
        assert noise_ceiling(subjects, method) == pytest.approx(bounds, abs=1e-4), method
    # rsatoolbox pools RDMs of unit variance, (.4298, .6958); here whitened ones have length 1, as the measure has it
    lower, upper_bound = noise_ceiling(subjects, "whitened_pearson")
    assert lower == pytest.approx(0.4298, abs=3e-3) and upper_bound >= 0.6958


@pytest.mark.filterwarnings("ignore")
def test_rsatoolbox_agrees_on_its_own_objects():
    toolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (the extra `references`)")
    a, b = (np.stack([squared_distances(8, seed=seed) for seed in seeds]) for seeds in ((0, 1), (2, 3, 4)))
    theirs = to_rsatoolbox(a, measure="squared euclidean"), to_rsatoolbox(b)
    assert theirs[0].dissimilarity_measure == "squared euclidean"
    for method in ("corr", "cosine", "spearman", "rho-a", "tau-a", "tau-b", "corr_cov", "cosine_cov", "bures"):
        expected = toolbox.rdm.compare(*theirs, method=method)
        found = compare_rdms(from_rsatoolbox(theirs[0]), from_rsatoolbox(theirs[1]), method)
        np.testing.assert_allclose(found, expected, atol=1e-6 if method == "bures" else 1e-9, err_msg=method)
    missing = b.copy()
    missing[:, 1, 4] = missing[:, 4, 1] = np.nan
    for method in ("corr", "spearman", "corr_cov", "cosine_cov"):
        expected = toolbox.rdm.compare(to_rsatoolbox(missing), to_rsatoolbox(missing[::-1].copy()), method=method)
        found = compare_rdms(missing, missing[::-1].copy(), method, missing="omit")
        np.testing.assert_allclose(found, expected, atol=1e-9, err_msg=method)
    for method in ("corr", "cosine", "spearman", "rho-a", "tau-a"):
        expected = toolbox.inference.boot_noise_ceiling(theirs[1], method=method)
        assert noise_ceiling(b, method) == pytest.approx(expected, abs=1e-9), method


@pytest.mark.filterwarnings("ignore")
def test_rsatoolbox_objects_keep_the_names_of_their_rows():
    toolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (the extra `references`)")
    names, values = ["zebra", "apple", "house", "car"], np.random.default_rng(0).normal(size=(4, 9))
    data = toolbox.data.Dataset(values, obs_descriptors={"object": names})
    theirs = from_rsatoolbox(toolbox.rdm.calc_rdm(data, method="correlation", descriptor="object"))
    assert theirs.ids == ("apple", "car", "house", "zebra")  # not the order of the data
    ours = Rdm(rdm(values), ids=tuple(names))
    np.testing.assert_allclose(theirs.in_order(names).values[0], ours.values, atol=1e-12)
    assert compare_rdms(theirs, ours) == pytest.approx([1.0])
    back = from_rsatoolbox(to_rsatoolbox(ours))
    assert back.ids == tuple(names)
    np.testing.assert_allclose(back.values[0], ours.values, atol=1e-12)
    with pytest.raises(DataError, match="no pattern descriptor 'image'; there are stimulus, index"):
        from_rsatoolbox(to_rsatoolbox(ours), ids="image")


def test_without_rsatoolbox_it_is_said(monkeypatch):
    with pytest.raises(DataError, match=r"Expected an rsatoolbox\.rdm\.RDMs, found a ndarray"):
        from_rsatoolbox(squared_distances())
    monkeypatch.setitem(__import__("sys").modules, "rsatoolbox.rdm", None)
    with pytest.raises(CotrainError, match=r"pip install 'cotrain\[references\]'"):
        to_rsatoolbox(squared_distances())
