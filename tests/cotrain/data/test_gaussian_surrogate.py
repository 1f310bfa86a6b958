"""The control keeps mean and covariance of the training responses, and nothing that belongs to the images."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from cotrain.data import (
    ArraysConfig,
    Data,
    DigitsConfig,
    GaussianSurrogateConfig,
    MultiTaskConfig,
    ResponseArrayConfig,
    SimulatedV1Config,
    SplitConfig,
    _controls,
    _natural_patches,
    gaussian_surrogate,
    multi_task,
)
from cotrain.data._controls import _gaussian_like
from cotrain.errors import DataError
from cotrain.seeds import derive_seed

V1 = SimulatedV1Config(
    task="v1", sessions=1, neurons=5, stimuli=80, size=12, rdm_task="geometry", rdm_stimuli=40, repeats=3
)
BOTH = MultiTaskConfig(parts=(DigitsConfig(size=8), V1))
NAMED = GaussianSurrogateConfig(data=BOTH, tasks=("v1",))


@pytest.fixture(autouse=True, scope="module")
def _patches_are_cut_once():
    """Which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_natural_patches, "_candidates", functools.cache(_natural_patches._candidates))
        yield


@pytest.fixture(scope="module")
def whole() -> Data:
    return multi_task(BOTH, seed=0)


@pytest.fixture(scope="module")
def control() -> Data:
    return gaussian_surrogate(NAMED, seed=0)


