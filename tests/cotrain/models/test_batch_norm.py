"""Each task is normalised by statistics of its own, in training and in evaluation alike; gains are shared."""

import copy

import pytest
import torch
from torch import nn

from cotrain import build
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.models._batch_norm import FrozenBatchNorm, TaskBatchNorm, activate, freeze_norms, per_task, task_norms
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo

TASKS = ("objects", "v1")


def network():
    """Two batch norms at different depths."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.BatchNorm2d(4))


def split():
    """The same network with statistics a task."""
    built = network()
    per_task(built, TASKS)
    return built


def images(brightness=0.0, contrast=1.0, number=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return brightness + contrast * torch.randn(number, 1, 8, 8, generator=generator)


SEEN = {"objects": images(), "v1": images(3.0, 0.2, seed=1)}


def test_every_batch_norm_is_replaced_and_keeps_its_gain_and_bias():
    plain, held = network(), split()
    assert not [module for module in held.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len([module for module in held.modules() if isinstance(module, TaskBatchNorm)]) == 2
    assert {key: value.shape for key, value in held.named_parameters()} == {
        key: value.shape for key, value in plain.named_parameters()
    }


@pytest.mark.parametrize("task", TASKS)
def test_for_one_task_it_is_the_batch_norm_that_it_stands_for(task):
    plain, held = network(), split()
    activate(task_norms(held), task)
    for seed in range(3):
        batch = images(1.0, 2.0, seed=seed)
        torch.testing.assert_close(held(batch), plain(batch), rtol=0, atol=0)
    torch.testing.assert_close(held.eval()(images()), plain.eval()(images()), rtol=0, atol=0)
    assert torch.equal(held[2].get_buffer(f"mean_{task}"), plain[2].running_mean)
    assert torch.equal(held[2].get_buffer(f"variance_{task}"), plain[2].running_var)


def test_the_statistics_of_other_tasks_stay():
    held = split()
    activate(task_norms(held), "v1")
    held(SEEN["v1"])
    norm = held[1][0]
    assert torch.equal(norm.mean_objects, torch.zeros(4)) and torch.equal(norm.variance_objects, torch.ones(4))
    assert (norm.mean_v1 != 0).all()


def test_alternating_tasks_are_evaluated_as_they_were_trained_where_a_shared_norm_is_not():
    def gap(built, task):
        """How far evaluation is from training, of the last training batch."""
        activate(task_norms(built), task)
        return (built.eval()(SEEN[task]) - copy.deepcopy(built).train()(SEEN[task])).abs().max().item()

    own, shared = split(), network()
    for _ in range(100):
        for task in TASKS:
            activate(task_norms(own), task)
            own(SEEN[task])
            shared(SEEN[task])
    assert max(gap(own, task) for task in TASKS) < 0.02
    assert max(gap(shared, task) for task in TASKS) > 0.5


def test_both_tasks_teach_the_shared_gain_in_one_backward():
    held, total = split(), torch.zeros(())
    for task in TASKS:
        activate(task_norms(held), task)
        total = total + held(SEEN[task]).square().mean()
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in held.parameters())
    assert (held[2].weight.grad != 0).all()


def test_the_statistics_are_in_the_state():
    held, other = split(), split()
    for task in TASKS:
        activate(task_norms(held), task)
        held(SEEN[task])
    other.load_state_dict(held.state_dict())
    for task in TASKS:
        activate(task_norms(held.eval()), task)
        activate(task_norms(other.eval()), task)
        assert torch.equal(held(SEEN[task]), other(SEEN[task]))


def test_a_network_without_batch_norm_is_left_as_it_is():
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    per_task(plain, TASKS)
    activate(task_norms(plain), "v1")
    assert [type(module) for module in plain] == [nn.Conv2d, nn.ReLU]


def test_a_state_loads_by_the_names_of_tasks_not_by_their_order():
    held, other = split(), split()
    activate(task_norms(held), "v1")
    held(SEEN["v1"])
    per_task(swapped := network(), TASKS[::-1])
    swapped.load_state_dict(held.state_dict())
    for built in (held, swapped):
        activate(task_norms(built), "v1")
    assert torch.equal(held.eval()(images()), swapped.eval()(images()))
    assert not torch.equal(held.eval()(images()), other.eval()(images()))


def model(batch_norm, names=TASKS):
    """A co-trained model of two classifications."""
    task = TaskInfo("classification", (1, 8, 8), (0.5,), (0.25,), ("a", "b"), {"": SessionInfo(0, (), 0.0, {})})
    heads = {"tap": "layer2", "head": LinearHeadConfig(), "objective": CrossEntropyConfig()}
    tasks = tuple(TaskConfig(name=name, **heads) for name in names)
    backbone = SmallCnnConfig(layers=((4, 3, 1), (5, 3, 1)))
    config = SharedBackboneConfig(backbone=backbone, tasks=tasks, batch_norm=batch_norm)
    return build(config, DataInfo(dict.fromkeys(names, task), "0" * 32), seed=0)


def norms(built, kind):
    return [module for module in built.backbone.modules() if isinstance(module, kind)]


def test_a_model_has_statistics_a_task_unless_they_are_shared():
    assert SharedBackboneConfig.model_fields["batch_norm"].default == "per_task"
    own, shared = model("per_task"), model("shared")
    assert (len(norms(own, TaskBatchNorm)), len(norms(own, nn.BatchNorm2d))) == (2, 0)
    assert (len(norms(shared, TaskBatchNorm)), len(norms(shared, nn.BatchNorm2d))) == (0, 2)
    assert {name for name, _ in own.named_parameters()} == {name for name, _ in shared.named_parameters()}


@pytest.mark.parametrize("train_last", TASKS)
def test_a_model_answers_each_task_by_its_own_statistics_whichever_was_seen_last(train_last):
    pixels = {"objects": images(0.4, 0.1), "v1": images(0.8, 0.02, seed=1)}
    built = model("per_task")
    for _ in range(100):
        for task in sorted(TASKS, key=lambda name: name == train_last):
            built(pixels[task], task)
    trained = {task: copy.deepcopy(built)(pixels[task], task) for task in TASKS}
    built.eval()
    for task in TASKS:
        torch.testing.assert_close(built(pixels[task], task), trained[task], rtol=0.05, atol=0.02)
        together = built.together(pixels[task], [(task, ""), *((other, "") for other in TASKS if other != task)])
        assert torch.equal(together[task, ""], built(pixels[task], task)), "images of the first task, its statistics"


def test_alone_or_beside_others_a_task_is_normalised_alike():
    single, both = model("per_task", ("v1",)), model("per_task")
    both.heads["v1"].load_state_dict(single.heads["v1"].state_dict())
    for _ in range(3):
        both(SEEN["objects"].sigmoid(), "objects")
        torch.testing.assert_close(both(SEEN["v1"].sigmoid(), "v1"), single(SEEN["v1"].sigmoid(), "v1"), rtol=0, atol=0)
    single.eval(), both.eval()
    assert torch.equal(both(SEEN["v1"].sigmoid(), "v1"), single(SEEN["v1"].sigmoid(), "v1"))


def test_a_frozen_norm_answers_in_training_as_in_evaluation_and_never_changes():
    plain = network()
    for seed in range(3):
        plain(images(1.0, 2.0, seed=seed))
    frozen = copy.deepcopy(plain)
    freeze_norms(frozen)
    assert list(frozen.state_dict()) == list(plain.state_dict())
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    trained = frozen.train()(images(3.0))
    torch.testing.assert_close(trained, plain.eval()(images(3.0)), rtol=0, atol=0)
    trained.square().mean().backward()
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
    learning = {key for key, parameter in frozen.named_parameters() if parameter.requires_grad}
    assert learning == {"0.weight", "0.bias"} and frozen[0].weight.grad is not None
    assert frozen.training and not frozen[2].training


def test_a_frozen_norm_loads_statistics_and_copies():
    frozen, other = network(), network()
    other(images(2.0))
    freeze_norms(frozen)
    frozen.load_state_dict(other.state_dict())
    copied = copy.deepcopy(frozen).train()
    assert torch.equal(copied(images()), other.eval()(images()))
    assert isinstance(copied[2], FrozenBatchNorm)


def test_a_model_with_frozen_norms_keeps_them_for_all_tasks():
    built = model("frozen").train()
    assert len(norms(built, FrozenBatchNorm)) == len(norms(built, nn.BatchNorm2d)) == 2
    assert built.state_dict().keys() == model("shared").state_dict().keys()
    before = {key: value.clone() for key, value in built.backbone.state_dict().items()}
    for task in TASKS:
        built(images(0.4, 0.1), task).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in built.backbone.state_dict().items())
    fixed = {key for key, parameter in built.named_parameters() if not parameter.requires_grad}
    assert fixed == {f"backbone.layer{layer}.1.{name}" for layer in (1, 2) for name in ("weight", "bias")}
