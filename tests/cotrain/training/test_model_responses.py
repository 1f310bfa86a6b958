"""Trained networks as neurons: every response is compared with a forward pass by hand."""

from __future__ import annotations

import functools
import shutil

import numpy as np
import pytest
import torch

import cotrain
from cotrain import Experiment
from cotrain.data import (
    ArraysConfig,
    DigitsConfig,
    LabelArrayConfig,
    MixingConfig,
    MultiTaskConfig,
    RdmArrayConfig,
    ResponseArrayConfig,
    prepared,
)
from cotrain.errors import ConfigError, DataError, ModelError
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build
from cotrain.tasks import SPLITS, TaskConfig
from cotrain.training import (
    AdamWConfig,
    PredictedResponsesConfig,
    TeacherResponsesConfig,
    TrainerConfig,
    _model_responses,
    predicted_responses,
    teacher_responses,
)

ARRAYS = ArraysConfig(
    path="some.npz",
    tasks=(
        LabelArrayConfig(task="stripes"),
        ResponseArrayConfig(task="cells", session="a", responses="a"),
        ResponseArrayConfig(task="cells", session="b", responses="b"),
    ),
)
DIGITS = DigitsConfig(size=8)
BACKBONE = SmallCnnConfig(layers=((4, 5, 2), (6, 3, 1)))
READOUT = TaskConfig(name="cells", tap="layer1", head=GaussianReadoutConfig(), objective=GaussianConfig())
LABELS = TaskConfig(name="stripes", tap="layer2", head=LinearHeadConfig(pool="flatten"), objective=CrossEntropyConfig())


