"""The order of kernels and images in memory changes nothing but speed."""

import copy

import pytest
import torch
from compiling import assert_alike, model, train
from torch import nn

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "convnext_tiny", "swin_t"])
def test_channels_last_changes_the_order_in_memory_and_results_by_rounding_alone(name, compiled):
    plain = model(name)
    turned = copy.deepcopy(plain)
    turned.use_channels_last()
    if compiled:
        turned.compile_backbone(backend="aot_eager")
    one, other = train(turned, [(0, "a"), (1, "b")]), train(plain, [(0, "a"), (1, "b")])
    for found, expected in zip(one, other, strict=True):
        for tap, features in found.items():
            assert features.shape == expected[tap].shape
            torch.testing.assert_close(features, expected[tap], rtol=1e-3, atol=1e-3, msg=tap)
    assert_alike(turned, plain, tolerance=1e-3)
    kernels = [module.weight for module in turned.backbone.modules() if isinstance(module, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    if name == "resnet18":
        assert one[0]["layer2.0.bn2"].is_contiguous(memory_format=torch.channels_last)


def test_a_state_loads_from_and_into_models_of_either_order(tmp_path):
    turned, plain = model("resnet18"), model("resnet18")
    turned.use_channels_last()
    for source, target in ((turned, plain), (plain, turned)):
        with torch.no_grad():
            source.backbone.layer1[0].conv1.weight.normal_()
        torch.save(source.state_dict(), tmp_path / "state.pt")
        target.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert torch.equal(source.backbone.layer1[0].conv1.weight, target.backbone.layer1[0].conv1.weight)
    weight = copy.deepcopy(turned).double().backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert plain.backbone.layer1[0].conv1.weight.is_contiguous()
