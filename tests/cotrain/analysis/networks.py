"""A small network with habits that extraction must cope with, and whether it was left as it was."""

from __future__ import annotations

import math

import torch
from torch import nn


class Block(nn.Module):
    """A residual block that uses one ReLU twice, in place."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        inner = self.norm(self.conv(self.relu(x * 1)))
        inner += x
        return self.relu(inner)


class Restless(nn.Module):
    """Does what a well-behaved module does not: counts in evaluation, draws, stores, and can fail."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))
        self.fails_at = math.inf

    def forward(self, x):
        self.calls += 1
        self.last = x.mean(0).flatten()[:1].clone()
        self.noise = torch.rand(3)
        if self.calls > self.fails_at:
            raise RuntimeError("too often")
        return x + 0


def network(seed=0):
    torch.manual_seed(seed)
    layers = {
        "entry": nn.Conv2d(3, 6, 3, padding=1),
        "relu": nn.ReLU(inplace=True),
        "blocks": nn.Sequential(Block(6), Block(6)),
        "restless": Restless(),
        "drop": nn.Dropout(0.5),
        "pool": nn.AdaptiveAvgPool2d(2),
        "flat": nn.Flatten(),
        "head": nn.Linear(24, 4),
    }
    held = nn.Sequential()
    for name, layer in layers.items():
        held.add_module(name, layer)
    held.blocks[0].norm.running_mean += 0.3
    return held


def pixels(count=11, size=8, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def state(model):
    modules = list(model.modules())
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in modules],
        [set(vars(module)) for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [getattr(module, "active", None) for module in modules],
        [value.requires_grad for value in model.parameters()],
    )


def assert_untouched(model, before):
    values, *rest = state(model)
    assert values.keys() == before[0].keys()
    for name, value in values.items():
        assert torch.equal(value, before[0][name]), name
        assert not value.is_inference()
    assert rest == list(before[1:])
