"""Classification heads with hidden layers equal their formulas, for maps, vectors and tokens."""

import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.models import ConvolutionalHeadConfig, DenseHeadConfig, convolutional_head, dense_head
from cotrain.tasks import SessionInfo, TaskInfo

HEADS = {"dense": (dense_head, DenseHeadConfig), "convolutional": (convolutional_head, ConvolutionalHeadConfig)}


def task(kind="classification", classes=3):
    session = SessionInfo(0, (), 0.0, {"train": 8, "validation": 4, "test": 4})
    names = tuple(f"class{n}" for n in range(classes))
    return TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), names, {"": session})


def head(which, shape, classes=3, **config):
    builder, cls = HEADS[which]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return builder(task(classes=classes), cls(**{"hidden": (6, 5), **config}), features=shape).eval()


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def layers(found):
    return [(m.weight.flatten(1), m.bias) for m in found.layers if hasattr(m, "weight")]


def through(found, vectors):
    """Linear layers with ReLU between them."""
    *hidden, (weight, bias) = layers(found)
    for w, b in hidden:
        vectors = (vectors @ w.T + b).clamp_min(0)
    return vectors @ weight.T + bias


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 1, 1), (7, 6), (4,)])
def test_a_dense_head_takes_flattened_features_of_any_shape(shape, hidden):
    found, features = head("dense", shape, hidden=hidden), maps(2, *shape)
    torch.testing.assert_close(found(features, ""), through(found, features.flatten(1)))
    assert found(features, "").shape == (2, 3) and len(layers(found)) == len(hidden) + 1


def test_a_grid_makes_a_dense_head_independent_of_the_size_of_the_maps():
    found, features = head("dense", (4, 6, 4), grid=2), maps(2, 4, 6, 4)
    pooled = torch.stack([features[:, :, a : a + 3, b : b + 2].mean((2, 3)) for a in (0, 3) for b in (0, 2)], 2)
    torch.testing.assert_close(found(features, ""), through(found, pooled.flatten(1)))
    assert found(maps(2, 4, 9, 9), "").shape == (2, 3)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_a_convolutional_head_gives_the_largest_score_over_pixels(hidden):
    found, features = head("convolutional", (4, 3, 5), hidden=hidden), maps(2, 4, 3, 5)
    pixels = [through(found, features[:, :, row, column]) for row in range(3) for column in range(5)]
    torch.testing.assert_close(found(features, ""), torch.stack(pixels).amax(0))
    assert found(maps(2, 4, 7, 2), "").shape == (2, 3)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize(("which", "config"), [("dense", {"grid": 2}), ("convolutional", {})])
def test_tokens_are_the_same_as_their_maps(which, config, class_token):
    features = maps(2, 4, 4, 4)
    tokens = features.flatten(2).transpose(1, 2)
    if class_token:
        tokens = torch.cat([torch.full_like(tokens[:, :1], 1e3), tokens], 1)
    found = head(which, tuple(tokens.shape[1:]), **config)
    torch.testing.assert_close(found(tokens, ""), head(which, (4, 4, 4), **config)(features, ""))


@pytest.mark.parametrize("which", HEADS)
def test_the_hidden_layers_are_those_of_vgg(which):
    config = HEADS[which][1]()
    assert config.hidden == (4096, 4096) and config.dropout == 0.5
    with torch.device("meta"):
        found = HEADS[which][0](task(classes=1000), config, features=(512, 7, 7))
    inputs = 512 * 49 if which == "dense" else 512
    assert [w.shape for w, _ in layers(found)] == [(4096, inputs), (4096, 4096), (1000, 4096)]


@pytest.mark.parametrize("which", HEADS)
def test_hidden_units_are_left_out_in_training_only(which):
    found, features = head(which, (4, 3, 5), hidden=(64, 64)), maps(2, 4, 3, 5)
    assert torch.equal(found(features, ""), found(features, ""))
    found.train()
    assert not torch.equal(found(features, ""), found(features, ""))
    whole = head(which, (4, 3, 5), hidden=(64, 64), dropout=0.0)
    assert torch.equal(whole.train()(features, ""), found.eval()(features, ""))


@pytest.mark.parametrize("which", HEADS)
def test_gradients_reach_every_parameter_and_the_features(which):
    found, features = head(which, (4, 3, 5)), maps(8, 4, 3, 5).requires_grad_()
    found(features, "").square().sum().backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert features.grad.isfinite().all() and features.grad.any()


@pytest.mark.parametrize(("which", "config"), [("dense", {"grid": 2}), ("convolutional", {})])
@pytest.mark.parametrize("shape", [(4,), (7, 6)])
def test_heads_for_maps_refuse_other_features(which, config, shape):
    with pytest.raises(ModelError, match=rf"_head needs feature maps .* the tap gives \({shape[0]}"):
        head(which, shape, **config)


@pytest.mark.parametrize("which", HEADS)
def test_heads_are_for_classification(which):
    with pytest.raises(ModelError, match="_head is for classification tasks, this one is of kind rdm"):
        HEADS[which][0](task("rdm"), HEADS[which][1](), features=(4, 3, 5))


@pytest.mark.parametrize("which", HEADS)
@pytest.mark.parametrize(
    ("wrong", "text"), [({"dropout": 1.0}, "dropout: .*found 1.0"), ({"hidden": (0,)}, "hidden.0: .*found 0")]
)
def test_wrong_settings_are_refused(which, wrong, text):
    with pytest.raises(ConfigError, match=text):
        HEADS[which][1](**wrong)
