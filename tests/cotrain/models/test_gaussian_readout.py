"""Each neuron reads the feature maps at its place: bilinear, sampled in training, exact and deterministic after it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.errors import ModelError
from cotrain.losses import QuasiPoissonConfig, quasi_poisson
from cotrain.models import GaussianReadoutConfig, gaussian_readout
from cotrain.tasks import SessionInfo, TaskInfo

OUTPUTS = ("identity", "elu", "softplus")
STIMULI = {"train": 8, "validation": 4, "test": 4}
PLACES = st.floats(-1, 1, width=32)


def task(**sessions):
    """A neural task with the mean responses of each session; `task(only=...)` has one without a name."""
    held = {
        "" if name == "only" else name: SessionInfo(len(means), tuple(means), 0.0, STIMULI)
        for name, means in sessions.items()
    }
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions=held)


def readout(means=(0.5, 1.5, 3.0), *, channels=4, **config):
    """Head of one session, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gaussian_readout(task(only=means), GaussianReadoutConfig(**config), features=(channels, 5, 7))


def inner(head):
    return head.readouts["only"]


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


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_first_prediction_is_the_mean_response(output):
    means = (0.0, 1e-3, 0.2, 0.999, 1.0, 1.001, 7.5, 60.0)
    head = readout(means, output=output)
    put(inner(head).weight, 0.0)
    expected = torch.tensor(means) if output == "identity" else torch.tensor(means).clamp_min(1e-3)
    torch.testing.assert_close(head(maps(2), ""), expected.expand(2, -1), rtol=1e-5, atol=1e-7)
    assert head.positive_output == (output != "identity")


def test_standardised_responses_may_have_any_mean():
    head = readout((-3.0, 0.0, 2.0))
    put(inner(head).weight, 0.0)
    assert head(maps(1), "")[0].tolist() == [-3.0, 0.0, 2.0]


@settings(max_examples=25, deadline=None)
@given(x=PLACES, y=PLACES)
def test_a_place_is_looked_up_bilinearly(x, y):
    head, features = readout().eval(), maps()
    put(inner(head).mu, [x, y])
    expected = bilinear(features, x, y) @ inner(head).weight.detach().numpy().T + inner(head).bias.detach().numpy()
    np.testing.assert_allclose(head(features, "").detach().numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("x", "y", "row", "column"), [(-1, -1, 0, 0), (1, -1, 0, 6), (-1, 1, 4, 0), (1, 1, 4, 6), (0, 0, 2, 3)]
)
def test_the_corners_of_the_image_are_the_corner_pixels(x, y, row, column):
    head, features = readout((0.0,), channels=1).eval(), maps(channels=1)
    put(inner(head).mu, [x, y])
    put(inner(head).weight, 1.0)
    torch.testing.assert_close(head(features, "")[:, 0], features[:, 0, row, column])


@pytest.mark.parametrize("covariance", ["isotropic", "uncorrelated", "full"])
def test_evaluation_repeats_itself_and_training_samples(covariance):
    head, features = readout(covariance=covariance), maps()
    assert not torch.equal(head(features, ""), head(features, ""))
    head.eval()
    state = torch.get_rng_state()
    assert torch.equal(head(features, ""), head(features, ""))
    assert torch.equal(torch.get_rng_state(), state)
    single = torch.cat([head(feature[None], "") for feature in features])
    torch.testing.assert_close(single, head(features, ""))


