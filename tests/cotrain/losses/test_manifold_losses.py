"""Capacity and MMCR as objectives: bounded, best for points at right angles, and worth following downhill."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.errors import ConfigError, ModelError
from cotrain.losses import CapacityConfig, MmcrConfig, capacity, mmcr
from cotrain.manifolds import inverse_capacity
from cotrain.metrics import manifold_scores
from cotrain.tasks import KINDS, TaskInfo

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)
BUILDERS = {"capacity": (capacity, CapacityConfig), "mmcr": (mmcr, MmcrConfig)}
CLASSES = ("cat", "dog", "owl")


def task(kind="manifolds"):
    return TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,), CLASSES if kind != "neural" else ())


def objective(name, **fields):
    builder, config = BUILDERS[name]
    return builder(task(), config(**fields))


def batch(seed=0, classes=3, images=5, units=10, spread=1.0):
    """(features, labels) in mixed order, float64."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), images))
    features = rng.normal(size=(classes, units))[labels] + spread * rng.normal(size=(len(labels), units))
    return torch.tensor(features), torch.tensor(labels)


def loss(name, features, labels, **fields):
    return objective(name, **fields).eval().loss(features, labels)


def by_numpy(features, labels, compactness=0.0):
    """1 - (|C|* - compactness mean |Z_b|*) / bound, in plain NumPy."""
    rows = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    parts = [rows[labels.numpy() == label] for label in np.unique(labels)]
    means = np.stack([part.mean(0) for part in parts])
    norm = np.linalg.norm(means, "nuc") - compactness * np.mean([np.linalg.norm(part, "nuc") for part in parts])
    return 1 - norm / math.sqrt(len(means) * min(means.shape))


# ---- both


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_takes_manifolds_tasks_only(name, kind):
    builder, config = BUILDERS[name]
    if kind == "manifolds":
        builder(task(kind), config())
        return
    with pytest.raises(ModelError, match=f"cotrain.losses.{name} is for manifolds tasks, this one is of kind {kind}"):
        builder(task(kind), config())