def write_arrays(folder):
    """80 grey pictures of 16 x 16 pixels, two classes, and two sessions with 4 and 3 neurons."""
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = random.integers(0, 120, (80, 16, 16)).astype(np.uint8)
    images[labels == 1, ::2] += 100
    seen = images.reshape(80, -1) / 255
    responses = {name: seen @ random.normal(size=(256, count)) for name, count in (("a", 4), ("b", 3))}
    np.savez(
        folder / "some.npz",
        images=images,
        labels=labels,
        class_names=np.array(["flat", "lines"]),
        rdm=np.abs(labels[:, None] - labels).astype(np.float32),
        **{name: held.astype(np.float32) for name, held in responses.items()},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """COTRAIN_DATA and COTRAIN_HOME for all tests."""
    folder = tmp_path_factory.mktemp("place")
    write_arrays(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTRAIN_DATA", str(folder))
        patch.setenv("COTRAIN_HOME", str(folder))
        patch.setattr(_model_responses, "pick_device", lambda _: torch.device("cpu"))
        yield folder


@pytest.fixture(scope="module")
def teacher(place):
    """A finished run of both tasks in the home folder."""
    trainer = TrainerConfig(
        mixing=MixingConfig(main="stripes", ratios=((1, (("cells", 1.0),)),), batch_size=16),
        epochs=2,
        optimiser=AdamWConfig(lr=0.02),
        device="cpu",
    )
    model = SharedBackboneConfig(backbone=BACKBONE, tasks=(LABELS, READOUT))
    experiment = Experiment("teacher", data=ARRAYS, model=model, trainer=trainer)
    return cotrain.run(experiment, out=place / "runs" / experiment.key())


@pytest.fixture(scope="module")
def config(teacher):
    """A function of changes that gives the config of a teacher shown digits."""
    base = TeacherResponsesConfig(
        data=DIGITS, shown="digits", run=teacher.experiment.key(), layer="layer2", neurons=9, standardise=False
    )
    return lambda **changes: base.replace(**changes)


@functools.cache
def built(config, seed=0):
    return teacher_responses(config, seed=seed)


def by_hand(teacher, images, layer, task):
    """A layer's activity, units in one row, from a forward pass with a hook of its own."""
    model, kept = teacher.model, []
    _, height, width = teacher.info.task(task).image_shape
    images = torch.nn.functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
    handle = model.backbone.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        with torch.no_grad():
            session = "" if task == "stripes" else "a"
            model.eval()(images.round().clamp(0, 255).byte(), task, session)
    finally:
        handle.remove()
    return kept[0].flatten(1)


# --- teacher responses ---


@pytest.mark.parametrize(("layer", "seen_as"), [("layer2", ""), ("layer1", "cells"), ("layer1", "stripes")])
def test_targets_are_the_activity_of_the_units_that_are_named(teacher, config, layer, seen_as):
    data = built(config(layer=layer, seen_as=seen_as))
    units = [int(unit) for unit in data.info.task("teacher").sessions[""].neuron_metadata["unit"]]
    assert len(set(units)) == 9
    for split in SPLITS:
        source, shown = data.splits[split]["teacher"][""], data.splits[split]["digits"][""]
        assert torch.equal(source.images, shown.images) and source.repeats is None
        activity = by_hand(teacher, shown.images, layer, seen_as or "stripes")
        torch.testing.assert_close(source.targets, activity[:, units], atol=1e-5, rtol=1e-5)


def test_batch_norm_statistics_are_those_of_the_task_that_images_are_seen_as(config):
    one, other = (built(config(layer="layer1", seen_as=task)) for task in ("cells", "stripes"))
    targets = [data.splits["test"]["teacher"][""].targets for data in (one, other)]
    assert (targets[0] - targets[1]).abs().max() > 1e-3


def test_the_data_that_were_shown_stay(config):
    data, alone = built(config()), build(DIGITS, seed=0)
    assert data.info.task("digits") == alone.info.task("digits")
    assert list(data.info.tasks) == ["digits", "teacher"]
    assert data.info.task("teacher").sessions[""].unit == "activity"


def test_z_scores_are_those_of_training(config):
    plain, scored = built(config()), built(config(standardise=True))
    known = plain.splits["train"]["teacher"][""].targets.double()
    for split in SPLITS:
        expected = (plain.splits[split]["teacher"][""].targets - known.mean(0)) / known.std(0, correction=0)
        torch.testing.assert_close(scored.splits[split]["teacher"][""].targets.double(), expected, atol=1e-4, rtol=1e-4)
    assert scored.info.task("teacher").sessions[""].unit == "activity, z-scored"


def test_gaussian_noise_has_the_deviation_that_is_asked_for(config):
    clean = built(config())
    noisy = built(config(noise="gaussian", noise_level=0.5, repeats=4))
    spread = clean.splits["train"]["teacher"][""].targets.double().std(0, correction=0)
    first = []
    for split in SPLITS:
        source = noisy.splits[split]["teacher"][""]
        noise = (source.repeats - clean.splits[split]["teacher"][""].targets[:, None]).double() / spread
        draws = noise[..., 0].numel()
        assert (noise.std((0, 1)) - 0.5).abs().max() < 0.5 * 4.5 / (2 * draws) ** 0.5
        assert noise.mean((0, 1)).abs().max() < 0.5 * 4.5 / draws**0.5
        between = torch.corrcoef(noise.permute(1, 2, 0).flatten(0, 1)).fill_diagonal_(0)
        assert between.abs().max() < 6 / len(source) ** 0.5  # repeats and neurons are noisy apart
        torch.testing.assert_close(source.repeats.mean(1), source.targets)
        first.append(noise[0])
    assert (torch.stack(first).std(0) > 0.01).float().mean() > 0.8, "splits are noisy apart"


def test_poisson_counts_are_whole_and_as_many_as_asked_for(config):
    clean = built(config()).splits["train"]["teacher"][""].targets.double()
    data = built(config(noise="poisson", noise_level=3.0, repeats=5))
    counts = data.splits["train"]["teacher"][""].repeats.double()
    assert torch.equal(counts, counts.round()) and counts.min() == 0
    rates = (clean - clean.amin(0)) / (clean - clean.amin(0)).mean(0) * 3
    mean, draws = counts.mean((0, 1)), counts[..., 0].numel()
    assert (mean - 3).abs().max() < 4.5 * (3 / draws) ** 0.5
    # a Poisson count scatters around its rate by the rate's root
    scores = ((counts - rates[:, None]) / rates[:, None].clamp_min(0.2).sqrt())[rates[:, None].expand_as(counts) > 0.2]
    assert scores.square().mean().item() == pytest.approx(1, abs=0.05)
    assert data.info.task("teacher").sessions[""].unit == "counts"
    assert data.info.task("teacher").sessions[""].lowest_response == 0


def test_one_noisy_response_has_no_repeats(config):
    source = built(config(noise="poisson", noise_level=3.0)).splits["test"]["teacher"][""]
    assert source.repeats is None and torch.equal(source.targets, source.targets.round())


def test_the_seed_decides_units_and_noise(config):
    data = {seed: built(config(noise="gaussian"), seed) for seed in range(3)}
    units = {str(held.info.task("teacher").sessions[""].neuron_metadata["unit"]) for held in data.values()}
    assert len(units) == 3
    assert teacher_responses(config(noise="gaussian"), seed=1).info.fingerprint == data[1].info.fingerprint
    quiet = built(config(), 0).info.task("teacher").sessions[""].neuron_metadata
    assert quiet == data[0].info.task("teacher").sessions[""].neuron_metadata, "units do not depend on the noise"


def test_colour_images_of_another_size_are_seen_in_grey(teacher, config, place):
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (60, 3, 20, 24), np.uint8)
    np.savez(place / "colour.npz", images=pixels, labels=np.arange(60) % 2, class_names=np.array(["x", "y"]))
    colour = ArraysConfig(path="colour.npz", tasks=(LabelArrayConfig(task="pictures"),))
    data = built(config(data=colour, shown="pictures", layer="layer1"))
    units = [int(unit) for unit in data.info.task("teacher").sessions[""].neuron_metadata["unit"]]
    source = data.splits["test"]["teacher"][""]
    assert source.images.shape[1:] == (3, 20, 24)
    activity = by_hand(teacher, prepared(source.images, 1, 0), "layer1", "stripes")
    # grey values and scaled ones are rounded to whole numbers
    torch.testing.assert_close(source.targets, activity[:, units], atol=1e-5, rtol=1e-5)


def test_a_student_is_trained_on_them_from_its_yaml(config, tmp_path):
    data = config(noise="gaussian", noise_level=0.3, repeats=2, standardise=True, neurons=6)
    tasks = (LABELS.replace(name="digits"), READOUT.replace(name="teacher"))
    trainer = TrainerConfig(
        mixing=MixingConfig(main="digits", ratios=((1, (("teacher", 1.0),)),), batch_size=64),
        epochs=2,
        optimiser=AdamWConfig(lr=0.02),
        device="cpu",
    )
    held = Experiment("student", data=data, model=SharedBackboneConfig(backbone=BACKBONE, tasks=tasks), trainer=trainer)
    experiment = Experiment.from_yaml(held.to_yaml())
    assert (experiment, experiment.key()) == (held, held.key())
    assert held.vary("other", data={"layer": "layer1"}).key() != held.key()
    scores = cotrain.run(experiment, out=tmp_path / "student").scores
    test = scores[(scores.task == "teacher") & (scores.split == "test") & (scores.metric == "correlation")]
    assert test.value.item() > 0.3


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"run": "0" * 32}, DataError, r"There is no finished run 0{32} in .*runs\. Train it first"),
        ({"layer": "layer9"}, ModelError, r"has no tap 'layer9'\. Did you mean 'layer"),
        ({"seen_as": "stripe"}, ModelError, r"no task 'stripe'\. Did you mean 'stripes'"),
        ({"shown": "digit"}, DataError, r"no task 'digit' to be shown\. Did you mean 'digits'"),
        ({"data": ARRAYS, "shown": "cells"}, DataError, "The task 'cells' has 2 sessions"),
        ({"task": "digits"}, DataError, r"The data have a task 'digits' already\. Give the new one another name"),
        ({"neurons": 385}, DataError, r"\d+ of 384 tried units of 'layer2' \(it has 384\) vary .* the 385 that are"),
    ],
)
def test_what_cannot_be_shown_is_refused(config, changes, error, text):
    with pytest.raises(error, match=text):
        teacher_responses(config(**changes), seed=0)


