"""Class manifolds beside a classification: trained, scored, stopped and gone on with."""

from __future__ import annotations

import pytest
import torch

from cotrain import build
from cotrain.data import ClassManifoldsConfig, Data, DigitsConfig, MixingConfig
from cotrain.losses import CapacityConfig, CrossEntropyConfig, MmcrConfig
from cotrain.models import LinearHeadConfig, ManifoldHeadConfig, MultiTaskModel, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, RunFolder, TrainerConfig, evaluate

SMALL = SmallCnnConfig(layers=((8, 3, 2), (12, 3, 2)))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Data:
    return build(ClassManifoldsConfig(data=DigitsConfig(size=12), task="digits", name="shapes"), seed=0)


def model(data: Data, objective) -> MultiTaskModel:
    digits = TaskConfig(name="digits", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0))
    shapes = TaskConfig(name="shapes", tap="layer2", head=ManifoldHeadConfig(), objective=objective)
    config = SharedBackboneConfig(backbone=SMALL, batch_norm="shared", tasks=(digits, shapes))
    return build(config, data.info, seed=0)


def trained(data: Data, folder, objective):
    trainer = TrainerConfig(
        mixing=MixingConfig(
            main="digits", ratios=((1, (("shapes", 1.0),)),), batch_size=100, balanced=(("shapes", 10),)
        ),
        epochs=2,
        optimiser=AdamWConfig(lr=0.01),
        device="cpu",
        checkpoint_steps=4,
    )
    run, held = RunFolder(folder), model(data, objective)
    with run.locked():
        return build(trainer).fit(held, data, seed=0, folder=run).scores, held


@pytest.mark.parametrize("objective", [CapacityConfig(draws=20), MmcrConfig(weight="learned", compactness=0.01)])
def test_training_lowers_the_loss_and_raises_the_capacity(objective, data, tmp_path):
    scores, _ = trained(data, tmp_path, objective)
    held = {(s.epoch, s.split, s.metric): s.value for s in scores if s.task == "shapes"}
    assert held[2, "validation", "capacity"] > 1.2 * held[0, "validation", "capacity"]
    assert held[2, "validation", "loss"] < held[0, "validation", "loss"]
    assert held[2, "test", "capacity"] > held[0, "validation", "capacity"]


def test_training_that_is_stopped_goes_on_with_the_directions_that_were_next(data, tmp_path, monkeypatch):
    from cotrain.training._state import TrainingState

    objective = CapacityConfig(draws=10)
    whole, model_of_whole = trained(data, tmp_path / "whole", objective)
    steps, step = [], TrainingState.optimiser_step

    def stopping(self, seen):
        steps.append(self.step)
        if len(steps) == 7:
            raise KeyboardInterrupt
        step(self, seen)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "optimiser_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained(data, tmp_path / "parts", objective)
    parts, model_of_parts = trained(data, tmp_path / "parts", objective)
    assert parts == whole
    for name, value in model_of_whole.state_dict().items():
        assert torch.equal(model_of_parts.state_dict()[name], value), name


@pytest.mark.parametrize("training", [True, False])
def test_scores_are_the_same_each_time_and_draw_nothing(training, data):
    held = model(data, CapacityConfig()).train(training)
    state = torch.get_rng_state()
    first, second = (evaluate(held, "test", data.splits["test"], epoch=0, device=CPU) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert {module.training for module in held.modules()} == {training}
