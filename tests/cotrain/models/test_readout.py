"""What all readouts do alike: sessions, first outputs, penalties, tokens, and finding a planted receptive field."""

import copy
import math

import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.models import (
    AttentionReadoutConfig,
    FactorizedReadoutConfig,
    GaussianReadoutConfig,
    PointPooledReadoutConfig,
    attention_readout,
    factorized_readout,
    gaussian_readout,
    point_pooled_readout,
)
from cotrain.models._readout import as_maps, first_bias, map_shape, respond
from cotrain.tasks import SessionInfo, TaskInfo

OUTPUTS = ("identity", "elu", "softplus", "exp")
STIMULI = {"train": 8, "validation": 4, "test": 4}
NEW = {
    "factorized": (factorized_readout, FactorizedReadoutConfig),
    "point": (point_pooled_readout, PointPooledReadoutConfig),
    "attention": (attention_readout, AttentionReadoutConfig),
}
ALL = {"gaussian": (gaussian_readout, GaussianReadoutConfig), **NEW}
MEANS = (0.0, 1e-3, 0.2, 0.999, 1.0, 1.001, 7.5, 60.0)


def task(**sessions):
    """A neural task with the mean responses of each session; `task(only=...)` has one without a name."""
    held = {
        "" if name == "only" else name: SessionInfo(len(means), tuple(means), 0.0, STIMULI)
        for name, means in sessions.items()
    }
    return TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions=held)


def readout(which, info=None, *, shape=(4, 5, 7), **config):
    """A head, always the same."""
    builder, cls = ALL[which]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return builder(info or task(only=(0.5, 1.5, 3.0)), cls(**config), features=shape)