def test_units_that_never_vary_are_left_out(teacher, config, monkeypatch):
    features = type(teacher.model).features

    def half_dead(self, images, task, layers):
        found = features(self, images, task, layers)
        return {name: held.where(torch.arange(held.shape[1])[:, None, None] < 2, 0.5) for name, held in found.items()}

    monkeypatch.setattr(type(teacher.model), "features", half_dead)
    data = teacher_responses(config(neurons=20), seed=0)
    units = data.info.task("teacher").sessions[""].neuron_metadata["unit"]
    assert max(units) < 2 * 64  # the first two of six channels
    with pytest.raises(DataError, match=r"tried units of 'layer2' .* vary .*, fewer than the 200"):
        teacher_responses(config(neurons=200), seed=0)


@pytest.mark.parametrize("run", ["abc", "", "../../../../../../../etc/passwd_0000", "A" * 32])
def test_what_is_no_key_is_refused(config, run):
    with pytest.raises(ConfigError, match="run"):
        config(run=run)


def test_a_run_in_another_runs_folder_is_refused(teacher, config, place):
    shutil.copytree(teacher.folder, place / "runs" / ("1" * 32))
    with pytest.raises(DataError, match=rf"1{{32}} holds the run {teacher.experiment.key()}"):
        teacher_responses(config(run="1" * 32), seed=0)


