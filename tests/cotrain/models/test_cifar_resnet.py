"""The residual networks for CIFAR-10: their sizes, and weights that others published for them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cotrain.errors import ModelError
from cotrain.models import CifarResNetConfig, cifar_resnet
from cotrain.resolve import build

CLASSIFIER = 64 * 10 + 10


@pytest.mark.parametrize(("blocks", "millions"), [(3, 0.27), (5, 0.46), (9, 0.85)])
def test_sizes_are_the_published_ones(blocks, millions):
    """He et al. 2016, table 6: 0.27, 0.46 and 0.85 million parameters, with the classifier."""
    network = cifar_resnet(CifarResNetConfig(blocks=blocks))
    count = sum(parameter.numel() for parameter in network.parameters()) + CLASSIFIER
    assert round(count / 1e6, 2) == pytest.approx(millions, abs=0.011)
    assert len([name for name in network.state_dict() if "conv" in name]) + 1 == 6 * blocks + 2


def test_maps_of_each_stage_are_half_as_wide():
    network = build(CifarResNetConfig(input_channels=1)).eval()
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 64, 8, 8)
    assert network(torch.rand(2, 1, 30, 34)).shape == (2, 64, 8, 9)


def test_weights_of_other_depth_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    whole = {f"module.{name}": value for name, value in cifar_resnet(CifarResNetConfig(blocks=2)).state_dict().items()}
    torch.save({"state_dict": {**whole, "module.linear.weight": torch.zeros(10, 64)}}, tmp_path / "two.th")
    network = build(CifarResNetConfig(blocks=2, weights="two.th"))
    torch.testing.assert_close(network.conv1.weight, whole["module.conv1.weight"])
    for blocks in (1, 3):
        with pytest.raises(ModelError, match=f"is of another network than one with blocks={blocks}"):
            build(CifarResNetConfig(blocks=blocks, weights="two.th"))
    with pytest.raises(ModelError, match="There is no file of weights"):
        build(CifarResNetConfig(weights="none.th"))


def test_published_weights_name_pictures(monkeypatch):
    """With the classifier of the file; 91 to 92 % are published, of the original pictures."""
    data = Path(os.environ.get("COTRAIN_TEST_DATA", ""))
    weights, pictures = "cifar_resnets/resnet20-12fca82f.th", data / "cifar10" / "cifar10_jpeg_20k.npz"
    if not (os.environ.get("COTRAIN_TEST_DATA") and (data / weights).is_file() and pictures.is_file()):
        pytest.skip("COTRAIN_TEST_DATA names no folder with cifar_resnets and cifar10.")
    monkeypatch.setenv("COTRAIN_DATA", str(data))
    network = build(CifarResNetConfig(weights=weights)).eval()
    state = torch.load(data / weights, weights_only=True, map_location="cpu")["state_dict"]
    with np.load(pictures) as held:
        images, labels = held["test_images"][:200], torch.from_numpy(held["test_labels"][:200].astype(np.int64))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        features = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).mean((2, 3))
    told = (features @ state["module.linear.weight"].T + state["module.linear.bias"]).argmax(1)
    assert (told == labels).float().mean() > 0.8
