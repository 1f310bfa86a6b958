"""Gradients of tasks kept apart: their sum is the plain gradient, their products are logged, and runs go on exactly."""

from __future__ import annotations

import math

import pytest
import torch

from cotrain import run
from cotrain.errors import TrainingError
from cotrain.losses import (
    CrossEntropyConfig,
    DynamicWeightAverageConfig,
    GeometricMeanConfig,
    GradientAggregationConfig,
    GradNormConfig,
    NashBargainingConfig,
    QuasiPoissonConfig,
    RandomWeightsConfig,
    RdmMatchConfig,
    Weighting,
)
from cotrain.training import AdamWConfig, CosineConfig, RunFolder
from cotrain.training._state import TrainingState
from cotrain.training._task_gradients import TaskGradients

WEIGHTINGS = (
    GradNormConfig(),  # learns weights
    GradientAggregationConfig(method="PCGrad"),  # draws an order
    GradientAggregationConfig(method="GradVac"),  # remembers cosines
)
MORE_WEIGHTINGS = (
    RandomWeightsConfig(),
    GeometricMeanConfig(),
    DynamicWeightAverageConfig(),
    NashBargainingConfig(),
    GradientAggregationConfig(method="PCD"),
    GradientAggregationConfig(method="UPGrad"),
)


class Fixed(Weighting):
    """Weights that a test gives."""

    def __init__(self, tasks, values):
        super().__init__(tasks)
        self.values, self.seen = torch.tensor(values, dtype=torch.float64), []

    def weights(self, present, losses, gramian):
        self.seen.append((list(present), losses.clone(), gramian.clone()))
        return self.values[list(present)]


def fixed_weights(tiny, **trainer):
    """The tiny experiment, its objectives with fixed weights."""
    held = tiny(**trainer)
    objectives = (CrossEntropyConfig(weight=1.0), QuasiPoissonConfig(weight=0.5), RdmMatchConfig(weight=1.0))
    tasks = zip(held.model.tasks, objectives, strict=True)
    return held.vary("tiny", model={"tasks": tuple(task.replace(objective=objective) for task, objective in tasks)})


def one_group(experiment, folder):
    """(a training state of the experiment, the batches of its first optimiser step)."""
    from cotrain.resolve import build

    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).train()
    state = TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))
    batches = []
    for batch in state.loader:
        batches.append(batch)
        if batch.step_ends and len({b.task for b in batches}) == 3:
            return state, batches
    raise AssertionError


def plain_gradients(state, batches):
    """{task: [gradient of each backbone parameter]} by a naive loop."""
    model, found = state.model, {}
    shared = list(model.backbone.parameters())
    for task in dict.fromkeys(batch.task for batch in batches):
        model.zero_grad()
        for batch in batches:
            if batch.task == task:
                torch.manual_seed(0)  # places of readouts are drawn
                objective = model.objectives[task]
                output = model(batch.images, task, batch.session)
                objective(output, batch.targets, batch.session).backward()
        found[task] = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in shared]
    model.zero_grad()
    return found


@pytest.fixture
def group(tiny, tmp_path):
    return one_group(fixed_weights(tiny, augmentation=(), gradient_scores=True), tmp_path)


def test_the_backbone_gets_the_weighted_sum_and_heads_their_own(group):
    state, batches = group
    expected = plain_gradients(state, batches)
    values = [1.0, 0.5, -2.0]
    gradients = state.gradients = TaskGradients(
        state.model.backbone.parameters(), state.gradients.tasks, Fixed(state.gradients.tasks, values)
    )
    for _ in range(2):  # the first batch of a task finds out which weights it reaches, later ones know it
        state.model.zero_grad()
        for task in gradients.tasks:
            for batch in batches:
                if batch.task == task:
                    torch.manual_seed(0)
                    state.micro_step(batch)
        gradients.join()
        for place, parameter in enumerate(state.model.backbone.parameters()):
            total = sum(value * expected[task][place] for value, task in zip(values, gradients.tasks, strict=True))
            torch.testing.assert_close(parameter.grad, total, rtol=1e-4, atol=1e-6)
    head = state.model.heads["digits"].linear.weight.grad
    assert head is not None and head.abs().sum() > 0
    _, _, gramian = gradients.weighting.seen[-1]
    flat = [torch.cat([g.flatten() for g in expected[task]]).double() for task in gradients.tasks]
    torch.testing.assert_close(gramian, torch.stack(flat) @ torch.stack(flat).T, rtol=1e-4, atol=1e-8)


