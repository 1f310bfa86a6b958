"""Noise in training, and matching what the network makes of clean and noisy images."""

from __future__ import annotations

import pytest
import torch

from cotrain import build
from cotrain.data import AugmentConfig, Batch, augment
from cotrain.errors import ConfigError, ModelError, TrainingError
from cotrain.seeds import derive_seed
from cotrain.training import MonitorConfig, RunFolder
from cotrain.training._state import TrainingState
from cotrain.training.hooks import MatchRepresentationsConfig, NoiseConfig, noise

GREY = torch.full((4000, 1, 6, 6), 0.5)


def batch_of(task, images):
    return Batch(task, "", images, torch.zeros(len(images)), step_ends=True)


def begun(experiment, folder):
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0).train()
    return TrainingState(experiment.trainer, model, data, 0, torch.device("cpu"), RunFolder(folder))


def made_noisy(config, images, *, task="digits", seed=5):
    hook = noise(config)
    hook.tasks = frozenset(config.tasks or ("digits",))
    return hook.images(images, batch_of(task, images), seed)


def contrasts(count, *, seed=0):
    """Images of two contrasts, in turn, whose noise would not leave 0..1."""
    pattern = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)
    return (0.5 + pattern * torch.tensor([0.03, 0.06]).repeat(count // 2).view(-1, 1, 1, 1)).clamp(0, 1)


def test_each_image_has_one_of_the_levels_and_the_rest_is_clean():
    found = made_noisy(NoiseConfig(std=((0.05, 0.5), (0.1, 0.25))), GREY)
    std = (found - GREY).square().mean((1, 2, 3)).sqrt()
    shares = [(std == 0), (std > 0) & (std < 0.073), (std >= 0.073)]
    assert [float(share.float().mean()) for share in shares] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert float(std[shares[1]].square().mean().sqrt()) == pytest.approx(0.05, rel=0.02)
    assert float(std[shares[2]].square().mean().sqrt()) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("snr", [0.5, 2.0, 8.0])
def test_the_variance_of_noise_is_that_of_the_image_over_the_ratio(snr):
    """Not its standard deviation."""
    images = contrasts(200)
    noise_found = made_noisy(NoiseConfig(snr=((snr, 1.0),)), images) - images
    ratio = images.var((1, 2, 3), correction=0) / noise_found.square().mean((1, 2, 3))
    for contrast in (0, 1):
        assert float(ratio[contrast::2].median()) == pytest.approx(snr, rel=0.03)


def test_a_second_ratio_is_a_ratio_too():
    """Not a standard deviation."""
    images = contrasts(400)
    found = made_noisy(NoiseConfig(snr=((8.0, 0.5), (0.5, 0.5))), images) - images
    ratio = images.var((1, 2, 3), correction=0) / found.square().mean((1, 2, 3))
    low, high = ratio[ratio < 2], ratio[ratio > 2]
    assert 130 < len(low) < 270
    assert float(low.median()) == pytest.approx(0.5, rel=0.03)
    assert float(high.median()) == pytest.approx(8.0, rel=0.03)


def test_it_is_drawn_from_the_batchs_seed_and_apart_from_its_augmentation():
    config = NoiseConfig(std=((0.05, 0.5), (0.1, 0.5)))
    assert torch.equal(made_noisy(config, GREY), made_noisy(config, GREY))
    assert not torch.equal(made_noisy(config, GREY), made_noisy(config, GREY, seed=6))
    assert not torch.equal(made_noisy(config, GREY), augment(AugmentConfig(noise=config.std))(GREY, 5))
    bytes_ = (GREY * 255).to(torch.uint8)
    assert made_noisy(config, bytes_).dtype == torch.float32
    assert made_noisy(config, GREY).min() >= 0 and made_noisy(config, GREY).max() <= 1


def test_other_tasks_see_what_they_saw(tiny, tmp_path):
    images = torch.rand(3, 1, 12, 12)
    config = NoiseConfig(std=((0.1, 1.0),), tasks=("digits",))
    assert made_noisy(config, images, task="simulated_v1") is images
    assert not torch.equal(made_noisy(config, images), images)
    with pytest.raises(TrainingError, match=r"noise: there is no task 'digit'. Did you mean 'digits'"):
        begun(tiny(hooks=(config.replace(tasks=("digit",)),)), tmp_path)


@pytest.mark.parametrize("cls", [NoiseConfig, MatchRepresentationsConfig])
def test_levels_must_make_sense(cls):
    layers = {"layers": ("layer1",)} if cls is MatchRepresentationsConfig else {}
    with pytest.raises(ConfigError, match="give at least one level of noise"):
        cls(**layers)
    with pytest.raises(ConfigError, match="shares must sum to 1 or less"):
        cls(std=((0.1, 0.7),), snr=((1.0, 0.7),), **layers)
    with pytest.raises(ConfigError, match="greater than 0"):
        cls(std=((-0.1, 0.7),), **layers)


# matching

STD = ((0.1, 1.0),)


def first_batch(state, task="digits"):
    return next(batch for batch in state.loader if batch.task == task)


def naive(state, config, batch, images, seed, weights):
    """The distance of both views, without hooks or saved passes, in a copy of nothing: statistics are put back."""
    held = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    noisy = augment(AugmentConfig(noise=config.std, noise_snr=config.snr))(
        images, derive_seed(seed, "noise", "matching")
    )
    found = torch.zeros(())
    for weight, layer in zip(weights, config.layers, strict=True):
        a, b = (state.model.features(x, batch.task, [layer])[layer].flatten(1) for x in (images, noisy))
        if config.distance == "mse":
            distance = ((a - b) ** 2).sum() / a.numel()
        else:
            distance = (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean()
        found = found + weight * distance
    state.model.load_state_dict(held)
    return found


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, [1 / 3, 1 / 3, 1 / 3]),
        ({"layer_weights": "learned", "distance": "cosine"}, [1 / 3, 1 / 3, 1 / 3]),
        ({"layer_weights": "linear"}, [1 / 6, 2 / 6, 3 / 6]),
        ({"layer_weights": "exponential", "distance": "cosine"}, [1 / 7, 2 / 7, 4 / 7]),
        ({"layer_weights": (3.0, 1.0, 1.0), "weight": 0.25}, [0.6, 0.2, 0.2]),
    ],
)
def test_the_distance_is_that_of_a_naive_computation(settings, weights, tiny, tmp_path):
    config = MatchRepresentationsConfig(
        layers=("layer1.0", "layer1", "layer2.0"), std=((0.1, 0.6),), tasks=("digits",), **settings
    )
    state = begun(tiny(hooks=(config,)), tmp_path)
    batch = first_batch(state)
    images, targets, seed = state.received(batch)
    wanted = naive(state, config, batch, images, seed, weights)
    loss, term = state.losses(batch, images, targets, seed)
    plain = state.model.objectives["digits"].weighted(loss)
    torch.testing.assert_close(term - plain, config.weight * wanted, atol=1e-5, rtol=1e-4)
    scores = state.hooks[0].epoch_end(1)
    assert (scores[0].task, scores[0].split, scores[0].metric) == ("digits", "train", "matching")
    assert scores[0].value == pytest.approx(float(wanted.detach()), rel=1e-3)
    assert [s.metric for s in state.hooks[0].epoch_end(1)] == [s.metric for s in scores[1:]], "counted anew"