@pytest.mark.parametrize(
    ("covariance", "sigma", "root"),
    [
        ("isotropic", [0.1], [[0.1, 0], [0, 0.1]]),
        ("uncorrelated", [0.1, 0.04], [[0.1, 0], [0, 0.04]]),
        ("full", [[0.1, 0.02], [-0.05, 0.06]], [[0.1, 0.02], [-0.05, 0.06]]),
    ],
)
def test_sampled_places_have_the_mean_and_covariance_of_their_gaussian(covariance, sigma, root):
    session = inner(readout(covariance=covariance))
    put(session.sigma, sigma)
    put(session.mu, [0.2, -0.3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        places = session.places(20_000).detach().numpy()
    for neuron in range(3):
        np.testing.assert_allclose(places[:, neuron].mean(0), [0.2, -0.3], atol=0.004)
        np.testing.assert_allclose(np.cov(places[:, neuron].T), np.array(root) @ np.array(root).T, atol=4e-4)
    assert abs(np.corrcoef(places[:, 0, 0], places[:, 1, 0])[0, 1]) < 0.04  # each neuron draws for itself


@pytest.mark.parametrize("covariance", ["isotropic", "uncorrelated", "full"])
def test_every_covariance_starts_round_and_as_wide_as_told(covariance):
    session = inner(readout((0.5,) * 400, covariance=covariance, start_sigma=0.05, start_range=0.25))
    assert session.mu.abs().max() <= 0.25 and session.mu.std() > 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        offset = (session.places(100) - session.mu).detach().reshape(-1, 2).numpy()
    np.testing.assert_allclose(np.cov(offset.T), 0.05**2 * np.eye(2), atol=1e-4)


def test_places_never_leave_the_image():
    session = inner(readout(start_sigma=2.0))
    put(session.mu, [5.0, -5.0])
    assert session.places(100).abs().max() <= 1
    torch.testing.assert_close(session.eval().places(1)[0], torch.tensor([[1.0, -1.0]] * 3))


def test_the_penalty_is_the_mean_over_neurons_of_summed_absolute_weights():
    head = readout((0.5, 1.5), channels=3, feature_l1=0.1)
    put(inner(head).weight, [[1.0, -2.0, 0.5], [0.0, 0.25, -0.25]])
    penalty = head.penalty("")
    assert penalty.item() == pytest.approx(0.1 * (3.5 + 0.5) / 2)
    penalty.backward()
    assert inner(head).weight.grad[0].tolist() == pytest.approx([0.05, -0.05, 0.05])
    assert readout().penalty("") is None


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("covariance", ["isotropic", "uncorrelated", "full"])
def test_gradients_reach_every_parameter_and_the_features(output, covariance):
    head, features = readout(output=output, covariance=covariance), maps().requires_grad_()
    head(features, "").square().sum().backward()
    for name, parameter in inner(head).named_parameters():
        reached = parameter.grad.flatten(1).any(1) if parameter.ndim > 1 else parameter.grad != 0
        assert parameter.grad.isfinite().all() and reached.all(), name
    assert features.grad.abs().sum() > 0


@pytest.mark.parametrize("output", ["elu", "softplus"])
@pytest.mark.parametrize("drive", [-1e4, -90.0, -40.0, -18.0, -1.0, 0.0, 1e-4, 30.0, 1e4])
def test_counts_are_predicted_positive_and_smooth_for_any_drive(output, drive):
    head = readout((0.5,), output=output).eval()
    put(inner(head).weight, 0.0)
    put(inner(head).bias, drive)
    predicted = head(maps(1), "")
    predicted.sum().backward()
    low = max(drive, -80.0)
    expected = (
        math.exp(min(low, 0.0)) + max(low, 0.0) if output == "elu" else max(low, 0.0) + math.log1p(math.exp(-abs(low)))
    )
    assert predicted.item() > 0
    assert predicted.item() == pytest.approx(expected, rel=1e-4)
    slope = inner(head).bias.grad.item()
    assert math.isfinite(slope) and slope >= 0 and (slope > 0 or drive < -80)


@pytest.mark.parametrize("output", ["elu", "softplus"])
def test_a_neuron_that_is_predicted_silent_learns_to_speak(output):
    head = readout((0.5,), output=output)
    objective = quasi_poisson(task(only=(0.5,)), QuasiPoissonConfig(weight=1.0))
    put(inner(head).weight, 0.0)
    put(inner(head).bias, -18.0)
    optimiser = torch.optim.Adam([inner(head).bias], lr=0.3)
    for _ in range(120):
        optimiser.zero_grad()
        objective(head(maps(2), ""), torch.tensor([[1.0], [3.0]])).backward()
        optimiser.step()
    assert head.eval()(maps(1), "").item() == pytest.approx(2.0, rel=0.1)


def fit(session, place, *, steps=250, rate=0.03):
    """Train a session on the responses of one neuron at `place`; images of smooth noise."""
    noise = maps(48, 3, 13, 13, seed=2)
    features = torch.nn.functional.avg_pool2d(noise, 5, stride=1) * 5
    weight = np.array([[1.0, -0.5, 0.3]])
    target = torch.tensor(bilinear(features, *place) @ weight.T, dtype=torch.float32)
    optimiser = torch.optim.Adam(session.parameters(), lr=rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for _ in range(steps):
            optimiser.zero_grad()
            (session(features) - target).square().mean().backward()
            optimiser.step()
    return session.mu.detach()[0]


def test_a_planted_place_is_found():
    session = inner(readout((0.0,), channels=3))
    put(session.mu, [0.0, 0.0])
    found = fit(session, (0.4, -0.3))
    assert (found - torch.tensor([0.4, -0.3])).abs().max() < 0.1, found
    assert session.sigma.abs().max() < 0.15  # the uncertainty shrinks once the place is known


def test_a_place_that_a_step_led_out_of_the_image_comes_back():
    session = inner(readout((0.0,), channels=3))
    put(session.mu, [1.1, 0.2])
    put(session.weight, [[1.0, -0.5, 0.3]])
    assert fit(session, (0.6, 0.2))[0].item() == pytest.approx(0.6, abs=0.1)


def test_sessions_of_different_sizes_stand_side_by_side():
    info = task(monday=(1.0, 2.0), tuesday=(3.0,), wednesday=(0.5,) * 5)
    head = gaussian_readout(info, GaussianReadoutConfig(feature_l1=1.0), features=(4, 5, 7))
    sizes = {session: head(maps(), session).shape[1] for session in info.sessions}
    assert sizes == {"monday": 2, "tuesday": 1, "wednesday": 5}
    head(maps(), "tuesday").sum().backward()
    touched = {name.split(".")[1] for name, parameter in head.named_parameters() if parameter.grad is not None}
    assert touched == {"tuesday"}
    assert head.penalty("monday") != head.penalty("tuesday")
    for ask in (lambda: head(maps(), "mondy"), lambda: head.penalty("mondy")):
        with pytest.raises(ModelError, match=r"no session 'mondy'. Did you mean 'monday'"):
            ask()
    with pytest.raises(ModelError, match=r"no session ''. Known: monday, tuesday, wednesday"):
        head(maps(), "")


def test_heads_made_before_other_locations_came_are_what_they_were():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GaussianReadoutConfig(covariance="full", output="elu", feature_l1=0.3)
        head = gaussian_readout(task(monday=(0.5, 1.5), tuesday=(0.0, 2.0, 7.5)), config, features=(4, 5, 7))
        features = torch.randn(3, 4, 5, 7)
        head(features, "monday")
        sampled = head(features, "tuesday")[0].tolist()
    names = [f"readouts.{day}.{part}" for day in ("monday", "tuesday") for part in ("mu", "sigma", "weight", "bias")]
    state = head.state_dict()
    assert list(state) == [name for name, _ in head.named_parameters()] == names
    mu = [[-0.002246046205982566, 0.16093307733535767], [-0.24691355228424072, -0.22078171372413635]]
    weight = [-0.04132343456149101, -0.039746832102537155, -0.04764175787568092, 0.018586069345474243]
    assert state["readouts.monday.mu"].tolist() == mu
    assert state["readouts.tuesday.weight"][0].tolist() == pytest.approx(weight, rel=1e-6)
    assert sampled == pytest.approx([0.001050648745149374, 2.045483350753784, 7.442416667938232], rel=1e-5)
    assert head.eval()(features, "tuesday")[0].tolist() == pytest.approx([0.000997069, 1.988669872, 7.494761467], 1e-5)
    assert head.penalty("monday").item() == pytest.approx(0.05695734918117523, rel=1e-5)


def test_keys_of_configs_without_the_later_fields_are_what_they_were():
    fields = {"kind", "covariance", "start_range", "start_sigma", "feature_l1", "output"}
    assert set(GaussianReadoutConfig().identity()) == fields
    assert set(GaussianReadoutConfig(location="shared").identity()) == fields | {"location"}
    assert set(GaussianReadoutConfig(hidden=(20,), coordinates=("x",)).identity()) == fields | {"hidden", "coordinates"}
