"""Neurons predicted from stored models' layers: rows recomputed with scikit-learn from hooks of our own."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.metrics import explained_variance_score

from cotrain.analysis import brain_score_splits
from cotrain.data import Data, Source
from cotrain.errors import DataError, ModelError
from cotrain.evaluations import (
    LayerRegression,
    NeuralRegressionConfig,
    NeuronRegression,
    OlsConfig,
    PlsConfig,
    RidgeConfig,
    StimulusFileConfig,
    _neural_regression,
    neural_regression,
)
from cotrain.metrics import split_half_reliability

CPU = torch.device("cpu")
ALPHAS = (1e-1, 1e1, 1e3, 1e5)
QUICK = NeuralRegressionConfig(method=RidgeConfig(alphas=ALPHAS), draws=20)
REPEATS = 6


def of(model, data, config) -> tuple[list[LayerRegression], list[NeuronRegression]]:
    """The rows of layers, and those of neurons."""
    rows = neural_regression(model, data, config, device=CPU)
    layers = [row for row in rows if isinstance(row, LayerRegression)]
    neurons = [row for row in rows if isinstance(row, NeuronRegression)]
    assert len(layers) + len(neurons) == len(rows)
    return layers, neurons


def features_of(model, images, task: str, layer: str) -> np.ndarray:
    """What a layer gives, flattened: a hook of our own."""
    held = []
    hook = model.backbone.get_submodule(layer).register_forward_hook(lambda *inputs: held.append(inputs[-1]))
    model.eval()
    with torch.no_grad():
        model.pass_backbone(images, task)
    hook.remove()
    return held[0].flatten(1).double().numpy()


def with_cells(data: Data, **splits: dict[str, Source]) -> Data:
    """The same data with other neurons in some splits."""
    return dataclasses.replace(
        data, splits={name: {**held, "cells": splits.get(name, held["cells"])} for name, held in data.splits.items()}
    )


@pytest.fixture(scope="module")
def driven(model, data) -> Data:
    """Neurons that are driven by a layer, with repeats, of two areas; one is constant."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for split in ("train", "validation", "test"):
        sessions = {}
        for number, (name, source) in enumerate(data.splits[split]["cells"].items()):
            values = torch.from_numpy(features_of(model, source.images, "cells", "layer2"))
            weights = torch.randn(values.shape[1], 4, generator=torch.Generator().manual_seed(number)).double()
            drive = (values - values.mean(0)) @ weights
            drive = drive / drive.std(0)
            trials = drive[:, None] + 0.5 * torch.randn(len(drive), REPEATS, 4, generator=generator)
            trials[:, :, 3] = 2.0
            sessions[name] = dataclasses.replace(
                source,
                targets=trials.mean(1).float(),
                repeats=trials.float(),
                neuron_metadata={"area": ("V4", "V4", "IT", "IT"), "animal": ("ann", "bob", "ann", "bob")},
            )
        found[split] = sessions
    return with_cells(data, **found)


def test_scores_are_those_of_scikit_learn(model, data):
    layers, neurons = of(model, data, QUICK)
    assert len(neurons) == 2 * 2 * 2 * 4  # sessions, layers, metrics, neurons
    for session in ("first", "second"):
        fitted, scored = (data.splits[split]["cells"][session] for split in ("train", "test"))
        for place, layer in enumerate(("layer1", "layer2")):
            x, others = (features_of(model, source.images, "cells", layer) for source in (fitted, scored))
            fit = RidgeCV(ALPHAS, alpha_per_target=True).fit(x, fitted.targets.double().numpy())
            guesses, truth = fit.predict(others), scored.targets.double().numpy()
            rows = [row for row in neurons if (row.session, row.layer) == (session, layer)]
            for row in rows:
                guess, true = guesses[:, row.neuron], truth[:, row.neuron]
                scores = {
                    "pearson": pearsonr(guess, true).statistic,
                    "explained_variance": explained_variance_score(true, guess),
                }
                assert row.score == pytest.approx(scores[row.metric], abs=1e-4)
                assert row.alpha == fit.alpha_[row.neuron]
                assert (row.layer_place, row.depth, row.stimuli) == (place, (place + 1) / 2, len(scored))
                assert np.isnan([row.ceiling, row.normalised]).all()
            median = np.median([row.score for row in rows if row.metric == "pearson"])
            layer_row = next(
                row for row in layers if (row.session, row.layer, row.metric) == (session, layer, "pearson")
            )
            assert layer_row.median == layer_row.fold_median == pytest.approx(median, abs=1e-12)
            assert (layer_row.neurons, layer_row.left_out, layer_row.reliable) == (4, 0, 0)
            assert (layer_row.fitted, layer_row.scored) == (len(fitted), len(scored))
            assert layer_row.folds == "fitted on train, scored on test"
    together = [row for row in layers if not row.session and row.metric == "pearson"]
    assert [row.layer for row in together] == ["layer1", "layer2"]
    assert together[0].neurons == 8


