"""Every comparison of every dissimilarity: an independent formula, its gradient, what it leaves out, and its edges."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from cotrain.dissimilarity import DISSIMILARITIES, rdm
from cotrain.errors import ConfigError, ModelError
from cotrain.losses import RdmMatchConfig, rdm_loss, rdm_match, soft_ranks
from cotrain.losses import _soft_rank as soft_rank_module
from cotrain.losses._objective import LEAST
from cotrain.losses._rdm import COMPARISONS
from cotrain.losses._soft_rank import ranks
from cotrain.tasks import TaskInfo

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=5, deadline=None)
PAIRS = [(d, c) for d in DISSIMILARITIES for c in COMPARISONS if (d, c) != ("squared_euclidean", "fisher_z")]
EVERY = pytest.mark.parametrize(("dissimilarity", "comparison"), PAIRS)
TASK = TaskInfo("rdm", (1, 8, 8), (0.5,), (0.2,))


def features(seed=0, stimuli=7, units=12, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).normal(0.3, 1, (stimuli, units))).to(dtype)


def reference_pairs(values, dissimilarity):
    """By SciPy."""
    if dissimilarity == "centred_cosine":
        return pdist(values - values.mean(0), "cosine")
    if dissimilarity == "squared_euclidean":
        return pdist(values, "sqeuclidean") / values.shape[1]
    return pdist(values, dissimilarity)


def naive_unbiased_hsic(k, m):
    """Song et al. 2012, the unbiased estimator, with sums of matrices without a diagonal."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = sum(k[i, j] * m[j, i] for i in range(n) for j in range(n))
    return (one + k.sum() * m.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (k @ m).sum()) / (n * (n - 3))


def naive_cka(k, m):
    return naive_unbiased_hsic(k, m) / math.sqrt(naive_unbiased_hsic(k, k) * naive_unbiased_hsic(m, m))


def naive_soft_ranks(values, temperature=0.1):
    scale = temperature * np.std(values)
    others = [(i, j) for i in range(len(values)) for j in range(len(values)) if i != j]
    found = np.ones(len(values))
    for i, j in others:
        found[i] += 1 / (1 + np.exp(-(values[i] - values[j]) / scale))
    return found


def reference_loss(d, t, comparison):
    if comparison == "pearson":
        return 1 - np.corrcoef(d, t)[0, 1]
    if comparison == "cosine":
        return 1 - d @ t / np.linalg.norm(d) / np.linalg.norm(t)
    if comparison == "mse":
        return np.mean((d - t) ** 2)
    if comparison == "fisher_z":
        return np.mean((np.arctanh(1 - d) - np.arctanh(1 - t)) ** 2)
    if comparison == "cka":
        return 1 - naive_cka(squareform(d), squareform(t))
    return 1 - np.corrcoef(naive_soft_ranks(d), scipy.stats.rankdata(t))[0, 1]


def target_of(dissimilarity, seed=100, stimuli=7):
    return torch.tensor(squareform(reference_pairs(features(seed, stimuli).numpy(), dissimilarity)))


@EVERY
@FEW
@given(seed=SEEDS)
def test_a_loss_is_that_of_an_independent_formula(dissimilarity, comparison, seed):
    values, wanted = features(seed), target_of(dissimilarity, seed + 1)
    found = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison).item()
    d, t = reference_pairs(values.numpy(), dissimilarity), squareform(wanted.numpy())
    assert found == pytest.approx(reference_loss(d, t, comparison), abs=1e-9)


@EVERY
def test_gradients_are_those_of_finite_differences(dissimilarity, comparison):
    wanted = target_of(dissimilarity, stimuli=6)
    values = features(3, stimuli=6).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: rdm_loss(x, wanted, dissimilarity=dissimilarity, comparison=comparison), (values,)
    )


@EVERY
@FEW
@given(seed=SEEDS)
def test_the_order_of_units_and_of_stimuli_does_not_matter(dissimilarity, comparison, seed):
    values, wanted, rng = features(seed), target_of(dissimilarity), np.random.default_rng(seed)

    def loss(a, b):
        return rdm_loss(a, b, dissimilarity=dissimilarity, comparison=comparison).item()

    expected, order = loss(values, wanted), rng.permutation(7)
    assert loss(values[:, rng.permutation(12)], wanted) == pytest.approx(expected, abs=1e-9)
    assert loss(values[order], wanted[order][:, order]) == pytest.approx(expected, abs=1e-9)
    assert loss(values, wanted.clone().fill_diagonal_(1.5)) == pytest.approx(expected, abs=1e-12)


@FEW
@given(seed=SEEDS, scale=st.floats(0.01, 100), level=st.floats(0.01, 10))
def test_what_each_comparison_leaves_out_of_the_target(seed, scale, level):
    values, wanted = features(seed), target_of("correlation", seed + 1)
    others = 1 - torch.eye(7, dtype=torch.float64)

    def changes(comparison, change):
        losses = [rdm_loss(values, one, comparison=comparison).item() for one in (wanted, change)]
        return abs(losses[1] - losses[0]) > 1e-9

    scaled, raised, bent = scale * wanted, wanted + level * others, torch.exp(wanted) * others
    assert [changes(name, scaled) for name in ("pearson", "cosine", "cka", "spearman")] == [False] * 4
    assert [changes(name, raised) for name in ("pearson", "cka", "spearman")] == [False] * 3
    assert not changes("spearman", bent)
    assert changes("cosine", raised) and changes("pearson", bent)
    assert changes("mse", raised)


