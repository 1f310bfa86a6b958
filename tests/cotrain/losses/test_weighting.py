"""Weights of the tasks' gradients: against the published formulas, TorchJD's own numbers, and brute force."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from cotrain.errors import TrainingError
from cotrain.losses import (
    CrossEntropyConfig,
    DynamicWeightAverageConfig,
    GeometricMeanConfig,
    GradientAggregationConfig,
    GradNormConfig,
    NashBargainingConfig,
    RandomWeightsConfig,
    ZeroInflatedGammaConfig,
    require_comparable_losses,
)
from cotrain.losses._aggregation import DEFAULTS, aggregation_methods, dual_cone_projection, nash_weights
from cotrain.resolve import build
from cotrain.tasks import SessionInfo, TaskInfo

TASKS = ("objects", "v4", "it")
CLASSES = TaskInfo("classification", (1, 8, 8), (0.5,), (0.2,), class_names=("a", "b"))
NEURONS = TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions={"": SessionInfo(2, (1.0, 1.0), 0.0, {"train": 9})})

torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")


def gramian(tasks: int, seed: int, *, conflict: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, 30, generator=generator, dtype=torch.float64)
    rows[1:] -= conflict * rows[0]
    rows *= torch.logspace(0, 1, tasks, dtype=torch.float64)[:, None]
    return rows @ rows.T


def weights(weighting, losses, matrix=None, present=None):
    present = list(range(len(losses))) if present is None else present
    matrix = gramian(len(losses), 0) if matrix is None else matrix
    return weighting.weights(present, torch.tensor(losses, dtype=torch.float64), matrix)


def test_random_weights_have_mean_one_and_come_from_the_global_generator():
    weighting = build(RandomWeightsConfig(), TASKS)
    torch.manual_seed(0)
    first, second = weights(weighting, [1.0] * 3), weights(weighting, [1.0] * 3)
    torch.manual_seed(0)
    assert torch.equal(weights(weighting, [1.0] * 3), first) and not torch.equal(first, second)
    assert first.mean() == pytest.approx(1) and (first > 0).all()


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_geometric_mean_is_the_derivative_of_the_geometric_mean(values):
    losses = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    losses.log().mean().exp().backward()
    found = weights(build(GeometricMeanConfig(), TASKS), values)
    torch.testing.assert_close(found, losses.grad, rtol=0.05, atol=0)  # a small number is added to losses below it


def test_dynamic_weight_average_by_its_formula():
    weighting = build(DynamicWeightAverageConfig(temperature=0.5), TASKS)
    assert weights(weighting, [1.0] * 3).tolist() == [1, 1, 1]
    weighting.end_epoch({"objects": 2.0, "v4": 1.0, "it": 0.5})
    assert weights(weighting, [1.0] * 3).tolist() == [1, 1, 1]
    weighting.end_epoch({"objects": 1.0, "v4": 0.9})  # it rested
    expected = np.exp(np.array([0.5, 0.9, 1.0]) / 0.5)
    np.testing.assert_allclose(weights(weighting, [1.0] * 3), 3 * expected / expected.sum(), rtol=1e-3)
    np.testing.assert_allclose(
        weights(weighting, [1.0] * 2, present=[0, 2]), (3 * expected / expected.sum())[[0, 2]], rtol=1e-3
    )
    other = build(DynamicWeightAverageConfig(temperature=0.5), TASKS)
    other.load_state_dict(weighting.state_dict())
    assert torch.equal(weights(other, [1.0] * 3), weights(weighting, [1.0] * 3))


def test_gradnorm_brings_norms_to_the_pace_of_learning():
    """With gradients of norms 1 and 10 and equal pace, weighted norms become equal; one that lags is pulled up."""
    matrix = torch.diag(torch.tensor([1.0, 100.0], dtype=torch.float64))
    weighting = build(GradNormConfig(), TASKS[:2])
    for _ in range(3000):
        found = weights(weighting, [1.0, 1.0], matrix)
    assert float(found[0] / found[1]) == pytest.approx(10, rel=0.1) and float(found.sum()) == pytest.approx(2)
    for _ in range(3000):
        found = weights(weighting, [1.0, 0.25], matrix)
    pace = (1 / 0.25) ** 1.5
    assert float(found[0] / (10 * found[1])) == pytest.approx(pace, rel=0.1)


def test_gradnorm_goes_on_where_it_stood():
    weighting, other = build(GradNormConfig(), TASKS), build(GradNormConfig(), TASKS)
    for step in range(5):
        weights(weighting, [1.0, 2.0, 3.0 - step / 2])
    other.load_state_dict(weighting.state_dict())
    for losses in ([0.5, 1.0, 1.0], [0.4, 1.0, 2.0]):
        assert torch.equal(weights(weighting, losses), weights(other, losses))


def test_gradnorm_leaves_tasks_that_rest():
    weighting = build(GradNormConfig(), TASKS)
    weights(weighting, [1.0, 1.0], present=[0, 2], matrix=gramian(2, 1))
    assert weighting.weight[1] == 1 and math.isnan(weighting.first_loss[1])


@settings(max_examples=50)
@given(tasks=st.integers(2, 5), seed=st.integers(0, 10**6), conflict=st.floats(0, 3))
def test_nash_weights_solve_the_bargaining(tasks, seed, conflict):
    matrix = gramian(tasks, seed, conflict=conflict).numpy()
    found = nash_weights(matrix)
    gain = found * (matrix @ found)  # each task gains in the same proportion
    assert (found > 0).all() and found.mean() == pytest.approx(1)
    np.testing.assert_allclose(gain, gain.mean(), rtol=1e-4)


def test_nash_weights_do_not_depend_on_units():
    matrix = gramian(3, 4, conflict=1).numpy()
    unit = np.array([1e-3, 1.0, 1e4])
    found, scaled = nash_weights(matrix), nash_weights(matrix * np.outer(unit, unit))
    ratio = found / unit
    np.testing.assert_allclose(scaled, 3 * ratio / ratio.sum(), rtol=1e-6)
    assert nash_weights(np.zeros((2, 2))).tolist() == nash_weights(np.diag([4.0, 0.0])).tolist() == [1, 1]
    assert np.isfinite(nash_weights(np.array([[1.0, -1.0], [-1.0, 1.0]]))).all()


@settings(max_examples=30, deadline=None)
@given(tasks=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_the_projection_onto_the_dual_cone_is_the_smallest(tasks, seed):
    matrix = gramian(tasks, seed, conflict=1.5)
    matrix = matrix / matrix.trace()
    wanted = torch.eye(tasks, dtype=torch.float64)
    for row, found in zip(wanted.numpy(), dual_cone_projection(wanted, matrix).numpy(), strict=True):
        best = minimize(
            lambda v: v @ matrix.numpy() @ v,
            row,
            jac=lambda v: 2 * matrix.numpy() @ v,
            bounds=[(low, None) for low in row],
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        assert (found >= row - 1e-12).all()
        assert found @ matrix.numpy() @ found <= best.fun + 1e-9


@pytest.mark.parametrize("method", aggregation_methods(torchjd))
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_every_method_gives_the_numbers_of_torchjd(method, tasks):
    """By the way of a Jacobian, which we never make."""
    options = DEFAULTS.get(method, {})
    names = [str(task) for task in range(tasks)]
    try:
        aggregator = getattr(torchjd, method)(**options) if method not in ("UPGrad", "DualProj") else None
        weighting = build(GradientAggregationConfig(method=method, options=tuple(options.items())), names)
    except (ImportError, TrainingError) as error:
        pytest.skip(str(error))
    if aggregator is None:
        aggregator = getattr(torchjd, method)(projector=dual_cone_projection)
    for seed in range(3):
        jacobian = torch.randn(tasks, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        torch.manual_seed(seed)
        expected = aggregator(jacobian)
        torch.manual_seed(seed)
        found = weights(weighting, [1.0] * tasks, jacobian @ jacobian.T)
        torch.testing.assert_close(found.to(jacobian) @ jacobian, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", aggregation_methods(torchjd))
def test_every_method_goes_on_where_it_stood(method, tmp_path):
    config = GradientAggregationConfig(method=method)
    try:
        weighting, other = build(config, TASKS), build(config, TASKS)
    except TrainingError as error:
        pytest.skip(str(error))
    for seed in range(4):
        present = [0, 1, 2] if seed % 2 else [0, 2]
        weights(weighting, [1.0] * len(present), gramian(len(present), seed, conflict=1), present)
    torch.save(weighting.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for seed in range(4, 8):
        present = [0, 1, 2] if seed % 2 else [0, 2]
        found = []
        for held in (weighting, other):
            torch.manual_seed(seed)
            found.append(weights(held, [1.0] * len(present), gramian(len(present), seed, conflict=1), present))
        assert torch.equal(*found) and found[0].isfinite().all()


def test_pcgrad_of_gradients_that_agree_is_their_sum():
    weighting = build(GradientAggregationConfig(method="PCGrad"), TASKS)
    assert weights(weighting, [1.0] * 3, torch.ones(3, 3, dtype=torch.float64) + torch.eye(3)).tolist() == [1, 1, 1]
    assert weights(weighting, [1.0], torch.ones(1, 1, dtype=torch.float64), [1]).tolist() == [1], "a task alone"


def test_errors_say_what_there_is():
    with pytest.raises(TrainingError, match=r"no method 'PCgrad'.*Did you mean 'PCGrad'"):
        build(GradientAggregationConfig(method="PCgrad"), TASKS)
    with pytest.raises(TrainingError, match=r"MGDA has no option c; it has epsilon, max_iters"):
        build(GradientAggregationConfig(method="MGDA", options=(("c", 1.0),)), TASKS)
    with pytest.raises(TrainingError, match="CAGrad cannot be used: "):  # CVXPY is missing, or c is below 0
        build(GradientAggregationConfig(method="CAGrad", options=(("c", -1.0),)), TASKS)


def test_without_torchjd_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(TrainingError, match=r"pip install 'cotrain\[weighting\]'"):
        build(GradientAggregationConfig(), TASKS)


def test_losses_that_cannot_be_compared_are_refused():
    learned = {"objects": build(CrossEntropyConfig(), CLASSES)}
    negative = {"v4": build(ZeroInflatedGammaConfig(), NEURONS)}
    for config in (GeometricMeanConfig(), GradNormConfig(), DynamicWeightAverageConfig()):
        with pytest.raises(TrainingError, match=r"'objects' learns one.*weight=1.0"):
            require_comparable_losses(build(config, TASKS), learned)
        with pytest.raises(TrainingError, match=r"'v4'.*may be negative"):
            require_comparable_losses(build(config, TASKS), negative)
    for config in (NashBargainingConfig(), RandomWeightsConfig()):
        require_comparable_losses(build(config, TASKS), {**learned, **negative})
