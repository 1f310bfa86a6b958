"""Where and what are separate: masks of unit norm, and their penalty that measures spread alone."""

import numpy as np
import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.models import FactorizedReadoutConfig, factorized_readout
from cotrain.tasks import SessionInfo, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}


def readout(neurons=3, shape=(4, 5, 7), **config):
    session = SessionInfo(neurons, tuple(float(n) for n in range(neurons)), 0.0, STIMULI)
    info = TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions={"": session})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factorized_readout(info, FactorizedReadoutConfig(**config), features=shape)


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def put(parameter, value):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))


def test_each_neuron_sees_its_features_through_its_mask():
    head, features = readout(), maps(2, 4, 5, 7)
    part = head.part("")
    put(part.mask, maps(3, 5, 7) * 3)
    put(part.weight, maps(3, 4))
    mask, weight = part.mask.detach().double().numpy(), part.weight.detach().double().numpy()
    expected = np.zeros((2, 3))
    for image in range(2):
        for neuron in range(3):
            expected[image, neuron] = part.bias[neuron].item()
            for row in range(5):
                for column in range(7):
                    share = mask[neuron, row, column] / np.sqrt((mask[neuron] ** 2).sum())
                    expected[image, neuron] += share * features[image, :, row, column].double().numpy() @ weight[neuron]
    np.testing.assert_allclose(head(features, "").detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, -50.0])
def test_masks_have_unit_norm_so_that_their_size_does_not_count(scale):
    head, features = readout(mask_l1=1.0), maps(2, 4, 5, 7)
    part = head.part("")
    put(part.weight, maps(3, 4))
    before, penalty = head(features, ""), head.penalty("")
    put(part.mask, part.mask * scale)
    torch.testing.assert_close(part.masks().square().sum((1, 2)), torch.ones(3))
    sign = 1 if scale > 0 else -1
    torch.testing.assert_close(head(features, "") - part.bias, sign * (before - part.bias), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.penalty(""), penalty)


def test_a_mask_of_zeros_gives_the_bias_and_finite_gradients():
    head = readout(mask_l1=1.0)
    put(head.part("").mask, 0.0)
    put(head.part("").weight, 1.0)
    output = head(maps(2, 4, 5, 7), "")
    torch.testing.assert_close(output, head.part("").bias.expand(2, -1))
    (output.sum() + head.penalty("")).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_the_penalty_is_the_sum_of_both_l1_norms_mean_over_neurons():
    head = readout(2, (2, 1, 4), mask_l1=0.1, feature_l1=0.01)
    put(head.part("").mask, [[[5.0, 5.0, 5.0, -5.0]], [[0.0, 0.0, 0.3, 0.0]]])  # spread over 4 pixels: 2; over 1: 1
    put(head.part("").weight, [[1.0, -2.0], [0.0, 0.5]])
    assert head.penalty("").item() == pytest.approx(0.1 * (2 + 1) / 2 + 0.01 * (3 + 0.5) / 2)


@pytest.mark.parametrize("neurons", [1, 6])
def test_the_penalty_of_equal_masks_does_not_depend_on_the_number_of_neurons(neurons):
    head = readout(neurons, mask_l1=0.1)
    put(head.part("").mask, maps(1, 5, 7))
    mask = maps(5, 7)
    assert head.penalty("").item() == pytest.approx(0.1 * (mask.abs().sum() / mask.norm()).item(), rel=1e-5)


def test_maps_of_another_size_are_refused():
    with pytest.raises(
        ModelError, match=r"made for maps of \(5, 7\) .* these are of \(5, 8\): show images of the size"
    ):
        readout()(maps(2, 4, 5, 8), "")


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match=r"mask_l1: .*found -0.1"):
        FactorizedReadoutConfig(mask_l1=-0.1)
