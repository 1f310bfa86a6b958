"""A tap by depth is the block at that share of the blocks that a forward pass enters."""

import pytest
import torch
from torch import nn

from cotrain.errors import ModelError
from cotrain.losses import CrossEntropyConfig
from cotrain.models import (
    LinearHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    resolve_tap,
    shared_backbone,
    small_cnn,
    torchvision_backbone,
)
from cotrain.models._taps import blocks
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo

SHAPE = (1, 16, 16)


def chain(layers):
    return small_cnn(SmallCnnConfig(layers=((2, 3, 1),) * layers))


@pytest.mark.parametrize(
    ("layers", "depth", "layer"),
    [
        (4, "0", 1),
        (4, "0.0001", 1),
        (4, "0.25", 1),
        (4, "0.26", 2),
        (4, "0.5", 2),
        (4, "0.75", 3),
        (4, "1", 4),
        (4, "1.0", 4),
        (3, "0.5", 2),
        (1, "0.3", 1),
        (25, "0.28", 7),  # a product of floats that lies above 7
        (25, "0.56", 14),
    ],
)
def test_a_depth_is_the_first_block_at_which_that_share_is_done(layers, depth, layer):
    assert resolve_tap(chain(layers), f"depth:{depth}", SHAPE) == f"layer{layer}"


def test_a_module_path_stays_as_it_is():
    assert resolve_tap(chain(2), "layer1.1", SHAPE) == "layer1.1"
    with pytest.raises(ModelError, match=r"no tap 'layer9'. Did you mean 'layer[12]'"):
        resolve_tap(chain(2), "layer9", SHAPE)


@pytest.mark.parametrize("tap", ["depth:", "depth:half", "depth:-0.1", "depth:1.1", "depth:nan", "depth:inf"])
def test_a_depth_is_a_number_from_0_to_1(tap):
    with pytest.raises(ModelError, match=r"written as 'depth:0.5', with a number from 0 to 1, found"):
        resolve_tap(chain(2), tap, SHAPE)


def test_blocks_stand_in_the_order_of_the_pass_each_once_and_only_if_entered():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unused = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
            self.first = nn.ModuleList([nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)])
            self.twice, self.pool = nn.ReLU(), nn.AdaptiveAvgPool2d(1)

        def forward(self, images):
            for layer in self.first:
                images = self.twice(layer(images))
            return self.pool(self.last(images))

    network = Odd().train()
    assert blocks(network, SHAPE) == ["first.0", "twice", "first.1", "last"]
    assert network.training and not any(module._forward_pre_hooks for module in network.modules())


def test_the_pass_changes_no_statistics_and_draws_nothing():
    network, before = chain(2), torch.get_rng_state()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    blocks(network, SHAPE)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)


def test_images_that_do_not_pass_and_networks_without_blocks_are_refused():
    vgg = torchvision_backbone(TorchvisionBackboneConfig(name="vgg11"))
    with pytest.raises(ModelError, match=r"Images of \(3, 16, 16\) do not pass .* Take larger ones"):
        resolve_tap(vgg, "depth:0.5", (3, 16, 16))
    with pytest.raises(ModelError, match="no blocks"):
        resolve_tap(nn.Identity(), "depth:0.5", SHAPE)


def model(tap, backbone, size=16):
    task = TaskInfo("classification", (1, size, size), (0.5,), (0.25,), ("a", "b"), {"": SessionInfo(0, (), 0.0, {})})
    config = TaskConfig(name="objects", tap=tap, head=LinearHeadConfig(), objective=CrossEntropyConfig())
    shared = SharedBackboneConfig(backbone=backbone, tasks=(config,))
    return shared_backbone(DataInfo({"objects": task}, "0" * 32), shared, seed=0)


def test_a_model_takes_taps_by_depth():
    one, other = (model(tap, SmallCnnConfig()) for tap in ("depth:0.6", "layer2"))
    assert one.taps == {"objects": ("layer2",)}
    state = other.state_dict()
    assert one.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("tap", ["depth:0.5", "encoder.ln"])
def test_a_vit_of_another_image_size_says_so(tap):
    with pytest.raises(ModelError, match=r"Wrong image height.* [Ss]et (its|the) image_size"):
        model(tap, TorchvisionBackboneConfig(name="vit_b_16", image_size=32), 48)
