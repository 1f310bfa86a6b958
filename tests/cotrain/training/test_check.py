"""Trying an experiment out says what training would do, finds what would stop it, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from cotrain import build
from cotrain.data import JitterConfig, MixingConfig, MixingLoader
from cotrain.errors import DataError, ModelError, TrainingError
from cotrain.losses._cross_entropy import CrossEntropy
from cotrain.training import MonitorConfig, check, run


def test_the_numbers_are_those_of_the_run(tiny, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = check(tiny())
    assert found.info == finished.info
    assert found.parameters == sum(parameter.numel() for parameter in finished.model.parameters())
    assert (found.device, found.epochs) == ("cpu", 8)
    data = build(tiny().data, seed=0)
    loader = MixingLoader(data.splits["train"], tiny().trainer.mixing, seed=0)
    met = Counter(batch.task for batch in loader)
    assert {task.name: task.batches for task in found.tasks} == met
    assert {task.name: task.batch for task in found.tasks} == {"digits": 128, "simulated_v1": 16, "simulated_rdm": 12}
    assert {task.name: (task.tap,) for task in found.tasks} == finished.model.taps
    for _ in range(7):
        met.update(batch.task for batch in loader)
    assert found.seconds == pytest.approx(sum(met[task.name] * task.seconds for task in found.tasks))
    assert 0 < found.seconds < 60
    assert [*tmp_path.iterdir()] == [], "nothing is written"


def test_the_loss_is_that_of_the_first_batch_before_training(digits):
    (task,) = check(digits()).tasks
    data = build(digits().data, seed=0)
    model = build(digits().model, data.info, seed=0)
    batch = next(iter(MixingLoader(data.splits["train"], digits().trainer.mixing, seed=0)))
    loss = model.objectives["digits"].loss(model(batch.images, "digits"), batch.targets)
    assert task.loss == pytest.approx(loss.item(), rel=1e-6)


def test_checking_twice_gives_the_same_losses_and_leaves_the_callers_randomness_alone(tiny):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [task.loss for task in check(tiny()).tasks]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert [task.loss for task in check(tiny()).tasks] == first


def test_a_task_that_rests_at_first_is_tried_too(tiny):
    mixing = tiny().trainer.mixing.replace(
        ratios=((1, (("simulated_v1", 1.0),)), (5, (("simulated_rdm", 1.0), ("simulated_v1", 1.0))))
    )
    found = check(tiny(mixing=mixing))
    held = {task.name: task for task in found.tasks}
    assert held["simulated_rdm"].batches == 0 and held["simulated_rdm"].batch == 12
    assert 0 < held["simulated_rdm"].loss < 2
    expected = {"digits": 64, "simulated_v1": 64, "simulated_rdm": 32}
    assert found.seconds == pytest.approx(sum(expected[name] * task.seconds for name, task in held.items()))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"monitor": MonitorConfig(tasks=(("objects", 1.0),))}, TrainingError, "monitor names the task 'objects'"),
        ({"mixing": MixingConfig(main="objects")}, DataError, "mixing names the task 'objects', which the data lack"),
        ({"device": "tpu"}, TrainingError, "There is no device 'tpu'"),
        ({"augmentation": (("v4", JitterConfig()),)}, TrainingError, "augmentation names tasks that the data lack: v4"),
    ],
)
def test_what_would_stop_the_run_is_found(changes, error, text, digits, tmp_path):
    for attempt in (check, lambda experiment: run(experiment, out=tmp_path)):
        with pytest.raises(error, match=text):
            attempt(digits(**changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_named(device, digits):
    with pytest.raises(TrainingError, match=f"Device '{device}' was asked for, but torch finds no CUDA GPU here"):
        check(digits(device=device))


def test_a_model_that_does_not_fit_is_found(digits):
    tasks = digits().model.tasks
    with pytest.raises(ModelError, match="The backbone has no tap 'layer9'"):
        check(digits().vary("deep", model={"tasks": (tasks[0].replace(tap="layer9"),)}))


def test_a_loss_that_is_no_number_is_found(digits, monkeypatch):
    monkeypatch.setattr(CrossEntropy, "loss", lambda self, output, target, session="": output.sum() * torch.nan)
    with pytest.raises(TrainingError, match="The loss of task 'digits' is nan in the first batch"):
        check(digits())