@pytest.mark.parametrize("name", BUILDERS)
@FEW
@given(seed=SEEDS, order=st.randoms(use_true_random=False))
def test_names_of_classes_the_scale_and_rotation_do_not_matter(name, seed, order):
    features, labels = batch(seed)
    expected = loss(name, features, labels)
    assert 0 <= expected <= (1 if name == "mmcr" else 5)
    rotation, _ = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(loss(name, 1e3 * features @ rotation, labels + 7), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_batch_of_one_class_is_refused(name):
    text = r"Class manifolds need images of two classes or more in a batch, found 1\. Use larger batches, or balanced"
    with pytest.raises(ModelError, match=text):
        loss(name, torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_features_that_are_not_finite_make_no_sound_loss(name, wrong):
    features, labels = batch()
    features[3, 2] = wrong
    features.requires_grad_()
    found = loss(name, features, labels)
    found.backward()
    assert found.isnan() and features.grad.isnan().all()


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_goes_no_further_than_the_features(name, dtype):
    features, labels = batch()
    low = features.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(name, low, labels)
    found.backward()
    assert found.dtype == (torch.float64 if name == "capacity" else torch.float32)
    assert low.grad.dtype == dtype and low.grad.isfinite().all() and low.grad.abs().sum() > 0
    exact = loss(name, features.to(dtype).double(), labels)
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_collapsed_features_are_the_worst_and_their_gradient_is_finite(name, level):
    _, labels = batch()
    features = torch.full((15, 10), level, requires_grad=True)
    found = loss(name, features, labels)
    # means of rank 1: 3 of length 1 have the nuclear norm root 3 and not 3; without a direction it is 0
    worst = 4.5 if name == "capacity" else 1 - (level > 0) / math.sqrt(3)
    assert found.item() == pytest.approx(worst, rel=1e-6)
    found.backward()
    assert features.grad.isfinite().all() and features.grad.abs().max() < 100


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("weight", ["learned", 0.3])
def test_weights_are_those_of_all_objectives(name, weight):
    features, labels = batch()
    held = objective(name, weight=weight).eval()
    found = held.loss(features, labels)
    term = found + math.exp(-10) if weight == "learned" else 0.3 * found
    torch.testing.assert_close(held(features, labels), term, check_dtype=False)


@pytest.mark.parametrize(("name", "fields"), [("capacity", {}), ("mmcr", {}), ("mmcr", {"compactness": 0.05})])
def test_gradient_descent_raises_the_measured_capacity(name, fields):
    features, labels = batch(classes=6, images=8, units=12, spread=2.0)
    held = objective(name, **fields).train()
    torch.manual_seed(0)
    network = torch.nn.Linear(12, 12)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1 if name == "capacity" else 1.0)
    before = dict(manifold_scores(network(features.float()), labels))["capacity"]
    for _ in range(80):
        optimiser.zero_grad()
        held(network(features.float()), labels).backward()
        optimiser.step()
    assert dict(manifold_scores(network(features.float()), labels))["capacity"] > 1.15 * before


# ---- capacity


def test_the_loss_is_the_mean_inverse_capacity_over_classes():
    features, labels = batch()
    clouds = [features[labels == label] for label in range(3)]
    wanted = inverse_capacity(clouds, draws=70, kappa=0.2, generator=torch.Generator().manual_seed(0)).mean()
    assert loss("capacity", features, labels, draws=70, kappa=0.2).item() == wanted.item()


def test_directions_are_new_in_training_and_the_same_in_evaluation():
    features, labels = batch()
    held = objective("capacity", draws=20)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = held.train().loss(features, labels), held.loss(features, labels)
    assert first != second
    torch.set_rng_state(state)
    assert held.loss(features, labels) == first, "what a checkpoint restores"
    state = torch.get_rng_state()
    assert held.eval().loss(features, labels) == held.loss(features, labels)
    assert torch.equal(torch.get_rng_state(), state), "evaluation draws nothing of training's"


def test_a_class_with_one_image_is_a_point():
    features, labels = batch()
    alone = torch.cat([torch.tensor([0]), (labels > 0).nonzero().flatten()])
    labels = labels[alone]
    labels[0] = 0
    features = features[alone].requires_grad_()
    found = loss("capacity", features, labels, draws=2000)
    found.backward()
    assert 0.5 < found < 2.5 and features.grad[1:].abs().sum() > 0


def test_evaluation_looks_at_fifty_images_a_class_and_training_at_all():
    features, labels = batch(images=120)
    held = objective("capacity", draws=60)
    # more points of the same distribution need a larger cone
    assert held.eval().loss(features, labels) < 0.9 * held.train().loss(features, labels)
    few = torch.cat([(labels == label).nonzero().flatten()[:50] for label in range(3)]).sort().values
    whole = loss("capacity", features[few], labels[few], draws=60)
    assert loss("capacity", features, labels, draws=60).item() == pytest.approx(whole.item(), rel=0.2)


@pytest.mark.parametrize(("fields", "text"), [({"draws": 0}, "draws"), ({"kappa": math.nan}, "kappa")])
def test_settings_without_sense_are_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        CapacityConfig(**fields)


# ---- MMCR


@FEW
@given(
    seed=SEEDS, classes=st.integers(2, 8), units=st.integers(1, 12), compactness=st.sampled_from([0.0, 0.01, 0.3, 2.0])
)
def test_mmcr_is_that_of_numpy_and_never_below_0(seed, classes, units, compactness):
    features, labels = batch(seed, classes=classes, units=units)
    found = loss("mmcr", features, labels, compactness=compactness).item()
    assert found == pytest.approx(by_numpy(features, labels, compactness), abs=1e-10)
    assert found >= -1e-12 and (compactness > 0 or found <= 1)


def test_points_at_right_angles_have_mmcr_0_and_alike_ones_the_most():
    labels = torch.arange(4).repeat_interleave(3)
    assert loss("mmcr", 5 * torch.eye(4).double()[labels], labels).item() == pytest.approx(0, abs=1e-12)
    assert loss("mmcr", torch.ones(12, 4).double(), labels).item() == pytest.approx(1 - 1 / 2)
    fewer = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)[labels]
    assert loss("mmcr", fewer, labels).item() == pytest.approx(0, abs=1e-12), "two dimensions hold no more"


@pytest.mark.parametrize("compactness", [0.0, 0.1])
@pytest.mark.parametrize("units", [2, 10])
def test_the_gradient_of_mmcr_is_that_of_finite_differences(compactness, units):
    features, labels = batch(units=units)
    held = objective("mmcr", compactness=compactness)
    assert torch.autograd.gradcheck(lambda values: held.loss(values, labels), (features.requires_grad_(),))


@pytest.mark.parametrize("compactness", [0.0, 0.1])
def test_singular_values_of_0_leave_the_gradient_of_mmcr_finite(compactness):
    labels = torch.arange(4).repeat_interleave(3)
    for features in (torch.zeros(12, 6), torch.ones(12, 6), torch.eye(6)[:2].repeat(6, 1), torch.eye(6)[labels]):
        values = features.clone().requires_grad_()
        loss("mmcr", values, labels, compactness=compactness).backward()
        assert values.grad.isfinite().all() and values.grad.abs().max() < 10


def test_a_row_of_zeros_has_no_gradient():
    features, labels = batch()
    features[4] = 0
    loss("mmcr", features.requires_grad_(), labels).backward()
    assert (features.grad[4] == 0).all() and features.grad.isfinite().all()


def test_compactness_below_0_is_refused():
    with pytest.raises(ConfigError, match="compactness"):
        MmcrConfig(compactness=-0.1)


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("collapsed", [False, True])
def test_a_gpu_finds_the_same_loss_and_gradient(name, collapsed):
    features, labels = batch()
    features = torch.zeros_like(features) if collapsed else features
    gradients = []
    for device in ("cpu", "cuda"):
        values = features.detach().to(device, torch.float32).requires_grad_()
        with torch.autocast(device, dtype=torch.bfloat16):
            found = loss(name, values, labels.to(device))
        assert found.device.type == device
        found.backward()
        gradients.append((found.cpu(), values.grad.cpu()))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)
