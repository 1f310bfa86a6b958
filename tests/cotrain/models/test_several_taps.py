"""A task that reads several layers: how it is written, what it is answered, and what is refused."""

import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.losses import CrossEntropyConfig, RdmMatchConfig
from cotrain.models import LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig, shared_backbone
from cotrain.models._heads import Head, LayerHeads
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo
from cotrain.training import AdamWConfig, adamw, parameter_groups

IMAGES = {"image_shape": (1, 16, 16), "image_mean": (0.4,), "image_std": (0.2,)}
BACKBONE = SmallCnnConfig(layers=((6, 3, 1), (8, 3, 2), (8, 3, 1)))


def rdm_task(tap, name="it", **objective):
    return TaskConfig(name=name, tap=tap, head=RdmHeadConfig(), objective=RdmMatchConfig(**objective))


def model(*tasks):
    infos = {}
    for task in tasks:
        if task.head == LinearHeadConfig():
            infos[task.name] = TaskInfo("classification", **IMAGES, class_names=("cat", "dog"))
        else:
            infos[task.name] = TaskInfo("rdm", **IMAGES, sessions={"": SessionInfo(0, (), 0.0, {"train": 8})})
    return shared_backbone(DataInfo(infos, ""), SharedBackboneConfig(tasks=tasks, backbone=BACKBONE), seed=0).eval()


def pixels():
    return torch.randint(0, 256, (5, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_single_tap_means_the_same_in_a_tuple():
    one, other = rdm_task("layer1"), rdm_task(("layer1",))
    assert one == other and one.key() == other.key() and one.taps == other.taps == ("layer1",)
    several = rdm_task(("layer1", "layer3"))
    assert several.taps == ("layer1", "layer3")
    assert len({task.key() for task in (one, several, rdm_task(("layer3", "layer1")))}) == 3
    assert TaskConfig.from_record(several.record()) == TaskConfig.from_yaml(several.to_yaml()) == several


@pytest.mark.parametrize(
    ("taps", "text"),
    [(("layer1", "layer2", "layer1"), "tap: .*expected each layer once"), ((), "tap"), (1, "tap"), (("a", 2), "tap")],
)
def test_taps_that_are_none_or_twice_are_refused(taps, text):
    with pytest.raises(ConfigError, match=text):
        rdm_task(taps)


def test_the_answer_is_one_output_a_layer_in_the_order_of_the_taps():
    network = model(rdm_task(("layer3", "depth:0")), rdm_task("layer2", "v4"))
    assert network.taps == {"it": ("layer3", "layer1"), "v4": ("layer2",)}
    with torch.no_grad():
        found = network(pixels(), "it")
        held = network.features(pixels(), "it", ["layer1", "layer2", "layer3"])
        together = network.together(pixels(), [("v4", ""), ("it", "")])
    assert isinstance(found, tuple) and len(found) == 2
    for output, again, tap in zip(found, together["it", ""], ("layer3", "layer1"), strict=True):
        assert torch.equal(output, held[tap].flatten(1)) and torch.equal(output, again)
    assert torch.equal(together["v4", ""], held["layer2"].flatten(1))
    assert network.objectives["it"].rdm(found).shape == (5, 5)


def test_all_layers_and_the_weights_of_layers_are_learnt_without_decay():
    network = model(rdm_task(("layer1", "layer2"), layer_weights="learned")).train()
    network.objectives["it"](network(pixels(), "it"), torch.rand(5, 5)).backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert "objectives.it.layer_logits" in reached
    assert {name.split(".")[1] for name in reached if name.startswith("backbone")} == {"layer1", "layer2"}
    _, stays = parameter_groups(network, 0.1)
    assert stays["weight_decay"] == 0 and any(p is network.objectives["it"].layer_logits for p in stays["params"])
    held = [p for group in adamw(network, AdamWConfig()).param_groups for p in group["params"]]
    assert len(held) == len(list(network.parameters()))


def test_several_taps_of_a_task_that_reads_one_layer_are_refused():
    task = TaskConfig(name="objects", tap=("layer1", "layer2"), head=LinearHeadConfig(), objective=CrossEntropyConfig())
    text = r"Task 'objects': cotrain.losses.cross_entropy takes the output of one layer, found the taps layer1, layer2"
    with pytest.raises(ModelError, match=text):
        model(task)


@pytest.mark.parametrize("taps", [("layer2", "depth:0.6"), ("depth:0.5", "depth:0.6")])
def test_two_taps_that_lead_to_one_layer_are_refused(taps):
    with pytest.raises(ModelError, match=r"Task 'it': two taps lead to one layer \(.*depth:0.6 is layer2\)"):
        model(rdm_task(taps))


def test_an_unknown_layer_among_several_is_refused():
    with pytest.raises(ModelError, match="no tap 'layer9'"):
        model(rdm_task(("layer1", "layer9")))


def test_weights_must_be_as_many_as_taps():
    with pytest.raises(ModelError, match="one number for each tap, 2; found 3"):
        model(rdm_task(("layer1", "layer2"), layer_weights=(1.0, 1.0, 1.0)))


class Scaled(Head):
    """A head with a parameter and a penalty, as a lab may write one."""

    def __init__(self, penalised):
        super().__init__()
        self.scale, self.penalised = torch.nn.Parameter(torch.tensor(2.0)), penalised

    def forward(self, features, session):
        return self.scale * features

    def penalty(self, session):
        return self.scale**2 if self.penalised else None


def test_each_layer_has_a_head_and_penalties_are_summed():
    heads = LayerHeads([Scaled(penalised=True), Scaled(penalised=False), Scaled(penalised=True)])
    assert len(list(heads.parameters())) == 3 and heads.penalty("").item() == 8
    assert LayerHeads([Scaled(penalised=False)]).penalty("") is None
    assert [output.item() for output in heads(tuple(torch.ones(3)), "")] == [2, 2, 2]
