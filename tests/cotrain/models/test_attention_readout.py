"""Softmax attention over places: a query and weights for each neuron and head, keys that all sessions share."""

import math

import numpy as np
import pytest
import torch

from cotrain.errors import ConfigError
from cotrain.models import AttentionReadoutConfig, attention_readout
from cotrain.models._attention_readout import encoding
from cotrain.tasks import SessionInfo, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}


def readout(neurons=3, shape=(4, 5, 7), **config):
    sessions = {name: SessionInfo(neurons, (0.5,) * neurons, 0.0, STIMULI) for name in ("monday", "tuesday")}
    info = TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions=sessions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return attention_readout(info, AttentionReadoutConfig(**config), features=shape)


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def put(parameter, value):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))


def by_loops(head, features):
    """Outputs of "monday", from the formulas."""
    part = head.part("monday")
    query, weight = part.query.detach().double().numpy(), part.weight.detach().double().numpy()
    what, where = (layer.weight.detach().double().numpy() for layer in (head.what, head.where))
    images, _, height, width = features.shape
    found = np.tile(part.bias.detach().double().numpy(), (images, 1))
    for image in range(images):
        keys, values = [], []
        for row in range(height):
            for column in range(width):
                value = features[image, :, row, column].double().numpy()
                normal = (value - value.mean()) / np.sqrt(value.var() + 1e-5)
                x, y = column / (width - 1) - 0.5, row / (height - 1) - 0.5
                rates = [math.pi * 2**k for k in range(head.frequencies)]
                place = [f(r * c) for c in (x, y) for f in (math.sin, math.cos) for r in rates]
                keys.append(what @ normal + where @ np.array(place))
                values.append(value)
        for neuron in range(query.shape[0]):
            for one in range(query.shape[1]):
                scores = np.exp(np.array(keys) @ query[neuron, one] / math.sqrt(query.shape[2]))
                attended = (scores / scores.sum()) @ np.array(values)
                found[image, neuron] += attended @ weight[neuron, one]
    return found


@pytest.mark.parametrize("config", [{}, {"heads": 3, "width": 5, "frequencies": 2}])
def test_each_head_weights_what_it_attends_to(config):
    head, features = readout(**config), maps(2, 4, 5, 7)
    put(head.part("monday").weight, maps(*head.part("monday").weight.shape))
    np.testing.assert_allclose(head(features, "monday").detach().numpy(), by_loops(head, features), atol=2e-5)


def test_attention_sums_to_one_and_follows_the_query():
    head, features = readout(1, width=8), maps(2, 4, 5, 7)
    keys = head.common(features)
    assert keys.shape == (2, 35, 8)
    attention = head.part("monday").attention(keys)
    assert attention.shape == (2, 1, 1, 35) and (attention > 0).all()
    torch.testing.assert_close(attention.sum(3), torch.ones(2, 1, 1))
    put(head.part("monday").query, keys[0, 11] * 1e3)
    scores = keys[0] @ keys[0, 11]
    assert head.part("monday").attention(keys)[0, 0, 0].argmax() == scores.argmax()


def test_a_query_of_zeros_sees_the_mean_of_the_map():
    head, features = readout(2), maps(2, 4, 5, 7)
    put(head.part("monday").query, 0.0)
    put(head.part("monday").weight, maps(2, 1, 4))
    expected = features.mean((2, 3)) @ head.part("monday").weight[:, 0].T + 0.5
    torch.testing.assert_close(head(features, "monday"), expected)


def test_sessions_share_the_keys_and_nothing_else():
    head = readout()
    names = {name.split(".")[0] for name, _ in head.named_parameters()}
    assert names == {"what", "where", "readouts"}
    assert not torch.equal(head.part("monday").query, head.part("tuesday").query)


def test_maps_of_any_size_can_be_read_after_training():
    head = readout()
    assert [head(maps(2, 4, *size), "monday").shape for size in ((5, 7), (9, 3), (1, 1))] == [(2, 3)] * 3


def test_places_are_encoded_by_sines_and_cosines_of_doubling_rates():
    found = encoding(3, 5, 2)
    assert found.shape == (15, 8)
    low = found[:5, 0].tolist()  # the lowest sine of x over the first row
    assert low == pytest.approx([math.sin(math.pi * x) for x in (-0.5, -0.25, 0.0, 0.25, 0.5)])
    assert found[::5, 4].tolist() == pytest.approx([-1.0, 0.0, 1.0])  # that of y down the first column
    assert len({tuple(np.round(row, 6)) for row in found.tolist()}) == 15
    assert encoding(1, 1, 1).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_the_penalty_counts_the_weights_of_all_heads():
    head = readout(2, (1, 5, 7), heads=2, feature_l1=0.1)
    put(head.part("monday").weight, [[[1.0], [-2.0]], [[0.0], [0.5]]])
    assert head.penalty("monday").item() == pytest.approx(0.1 * (3 + 0.5) / 2)


@pytest.mark.parametrize("field", ["heads", "width", "frequencies"])
def test_wrong_settings_are_refused(field):
    with pytest.raises(ConfigError, match=f"{field}: .*found 0"):
        AttentionReadoutConfig(**{field: 0})