def awake(head, seed=5):
    """The head with feature weights that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.endswith(".weight") and name.startswith("readouts."):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


def maps(*shape, seed=0):
    return torch.randn(*(shape or (3, 4, 5, 7)), generator=torch.Generator().manual_seed(seed))


def tokens(features, *, class_token):
    """The same maps as tokens, row by row; a class token is large, so that its use would be seen."""
    rows = features.flatten(2).transpose(1, 2)
    return torch.cat([torch.full_like(rows[:, :1], 1e3), rows], 1) if class_token else rows


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("which", NEW)
def test_the_first_prediction_is_the_mean_response_whatever_is_shown(which, output):
    head = readout(which, task(only=MEANS), output=output)
    expected = torch.tensor(MEANS) if output == "identity" else torch.tensor(MEANS).clamp_min(1e-3)
    for mode in (True, False):
        torch.testing.assert_close(head.train(mode)(10 * maps(), ""), expected.expand(3, -1), rtol=1e-5, atol=1e-7)
    assert head.positive_output == (output != "identity")


def test_the_first_prediction_of_a_gaussian_readout_is_near_the_mean_response():
    head = readout("gaussian", task(only=MEANS), output="exp").eval()
    torch.testing.assert_close(head(maps(), ""), torch.tensor(MEANS).clamp_min(1e-3).expand(3, -1), rtol=0.5, atol=0)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("response", [1e-3, 0.1, 1.0, 1.5, 40.0])
def test_the_first_bias_is_the_inverse_of_the_output(output, response):
    bias = first_bias(SessionInfo(1, (response,), 0.0, STIMULI), output)
    assert respond(bias, output).item() == pytest.approx(response, rel=1e-5)


@pytest.mark.parametrize("output", OUTPUTS[1:])
@pytest.mark.parametrize("drive", [-1e30, -1e4, -90.0, -18.0, 0.0, 79.0, 1e4, 1e30])
def test_positive_outputs_are_positive_and_finite_with_finite_gradients(output, drive):
    held = torch.tensor([drive], requires_grad=True)
    response = respond(held, output)
    response.sum().backward()
    assert response.item() > 0 and math.isfinite(response.item())
    assert math.isfinite(held.grad.item()) and held.grad.item() >= 0


@pytest.mark.parametrize("which", ALL)
def test_sessions_stand_side_by_side_and_only_the_asked_one_learns(which):
    info = task(monday=(1.0, 2.0), tuesday=(3.0,), wednesday=(0.5,) * 5)
    head = awake(readout(which, info, feature_l1=1.0))
    assert {name: head(maps(), name).shape for name in info.sessions} == {
        "monday": (3, 2),
        "tuesday": (3, 1),
        "wednesday": (3, 5),
    }
    head(maps(), "tuesday").sum().backward()
    touched = {name.split(".")[1] for name, p in head.named_parameters() if p.grad is not None and "readouts" in name}
    assert touched == {"tuesday"}
    for ask in (lambda: head(maps(), "mondy"), lambda: head.penalty("mondy")):
        with pytest.raises(ModelError, match=r"no session 'mondy'. Did you mean 'monday'"):
            ask()


@pytest.mark.parametrize("which", ALL)
def test_the_penalty_does_not_grow_with_neurons_or_images(which):
    one, many = (awake(readout(which, task(only=(1.0,) * n), feature_l1=0.3)) for n in (1, 7))
    with torch.no_grad():
        many.part("").weight.copy_(one.part("").weight.expand_as(many.part("").weight))
    expected = 0.3 * one.part("").weight.abs().sum()
    torch.testing.assert_close(one.penalty(""), expected)
    torch.testing.assert_close(many.penalty(""), expected)
    many(maps(20, 4, 5, 7), "")
    torch.testing.assert_close(many.penalty(""), expected)
    assert readout(which).penalty("") is None


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize("class_token", [False, True])
def test_tokens_are_the_same_as_their_maps(which, class_token):
    features = maps(3, 4, 6, 6)
    seen = tokens(features, class_token=class_token)
    by_maps = awake(readout(which, shape=(4, 6, 6))).eval()
    by_tokens = awake(readout(which, shape=tuple(seen.shape[1:]))).eval()
    assert torch.equal(by_tokens(seen, ""), by_maps(features, ""))
    assert [v.shape for v in by_tokens.state_dict().values()] == [v.shape for v in by_maps.state_dict().values()]


def test_maps_are_taken_as_they_are_and_tokens_row_by_row():
    features = maps(2, 3, 4, 4)
    assert as_maps(features) is features
    for class_token in (False, True):
        assert torch.equal(as_maps(tokens(features, class_token=class_token)), features)
    assert map_shape("any", (9, 5)) == map_shape("any", (10, 5)) == (5, 3, 3)
    assert map_shape("any", (1, 5)) == map_shape("any", (2, 5)) == (5, 1, 1)


@pytest.mark.parametrize("shape", [(7, 6), (12, 6), (0, 6), (6,), (2, 3, 4, 5)])
@pytest.mark.parametrize("which", ALL)
def test_features_without_places_are_refused(which, shape):
    text = r"readout needs feature maps \(channels, height, width\), or tokens .* the tap gives \(" + str(shape[0])
    with pytest.raises(ModelError, match=text):
        readout(which, shape=shape)
    with pytest.raises(ModelError, match=rf"A readout needs feature maps .* the tap gives \({shape[0]}"):
        as_maps(torch.zeros(2, *shape)) if len(shape) != 3 else None


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6), (2, 6)])
@pytest.mark.parametrize("which", ALL)
def test_maps_of_one_place_are_refused_where_places_are_learnt(which, shape):
    with pytest.raises(ModelError, match=r"_readout learns where .* one place: tap before the global pooling"):
        readout(which, shape=shape)


@pytest.mark.parametrize("kind", ["classification", "rdm"])
@pytest.mark.parametrize("which", ALL)
def test_readouts_are_for_neural_tasks(which, kind):
    info = TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), ("cat", "dog"), {"": SessionInfo(0, (), 0.0, STIMULI)})
    with pytest.raises(ModelError, match=f"readout is for neural tasks, this one is of kind {kind}"):
        readout(which, info)


@pytest.mark.parametrize("which", ALL)
def test_wrong_settings_are_refused(which):
    for wrong, text in (({"output": "relu"}, "output: .*found 'relu'"), ({"feature_l1": -1.0}, "feature_l1: .*-1.0")):
        with pytest.raises(ConfigError, match=text):
            ALL[which][1](**wrong)


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize("output", ["elu", "exp"])
def test_gradients_reach_every_parameter_and_the_features(which, output):
    head, features = awake(readout(which, output=output, feature_l1=0.1)), maps().requires_grad_()
    (head(features, "").square().sum() + head.penalty("")).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert features.grad.isfinite().all() and features.grad.any()


@pytest.mark.parametrize("which", NEW)
def test_gradients_are_those_of_the_function(which):
    head = awake(readout(which, task(only=(1.0, 2.0)), shape=(2, 3, 4), output="softplus")).double().eval()
    parameters = dict(head.named_parameters())

    def function(features, *values):
        state = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(head, state, (features, ""))

    values = [p.detach().clone().requires_grad_() for p in parameters.values()]
    features = maps(2, 2, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(function, (features, *values))


@pytest.mark.parametrize("which", ALL)
def test_the_state_is_parameters_alone_and_can_be_copied(which):
    head = awake(readout(which)).eval()
    names = set(head.state_dict())
    head(maps(9, 4, 5, 7), "")
    assert set(head.state_dict()) == names == {name for name, _ in head.named_parameters()}
    other = readout(which).eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(maps(), ""), head(maps(), ""))
    assert torch.equal(copy.deepcopy(head)(maps(), ""), head(maps(), ""))


@pytest.mark.parametrize("which", ALL)
def test_each_image_is_answered_for_itself(which):
    head, features = awake(readout(which)).eval(), maps()
    single = torch.cat([head(feature[None], "") for feature in features])
    torch.testing.assert_close(single, head(features, ""), rtol=1e-4, atol=1e-5)
    assert head(features[:0], "").shape == (0, 3)


def center(which, head, features):
    """Where the first neuron looks: (x, y) in -1..1."""
    part = head.eval().part("")
    if which in {"gaussian", "point"}:
        return part.mu[0].detach().clamp(-1, 1)
    weights = (
        part.masks()[0].abs() if which == "factorized" else part.attention(head.common(features))[:, 0].mean((0, 1))
    )
    peak = int(weights.detach().flatten().argmax())
    height, width = features.shape[2:]
    return torch.tensor([peak % width / (width - 1) * 2 - 1, peak // width / (height - 1) * 2 - 1])


@pytest.mark.parametrize(
    ("which", "config"),
    [
        ("gaussian", {}),
        ("gaussian", {"location": "shared"}),
        ("factorized", {"mask_l1": 0.02}),
        ("point", {}),
        ("attention", {}),
    ],
)
def test_a_planted_receptive_field_is_found(which, config):
    features = torch.nn.functional.avg_pool2d(maps(256, 3, 13, 13, seed=2), 5, stride=1) * 5
    target = features[:, :, 2, 6] @ torch.tensor([[1.0], [-0.5], [0.3]])  # x = 0.5, y = -0.5
    head = readout(which, task(only=(0.0,)), shape=(3, 9, 9), **config)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.03)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for step in range(300):
            batch = torch.arange(64) + 64 * (step % 4)
            optimiser.zero_grad()
            loss = (head(features[batch], "") - target[batch]).square().mean()
            (loss + (head.penalty("") or 0)).backward()
            optimiser.step()
    found = center(which, head, features)
    assert (found - torch.tensor([0.5, -0.5])).abs().max() < 0.13, found
    fresh = torch.nn.functional.avg_pool2d(maps(64, 3, 13, 13, seed=9), 5, stride=1) * 5
    wanted = fresh[:, :, 2, 6] @ torch.tensor([1.0, -0.5, 0.3])
    r = torch.corrcoef(torch.stack([head(fresh, "")[:, 0].detach(), wanted]))[0, 1]
    assert r > 0.9, r
