"""The last features of known networks: of the published sizes, before and after their last rectification."""

import pytest
import torch
from torch import nn
from torch.nn.functional import relu
from torchvision.models import get_model

from cotrain.errors import ModelError
from cotrain.models import PenultimateConfig, penultimate
from cotrain.models._penultimate import PENULTIMATE
from cotrain.resolve import build

PUBLISHED = {"alexnet": 4096, "resnet18": 512, "resnet50": 2048, "squeezenet1_0": 512, "densenet161": 2208}


def images(size):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def seeded(name, readout):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return penultimate(PenultimateConfig(name=name, readout=readout)).eval()


def test_these_are_the_20_networks_of_the_published_table():
    assert len(PENULTIMATE) == 20
    assert {name: PENULTIMATE[name][1] for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(
    ("name", "readout"),
    [(name, "published") for name in PENULTIMATE]
    + [(name, kind) for name in ("alexnet", "vgg11_bn", "resnet50") for kind in ("before_relu", "after_relu")],
)
def test_features_are_of_the_published_size_for_images_of_224_pixels(name, readout):
    with torch.device("meta"):
        network = penultimate(PenultimateConfig(name=name, readout=readout)).eval()
        assert network(torch.empty(2, 3, 224, 224)).shape == (2, PENULTIMATE[name][1])
    assert network.features == PENULTIMATE[name][1]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121"])
@torch.no_grad()
def test_rectified_features_are_what_the_classifier_sees(name):
    network = seeded(name, "after_relu")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        whole = get_model(name, weights=None).eval()
    seen = []
    layer = {"resnet18": "fc", "squeezenet1_1": "classifier", "densenet121": "classifier"}[name]
    whole.get_submodule(layer).register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    whole(images(64))
    expected = seen[0].flatten(2).mean(2) if seen[0].ndim > 2 else seen[0]
    torch.testing.assert_close(network(images(64)), expected)
    assert (expected >= 0).all()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121"])
@torch.no_grad()
def test_features_before_rectification_become_those_after_it(name):
    """Where both are taken as maps, before space is averaged."""
    before, after = seeded(name, "before_relu"), seeded(name, "after_relu")
    maps = []
    last = {"resnet18": "layer4", "squeezenet1_1": "features", "densenet121": "features"}[name]
    for network in (before, after):
        network.network.get_submodule(last).register_forward_hook(lambda _m, _i, output: maps.append(output.clone()))
        network(images(64))
    assert (maps[0] < 0).any()
    torch.testing.assert_close(relu(maps[0]), relu(maps[1]))
    torch.testing.assert_close(before(images(64)), maps[0].flatten(2).mean(2))


@torch.no_grad()
def test_the_unrectified_block_of_a_deep_resnet_is_the_same_sum():
    before, after = seeded("resnet50", "before_relu"), seeded("resnet50", "after_relu")
    maps = []
    for network in (before, after):
        network.network.layer4.register_forward_hook(lambda _m, _i, output: maps.append(output.clone()))
        network(images(32))
    torch.testing.assert_close(relu(maps[0]), maps[1])


def test_what_was_published_is_of_two_kinds():
    kinds = {name: ending.published for name, (ending, _) in PENULTIMATE.items()}
    assert kinds["alexnet"] == kinds["vgg16_bn"] == kinds["densenet121"] == "before_relu"
    assert kinds["resnet152"] == kinds["squeezenet1_0"] == "after_relu"


def test_weights_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    whole = get_model("squeezenet1_1", weights=None)
    torch.save(whole.state_dict(), tmp_path / "squeezenet.pth")
    network = build(PenultimateConfig(name="squeezenet1_1", weights="squeezenet.pth"))
    torch.testing.assert_close(network.network.state_dict(), whole.state_dict())
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ModelError, match="another architecture"):
        build(PenultimateConfig(name="squeezenet1_1", weights="other.pth"))


def test_an_unknown_name():
    with pytest.raises(ModelError, match=r"The last layer of 'resnet19' is not known here. Did you mean 'resnet18'"):
        penultimate(PenultimateConfig(name="resnet19"))
