"""Depths of layers agree with the depths by which layers are named."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from cotrain.analysis import layer_depths
from cotrain.models import resolve_tap

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_block_is_as_deep_as_it_is_named():
    network = torchvision.models.resnet18().train()
    before = copy.deepcopy(network.state_dict())
    depths = layer_depths(network, IMAGES, "blocks")
    assert list(depths.values()) == pytest.approx([(k + 1) / len(depths) for k in range(len(depths))])
    for layer, depth in depths.items():
        assert resolve_tap(network, f"depth:{depth}", (3, 32, 32)) == layer
    inside = layer_depths(network, IMAGES, ["layer2.0", "layer2.1.conv1", "layer2.1.bn2", "layer2.1", "avgpool", "fc"])
    assert sorted(inside.values()) == list(inside.values())
    assert depths["layer2.0"] < inside["layer2.1.conv1"] < inside["layer2.1.bn2"] < depths["layer2.1"]
    assert inside["avgpool"] < inside["fc"] == 1, "which is a block of its own"
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_without_blocks_modules_count():
    depths = layer_depths(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(4)), IMAGES, "all")
    assert list(depths.values()) == pytest.approx([0.5, 1.0])
