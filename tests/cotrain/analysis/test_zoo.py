"""Features of known networks, one network after the other."""

import inspect

import numpy as np
import pytest
import torch
from torch.nn.functional import relu

from cotrain.analysis import zoo_features
from cotrain.errors import ModelError
from cotrain.models import PenultimateConfig, penultimate, penultimate_sizes
from cotrain.seeds import derive_seed

IMAGES = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_they_come_one_by_one_in_order_and_of_their_sizes():
    found = zoo_features(IMAGES, ("squeezenet1_1", "resnet18"))
    assert inspect.isgenerator(found)
    held = dict(found)
    assert list(held) == ["squeezenet1_1", "resnet18"]
    assert {name: tuple(values.shape) for name, values in held.items()} == {
        name: (3, penultimate_sizes()[name]) for name in held
    }
    assert not torch.equal(*(values[:, :512] for values in held.values()))


@torch.no_grad()
def test_they_are_those_of_a_plain_pass():
    ((name, found),) = zoo_features(IMAGES.numpy(), ("squeezenet1_1",), seed=4, batch=2, readout="before_relu")
    assert isinstance(found, np.ndarray)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(4, "initialisation", "zoo", name))
        network = penultimate(PenultimateConfig(name=name, readout="before_relu")).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = network((IMAGES.expand(-1, 3, -1, -1) / 255 - mean) / std)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-4)
    assert not torch.equal(relu(expected), expected)


def test_weights_from_files_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    state = penultimate(PenultimateConfig(name="squeezenet1_1")).network.state_dict()
    torch.save({name: torch.zeros_like(value) for name, value in state.items()}, tmp_path / "zeros.pth")
    ((_, found),) = zoo_features(IMAGES, ["squeezenet1_1"], weights={"squeezenet1_1": "zeros.pth"})
    assert not found.any()


def test_what_is_refused():
    with pytest.raises(ModelError, match="No network is asked for"):
        next(zoo_features(IMAGES, ()))
    with pytest.raises(ModelError, match="weights of alexnet, which is not among"):
        next(zoo_features(IMAGES, ("resnet18",), weights={"alexnet": "a.pth"}))
    with pytest.raises(ModelError, match="'resnet17' is not known here"):
        next(zoo_features(IMAGES, ("resnet17",)))


@pytest.mark.slow  # large networks, one of each family
@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet50", "densenet121", "squeezenet1_0"])
def test_every_family_has_features_of_each_readout(name):
    features = {}
    for readout in ("published", "before_relu", "after_relu"):
        ((_, features[readout]),) = zoo_features(IMAGES, (name,), readout=readout)
        assert features[readout].shape == (3, penultimate_sizes()[name])
        assert features[readout].isfinite().all() and (features[readout].std(0) > 0).any()
    assert (features["before_relu"] < 0).any() and (features["after_relu"] >= 0).all()
    assert any(torch.equal(features["published"], features[other]) for other in ("before_relu", "after_relu"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "densenet121", "squeezenet1_0"])  # whose files are not that large
def test_weights_of_a_file_give_the_features_of_their_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "initialisation", "zoo", name))
        torch.save(penultimate(PenultimateConfig(name=name)).network.state_dict(), tmp_path / "weights.pth")
    ((_, loaded),) = zoo_features(IMAGES, (name,), weights="weights.pth", seed=1)
    ((_, drawn),) = zoo_features(IMAGES, (name,), seed=0)
    torch.testing.assert_close(loaded, drawn, rtol=0, atol=0)
