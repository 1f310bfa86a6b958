"""Plain RDMs are compared by a short way: the same values, and nothing passes that the long way refuses."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.spatial import distance

from cotrain.analysis import Rdm, compare_rdms
from cotrain.analysis._plain_pairs import plain_pairs
from cotrain.errors import DataError

PAIRWISE = ("pearson", "cosine", "spearman", "rho_a", "tau_a", "tau_b")


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("ties", [False, True])
def test_plain_rdms_take_a_short_way_to_the_same_values(name, ties):
    """Beside the long way of those that need a closer look, here for a gradient, and plain loops of SciPy."""
    generator = np.random.default_rng(5)
    given = []
    for count in (3, 2):
        rows = generator.integers(0, 6, (count, 45)).astype(float) if ties else generator.standard_normal((count, 45))
        given.append(np.stack([distance.squareform(row) for row in rows + 7 * (not ties)]))
    a, b = given
    assert plain_pairs(a, b) is not None
    found = compare_rdms(a, b, name)
    tensors = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)
    assert plain_pairs(*tensors) is None
    np.testing.assert_allclose(found, compare_rdms(*tensors, name).detach(), rtol=1e-13, atol=1e-15)
    tagged = [Rdm(one, ids=tuple(map(str, range(10)))) for one in given]
    assert (compare_rdms(*tagged, name) == found).all()
    with_scipy = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr, "tau_b": scipy.stats.kendalltau}
    if name in with_scipy:
        plain = [[with_scipy[name](distance.squareform(x), distance.squareform(y)).statistic for y in b] for x in a]
        np.testing.assert_allclose(found, plain, rtol=1e-12)


@pytest.mark.parametrize("name", PAIRWISE)
def test_the_short_way_lets_nothing_pass_that_is_refused(name):
    good = distance.squareform(np.random.default_rng(0).random(10))
    bent, raised, missing = good.copy(), good.copy(), good.copy()
    bent[0, 4] += 0.1
    raised[2, 2] = 0.5
    missing[1, 3] = missing[3, 1] = np.nan
    for bad, text in ((bent, "not symmetric"), (raised, "itself must be 0"), (missing, "1 pairs are NaN")):
        for pair in ((bad, good), (good, np.stack([good, bad]))):
            with pytest.raises(DataError, match=text):
                compare_rdms(*pair, name)
    with pytest.raises(DataError, match="1 pairs are NaN"):
        compare_rdms(Rdm(missing), Rdm(good), name)
    with pytest.raises(DataError, match="same stimuli"):
        compare_rdms(good, distance.squareform(np.arange(6.0)), name)
    turned = Rdm(good[::-1, ::-1], ids=tuple("edcba"))
    assert compare_rdms(Rdm(good, ids=tuple("abcde")), turned, name) == pytest.approx(1)
    assert compare_rdms(Rdm(1 - good, kind="similarity"), Rdm(1 - good, kind="similarity"), name) == pytest.approx(1)


def test_symmetry_is_looked_at_everywhere():
    """The short way compares in strips."""
    whole = distance.squareform(np.random.default_rng(1).random(300 * 299 // 2))
    for row, column in ((0, 299), (127, 128), (128, 127), (299, 298), (200, 5)):
        bent = whole.copy()
        bent[row, column] += 1e-9
        assert plain_pairs(bent, whole) is None
    assert plain_pairs(whole, whole) is not None