@EVERY
def test_equal_geometry_costs_nothing(dissimilarity, comparison):
    values = features()
    loss = rdm_loss(values, rdm(values, dissimilarity), dissimilarity=dissimilarity, comparison=comparison).item()
    assert loss + 1e-12 >= 0 and loss < (0.02 if comparison == "spearman" else 1e-9)


@EVERY
def test_dead_units_constant_rows_and_copies_do_no_harm_in_float32(dissimilarity, comparison):
    values, wanted = features(dtype=torch.float32), target_of(dissimilarity).float()
    values[:, 3] = 0
    values[1], values[2], values[5] = 0.0, 0.7, values[4]
    values.requires_grad_()
    loss = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison)
    loss.backward()
    assert loss.isfinite() and loss >= -LEAST / 2
    assert values.grad.isfinite().all() and values.grad.abs().max() < 1e3


@EVERY
@pytest.mark.parametrize("kind", ["dead", "alike", "constant target", "zero target", "identical rows"])
def test_without_any_geometry_numbers_are_finite_and_bounded_losses_are_1(dissimilarity, comparison, kind):
    values, wanted = features(dtype=torch.float32), target_of(dissimilarity).float()
    if kind == "dead":
        values = torch.zeros(7, 12)
    elif kind == "alike":
        values = torch.full((7, 12), 0.1)
    elif kind == "identical rows":
        values = values[:1].expand(7, -1)
    else:
        wanted = torch.full((7, 7), 0.7 * (kind == "constant target"))
    values = values.clone().requires_grad_()
    loss = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison)
    loss.backward()
    assert loss.isfinite() and values.grad.isfinite().all() and values.grad.abs().max() < 1e3
    if comparison in ("pearson", "cka", "spearman") and "target" in kind:
        assert loss.item() == pytest.approx(1, abs=1e-5) and not values.grad.any()


@EVERY
def test_under_autocast_numbers_are_those_of_float32(dissimilarity, comparison):
    values, wanted = features(dtype=torch.bfloat16).float(), target_of(dissimilarity).float()
    plain = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison)
    for given_values in (values, values.bfloat16()):
        leaf = given_values.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = rdm_loss(leaf, wanted, dissimilarity=dissimilarity, comparison=comparison)
        assert loss.dtype == torch.float32 and loss == plain
        loss.backward()
        assert leaf.grad.isfinite().all()


@EVERY
def test_descent_reaches_the_target_geometry(dissimilarity, comparison):
    wanted = rdm(features(9, dtype=torch.float32), dissimilarity)
    values = features(dtype=torch.float32).requires_grad_()
    optimiser = torch.optim.Adam([values], lr=0.1)
    first = None
    for _ in range(70):
        optimiser.zero_grad()
        loss = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison)
        loss.backward()
        optimiser.step()
        first = loss.item() if first is None else first
    assert loss.item() < 0.15 * first


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_a_learned_weight_is_bounded_even_where_the_loss_is_none(comparison):
    held = rdm_match(TASK, RdmMatchConfig(weight="learned", comparison=comparison))
    values = features(dtype=torch.float32)
    wanted = rdm(values)
    optimiser = torch.optim.Adam(held.parameters(), lr=0.5)
    for _ in range(80):
        optimiser.zero_grad()
        held(values, wanted).backward()
        optimiser.step()
    assert held.log_variance.item() > -10.7 and held.weight().item() < math.exp(10.7)
    assert dict(held.parameters_as_scores())["variance"] == pytest.approx(math.exp(held.log_variance.item()))


def test_fisher_z_takes_dissimilarities_that_are_1_minus_similarity_only():
    text = r"needs dissimilarities that are 1 - similarity, found 'squared_euclidean'.*Use dissimilarity='correlation'"
    with pytest.raises(ModelError, match=text):
        rdm_loss(features(), target_of("correlation"), dissimilarity="squared_euclidean", comparison="fisher_z")
    with pytest.raises(ModelError, match=text):
        rdm_match(TASK, RdmMatchConfig(dissimilarity="squared_euclidean", comparison="fisher_z"))
    similarities = 1 - target_of("correlation")
    with pytest.raises(ModelError, match=r"needs a target of dissimilarities 1 - similarity, within 0 and 2; found -0"):
        rdm_loss(features(), similarities, comparison="fisher_z")
    objective = rdm_match(TASK, RdmMatchConfig(comparison="fisher_z"))
    for _ in range(2):
        with pytest.raises(ModelError, match="needs a target of dissimilarities"):
            objective.loss(features(), similarities)
    assert objective.loss(features(), target_of("correlation")).isfinite()