@pytest.mark.parametrize("detach", [False, True])
def test_gradients_are_those_of_the_loss_and_of_one_view_or_both(detach, tiny, tmp_path):
    config = MatchRepresentationsConfig(layers=("layer1",), std=STD, detach_clean=detach, tasks=("digits",))
    state = begun(tiny(hooks=(config,)), tmp_path)
    batch = first_batch(state)
    images, targets, seed = state.received(batch)
    loss, term = state.losses(batch, images, targets, seed)
    weight = state.model.backbone.layer1[0].weight
    found = torch.autograd.grad(term - state.model.objectives["digits"].weighted(loss), weight)[0]
    noisy = augment(AugmentConfig(noise=STD))(images, derive_seed(seed, "noise", "matching"))
    clean, other = (state.model.features(x, "digits", ["layer1"])["layer1"] for x in (images, noisy))
    distance = ((clean.detach() if detach else clean) - other).square().mean()
    torch.testing.assert_close(found, torch.autograd.grad(distance, weight)[0], atol=1e-6, rtol=1e-3)


def test_there_are_two_passes_and_the_second_ends_at_the_last_layer(tiny, tmp_path):
    config = MatchRepresentationsConfig(layers=("layer1",), std=STD, tasks=("digits",))
    state = begun(tiny(hooks=(config,)), tmp_path)
    count = {"layer1": 0, "layer2": 0}
    for name in count:
        getattr(state.model.backbone, name).register_forward_hook(
            lambda *_, name=name: count.__setitem__(name, count[name] + 1)
        )
    state.micro_step(first_batch(state))
    assert count == {"layer1": 2, "layer2": 1}
    state.micro_step(first_batch(state, "simulated_v1"))
    assert count == {"layer1": 3, "layer2": 1}
    assert not state.hooks[0].seen, "nothing is held between batches"
    state.hooks[0].close()
    assert len(state.model.backbone.layer1._forward_hooks) == 1, "that of this test"


