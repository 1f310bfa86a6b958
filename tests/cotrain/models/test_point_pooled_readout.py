"""Each neuron reads the maps at its place, and means over windows around it."""

import numpy as np
import pytest
import torch

from cotrain.errors import ConfigError
from cotrain.models import PointPooledReadoutConfig, point_pooled_readout
from cotrain.tasks import SessionInfo, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}


def readout(neurons=3, shape=(4, 5, 7), **config):
    session = SessionInfo(neurons, tuple(float(n) for n in range(neurons)), 0.0, STIMULI)
    info = TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions={"": session})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return point_pooled_readout(info, PointPooledReadoutConfig(**config), features=shape)


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def put(parameter, value):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))


def averaged(features, window):
    """The mean over what of a window around each pixel lies within the map."""
    found, half = np.zeros_like(features), window // 2
    for row in range(features.shape[2]):
        for column in range(features.shape[3]):
            rows = slice(max(0, row - half), row + half + 1)
            columns = slice(max(0, column - half), column + half + 1)
            found[:, :, row, column] = features[:, :, rows, columns].mean((2, 3))
    return found


def bilinear(features, x, y):
    height, width = features.shape[2:]
    column, row = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
    total = np.zeros(features.shape[:2])
    for j in range(height):
        for i in range(width):
            total += max(0.0, 1 - abs(j - row)) * max(0.0, 1 - abs(i - column)) * features[:, :, j, i]
    return total


@pytest.mark.parametrize("windows", [(1,), (3,), (1, 3, 7), (5, 1), (1, 31)])
def test_windows_around_the_place_are_read_one_after_the_other(windows):
    head, features = readout(windows=windows), maps(2, 4, 5, 7)
    part = head.part("")
    places = [(0.3, -0.7), (-1.0, 1.0), (0.0, 0.0)]
    put(part.mu, places)
    put(part.weight, maps(3, 4 * len(windows)))
    expected = np.zeros((2, 3))
    for neuron, place in enumerate(places):
        seen = [bilinear(averaged(features.double().numpy(), window), *place) for window in windows]
        weights = part.weight[neuron].detach().double().numpy()
        expected[:, neuron] = np.concatenate(seen, 1) @ weights + part.bias[neuron].item()
    for mode in (True, False):
        np.testing.assert_allclose(head.train(mode)(features, "").detach().numpy(), expected, atol=2e-5)


def test_a_place_means_the_same_for_each_window():
    ramp = torch.linspace(-1, 1, 21).expand(1, 1, 21, 21)  # away from the edges, a window's mean is its middle
    head = readout(1, (1, 21, 21), windows=(1, 3, 7))
    put(head.part("").mu, [0.3, 0.1])
    for window in range(3):
        put(head.part("").weight, torch.eye(3)[window])
        assert head(ramp, "").item() == pytest.approx(0.3, abs=1e-5)


def test_places_start_where_they_are_told_and_come_back_into_the_image():
    assert readout(400, start_range=0.25).part("").mu.abs().max() <= 0.25
    assert readout(400, start_range=0.25).part("").mu.std() > 0.1
    head, features = readout(1), maps(2, 4, 5, 7)
    put(head.part("").weight, maps(1, 12))
    put(head.part("").mu, [1.5, -0.2])
    outside = head(features, "")
    outside.sum().backward()
    assert head.part("").mu.grad.isfinite().all() and head.part("").mu.grad[0, 1] != 0
    put(head.part("").mu, [1.0, -0.2])
    assert torch.equal(outside, head(features, ""))


def test_the_penalty_counts_the_weights_of_all_windows():
    head = readout(2, (1, 5, 7), windows=(1, 3), feature_l1=0.1)
    put(head.part("").weight, [[1.0, -2.0], [0.0, 0.5]])
    assert head.penalty("").item() == pytest.approx(0.1 * (3 + 0.5) / 2)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"windows": (1, 4)}, "windows: expected odd sides, each once.*found"),
        ({"windows": (3, 3)}, "windows: expected odd sides, each once.*found"),
        ({"windows": ()}, "windows: "),
        ({"windows": (0,)}, "windows.0: .*found 0"),
        ({"start_range": 1.5}, "start_range: .*found 1.5"),
    ],
)
def test_wrong_settings_are_refused(wrong, text):
    with pytest.raises(ConfigError, match=text):
        PointPooledReadoutConfig(**wrong)