def test_no_test_image_enters_a_fit(model, data):
    """Other responses in the test split change scores, and neither alphas nor predictions."""
    turned = {
        name: dataclasses.replace(source, targets=-source.targets)
        for name, source in data.splits["test"]["cells"].items()
    }
    config = QUICK.replace(metrics=("pearson",))
    before, after = (of(model, held, config)[1] for held in (data, with_cells(data, test=turned)))
    assert [row.alpha for row in before] == [row.alpha for row in after]
    assert [row.score for row in before] == pytest.approx([-row.score for row in after], abs=1e-12)
    validated = of(model, data, config.replace(split="validation"))[1]
    assert {row.stimuli for row in validated} == {len(data.splits["validation"]["cells"]["first"])}


def test_ceilings_areas_and_neurons_without_a_score(model, driven):
    layers, neurons = of(model, driven, QUICK)
    source = driven.splits["test"]["cells"]["first"]
    reliability = split_half_reliability(source.repeats, seed=0)
    for row in [row for row in neurons if (row.session, row.layer) == ("first", "layer2")]:
        assert (row.area, row.subject) == (("V4", "V4", "IT", "IT")[row.neuron], ("ann", "bob")[row.neuron % 2])
        if row.neuron == 3:
            assert np.isnan([row.score, row.ceiling, row.normalised]).all()
            continue
        assert row.ceiling == float(reliability[row.neuron])
        divisor = row.ceiling**0.5 if row.metric == "pearson" else row.ceiling
        assert row.normalised == pytest.approx(row.score / divisor, abs=1e-12)
    scopes = {(row.session, row.area) for row in layers}
    assert scopes == {(session, area) for session in ("", "first", "second") for area in ("", "V4", "IT")}
    rows = {(row.session, row.area, row.layer, row.metric): row for row in layers}
    whole, area = rows["", "", "layer2", "pearson"], rows["first", "IT", "layer2", "pearson"]
    assert (whole.neurons, whole.left_out, whole.reliable) == (6, 2, 6)
    assert (area.neurons, area.left_out, area.formula) == (1, 1, "r/sqrt(ceiling)")
    chosen = [row.score for row in neurons if row.layer == "layer2" and row.metric == "pearson" and row.neuron != 3]
    assert whole.median == pytest.approx(np.median(chosen))
    assert whole.mean == pytest.approx(np.mean(chosen))
    assert whole.low <= whole.median <= whole.high
    assert np.isnan(whole.fold_median), "folds of several sessions are not the same"
    # the planted layer is read out better than the one before it
    assert whole.median > 0.4
    squares = of(model, driven, QUICK.replace(normalise="r|r|/ceiling", metrics=("pearson",)))[1]
    first = next(row for row in squares if row.layer == "layer2")
    assert first.normalised == pytest.approx(first.score * abs(first.score) / first.ceiling)


@pytest.mark.parametrize("method", [OlsConfig(), PlsConfig(components=3)])
def test_unknown_responses_are_left_out_of_their_neuron_alone(model, data, method):
    """Methods that fit all neurons together leave the neuron out; others fit it to the stimuli it has."""
    sessions = {}
    for name, source in data.splits["train"]["cells"].items():
        targets = source.targets.clone()
        targets[:5, 1] = torch.nan
        sessions[name] = dataclasses.replace(source, targets=targets)
    config = QUICK.replace(method=method, components=10, metrics=("r2",), layers=("layer1",))
    layers, neurons = of(model, with_cells(data, train=sessions), config)
    of_first = {row.neuron: row.score for row in neurons if row.session == "first"}
    alone = isinstance(method, OlsConfig)
    assert np.isnan(of_first[1]) == (not alone)
    assert layers[0].left_out == (0 if alone else 2)
    unchanged = {row.neuron: row.score for row in of(model, data, config)[1] if row.session == "first"}
    if alone:
        assert of_first[0] == pytest.approx(unchanged[0], abs=1e-5)


def test_components_are_those_of_the_fitted_images(model, data):
    config = QUICK.replace(method=OlsConfig(), components=6, metrics=("explained_variance",), layers=("layer2",))
    rows = [row for row in of(model, data, config)[1] if row.session == "first"]
    fitted, scored = (data.splits[split]["cells"]["first"] for split in ("train", "test"))
    x, others = (features_of(model, source.images, "cells", "layer2") for source in (fitted, scored))
    axes = PCA(6, svd_solver="full").fit(x)
    fit = LinearRegression().fit(axes.transform(x), fitted.targets.numpy())
    guesses = fit.predict(axes.transform(others))
    expected = explained_variance_score(scored.targets.numpy(), guesses, multioutput="raw_values")
    assert [row.score for row in rows] == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a file of responses, and gives its config."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))

    def write(images: torch.Tensor, **arrays: np.ndarray) -> StimulusFileConfig:
        np.savez(tmp_path / "other.npz", images=images[:, 0].numpy(), **arrays)
        named = {name: name for name in arrays}
        return StimulusFileConfig(name="other", path="other.npz", **named)

    return write