def correlated(images: int, neurons: int, rank: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    latent = random.exponential(size=(images, rank)) @ random.normal(size=(rank, neurons))
    return torch.from_numpy(latent + 10 * np.arange(neurons)).float()


@pytest.mark.parametrize(("images", "neurons", "rank"), [(200, 6, 6), (200, 6, 2), (4, 9, 9)])
def test_draws_have_the_mean_and_covariance_of_the_responses(images, neurons, rank):
    responses, draws = correlated(images, neurons, rank), 40_000
    found = _gaussian_like(responses, draws, 1, "here").double().numpy()
    wanted = np.cov(responses.double().numpy(), rowvar=False)
    spread = np.sqrt(np.diag(wanted))
    error = (found.mean(0) - responses.double().numpy().mean(0)) / spread * draws**0.5
    assert np.abs(error).max() < 4.5  # standard normal, one a neuron
    # the sampling variance of an entry of a Gaussian's covariance is (cov_ij^2 + var_i var_j) / draws
    noise = np.sqrt((wanted**2 + np.outer(spread**2, spread**2)) / draws)
    assert (np.abs(np.cov(found, rowvar=False) - wanted) / noise).max() < 5


def test_draws_are_gaussian_whatever_the_responses_were():
    found = _gaussian_like(correlated(300, 3, 3), 40_000, 2, "here").double().numpy()
    scores = (found - found.mean(0)) / found.std(0)
    assert np.abs((scores**3).mean(0)).max() < 5 * (6 / 40_000) ** 0.5
    assert np.abs((scores**4).mean(0) - 3).max() < 5 * (24 / 40_000) ** 0.5


def test_draws_of_few_images_stay_in_the_space_of_their_responses():
    responses = correlated(4, 9, 9)
    found = _gaussian_like(responses, 500, 0, "here").double()
    basis = torch.linalg.svd(responses.double() - responses.double().mean(0), full_matrices=False).Vh[:3]
    around = found - responses.double().mean(0)
    torch.testing.assert_close(around @ basis.T @ basis, around, atol=1e-4, rtol=0)


def test_many_images_need_no_more_memory_than_their_responses(monkeypatch):
    drawn = []
    randn = torch.randn

    def watched(*shape, **options):
        drawn.append(shape)
        return randn(*shape, **options)

    monkeypatch.setattr(_controls.torch, "randn", watched)
    assert _gaussian_like(correlated(3000, 4, 4), 3000, 0, "here").shape == (3000, 4)
    assert drawn == [(3000, 4)]


def test_images_with_a_missing_response_do_not_count():
    responses = correlated(50, 4, 4)
    responses[::5, 2] = torch.nan
    whole = responses[~torch.isnan(responses).any(1)]
    assert torch.equal(_gaussian_like(responses, 20, 3, "here"), _gaussian_like(whole, 20, 3, "here"))
    responses[:-1, 0] = torch.nan
    with pytest.raises(DataError, match="here: fewer than two training images have responses of all neurons"):
        _gaussian_like(responses, 20, 3, "here")


def test_constant_neurons_stay_constant():
    responses = correlated(50, 4, 4)
    responses[:, 1] = 7.0
    assert (_gaussian_like(responses, 30, 0, "here")[:, 1] == 7).all()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_training_and_validation_responses_are_drawn_from_the_training_responses(whole, control, split):
    source, found = whole.splits[split]["v1"]["simulated1"], control.splits[split]["v1"]["simulated1"]
    assert torch.equal(source.images, found.images)
    child = derive_seed(0, "noise", "gaussian_surrogate", split, "v1", "simulated1")
    expected = _gaussian_like(whole.splits["train"]["v1"]["simulated1"].targets, len(source), child, "")
    assert torch.equal(found.targets, expected)
    assert found.repeats is None and found.unit == source.unit
    assert np.abs(np.diag(np.corrcoef(source.targets.T, found.targets.T)[:5, 5:])).mean() < 0.5


def test_the_test_split_and_other_tasks_are_untouched(whole, control):
    one, other = whole.splits["test"]["v1"]["simulated1"], control.splits["test"]["v1"]["simulated1"]
    assert torch.equal(one.targets, other.targets) and torch.equal(one.repeats, other.repeats)
    for task in ("digits", "geometry"):
        assert whole.info.task(task) == control.info.task(task)
    assert control.info.task("v1").image_mean == whole.info.task("v1").image_mean


def test_the_seed_decides_the_draws(control):
    assert gaussian_surrogate(NAMED, seed=0).info.fingerprint == control.info.fingerprint
    seen = [
        gaussian_surrogate(NAMED, seed=seed).splits["train"]["v1"]["simulated1"].targets[:3].tolist()
        for seed in range(3)
    ]
    assert len({str(targets) for targets in seen}) == 3


def test_missing_responses_stay_missing(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    responses = random.normal(size=(60, 3)).astype(np.float32)
    responses[random.random((60, 3)) < 0.1] = np.nan
    images = random.integers(0, 256, (60, 6, 6), np.uint8)
    np.savez(tmp_path / "some.npz", images=images, responses=responses)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    arrays = ArraysConfig(
        path="some.npz",
        tasks=(ResponseArrayConfig(task="cells", session="a", responses="responses", standardise=False),),
        split=SplitConfig(validation=0.2, test=0.2),
    )
    data = gaussian_surrogate(GaussianSurrogateConfig(data=arrays, tasks=("cells",)), seed=0)
    for split in ("train", "validation", "test"):
        source = data.splits[split]["cells"]["a"]
        row_of = {image.tobytes(): row for row, image in enumerate(images)}
        rows = [row_of[image.numpy().tobytes()] for image in source.images[:, 0]]
        np.testing.assert_array_equal(np.isnan(source.targets.numpy()), np.isnan(responses[rows]))
        same = source.targets.numpy() == responses[rows]
        assert same.sum() == (0 if split != "test" else (~np.isnan(responses[rows])).sum())


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        (("digits",), "the task 'digits' is of kind classification; it needs neural ones"),
        (("v1", "geometry"), "the task 'geometry' is of kind rdm; it needs neural ones"),
        (("v11",), r"The data have no task 'v11'\. Did you mean 'v1'\?"),
        ((), "name at least one task; without, this is no control"),
    ],
)
def test_what_has_no_surrogate_is_refused(tasks, text):
    with pytest.raises(DataError, match=text):
        gaussian_surrogate(GaussianSurrogateConfig(data=BOTH, tasks=tasks), seed=0)


def test_sessions_are_drawn_apart(whole, monkeypatch):
    splits = {
        split: {"v1": dict.fromkeys("ab", dataclasses.replace(held["v1"]["simulated1"], repeats=None))}
        for split, held in whole.splits.items()
    }
    twice = _controls.assemble(splits)
    monkeypatch.setattr(_controls, "build", lambda *_, **__: twice)
    found = gaussian_surrogate(GaussianSurrogateConfig(data=V1, tasks=("v1",)), seed=0).splits
    assert not torch.equal(found["train"]["v1"]["a"].targets, found["train"]["v1"]["b"].targets)
