"""The RDM loss is 1 - Pearson of correlation distances, and its gradient is finite where geometry is not defined."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr

from cotrain.dissimilarity import pairs, rdm
from cotrain.errors import ModelError
from cotrain.losses import RdmMatchConfig, rdm_loss, rdm_match
from cotrain.tasks import TaskInfo

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def features(seed=0, stimuli=7, units=12, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).normal(0, 1, (stimuli, units))).to(dtype)


def target(seed=100, stimuli=7, dtype=torch.float64):
    return torch.tensor(squareform(pdist(np.random.default_rng(seed).normal(0, 1, (stimuli, 5))))).to(dtype)


def gradient(values, wanted):
    """(loss, its gradient)."""
    values = values.clone().requires_grad_()
    loss = rdm_loss(values, wanted)
    loss.backward()
    return loss.item(), values.grad


def rotation_that_keeps_the_mean(units, seed=0):
    """An orthogonal matrix that maps the vector of ones to itself."""
    basis, _ = np.linalg.qr(np.c_[np.ones(units), np.random.default_rng(seed).normal(size=(units, units - 1))])
    inside, _ = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(units - 1, units - 1)))
    middle = np.eye(units)
    middle[1:, 1:] = inside
    return torch.tensor(basis @ middle @ basis.T)


@FEW
@given(seed=SEEDS)
def test_the_loss_is_that_of_scipy(seed):
    values, wanted = features(seed), target(seed + 1)
    upper = wanted.numpy()[np.triu_indices(7, 1)]
    expected = 1 - pearsonr(pdist(values.numpy(), "correlation"), upper).statistic
    assert rdm_loss(values, wanted).item() == pytest.approx(expected, abs=1e-10)


def test_an_rdm_is_that_of_scipy():
    found, expected = rdm(features()), squareform(pdist(features().numpy(), "correlation"))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(pairs(found).numpy(), squareform(expected), atol=1e-12)


@FEW
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), level=st.floats(-1e3, 1e3))
def test_equal_geometry_costs_nothing_whatever_level_and_scale_of_the_target(seed, scale, level):
    wanted = scale * rdm(features(seed)) + level
    assert rdm_loss(features(seed), wanted).item() == pytest.approx(0, abs=1e-6)
    assert rdm_loss(features(seed), -wanted).item() == pytest.approx(2, abs=1e-6)


def test_the_diagonal_of_the_target_is_not_looked_at():
    wanted = target()
    assert rdm_loss(features(), wanted) == rdm_loss(features(), wanted.fill_diagonal_(1e6))


@FEW
@given(seed=SEEDS)
def test_scale_and_level_of_each_stimulus_and_the_order_of_units_do_not_matter(seed):
    values, wanted, rng = features(seed), target(), np.random.default_rng(seed)
    loss = rdm_loss(values, wanted).item()
    scale, level = torch.tensor(rng.gamma(2, 1, (7, 1)) + 0.1), torch.tensor(rng.normal(0, 5, (7, 1)))
    assert rdm_loss(scale * values + level, wanted).item() == pytest.approx(loss, abs=1e-9)
    assert rdm_loss(values[:, rng.permutation(12)], wanted).item() == pytest.approx(loss, abs=1e-9)
    order = rng.permutation(7)
    assert rdm_loss(values[order], wanted[order][:, order]).item() == pytest.approx(loss, abs=1e-9)


def test_only_rotations_that_keep_the_mean_over_units_keep_the_geometry():
    values, wanted = features(), target()
    keeps = rotation_that_keeps_the_mean(12)
    torch.testing.assert_close(keeps @ keeps.T, torch.eye(12, dtype=torch.float64))
    loss = rdm_loss(values, wanted).item()
    assert rdm_loss(values @ keeps, wanted).item() == pytest.approx(loss, abs=1e-9)
    other = torch.tensor(np.linalg.qr(np.random.default_rng(5).normal(size=(12, 12)))[0])
    assert abs(rdm_loss(values @ other, wanted).item() - loss) > 1e-3
    assert abs(rdm_loss(values * torch.linspace(0.1, 3, 12), wanted).item() - loss) > 1e-3  # nor unit by unit


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(seed):
    wanted = target(seed)
    assert torch.autograd.gradcheck(lambda values: rdm_loss(values, wanted), (features(seed).requires_grad_(),))


@pytest.mark.parametrize("constant", [0.0, 0.3, -7.1, 1e4])
@pytest.mark.parametrize("units", [3, 64, 1001])
def test_a_stimulus_with_equal_features_is_at_distance_1_and_has_no_gradient(constant, units):
    values, wanted = features(units=units, dtype=torch.float32), target(dtype=torch.float32)
    values[2] = constant
    values[5] = 2 * constant
    others = [0, 1, 3, 4, 6]
    torch.testing.assert_close(rdm(values)[2, others], torch.ones(5))
    assert rdm(values)[2, 5] == 1
    loss, found = gradient(values, wanted)
    assert 0 <= loss <= 2
    assert (found[[2, 5]] == 0).all() and found.isfinite().all()
    assert 0 < found[others].abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_image_twice_gives_finite_numbers(dtype):
    values, wanted = features(dtype=dtype), target(dtype=dtype)
    values[3] = values[1]
    assert 0 <= rdm(values)[1, 3] < 1e-6
    loss, found = gradient(values, wanted)
    assert 0 <= loss <= 2 and found.isfinite().all() and found.abs().max() < 10


@pytest.mark.parametrize("kind", ["all equal features", "all images alike", "constant target", "two stimuli"])
def test_without_any_geometry_the_loss_is_1_and_the_gradient_is_finite(kind):
    values, wanted = features(units=100, dtype=torch.float32), target(dtype=torch.float32)
    if kind == "all equal features":
        values = values[:, :1].expand(-1, 100)
    elif kind == "all images alike":
        values = torch.tensor([[0.0, 1.0, 0.0, 1.0]]).expand(7, -1)
    elif kind == "constant target":
        wanted = torch.full((7, 7), 0.7)
    else:
        values, wanted = values[:2], wanted[:2, :2]
    loss, found = gradient(values, wanted)
    assert loss == pytest.approx(1, abs=1e-4)
    assert found.isfinite().all() and found.abs().max() < 10


def test_many_units_with_a_large_common_level_keep_their_geometry_in_float32():
    values = features(units=2000)
    exact = rdm(values)
    torch.testing.assert_close(rdm((values + 30).float()).double(), exact, atol=1e-4, rtol=0)
    assert (rdm(values.float() * 1e-6).double() - exact).abs().max() < 1e-5


def test_descending_the_loss_reaches_the_target_geometry():
    wanted = rdm(features(seed=9, dtype=torch.float32))
    values = features(dtype=torch.float32).requires_grad_()
    optimiser = torch.optim.Adam([values], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        rdm_loss(values, wanted).backward()
        optimiser.step()
    assert rdm_loss(values, wanted).item() < 0.01


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ({"dissimilarity": "euclidean"}, "squared_euclidean"),
        ({"comparison": "kendall"}, "expected one of pearson, cosine, mse"),
        ({"comparison": "Pearson"}, "Did you mean 'pearson'"),
    ],
)
def test_other_names_are_refused(wrong, near):
    ((what, name),) = wrong.items()
    with pytest.raises(ModelError, match=f"There is no {what} '{name}'.*{near}"):
        rdm_loss(features(), target(), **wrong)


def test_the_objective_of_an_rdm_task_is_this_loss():
    info = TaskInfo("rdm", (1, 8, 8), (0.5,), (0.2,))
    held = rdm_match(info, RdmMatchConfig(weight=0.5))
    assert held(features(), target()).item() == pytest.approx(0.5 * rdm_loss(features(), target()).item())
    with pytest.raises(ModelError, match=r"cotrain.losses.rdm_match is for rdm tasks, this one is of kind neural"):
        rdm_match(TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,)), RdmMatchConfig())