def test_fisher_z_moves_apart_what_is_nearly_the_same():
    values = features(dtype=torch.float32)
    values[1] = values[0] + 1e-3 * values[2]  # similarity above the largest that counts
    values.requires_grad_()
    rdm_loss(values[:2], torch.tensor([[0.0, 1.0], [1.0, 0.0]]), comparison="fisher_z").backward()
    assert values.grad[:2].any() and values.grad.isfinite().all()


def test_unbiased_cka_needs_4_stimuli():
    with pytest.raises(ModelError, match="needs 4 stimuli or more, found 3"):
        rdm_loss(features(stimuli=3), target_of("correlation", stimuli=3), comparison="cka")


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("comparison", [name for name in COMPARISONS if name != "cka"])
def test_one_or_two_stimuli_give_finite_numbers(comparison, number):
    values = features(stimuli=number).requires_grad_()
    loss = rdm_loss(values, target_of("correlation", stimuli=7)[:number, :number], comparison=comparison)
    loss.backward()
    assert loss.isfinite() and values.grad.isfinite().all()


@FEW
@given(seed=SEEDS, number=st.integers(1, 40), temperature=st.floats(0.01, 2))
def test_soft_ranks_are_sums_of_sigmoids(seed, number, temperature):
    values = torch.tensor(np.random.default_rng(seed).normal(5, 3, number))
    whole = soft_ranks(values, temperature)
    leaf = values.clone().requires_grad_()
    assert number < 2 or torch.autograd.gradcheck(lambda x: soft_ranks(x, temperature), (leaf,))
    if number > 1:
        np.testing.assert_allclose(whole, naive_soft_ranks(values.numpy(), temperature), atol=1e-9)
        np.testing.assert_allclose(soft_ranks(0.01 * values - 7, temperature), whole, atol=1e-6)
    assert whole.sum().item() == pytest.approx(number * (number + 1) / 2)


@pytest.mark.parametrize(("spread", "error"), [("normal", 1e-6), ("heavy tails", 1e-3), ("equal", 1e-6)])
@pytest.mark.parametrize("number", [2, 300, 3000])
def test_on_a_grid_soft_ranks_and_their_gradients_are_almost_exact(number, spread, error):
    draw = np.random.default_rng(0)
    drawn = {"normal": draw.normal, "heavy tails": lambda size: draw.standard_t(2, size), "equal": np.ones}[spread]
    values = torch.tensor(drawn(size=number) if spread != "equal" else np.ones(number))
    pull = torch.tensor(draw.normal(size=number))
    found = []
    for exact in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(soft_rank_module, "EXACT", exact)
            leaf = values.clone().requires_grad_()
            result = soft_ranks(leaf)
            (result * pull).sum().backward()
            found.append((result.detach(), leaf.grad))
    (ranked, slope), (near, slope_near) = found
    assert ((ranked - near).abs().max() / number).item() < error
    assert (slope - slope_near).norm() <= 5 * error * slope.norm() + 1e-9 and slope_near.isfinite().all()


def test_towards_temperature_0_soft_ranks_are_ranks_and_the_loss_is_spearmans():
    values = torch.tensor([3.0, -1.0, 3.0, 10.0, 4.0])
    assert ranks(values).tolist() == scipy.stats.rankdata(values).tolist() == [2.5, 1, 2.5, 5, 4]
    torch.testing.assert_close(soft_ranks(values, 1e-3), ranks(values))
    d, wanted = features(stimuli=12), target_of("correlation", stimuli=12)
    exact = 1 - scipy.stats.spearmanr(squareform(rdm(d).numpy(), checks=False), squareform(wanted.numpy())).statistic
    assert rdm_loss(d, wanted, comparison="spearman").item() == pytest.approx(exact, abs=0.02)


def test_soft_spearman_of_many_pairs_holds_no_matrix_of_pairs():
    values = features(stimuli=300, units=20, dtype=torch.float32).requires_grad_()  # 44,850 pairs, 8 GB as a matrix
    rdm_loss(values, target_of("correlation", stimuli=300).float(), comparison="spearman").backward()
    assert values.grad.isfinite().all() and values.grad.any()


def test_the_fields_of_the_config_say_what_is_compared_and_old_records_mean_what_they_meant():
    config = RdmMatchConfig(dissimilarity="cosine", comparison="cka")
    expected = rdm_loss(features(), target_of("cosine"), dissimilarity="cosine", comparison="cka").item()
    assert rdm_match(TASK, config).loss(features(), target_of("cosine")).item() == expected
    old = RdmMatchConfig.from_record({"weight": 1.0})
    assert old == RdmMatchConfig() and old.key() == "0061d28c12306761a74fcac968ffab96" != config.key()
    for wrong in ({"dissimilarity": "euclidean"}, {"comparison": "kendall"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RdmMatchConfig(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@EVERY
def test_on_a_gpu_numbers_are_those_of_the_cpu(dissimilarity, comparison):
    values, wanted = features(dtype=torch.float32), target_of(dissimilarity).float()
    expected = rdm_loss(values, wanted, dissimilarity=dissimilarity, comparison=comparison)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = rdm_loss(values.cuda(), wanted.cuda(), dissimilarity=dissimilarity, comparison=comparison)
    assert found.is_cuda and found.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)