def test_weights_behind_every_tap_of_a_step_stay_as_they_are(group):
    """A step with tasks that read an early layer only must not move later ones by momentum or decay."""
    state, batches = group
    for batch in batches:
        if batch.task != "digits":
            state.micro_step(batch)
    state.gradients.join()
    grads = {name: p.grad for name, p in state.model.backbone.named_parameters()}
    assert grads["layer1.0.weight"] is not None and grads["layer2.0.weight"] is None


def test_scores_are_the_means_over_steps_of_cosines_and_norms(group):
    state, _ = group
    tasks = state.gradients.tasks
    gradients = TaskGradients(state.model.backbone.parameters(), tasks, Fixed(tasks, [1.0, 3.0, 1.0]))
    rows = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 2.0]])
    for present in ([0, 1, 2], [0, 1]):
        gradients._count(present, gradients.weighting.values[present], (rows @ rows.T)[present][:, present].double())
    found = {(task, metric): value for task, metric, value in gradients.end_epoch({}, pairs=True)}
    main, second, third = tasks
    assert found[main, "gradient_norm"] == pytest.approx(5) and found[third, "gradient_norm"] == pytest.approx(2)
    assert found[second, "gradient_weight"] == pytest.approx(3)
    assert found[second, f"gradient_cosine:{main}"] == pytest.approx(24 / 25)
    assert found[third, f"gradient_norm_ratio:{main}"] == pytest.approx(0.4)
    assert (main, f"gradient_cosine:{third}") not in found, "each pair once"
    assert gradients.end_epoch({}, pairs=True) == [], "counted anew"


def test_scores_alone_change_nothing_but_rounding(finished, tiny, tmp_path):
    scored = run(tiny(gradient_scores=True, epochs=1, schedule=CosineConfig()), out=tmp_path / "a")
    plain = run(tiny(epochs=1, schedule=CosineConfig()), out=tmp_path / "b")
    merged = scored.scores.merge(plain.scores, on=["epoch", "task", "session", "split", "metric"])
    assert len(merged) == len(plain.scores)
    assert (merged.value_x - merged.value_y).abs().max() < 0.02
    new = scored.scores[scored.scores.metric.str.startswith("gradient_")]
    assert set(new.metric) == {
        "gradient_norm",
        "gradient_cosine:digits",
        "gradient_norm_ratio:digits",
        "gradient_cosine:simulated_v1",
        "gradient_norm_ratio:simulated_v1",
    }
    assert all(math.isfinite(value) for value in new.value)
    cosines = new[new.metric.str.startswith("gradient_cosine")].value
    assert cosines.between(-1, 1).all()


@pytest.mark.parametrize(
    "weighting",
    [*WEIGHTINGS, *(pytest.param(config, marks=pytest.mark.slow) for config in MORE_WEIGHTINGS)],
    ids=lambda config: getattr(config, "method", type(config).__name__),
)
def test_interrupted_equals_uninterrupted(weighting, tiny, tmp_path, pull_plug, assert_same_run):
    if isinstance(weighting, GradientAggregationConfig):
        pytest.importorskip("torchjd")
    experiment = fixed_weights(tiny, weighting=weighting, epochs=4, gradient_scores=True)
    run(experiment, out=tmp_path / "whole")
    for after in (7, 20, 31):
        pull_plug(experiment, tmp_path / "broken", after=after)
    run(experiment, out=tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("weighting", WEIGHTINGS + MORE_WEIGHTINGS)
def test_a_loss_that_is_lost_is_told_as_ever(weighting, tiny, tmp_path):
    """Not as the failure of a solver that met numbers which are not finite."""
    if isinstance(weighting, GradientAggregationConfig):
        pytest.importorskip("torchjd")
    experiment = fixed_weights(tiny, weighting=weighting, optimiser=AdamWConfig(lr=1e30), clip_norm=None)
    with pytest.raises(TrainingError, match="is not finite in epoch 1"):
        run(experiment, out=tmp_path)


def test_a_weighting_that_cannot_work_is_refused_before_training(tiny, tmp_path):
    with pytest.raises(TrainingError, match="nothing for the trainer's field 'weighting'"):
        run(tiny(weighting=CosineConfig()), out=tmp_path / "a")
    with pytest.raises(TrainingError, match="learns one"):
        run(tiny(weighting=GradNormConfig()), out=tmp_path / "b")
    frozen = [torch.nn.Parameter(torch.ones(2), requires_grad=False)]
    with pytest.raises(TrainingError, match="backbone is frozen"):
        TaskGradients(frozen, ["a"], None)
