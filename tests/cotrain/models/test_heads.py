"""Heads give what their objective compares, from maps or vectors, and refuse tasks of another kind."""

import pytest
import torch

from cotrain.errors import ConfigError, ModelError
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    ManifoldHeadConfig,
    RdmHeadConfig,
    gaussian_readout,
    linear_head,
    manifold_head,
    rdm_head,
)
from cotrain.tasks import KINDS, SessionInfo, TaskInfo

HEADS = {
    "classification": (linear_head, LinearHeadConfig()),
    "neural": (gaussian_readout, GaussianReadoutConfig()),
    "rdm": (rdm_head, RdmHeadConfig()),
    "manifolds": (manifold_head, ManifoldHeadConfig()),
}


def task(kind):
    stimuli = {"train": 8, "validation": 4, "test": 4}
    neural, classes = kind == "neural", kind in ("classification", "manifolds")
    session = SessionInfo(2 if neural else 0, (0.5, 1.5) if neural else (), 0.0, stimuli)
    return TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), ("cat", "dog", "owl") if classes else (), {"": session})


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_there_is_a_head_for_each_kind():
    assert set(HEADS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_head_takes_tasks_of_its_kind_only(kind, other):
    builder, config = HEADS[kind]
    if kind == other:
        assert builder(task(kind), config, features=(4, 3, 3)).penalty("") is None
        return
    with pytest.raises(ModelError, match=f"{config.kind} is for {kind} tasks, this one is of kind {other}"):
        builder(task(other), config, features=(4, 3, 3))


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 1, 1), (4, 6), (4,)])
@pytest.mark.parametrize("pool", ["average", "flatten"])
def test_class_scores_are_linear_in_the_pooled_features(pool, shape):
    head = linear_head(task("classification"), LinearHeadConfig(pool=pool), features=shape)
    features = maps(2, *shape)
    vectors = features.reshape(2, 4, -1).mean(2) if pool == "average" else features.reshape(2, -1)
    expected = vectors @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(features, ""), expected)
    assert head(features, "").shape == (2, 3)


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 1, 1), (4,)])
@pytest.mark.parametrize("kind", ["rdm", "manifolds"])
def test_the_representation_is_the_features_themselves(kind, shape):
    builder, config = HEADS[kind]
    features = maps(2, *shape)
    flat, pooled = (builder(task(kind), config.replace(pool=p), features=shape) for p in ("flatten", "average"))
    assert torch.equal(flat(features, ""), features.reshape(2, -1))
    torch.testing.assert_close(pooled(features, ""), features.reshape(2, 4, -1).mean(2))
    assert not list(flat.parameters()) and not list(pooled.parameters())


def test_rdms_are_of_all_features_and_manifolds_of_pooled_ones_unless_said_otherwise():
    features = maps(2, 4, 3, 5)
    for kind, units in (("rdm", 60), ("manifolds", 4)):
        builder, config = HEADS[kind]
        assert builder(task(kind), config, features=(4, 3, 5))(features, "").shape == (2, units)


@pytest.mark.parametrize("channels", [1, 2])
def test_an_rdm_over_one_or_two_pooled_channels_is_refused(channels):
    with pytest.raises(ModelError, match=f"a correlation over {channels} channels says nothing; use pool='flatten'"):
        rdm_head(task("rdm"), RdmHeadConfig(pool="average"), features=(channels, 4, 4))
    rdm_head(task("rdm"), RdmHeadConfig(pool="flatten"), features=(channels, 4, 4))


@pytest.mark.parametrize("shape", [(4,), (7, 6)])
def test_a_readout_with_places_needs_maps(shape):
    with pytest.raises(ModelError, match=r"needs feature maps \(channels, height, width\).*tap earlier"):
        gaussian_readout(task("neural"), GaussianReadoutConfig(), features=shape)


@pytest.mark.parametrize(
    ("config", "wrong", "text"),
    [
        (LinearHeadConfig, {"pool": "max"}, "pool: .*'average' or 'flatten', found 'max'"),
        (ManifoldHeadConfig, {"pool": "max"}, "pool: .*'average' or 'flatten', found 'max'"),
        (RdmHeadConfig, {"pol": "flatten"}, "unknown name. Did you mean 'pool'"),
        (GaussianReadoutConfig, {"output": "relu"}, "output: .*found 'relu'"),
        (GaussianReadoutConfig, {"covariance": "diagonal"}, "covariance: .*found 'diagonal'"),
        (GaussianReadoutConfig, {"start_range": 1.5}, "start_range: .*found 1.5"),
        (GaussianReadoutConfig, {"start_sigma": 0.0}, "start_sigma: .*found 0.0"),
        (GaussianReadoutConfig, {"feature_l1": -1.0}, "feature_l1: .*found -1.0"),
    ],
)
def test_wrong_settings_of_a_head_are_refused(config, wrong, text):
    with pytest.raises(ConfigError, match=text):
        config(**wrong)