@pytest.mark.parametrize("norms", ["per_task", "shared", "frozen"])
def test_the_noisy_pass_moves_no_statistics(norms, tiny, tmp_path):
    config = MatchRepresentationsConfig(layers=("layer2",), std=STD, tasks=("digits",))
    matched, plain = (begun(tiny(model={"batch_norm": norms}, hooks=hooks), tmp_path) for hooks in ((config,), ()))
    for state in (matched, plain):
        state.micro_step(first_batch(state))
    expected = dict(plain.model.named_buffers())
    found = dict(matched.model.named_buffers())
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    parts = [m for m in matched.model.backbone.modules() if hasattr(m, "momentum")]
    assert {m.momentum for m in parts} == {0.1} and all(getattr(m, "track_running_stats", True) for m in parts)


def test_learned_weights_are_learnt_and_held(tiny, states, tmp_path):
    config = MatchRepresentationsConfig(layers=("layer1.0", "layer1"), layer_weights="learned", std=STD)
    found = states(tiny(hooks=(config,), epochs=2, monitor=MonitorConfig()), tmp_path)
    logits = [state["hooks"][0]["logits"] for _, state in sorted(found.items())]
    assert torch.equal(logits[0], torch.zeros(2)) and len({tuple(held.tolist()) for held in logits}) == len(logits)
    last = found[max(found)]
    shown = {metric: value for epoch, _, _, _, metric, value in last["history"] if epoch == 2}
    weights = logits[-1].softmax(0).tolist()
    assert [shown["matching_weight_1"], shown["matching_weight_2"]] == pytest.approx(weights)
    assert {task for epoch, task, _, _, metric, _ in last["history"] if metric == "matching"} == {
        *("digits", "simulated_v1", "simulated_rdm")
    }


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"layers": ("layer2",)}, TrainingError, "layer2 comes after the last tap of task 'simulated_rdm' .layer1."),
        (
            {"layers": ("layer3",)},
            ModelError,
            "match_representations: the backbone has no layer 'layer3'. Did you mean",
        ),
        ({"layers": ("layer1",), "tasks": ("v1",)}, TrainingError, "match_representations: there is no task 'v1'"),
    ],
)
def test_layers_that_are_not_reached_are_refused(settings, kind, text, tiny, tmp_path):
    with pytest.raises(kind, match=text):
        begun(tiny(hooks=(MatchRepresentationsConfig(std=STD, **settings),)), tmp_path)


def test_layers_and_weights_must_fit():
    with pytest.raises(ConfigError, match="1 layer_weights for 2 layers; give one a layer"):
        MatchRepresentationsConfig(layers=("a", "b"), layer_weights=(1.0,), std=STD)
    with pytest.raises(ConfigError, match="layers names one twice"):
        MatchRepresentationsConfig(layers=("a", "a"), std=STD)
    held = MatchRepresentationsConfig(layers=("a", "b"), layer_weights=(1.0, 2.0), std=STD)
    assert MatchRepresentationsConfig.from_yaml(held.to_yaml()) == held


def test_half_precision_goes_with_it(tiny, tmp_path):
    config = MatchRepresentationsConfig(layers=("layer1",), std=STD, tasks=("digits",))
    state = begun(tiny(hooks=(config,), precision="bfloat16"), tmp_path)
    state.micro_step(first_batch(state))
    assert state.hooks[0].epoch_end(1)[0].value > 0
