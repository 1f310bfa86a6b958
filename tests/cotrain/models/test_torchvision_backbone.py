"""Every family of torchvision is built, tapped, trained; stems, grey images, dropout, freezing, resetting, weights."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision import models

from cotrain.config import AddedLater
from cotrain.errors import ConfigError, ModelError
from cotrain.models import TorchvisionBackboneConfig, resolve_tap, tapped, torchvision_backbone
from cotrain.models._backbone import input_channels
from cotrain.models._taps import blocks
from cotrain.models._torchvision_families import FAMILIES, family_of

# The smallest of each family: (pixels, blocks, tap at depth .5, its features, parameters), counted once by hand or by
# torchvision's own table less the classifier.
ZOO = {
    "alexnet": (64, 13, "features.6", (384, 3, 3), 2_469_696),
    "vgg11_bn": (32, 29, "features.14", (256, 4, 4), 9_225_984),
    "resnet18": (32, 12, "layer1.1", (64, 8, 8), 11_176_512),
    "resnext50_32x4d": (32, 20, "layer2.2", (512, 4, 4), 22_979_904),
    "densenet121": (32, 12, "features.transition1", (128, 4, 4), 6_953_856),
    "efficientnet_b0": (32, 18, "features.4.2", (80, 2, 2), 4_007_548),
    "efficientnet_v2_s": (32, 42, "features.5.3", (160, 2, 2), 20_177_488),
    "convnext_tiny": (32, 22, "features.5.1", (384, 2, 2), 27_818_592),
    "vit_b_16": (32, 14, "encoder.layers.encoder_layer_5", (5, 768), 85_651_200),
    "swin_t": (32, 17, "features.5.1", (384, 2, 2), 27_519_354),
    "swin_v2_t": (32, 17, "features.5.1", (384, 2, 2), 27_582_570),
    "squeezenet1_1": (32, 13, "features.6", (256, 3, 3), 722_496),
    "mobilenet_v2": (32, 19, "features.9", (64, 2, 2), 2_223_872),
    "mobilenet_v3_small": (32, 13, "features.6", (40, 2, 2), 927_008),
    "mnasnet0_5": (32, 27, "layers.9.2", (24, 4, 4), 937_512),
    "googlenet": (32, 16, "maxpool3", (480, 2, 2), 5_599_904),
    "inception_v3": (80, 18, "Mixed_5c", (288, 7, 7), 21_785_568),
    "shufflenet_v2_x0_5": (32, 19, "stage3.3", (96, 2, 2), 341_792),
    "regnet_y_400mf": (32, 17, "trunk_output.block3.block3-3", (208, 2, 2), 3_903_144),
    "maxvit_t": (224, 6, "blocks.0", (64, 56, 56), 30_143_944),
}
# With the small stem on 32 pixels: how large the maps of the first block are, and of the last one.
SMALL = {
    "alexnet": (32, 3),
    "resnet18": (32, 4),
    "densenet121": (32, 4),
    "efficientnet_b0": (32, 2),
    "convnext_tiny": (16, 2),
    "swin_t": (16, 2),
    "squeezenet1_1": (32, 8),
    "mobilenet_v2": (32, 2),
    "mobilenet_v3_small": (32, 2),
    "mnasnet0_5": (32, 2),
    "googlenet": (32, 4),
    "inception_v3": (32, 2),
    "shufflenet_v2_x0_5": (32, 4),
    "regnet_y_400mf": (32, 2),
}
UNDRAWN = ("alexnet", "vgg11_bn")  # with a classifier that is not
COSTLY = ("maxvit_t", "resnext50_32x4d", "efficientnet_v2_s", "swin_v2_t")  # and drawn by the code of others
EVERY = models.list_models(module=models)


def build(name, seed=0, **settings):
    """From a seed; networks of one image size get that of `ZOO`."""
    if family_of(name).sized and "image_size" not in settings:
        settings["image_size"] = ZOO[name][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision_backbone(TorchvisionBackboneConfig(name=name, **settings))


def images(size=32, channels=3, number=2, seed=0):
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(seed))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_every_classification_network_of_torchvision_has_a_family():
    assert len(EVERY) >= 80
    assert [name for name in EVERY if family_of(name) is None] == []
    assert {family_of(name).prefixes for name in ZOO} == {family.prefixes for family in FAMILIES}, (
        "each family has its smallest member in ZOO"
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in COSTLY else []) for name in ZOO]
)
def test_a_network_is_built_tapped_trained_stored_and_drawn_by_the_seed(name, tmp_path):
    size, number, tap, shape, parameters = ZOO[name]
    network = build(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert input_channels(network) == 3
    require_entry_drawn_as_torchvision_does(family_of(name), network.get_submodule(family_of(name).entry))
    order = blocks(network, (3, size, size))
    assert len(order) == number and resolve_tap(network, "depth:0.5", (3, size, size)) == tap
    found = tapped(network.train(), images(size), [tap])[tap]
    assert found.shape == (2, *shape) and found.isfinite().all()
    found.square().mean().backward()
    learning = [key for key, parameter in network.named_parameters() if parameter.grad is not None]
    assert family_of(name).entry + ".weight" in learning

    state = network.state_dict()
    torch.save(state, tmp_path / "state.pt")
    other = build(name, seed=1)
    assert not same(dict(other.named_parameters()), dict(network.named_parameters()))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(other.state_dict(), state)
    one, two = (tapped(built.eval(), images(size), [tap])[tap] for built in (network, other))
    assert torch.equal(one, two)


def require_entry_drawn_as_torchvision_does(family, entry):
    """What replaces the first convolution has its distribution."""
    stds, biases = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(5):
            shape = entry.out_channels, entry.kernel_size, entry.stride
            new = nn.Conv2d(3, *shape, bias=entry.bias is not None)
            family.draw(new)
            stds.append(new.weight.std().item())
            biases.append(0.0 if new.bias is None else new.bias.abs().max().item())
    assert entry.weight.std().item() == pytest.approx(sum(stds) / 5, rel=0.12)
    assert (0.0 if entry.bias is None else entry.bias.abs().max().item()) == pytest.approx(max(biases), rel=0.3)


@pytest.mark.slow
def test_the_whole_zoo_is_built():
    for name in EVERY:
        if models.get_model_weights(name).DEFAULT.meta["num_params"] > 1e8:
            continue  # the same code as their smaller relatives
        size = 224 if family_of(name).sized else 32
        network = build(name, image_size=224) if family_of(name).sized else build(name)
        with torch.no_grad():
            size = 96 if name == "inception_v3" else 64 if name == "alexnet" else size
            assert network.eval()(images(size, number=1)).isfinite().all(), name


@pytest.mark.parametrize("name", [name for name in ZOO if name not in (*UNDRAWN, *COSTLY)])
def test_layers_start_as_torchvisions_of_the_same_seed(name):
    settings = {"image_size": 32} if name.startswith("vit") else family_of(name).settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = models.get_model(name, weights=None, **settings).state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in build(name).state_dict().items())


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "vgg11"])
def test_layers_whose_classifier_is_never_drawn_are_distributed_as_torchvisions(name):
    network, again = build(name), build(name)
    assert same(network.state_dict(), again.state_dict())
    for conv in (module for module in network.features if isinstance(module, nn.Conv2d)):
        number = conv.kernel_size[0] ** 2
        if name == "alexnet":  # as torch draws: uniform within one by the root of the fan in
            bound = (number * conv.in_channels) ** -0.5
            assert conv.weight.abs().max() <= bound and conv.bias.abs().max() <= bound and conv.bias.std() > 0.5 * bound
            assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        else:
            assert conv.weight.std().item() == pytest.approx((2 / (number * conv.out_channels)) ** 0.5, rel=0.05)
            assert conv.bias.eq(0).all()
    norms = [module for module in network.features if isinstance(module, nn.BatchNorm2d)]
    assert all(m.weight.eq(1).all() and m.running_var.eq(1).all() and m.num_batches_tracked == 0 for m in norms)
    assert all(value.device.type == "cpu" for value in network.state_dict().values())


@pytest.mark.parametrize("name", SMALL)
def test_the_small_stem_keeps_small_images_large(name):
    network = build(name, stem="small")
    order = blocks(network, (3, 32, 32))
    with torch.no_grad():
        found = tapped(network.eval(), images(), [order[0], order[-1]])
    assert (found[order[0]].shape[-1], found[order[-1]].shape[-1]) == SMALL[name]


@pytest.mark.parametrize(("name", "patch"), [("vit_b_16", 4), ("vit_b_32", 8)])
def test_the_small_stem_of_a_vit_cuts_smaller_patches(name, patch):
    network = build(name, stem="small", image_size=32)
    tokens = (32 // patch) ** 2 + 1
    assert network.conv_proj.kernel_size == network.conv_proj.stride == (patch, patch)
    with torch.no_grad():
        found = tapped(network.eval(), images(), ["encoder.layers.encoder_layer_0"])
    assert found["encoder.layers.encoder_layer_0"].shape == (2, tokens, 768)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "vgg11", "stem": "small"}, "first convolution has stride 1 and no max pool follows"),
        ({"name": "maxvit_t", "stem": "small"}, "does not change maxvit_t: it has none"),
        ({"name": "resnet18", "image_size": 32}, "resnet18 takes images of any size: leave out image_size=32"),
        ({"name": "vit_b_16", "image_size": 40}, "cuts patches of 16 x 16: 40 is no multiple"),
        ({"name": "maxvit_t", "image_size": 64}, "Take a multiple of 224"),
        ({"name": "resnet18", "reset": ("fc",)}, "no weights to load"),
        ({"name": "resnet18", "freeze": ("layer9",)}, "freeze: nothing in the backbone fits 'layer9'. Did you mean"),
        ({"name": "resnet18", "freeze": ("*.running_mean",)}, "fits running statistics only"),
        (
            {"name": "resnet18", "weights": "IMAGENET1K_V9"},
            "no weights 'IMAGENET1K_V9' .* Did you mean 'IMAGENET1K_V1'",
        ),
    ],
)
def test_settings_that_do_not_suit_the_network_are_refused(settings, text, monkeypatch, tmp_path):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    with pytest.raises(ModelError, match=text):
        torchvision_backbone(TorchvisionBackboneConfig(**settings))


@pytest.mark.parametrize("settings", [{"dropout": 1.0}, {"image_size": -1}, {"stem": "cifar"}, {"input_channels": 2}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TorchvisionBackboneConfig(name="resnet18", **settings)


def test_later_settings_leave_keys_of_the_first_release_as_they_were():
    fields = TorchvisionBackboneConfig.model_fields
    later = {name for name, field in fields.items() if any(isinstance(mark, AddedLater) for mark in field.metadata)}
    assert later == set(fields) - {"name"}
    assert TorchvisionBackboneConfig(name="resnet18").identity() == {
        "kind": "cotrain.models.torchvision_backbone",
        "name": "resnet18",
    }


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny", "swin_t", "googlenet", "vgg11"])
def test_grey_networks_take_one_channel(name):
    network = build(name, input_channels=1)
    assert input_channels(network) == 1
    with torch.no_grad():
        assert network.eval()(images(channels=1)).isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet", "swin_t"])
def test_dropout_changes_training_only_and_no_name(name):
    plain, dropping = build(name), build(name, dropout=0.4)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    assert [path for path, _ in plain.named_modules()] == [path for path, _ in dropping.named_modules()]
    one, two = (built.eval()(images()) for built in (plain, dropping))
    assert torch.equal(one, two)
    for copied in (dropping, copy.deepcopy(dropping), pickle.loads(pickle.dumps(dropping))):
        tap = resolve_tap(copied, "depth:0.3", (3, 32, 32))
        with torch.no_grad():
            one, two = (tapped(copied.train(), images(), [tap])[tap] for _ in range(2))
        assert not torch.equal(one, two)


def test_dropout_follows_each_activation_with_its_share():
    network = build("vgg11_bn", dropout=0.25).train()
    plain = build("vgg11_bn").train()
    with torch.no_grad():
        dropped, whole = (tapped(built, images(), ["features.2"])["features.2"] for built in (network, plain))
    zeroed = (dropped[whole > 0] == 0).float().mean().item()
    assert zeroed == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(dropped[dropped > 0], (whole / 0.75)[dropped > 0])
    hooked = sum(len(module._forward_hooks) for module in network.modules())
    assert hooked == sum(isinstance(module, nn.ReLU) for module in network.modules()) == 8


def test_dropout_leaves_out_squeeze_and_excitation():
    network = build("mobilenet_v3_small", dropout=0.2)
    hooked = {path for path, module in network.named_modules() if module._forward_hooks}
    within = [path for path in hooked if path.rpartition(".")[2] == "activation"]
    assert hooked and not within


def test_frozen_parameters_do_not_learn():
    network = build("resnet18", freeze=("layer1", "*.bn2", "conv1.weight"))
    frozen = {key for key, parameter in network.named_parameters() if not parameter.requires_grad}
    names = [key for key, _ in network.named_parameters()]
    assert frozen == {key for key in names if key.startswith(("layer1.", "conv1.")) or ".bn2." in key}
    assert len(frozen) == 1 + 12 + 2 * 6


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """A ResNet whose state lies in the data folder and, under torchvision's name, in the hub's."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    network = build("resnet18", seed=7)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    name = models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    for path in (tmp_path / "mine.pt", tmp_path / "torch" / "hub" / "checkpoints" / name):
        torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize("weights", ["mine.pt", "IMAGENET1K_V1", "DEFAULT"])
