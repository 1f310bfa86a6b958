"""RDMs of several layers are summed by weights, fixed or learnt, and those of groups are among mean features."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from torch.func import functional_call

from cotrain.dissimilarity import DISSIMILARITIES, rdm
from cotrain.errors import ConfigError, ModelError
from cotrain.losses import RdmMatchConfig, rdm_loss, rdm_match
from cotrain.losses._rdm import COMPARISONS
from cotrain.tasks import TaskInfo

FEW = settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 10_000)
PAIRS = [pair for pair in itertools.product(DISSIMILARITIES, COMPARISONS) if pair != ("squared_euclidean", "fisher_z")]
EVERY = pytest.mark.parametrize(("dissimilarity", "comparison"), PAIRS)
TASK = TaskInfo("rdm", (1, 8, 8), (0.5,), (0.2,))


def layer(seed=0, units=12, stimuli=7, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).normal(0.3, 1, (stimuli, units))).to(dtype)


def objective(layers=2, **fields):
    return rdm_match(TASK, RdmMatchConfig(**fields), layers=layers)


@FEW
@given(seed=SEEDS, gammas=st.lists(st.floats(0.01, 50), min_size=1, max_size=4))
def test_the_rdms_of_layers_are_summed_by_weights_that_sum_to_1(seed, gammas):
    outputs = tuple(layer(seed + number, units=5 + number) for number in range(len(gammas)))
    expected = np.zeros((7, 7))
    for gamma, output in zip(gammas, outputs, strict=True):
        distances = squareform(pdist(output.numpy(), "cosine"))
        for i, j in itertools.product(range(7), range(7)):
            expected[i, j] += gamma / sum(gammas) * distances[i, j]
    held = objective(len(gammas), dissimilarity="cosine", comparison="mse", layer_weights=tuple(gammas))
    np.testing.assert_allclose(held.rdm(outputs), expected, atol=1e-12)
    wanted, upper = rdm(layer(99)), np.triu_indices(7, 1)
    loss = np.mean((expected[upper] - wanted.numpy()[upper]) ** 2)
    assert held.loss(outputs, wanted).item() == pytest.approx(loss, abs=1e-12)
    assert not list(held.parameters())


def test_equal_and_learned_weights_begin_as_the_mean_of_rdms():
    outputs, expected = (layer(1), layer(2), layer(3)), (rdm(layer(1)) + rdm(layer(2)) + rdm(layer(3))) / 3
    for weights in ("equal", "learned", (2.0, 2.0, 2.0)):
        torch.testing.assert_close(objective(3, layer_weights=weights).rdm(outputs), expected, atol=1e-7, rtol=0)


@EVERY
@pytest.mark.parametrize("weights", ["equal", "learned", (0.3,)])
def test_one_layer_is_compared_as_ever(dissimilarity, comparison, weights):
    held = objective(1, dissimilarity=dissimilarity, comparison=comparison, layer_weights=weights)
    features, wanted = layer(dtype=torch.float32), rdm(layer(5, dtype=torch.float32), dissimilarity)
    expected = rdm_loss(features, wanted, dissimilarity=dissimilarity, comparison=comparison)
    assert torch.equal(held.loss(features, wanted), expected) and torch.equal(held.loss((features,), wanted), expected)
    assert held.rdm(features).dtype == torch.float64
    assert torch.equal(held.rdm(features), rdm(features.double(), dissimilarity))
    assert not list(held.parameters()) and dict(held.parameters_as_scores()) == {}


@EVERY
def test_gradients_of_features_and_weights_are_those_of_finite_differences(dissimilarity, comparison):
    held = objective(dissimilarity=dissimilarity, comparison=comparison, layer_weights="learned")
    wanted = rdm(layer(9, stimuli=6), dissimilarity)
    given_ = layer(1, 8, 6).requires_grad_(), layer(2, 5, 6).requires_grad_(), torch.tensor([0.3, -0.4]).double()
    given_[2].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b, logits: functional_call(held, {"layer_logits": logits}, ((a, b), wanted)), given_
    )


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("matching", [0, 1])
def test_a_learned_weight_grows_for_the_layer_that_matches(comparison, matching):
    outputs = layer(1, 30, 12, torch.float32), layer(2, 30, 12, torch.float32)
    held = objective(comparison=comparison, layer_weights="learned")
    optimiser = torch.optim.Adam(held.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        held(outputs, rdm(outputs[matching])).backward()
        optimiser.step()
    told = dict(held.parameters_as_scores())
    assert set(told) == {"layer_weight_1", "layer_weight_2"} and sum(told.values()) == pytest.approx(1)
    assert told[f"layer_weight_{matching + 1}"] > 0.85
    torch.testing.assert_close(held.rdm(outputs), rdm(outputs[matching].double()), atol=0.3, rtol=0)


def test_layer_weights_are_in_the_state_and_beside_the_weight_of_the_task():
    held, other = (objective(weight="learned", layer_weights="learned") for _ in range(2))
    assert set(held.state_dict()) == {"log_variance", "layer_logits"}
    with torch.no_grad():
        held.layer_logits.copy_(torch.tensor([1.0, -1.0]))
    other.load_state_dict(held.state_dict())
    assert list(dict(other.parameters_as_scores())) == ["variance", "layer_weight_1", "layer_weight_2"]
    assert dict(other.parameters_as_scores()) == dict(held.parameters_as_scores())


@EVERY
@pytest.mark.parametrize("dead", [0.0, 0.7])
def test_a_dead_layer_does_no_harm(dissimilarity, comparison, dead):
    held = objective(dissimilarity=dissimilarity, comparison=comparison, layer_weights="learned")
    silent = torch.full((7, 9), dead, requires_grad=True)
    alive = layer(dtype=torch.float32).requires_grad_()
    loss = held((silent, alive), rdm(layer(3, dtype=torch.float32), dissimilarity))
    loss.backward()
    assert loss.isfinite()
    for leaf in (silent, alive, held.layer_logits):
        assert leaf.grad.isfinite().all() and leaf.grad.abs().max() < 1e3
    assert alive.grad.any()


@EVERY
def test_under_autocast_numbers_are_those_of_float32(dissimilarity, comparison):
    outputs = tuple(layer(seed, dtype=torch.bfloat16) for seed in (1, 2))
    wanted = rdm(layer(3, dtype=torch.float32), dissimilarity)
    held = objective(dissimilarity=dissimilarity, comparison=comparison, layer_weights="learned")
    with torch.no_grad():
        held.layer_logits.copy_(torch.tensor([0.4, -0.2]))
    expected = held.loss(tuple(output.float() for output in outputs), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = held.loss(outputs, wanted)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    halves = tuple(output.repeat_interleave(2, 0) for output in outputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(held.loss(halves, wanted), expected, atol=1e-5, rtol=1e-4)


@FEW
@given(seed=SEEDS, each=st.integers(1, 5))
def test_a_smaller_target_is_among_the_means_of_consecutive_stimuli(seed, each):
    outputs = layer(seed, 8, 5 * each), layer(seed + 1, 6, 5 * each)
    means = [
        torch.stack([output[each * group : each * (group + 1)].mean(0) for group in range(5)]) for output in outputs
    ]
    held, wanted = objective(layer_weights=(1.0, 3.0)), rdm(layer(seed + 2, stimuli=5))
    assert held.loss(outputs, wanted).item() == pytest.approx(held.loss(tuple(means), wanted).item(), abs=1e-12)
    assert objective(1).loss(outputs[0], wanted).item() == pytest.approx(rdm_loss(means[0], wanted).item(), abs=1e-12)


def test_stimuli_that_do_not_fill_groups_are_refused():
    text = "A target of 3 rows needs the features of 3 stimuli, or of as many .* ordered by group; found 7 stimuli"
    for held, output in ((objective(1), layer()), (objective(), (layer(), layer(1)))):
        with pytest.raises(ModelError, match=text):
            held.loss(output, rdm(layer(stimuli=3)))


def test_another_number_of_layers_is_refused():
    with pytest.raises(ModelError, match="made for 2 layers, found the output of 1"):
        objective().loss(layer(), rdm(layer()))
    with pytest.raises(ModelError, match="made for 1 layers, found the output of 2"):
        objective(1).rdm((layer(), layer()))
    with pytest.raises(ModelError, match=r"layer_weights needs one number for each tap, 3; found 2\. Give as many"):
        objective(3, layer_weights=(1.0, 2.0))


@pytest.mark.parametrize("wrong", ["softmax", (), (1.0, 0.0), (-1.0, 2.0), (1.0, float("inf")), 0.5])
def test_wrong_layer_weights_are_refused(wrong):
    with pytest.raises(ConfigError, match="layer_weights"):
        RdmMatchConfig(layer_weights=wrong)


def test_the_weights_of_layers_came_later():
    assert RdmMatchConfig(layer_weights="equal").key() == "0061d28c12306761a74fcac968ffab96"
    assert len({RdmMatchConfig(layer_weights=w).key() for w in ("equal", "learned", (1.0, 1.0))}) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("weights", ["learned", (1.0, 2.0)])
def test_on_a_gpu_numbers_are_those_of_the_cpu_and_scores_may_be_taken_there(weights):
    outputs, wanted = (layer(1, dtype=torch.float32), layer(2, dtype=torch.float32)), rdm(layer(3)).float()
    held = objective(layer_weights=weights)
    expected, there = held.loss(outputs, wanted).item(), tuple(output.cuda() for output in outputs)
    held.cuda()
    assert held.loss(there, wanted.cuda()).item() == pytest.approx(expected, abs=1e-5)
    assert held.loss(outputs, wanted).item() == pytest.approx(expected, abs=1e-6)
    assert held.rdm(outputs).device.type == "cpu"