def test_copies_of_an_image_are_never_on_both_sides(model, data, file):
    """Each image comes four times, with one response that nothing else knows: only a leak would predict it."""
    images = data.splits["train"]["cells"]["first"].images
    random = np.random.default_rng(1)
    four = torch.cat([images] * 4)
    responses = np.tile(random.normal(size=(len(images), 30)), (4, 1))
    held = file(four, responses=responses, labels=np.arange(len(four)) % 5)
    config = QUICK.replace(tasks=("none",), files=(held,), shown_as="cells", metrics=("pearson",), layers=("layer1",))
    (row,), _ = of(model, data, config)
    assert abs(row.median) < 0.2
    assert row.folds == "5-fold by group"
    (leaking,), _ = of(model, data, config.replace(file_folds="stratified"))
    assert leaking.median > 0.5, "that there is something to leak"


def test_folds_of_files(model, data, file, caplog):
    images = data.splits["train"]["cells"]["second"].images
    responses = np.random.default_rng(2).normal(size=(len(images), 3, 5))
    areas, subjects = np.array(["V1", "V1", "V4", "V4", "V4"]), np.array([1, 1, 1, 2, 2])
    held = file(images, responses=responses, labels=np.arange(len(images)) % 4, areas=areas, subjects=subjects)
    config = QUICK.replace(tasks=("none",), files=(held,), file_folds="brain_score", shown_as="cells", parts=10)
    layers, neurons = of(model, data, config.replace(metrics=("pearson",), method=RidgeConfig(alphas=(10.0,))))
    assert {(row.area, row.subject) for row in neurons} == {("V1", "1"), ("V4", "1"), ("V4", "2")}
    row = next(row for row in layers if row.layer == "layer1" and not row.area)
    x = features_of(model, images, "cells", "layer1")
    y, medians = responses.mean(1), []
    for train, test in brain_score_splits(np.arange(len(images)) % 4).pairs:
        guesses = Ridge(10.0).fit(x[train], y[train]).predict(x[test])
        medians.append(np.median([pearsonr(a, b).statistic for a, b in zip(guesses.T, y[test].T, strict=True)]))
    assert row.fold_median == pytest.approx(np.mean(medians), abs=1e-4)
    assert row.fold_error == pytest.approx(np.std(medians, ddof=1) / 10**0.5, abs=1e-4)
    assert (row.fitted, row.folds) == (36, "10 stratified splits, 0.9 for training")


def test_layers_at_once_give_the_same_numbers(model, driven):
    one, three = (neural_regression(model, driven, QUICK.replace(workers=n), device=CPU) for n in (1, 3))
    assert repr(one) == repr(three)
    assert QUICK.key() == QUICK.replace(workers=3).key()


def test_the_model_is_left_as_it_was_also_after_an_error(model, data, monkeypatch):
    model.train()
    before = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()]

    def unchanged() -> bool:
        state = model.state_dict()
        return (
            all(torch.equal(before[name], state[name]) for name in before)
            and flags == [module.training for module in model.modules()]
            and not any(module._forward_hooks for module in model.modules())
        )

    of(model, data, QUICK)
    assert unchanged()
    with pytest.raises(ModelError, match="no layer 'layer9'"):
        of(model, data, QUICK.replace(layers=("layer9",)))
    assert unchanged()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the third layer of memory")

    with monkeypatch.context() as patch:
        patch.setattr(_neural_regression, "regress", broken)
        with pytest.raises(RuntimeError, match="third layer"):
            of(model, data, QUICK.replace(workers=2))
    assert unchanged()
    passes = iter(range(100))
    forward = model.pass_backbone

    def failing(*arguments: object) -> object:
        """As memory may run out: not in the trial passes, but in the second batch."""
        if next(passes) == 5:
            broken()
        return forward(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(model, "pass_backbone", failing)
        with pytest.raises(RuntimeError, match="third layer"):
            of(model, data, QUICK.replace(batch_size=16))
    assert unchanged()
    model.eval()


def test_what_is_missing_is_told(model, model_of, data, file):
    with pytest.raises(DataError, match=r"cells/first: 30 of 30 test images have no label in 'animals'"):
        of(model, data, QUICK.replace(folds="stratified"))
    held = file(data.splits["test"]["cells"]["first"].images, responses=np.zeros((30, 2)))
    config = QUICK.replace(tasks=("none",), files=(held,))
    with pytest.raises(DataError, match=r"'other': folds of kind 'group' need its array `labels`"):
        of(model, data, config.replace(file_folds="group"))
    with pytest.raises(DataError, match="needs its array `responses`"):
        of(model, data, config.replace(files=(held.replace(responses=""),)))
    with pytest.raises(DataError, match=r"'images': expected text or a whole number for each of 2 neurons"):
        of(model, data, config.replace(files=(held.replace(areas="images"),)))
    assert of(model, data, QUICK.replace(tasks=("none",))) == ([], [])