def test_weights_come_from_a_file_or_from_torchvision(stored, weights):
    assert same(build("resnet18", weights=weights).state_dict(), stored.state_dict())


def test_what_is_reset_keeps_its_random_start(stored):
    loaded, start = build("resnet18", weights="mine.pt", reset=("layer4", "*.bn1")).state_dict(), build("resnet18")
    for key, value in start.state_dict().items():
        kept = key.startswith("layer4.") or ".bn1." in key
        assert torch.equal(loaded[key], value if kept else stored.state_dict()[key]), key


def test_colour_weights_in_a_grey_network_answer_grey_images_alike(stored):
    grey = build("resnet18", weights="mine.pt", input_channels=1).eval()
    shown = images(channels=1)
    with torch.no_grad():
        torch.testing.assert_close(grey(shown), stored.eval()(shown.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_a_small_stem_keeps_its_own_convolution(stored, caplog):
    network = build("resnet18", weights="mine.pt", stem="small")
    assert torch.equal(network.layer1[0].conv1.weight, stored.layer1[0].conv1.weight)
    assert network.conv1.weight.shape == (64, 3, 3, 3)
    assert "119 tensors loaded; 1 of another shape (conv1.weight: (64, 3, 7, 7) in the file" in caplog.text


def test_weights_without_a_network_say_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(ModelError, match=r"resnet18-.*no route to host.*put the file into .*checkpoints"):
        build("resnet18", weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("swin_t", {"features.0": 96, "features.0.0": 96, "features.3.1.norm1": 192, "features.3.1.mlp.0": 768}),
        ("swin_t", {"features.6": 768, "norm": 768, "permute": 768}),
        ("swin_v2_t", {"features.3.0": 192}),
        ("convnext_tiny", {f"features.1.0{part}": 96 for part in ("", ".block.0", ".block.2", ".block.5", ".block.6")}),
        ("convnext_tiny", {"features.1.0.block.3": 384, "features.1.0.block.4": 384, "features.2": 192}),
    ],
)
def test_maps_have_their_channels_first_wherever_they_are_tapped(name, taps):
    with torch.no_grad():
        found = tapped(build(name).eval(), images(64), list(taps))
    assert {tap: maps.shape[1] for tap, maps in found.items()} == taps
    assert all(maps.shape[2] == maps.shape[3] <= 16 for maps in found.values())
