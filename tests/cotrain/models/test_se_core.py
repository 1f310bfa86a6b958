"""The core for V1: separable convolutions, and channels weighed by what the whole map holds."""

import pytest
import torch
from torch import nn

from cotrain.errors import ConfigError
from cotrain.models import SeCoreConfig, se_core, tapped
from cotrain.models._backbone import input_channels
from cotrain.models._batch_norm import TaskBatchNorm, per_task
from cotrain.models._se_core import SqueezeExcitation
from cotrain.models._taps import blocks, resolve_tap


def core(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return se_core(SeCoreConfig(**settings))


def images(channels=1, seed=0):
    return torch.randn(3, channels, 20, 24, generator=torch.Generator().manual_seed(seed))


def test_its_layers_are_as_the_config_says():
    network = core(channels=(8, 12, 16), first_kernel=5, kernel=3, stride=2, se_layers=1, reduction=4, input_channels=3)
    found = tapped(network.eval(), images(3), ["layer1", "layer2", "layer3"])
    assert [tuple(maps.shape[1:]) for maps in found.values()] == [(8, 10, 12), (12, 10, 12), (16, 10, 12)]
    assert input_channels(network) == 3
    assert [isinstance(layer.se, SqueezeExcitation) for layer in network] == [False, False, True]
    assert [layer.conv.kernel_size for layer in network] == [(5, 5), (1, 1), (1, 1)]
    assert network.layer2.depthwise.groups == 8 and network.layer2.depthwise.kernel_size == (3, 3)
    parameters = {name: sum(p.numel() for p in layer.parameters()) for name, layer in network.named_children()}
    squeeze = 16 * 4 + 4 + 4 * 16 + 16
    assert parameters == {
        "layer1": 3 * 8 * 25 + 16,
        "layer2": 8 * 9 + 8 * 12 + 24,
        "layer3": 12 * 9 + 12 * 16 + 32 + squeeze,
    }


def test_squeeze_and_excitation_is_the_published_formula():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, maps = SqueezeExcitation(6, 3), torch.randn(2, 6, 4, 5)
    weights = torch.empty(2, 6)
    for image in range(2):
        squeezed = torch.stack([maps[image, channel].mean() for channel in range(6)])
        hidden = torch.clamp(module.squeeze.weight @ squeezed + module.squeeze.bias, min=0)
        weights[image] = 1 / (1 + torch.exp(-(module.excite.weight @ hidden + module.excite.bias)))
    torch.testing.assert_close(module(maps), maps * weights[:, :, None, None])
    assert SqueezeExcitation(4, 16).squeeze.out_features == 1


def test_it_learns_by_all_its_parameters_and_is_drawn_by_the_seed():
    network = core(channels=(8, 8, 8))
    state = core(channels=(8, 8, 8)).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network(images()).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_it_has_taps_by_depth_and_statistics_a_task():
    network = core()
    assert blocks(network, (1, 20, 24)) == ["layer1", "layer2", "layer3", "layer4"]
    assert resolve_tap(network, "depth:0.5", (1, 20, 24)) == "layer2"
    per_task(network, ["a", "b"])
    assert sum(isinstance(module, TaskBatchNorm) for module in network.modules()) == 4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert network(images()).shape == (3, 64, 20, 24)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"se_layers": 5}, "se_layers must not exceed the 4 layers, found 5"),
        ({"channels": ()}, "channels"),
        ({"channels": (8, 0)}, "channels"),
        ({"reduction": 0}, "reduction"),
        ({"activation": "gelu"}, "activation"),
    ],
)
def test_impossible_cores_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        SeCoreConfig(**settings)
