"""Features are read at a tap, nothing after the last tap is computed, and nothing else changes."""

from functools import cache

import pytest
import torch
from torch import nn

from cotrain.errors import ConfigError, ModelError
from cotrain.models import SmallCnnConfig, TorchvisionBackboneConfig, small_cnn, tapped, torchvision_backbone
from cotrain.models._backbone import find_tap, input_channels

TAPS = {
    "small_cnn": ("layer1", "layer1.0", "layer2.1", "layer3"),
    "vgg11_bn": ("features.0", "features.1", "features.10", "features.28", "classifier"),
    "resnet18": ("conv1", "layer1.0.bn2", "layer1.0.relu", "layer2.0.downsample", "layer3", "fc"),
}
EVERY = [(name, tap) for name, taps in TAPS.items() for tap in taps]


@cache
def backbone(name):
    """In evaluation mode, and the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = small_cnn(SmallCnnConfig(input_channels=3)) if name == "small_cnn" else vision(name)
    return built.eval()


def vision(name):
    return torchvision_backbone(TorchvisionBackboneConfig(name=name))


def images(number=2, seed=0):
    return torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def leaves_called(network, action):
    """The paths of the leaf modules that `action` calls, in order."""
    called = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: called.append(path))
        for path, module in network.named_modules()
        if not list(module.children())
    ]
    action()
    for handle in handles:
        handle.remove()
    return called


def naive(network, tap, batch):
    """(what the tap gives first in a full pass, how many calls of leaf modules that took)."""
    found, calls = [], []
    handle = network.get_submodule(tap).register_forward_hook(lambda _m, _i, output: found.append(output.clone()))
    ticks = [
        module.register_forward_pre_hook(lambda *_: None if found else calls.append(1))
        for module in network.modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        network(batch)
    for each in (handle, *ticks):
        each.remove()
    return found[0], len(calls)


def hooks(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize(("name", "tap"), EVERY)
def test_a_tap_gives_what_a_full_pass_gives_and_no_later_layer_is_called(name, tap):
    network, found = backbone(name), {}
    expected, calls = naive(network, tap, images())
    with torch.no_grad():
        everything = leaves_called(network, lambda: network(images()))
        called = leaves_called(network, lambda: found.update(tapped(network, images(), [tap])))
    assert torch.equal(found[tap], expected)
    assert called == everything[:calls]
    assert len(called) < len(everything) or tap == TAPS[name][-1]


@pytest.mark.parametrize("name", TAPS)
def test_one_pass_serves_all_taps_and_equals_a_pass_for_each(name):
    network, taps, found = backbone(name), TAPS[name], {}
    with torch.no_grad():
        called = leaves_called(network, lambda: found.update(tapped(network, images(), [*taps, taps[0]])))
        whole = leaves_called(network, lambda: network(images()))
        assert called == whole
        for tap in taps:  # ResNets add to the output of a batch norm in place, and use one ReLU twice
            assert torch.equal(found[tap], tapped(network, images(), [tap])[tap]), tap


@pytest.mark.parametrize(("name", "tap"), [("small_cnn", "layer2"), ("resnet18", "layer1"), ("vgg11_bn", "features.4")])
def test_gradients_and_batch_norm_statistics_change_up_to_the_tap_only(name, tap):
    network = backbone(name).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    tapped(network, images(), [tap])[tap].square().mean().backward()
    until = leaves_called(network.eval(), lambda: tapped(network, images(), [tap]))
    for key, parameter in network.named_parameters():
        assert (parameter.grad is not None) == (key.rpartition(".")[0] in until), key
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    norms = {path for path in until if isinstance(network.get_submodule(path), nn.BatchNorm2d)}
    assert changed == {f"{path}.{name}" for path in norms for name, _ in network.get_submodule(path).named_buffers()}
    network.zero_grad()
    network.load_state_dict(before)


def test_hooks_are_gone_after_a_pass_and_after_an_error():
    network = small_cnn(SmallCnnConfig(input_channels=3))
    tapped(network, images(), ["layer1", "layer3"])
    with pytest.raises(ModelError, match="no tap 'layer9'"):
        tapped(network, images(), ["layer1", "layer9", "layer2"])
    with pytest.raises(RuntimeError, match="expected input"):
        tapped(network, images()[:, :1], ["layer2"])
    assert hooks(network) == 0


def test_hooks_that_others_set_still_work():
    network, seen = small_cnn(SmallCnnConfig(input_channels=3)), []
    network.layer1.register_forward_hook(lambda _m, _i, output: seen.append(output) or output * 0)
    found = tapped(network, images(), ["layer1"])
    assert len(seen) == 1 and found["layer1"].abs().max() == 0 and hooks(network) == 1


def test_a_tap_that_the_forward_pass_leaves_out_is_named():
    class Detour(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, batch):
            return self.used(batch)

    network = Detour()
    with pytest.raises(ModelError, match="never reached unused"):
        tapped(network, images(), ["used", "unused"])
    assert hooks(network) == 0


@pytest.mark.parametrize(
    ("name", "tap", "text"),
    [
        ("small_cnn", "layer", "no tap 'layer'. Did you mean 'layer[123]'"),
        ("small_cnn", "layer2.9", "Did you mean 'layer2.[012]'"),
        ("small_cnn", "zzz", "Known: layer1, layer1.0,.* layer3"),
        ("small_cnn", "", "no tap ''. Known: layer1"),
        ("resnet18", "layer_3", "Did you mean 'layer3'"),
        ("resnet18", "layer1.0.conv9", "Did you mean 'layer1.0.conv[12]'"),
        ("vgg11_bn", "feature.10", "Did you mean 'features.1"),
    ],
)
def test_an_unknown_tap_is_answered_with_near_ones(name, tap, text):
    with pytest.raises(ModelError, match=text):
        find_tap(backbone(name), tap)


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "resnet34", "resnet50", "resnext50_32x4d"])
def test_torchvision_networks_are_built_by_name_without_their_classifier(name):
    network = backbone(name)
    assert not [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert not [key for key in network.state_dict() if key.startswith(("fc", "classifier"))]
    assert input_channels(network) == 3
    with torch.no_grad():
        assert network(images()).shape[0] == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet19", "no classification network 'resnet19' that is known here. Did you mean 'resnet1[08]+'"),
        ("vgg11bn", "Did you mean 'vgg11_bn'"),
        ("ResNet18", "Did you mean 'resnet18'"),
        ("fcn_resnet50", "no classification network 'fcn_resnet50'"),
        ("raft_small", "no classification network 'raft_small'"),
        ("quantized_resnet18", "no classification network 'quantized_resnet18'"),
        ("", "Known: alexnet, convnext_base"),
    ],
)
def test_other_networks_are_refused(name, text):
    with pytest.raises(ModelError, match=text):
        vision(name)


def test_the_small_network_is_as_its_config_says():
    config = SmallCnnConfig(layers=((4, 3, 1), (6, 5, 2)), activation="elu", input_channels=1)
    network = small_cnn(config).eval()
    found = tapped(network, torch.zeros(2, 1, 9, 12), ["layer1", "layer2"])
    assert found["layer1"].shape == (2, 4, 9, 12) and found["layer2"].shape == (2, 6, 5, 6)
    assert [type(module).__name__ for module in network.layer2] == ["Conv2d", "BatchNorm2d", "ELU"]
    assert input_channels(network) == 1


@pytest.mark.parametrize("layers", [(), ((0, 3, 1),), ((4, 0, 1),), ((4, 3, 0),), ((4, 3),)])
def test_impossible_layers_are_refused(layers):
    with pytest.raises(ConfigError, match="layers"):
        SmallCnnConfig(layers=layers)


def test_a_backbone_without_a_convolution_has_no_known_channels():
    with pytest.raises(ModelError, match="no convolution"):
        input_channels(nn.Linear(2, 2))