def test_a_run_that_was_not_finished_is_refused(teacher, config, place):
    folder = place / "runs" / ("2" * 32)
    shutil.copytree(teacher.folder, folder)
    (folder / "result.json").unlink()
    with pytest.raises(DataError, match=r"There is no finished run 2{32}"):
        teacher_responses(config(run="2" * 32), seed=0)


# --- predicted responses ---


@pytest.fixture(scope="module")
def predicted(teacher):
    base = PredictedResponsesConfig(data=DIGITS, shown="digits", run=teacher.experiment.key(), predicted="cells")
    return lambda **changes: base.replace(**changes)


@pytest.mark.parametrize("sessions", [(), ("b",), ("b", "a")])
def test_predictions_are_those_of_the_model(teacher, predicted, sessions):
    data = predicted_responses(predicted(sessions=sessions), seed=0)
    assert list(data.info.task("predicted").sessions) == list(sessions or ("a", "b"))
    for split in SPLITS:
        shown = data.splits[split]["digits"][""].images
        seen = prepared(shown, 1, (16, 16))
        for session, source in data.splits[split]["predicted"].items():
            with torch.no_grad():
                expected = teacher.model.eval()(seen, "cells", session)
            torch.testing.assert_close(source.targets, expected, atol=1e-5, rtol=1e-5)
            assert torch.equal(source.images, shown)
    held = data.info.task("predicted").sessions["b"]
    assert held.neurons == 3 and held.unit == f"{teacher.info.task('cells').sessions['b'].unit}, predicted"


def test_many_images_are_answered_as_few_are(predicted, monkeypatch):
    whole = predicted_responses(predicted(), seed=0)
    monkeypatch.setattr(_model_responses, "BATCH", 7)
    pieces = predicted_responses(predicted(), seed=0)
    for split in SPLITS:
        for session, source in whole.splits[split]["predicted"].items():
            torch.testing.assert_close(source.targets, pieces.splits[split]["predicted"][session].targets)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"predicted": "cell"}, ModelError, r"no task 'cell'\. Did you mean 'cells'"),
        ({"predicted": "stripes"}, DataError, "'stripes' is of kind classification; name a neural task"),
        ({"sessions": ("a", "c")}, DataError, r"The run has no session 'c'\. Known: a, b"),
        ({"shown": "cells"}, DataError, "no task 'cells' to be shown"),
        ({"task": "digits"}, DataError, "The data have a task 'digits' already"),
    ],
)
def test_what_cannot_be_predicted_is_refused(predicted, changes, error, text):
    with pytest.raises(error, match=text):
        predicted_responses(predicted(**changes), seed=0)


def test_both_join_a_larger_experiment(config, predicted):
    rdm = ArraysConfig(path="some.npz", tasks=(RdmArrayConfig(task="geometry", rdm="rdm"),))
    data = build(MultiTaskConfig(parts=(config(), rdm)), seed=0)
    assert set(data.info.tasks) == {"digits", "teacher", "geometry"}
    nested = predicted_responses(predicted(data=config()), seed=0)
    assert set(nested.info.tasks) == {"digits", "teacher", "predicted"}
