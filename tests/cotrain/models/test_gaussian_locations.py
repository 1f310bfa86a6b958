"""Where the Gaussian readout may take places and feature vectors from: cortex, the session, a group of neurons."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.models import GaussianReadoutConfig, gaussian_readout
from cotrain.tasks import SessionInfo, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}


def task(**sessions):
    """A neural task with the mean responses of each session; `task(only=...)` has one without a name."""
    held = {
        "" if name == "only" else name: SessionInfo(len(means), tuple(means), 0.0, STIMULI)
        for name, means in sessions.items()
    }
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions=held)


def maps(number=3, channels=4, height=5, width=7, seed=0):
    return torch.randn(number, channels, height, width, generator=torch.Generator().manual_seed(seed))


def put(parameter, value):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))


def bilinear(feature_maps, x, y):
    """One vector an image: x = -1 is the centre of the left column, x = 1 that of the right; y downwards."""
    _, _, height, width = feature_maps.shape
    column, row = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
    total = np.zeros(feature_maps.shape[:2])
    for j in range(height):
        for i in range(width):
            total += max(0.0, 1 - abs(j - row)) * max(0.0, 1 - abs(i - column)) * feature_maps[:, :, j, i].numpy()
    return total


def recorded(**columns):
    """A task of two sessions, "a" and "b", with metadata: {session: {column: values}}."""
    held = {
        name: SessionInfo(len(next(iter(metadata.values()))), (0.5,) * len(next(iter(metadata.values()))), 0.0, STIMULI)
        for name, metadata in columns.items()
    }
    sessions = {name: replace(session, neuron_metadata=columns[name]) for name, session in held.items()}
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions=sessions)


def built(info, **config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gaussian_readout(info, GaussianReadoutConfig(**config), features=(4, 5, 7))


CORTEX = {"x": (100.0, 300.0, 350.0, 250.0), "y": (-1.0, 1.0, 0.5, -0.5), "depth": (7.0, 7.0, 7.0, 7.0)}


@pytest.mark.parametrize("columns", [("x", "y"), ("y",), ("x", "y", "depth")])
@pytest.mark.parametrize("hidden", [(), (5,), (6, 5)])
def test_places_are_predicted_from_centred_and_scaled_coordinates(columns, hidden):
    head = built(recorded(a=CORTEX, b=CORTEX), location="predicted", coordinates=columns, hidden=hidden).eval()
    part = head.part("a")
    x = np.array([CORTEX[name] for name in columns]).T
    x = x - x.mean(0)
    x = x / np.maximum(np.abs(x).max(0), 1e-9)
    np.testing.assert_allclose(part.cortical.coordinates.numpy(), x, atol=1e-6)
    assert "readouts.a.cortical.coordinates" in head.state_dict() and not hasattr(part, "mu")
    layers = [m for m in part.cortical.network if hasattr(m, "weight")]
    assert [layer.out_features for layer in layers] == [*hidden, 2]
    for number, layer in enumerate(layers):
        x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        x = np.where(x > 0, x, np.expm1(x)) if number < len(hidden) else np.tanh(x)
    np.testing.assert_allclose(part.places(1)[0].detach().numpy(), x, atol=1e-6)
    bilinear_there = bilinear(maps(), *x[2]) @ part.weight[2].detach().numpy() + part.bias[2].item()
    np.testing.assert_allclose(head(maps(), "a")[:, 2].detach().numpy(), bilinear_there, atol=1e-5)


def test_predicted_places_do_not_depend_on_the_unit_of_the_coordinates_and_are_learnt():
    metres = {name: tuple(v * 1e-6 + 3 for v in values) for name, values in CORTEX.items()}
    one, other = (built(recorded(a=held), location="predicted").eval() for held in (CORTEX, metres))
    torch.testing.assert_close(one.part("a").places(1), other.part("a").places(1), rtol=1e-4, atol=1e-5)
    one.train()(maps(), "a").square().sum().backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_planted_map_of_cortex_is_found():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 500, (2, 40))
    truth = torch.tensor(np.stack([(y - 250) / 250, (250 - x) / 250], 1) * 0.6, dtype=torch.float32)
    info = recorded(a={"x": tuple(x.tolist()), "y": tuple(y.tolist())})
    head = built(info, location="predicted", start_sigma=0.2)
    part = head.part("a")
    features = torch.nn.functional.avg_pool2d(maps(128, 4, 13, 13, seed=2), 5, stride=1) * 5
    grid = truth.expand(128, -1, -1).unsqueeze(2)
    sampled = torch.nn.functional.grid_sample(features, grid, align_corners=True)[..., 0]
    target = torch.einsum("bcn,c->bn", sampled, torch.tensor([1.0, -0.5, 0.3, 0.8]))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for _ in range(300):
            optimiser.zero_grad()
            (head(features, "a") - target).square().mean().backward()
            optimiser.step()
    assert (part.eval().places(1)[0] - truth).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("columns", "config", "text"),
    [
        ({"x": (1.0, 2.0)}, {}, r"Session 'a': its neurons have no metadata 'y'. Known: x"),
        ({"x": (1.0, 2.0), "y_": (1.0, 2.0)}, {}, r"no metadata 'y'. Did you mean 'y_'|no metadata 'y'. Known: x, y_"),
        (
            {"x": (1.0, math.nan), "y": (1.0, 2.0)},
            {},
            r"'a': expected finite numbers in the column 'x'.*neuron 1 has nan",
        ),
        ({"x": (1.0, 2.0), "y": (math.inf, 2.0)}, {}, r"'a': .*column 'y'.*neuron 0 has inf.*use location='free'"),
        ({"area": ("V1", "V4")}, {"coordinates": ("area",)}, r"'a': .*column 'area'.*neuron 0 has 'V1'"),
    ],
)
def test_coordinates_that_lack_are_named(columns, config, text):
    with pytest.raises(ModelError, match=text):
        built(recorded(a=columns), location="predicted", **config)


def test_a_session_without_any_metadata_has_no_predicted_places():
    with pytest.raises(ModelError, match=r"Session 'monday': its neurons have no metadata 'x'. They have none at all"):
        built(task(monday=(1.0,)), location="predicted")
    short = recorded(a={"x": (1.0, 2.0), "y": (1.0,)})
    with pytest.raises(ModelError, match=r"expected one value of 'y' a neuron \(2\), found 1"):
        built(short, location="predicted")


@pytest.mark.parametrize("covariance", ["isotropic", "uncorrelated", "full"])
def test_neurons_of_a_session_can_share_one_location(covariance):
    head = built(recorded(a=CORTEX, b=CORTEX), location="shared", covariance=covariance)
    part = head.part("a")
    assert part.mu.shape == (1, 2) and len(part.sigma) == 1 and not torch.equal(part.mu, head.part("b").mu)
    places = part.places(500)
    assert places.shape == (500, 4, 2)
    assert abs(np.corrcoef(places[:, 0, 0].detach(), places[:, 1, 0].detach())[0, 1]) < 0.2  # each draws for itself
    head.eval()
    assert torch.equal(part.places(2), part.mu.expand(2, 4, 2))
    expected = bilinear(maps(), *part.mu[0].tolist()) @ part.weight.detach().numpy().T + part.bias.detach().numpy()
    np.testing.assert_allclose(head(maps(), "a").detach().numpy(), expected, atol=1e-5)


UNITS = {"a": {"unit": ("u1", "u2", "u1")}, "b": {"unit": ("u3", "u2")}}


def test_neurons_of_equal_metadata_share_feature_vectors_across_sessions():
    head = built(recorded(**UNITS), features="shared", share_by="unit", feature_l1=0.1).eval()
    assert head.vectors.shape == (3, 4) and [n for n, _ in head.named_parameters() if n == "vectors"]
    assert not [name for name in head.state_dict() if name.endswith(".weight")]
    put(head.part("a").scale, [[1.0], [2.0], [-3.0]])
    u1, u2, u3 = head.vectors.detach()
    for session, weights in (("a", [u1, 2 * u2, -3 * u1]), ("b", [u3, u2])):
        part, weights = head.part(session), torch.stack(weights)
        expected = [bilinear(maps(), *part.mu[n].tolist()) @ w.numpy() + 0.5 for n, w in enumerate(weights)]
        np.testing.assert_allclose(head(maps(), session).detach().numpy(), np.stack(expected, 1), atol=1e-5)
        assert head.penalty(session).item() == pytest.approx(0.1 * weights.abs().sum(1).mean().item(), rel=1e-5)
    (head(maps(), "a").square().sum() + head.penalty("a")).backward()
    assert head.part("a").scale.grad.all() and head.vectors.grad[:2].any(1).all() and not head.vectors.grad[2].any()
    twin = built(recorded(**UNITS), features="shared", share_by="unit").eval()
    twin.load_state_dict(head.state_dict())
    assert torch.equal(twin(maps(), "b"), head(maps(), "b"))


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"unit": ("u1", "")}, r"Session 'a': neuron 1 has no value of 'unit'.*use features='own'"),
        ({"unit": (math.nan, 1.0)}, r"Session 'a': neuron 0 has no value of 'unit'"),
        ({"units": ("u1", "u2")}, r"Session 'a': its neurons have no metadata 'unit'. Did you mean 'units'"),
    ],
)
def test_what_feature_vectors_are_shared_by_must_be_known(columns, text):
    with pytest.raises(ModelError, match=text):
        built(recorded(a=columns), features="shared", share_by="unit")


@pytest.mark.parametrize("wrong", [{"features": "shared"}, {"share_by": "unit"}])
def test_sharing_needs_both_of_its_settings(wrong):
    with pytest.raises(ConfigError, match=r"features='shared' needs share_by.* and features='own' none; found"):
        GaussianReadoutConfig(**wrong)
