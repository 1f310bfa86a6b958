"""Geometry of stored models' layers: rows recomputed with SciPy from hooks of our own."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau, pearsonr, spearmanr

from cotrain.analysis import rsa_bootstrap
from cotrain.data import Data, Source
from cotrain.errors import ConfigError, CotrainError, DataError, ModelError
from cotrain.evaluations import RsaConfig, StimulusFileConfig, rsa, rsa_picture
from cotrain.evaluations._rsa import BOOTSTRAPPED

CPU = torch.device("cpu")
QUICK = RsaConfig(draws=20)
STIMULI = 30


def features_of(model, images, task: str, layer: str) -> np.ndarray:
    """What a layer gives, flattened: a hook of our own."""
    held = []
    module = model.backbone.get_submodule(layer)
    hook = module.register_forward_hook(lambda *inputs: held.append(inputs[-1]))
    model.eval()
    with torch.no_grad():
        model.pass_backbone(images, task)
    hook.remove()
    return held[0].flatten(1).double().numpy()


def with_test(data: Data, **tasks: dict[str, Source]) -> Data:
    """The same data with other sources in the test split."""
    return dataclasses.replace(data, splits={**data.splits, "test": {**data.splits["test"], **tasks}})


def with_repeats(data: Data, **changes: object) -> Data:
    """Repeats in the first session, of a third less noise than signal."""
    held = data.splits["test"]["cells"]["first"]
    generator = torch.Generator().manual_seed(5)
    trials = held.targets[:, None] + 0.3 * torch.randn(STIMULI, 6, held.targets.shape[1], generator=generator)
    source = dataclasses.replace(held, targets=trials.mean(1), repeats=trials, **changes)
    return with_test(data, cells={"first": source, "second": data.splits["test"]["cells"]["second"]})


def test_similarities_are_those_of_scipy(model, data):
    config = RsaConfig(
        dissimilarities=("correlation", "squared_euclidean"), comparisons=("spearman", "pearson", "tau_a"), draws=0
    )
    rows = rsa(model, data, config, device=CPU)
    assert {(row.target, row.session) for row in rows} == {("cells", "first"), ("cells", "second"), ("geometry", "")}
    assert len(rows) == 3 * 2 * 3 * 2
    assert [row.layer for row in rows[:2]] == ["layer1", "layer2"]
    assert [row.layer_place for row in rows[:2]] == [0, 1]
    measures = {"correlation": "correlation", "squared_euclidean": "sqeuclidean"}
    compare = {
        "spearman": lambda a, b: spearmanr(a, b).statistic,
        "pearson": lambda a, b: pearsonr(a, b).statistic,
        "tau_a": lambda a, b: kendalltau(a, b).statistic,  # nothing is tied here
    }
    for row in rows:
        source = data.splits["test"][row.target][row.session]
        measure = measures[row.dissimilarity]
        of_model = pdist(features_of(model, source.images, row.target, row.layer), measure)
        targets = source.targets.double().numpy()
        of_target = squareform(targets, checks=False) if source.kind == "rdm" else pdist(targets, measure)
        assert row.similarity == pytest.approx(compare[row.comparison](of_model, of_target), abs=2e-4)
        assert (row.subjects, row.stimuli, row.ceiling_of) == (1, STIMULI, "")
        assert math.isnan(row.low)
        assert math.isnan(row.ceiling_lower)


def test_intervals_are_those_of_the_bootstrap_over_stimuli(model, data):
    config = RsaConfig(layers=("layer2",), tasks=("geometry",), draws=50, seed=3)
    (row,) = rsa(model, data, config, device=CPU, seed=9)
    source = data.splits["test"]["geometry"][""]
    own = squareform(pdist(features_of(model, source.images, "geometry", "layer2"), "correlation"))
    expected = rsa_bootstrap(
        {"layer": own}, source.targets.double().numpy(), "spearman", over="stimuli", draws=50, seed=3
    ).table()
    assert row.low == pytest.approx(expected.low[0], abs=1e-3)
    assert row.high == pytest.approx(expected.high[0], abs=1e-3)
    assert row.low < row.similarity < row.high
    assert row.standard_error == pytest.approx(expected.standard_error[0], abs=1e-3)
    assert rsa(model, data, config, device=CPU, seed=1) == [row], "the run's seed decides nothing"


@pytest.mark.parametrize("comparison", BOOTSTRAPPED)
def test_comparisons_with_an_interval(model, data, comparison):
    (row,) = rsa(
        model, data, QUICK.replace(layers=("layer1",), tasks=("geometry",), comparisons=(comparison,)), device=CPU
    )
    assert row.low <= row.similarity <= row.high


def test_sessions_with_the_same_images_are_subjects(model, data):
    first, second = data.splits["test"]["cells"].values()
    order = torch.randperm(STIMULI, generator=torch.Generator().manual_seed(1))
    shared = dataclasses.replace(second, images=first.images[order])
    rows = rsa(model, with_test(data, cells={"first": first, "second": shared}), QUICK, device=CPU)
    by = {(row.session, row.layer): row for row in rows if row.target == "cells"}
    assert {session for session, _ in by} == {"first", "second", ""}
    both = by["", "layer1"]
    assert (both.subjects, both.ceiling_of) == (2, "subjects")
    mean = (by["first", "layer1"].similarity + by["second", "layer1"].similarity) / 2
    assert both.similarity == pytest.approx(mean, abs=1e-6)
    back = torch.argsort(order)
    rdms = [pdist(values.double().numpy(), "correlation") for values in (first.targets, shared.targets[back])]
    # of two subjects each is the pool of the others
    assert both.ceiling_lower == pytest.approx(spearmanr(*rdms).statistic, abs=1e-6)
    assert both.ceiling_upper >= both.ceiling_lower


def test_repeats_give_a_ceiling(model, data):
    config = QUICK.replace(tasks=("cells",), layers=("layer1",), comparisons=("pearson", "tau_a"), halvings=60)
    changed = with_repeats(data)
    rows = [row for row in rsa(model, changed, config, device=CPU) if row.session == "first"]
    pearson, tau = rows
    assert (pearson.ceiling_of, tau.ceiling_of) == ("repeats", "")
    assert math.isnan(tau.ceiling_lower)
    trials = changed.splits["test"]["cells"]["first"].repeats.double().numpy()
    random = np.random.default_rng(0)
    alike = []
    for _ in range(60):
        order = random.permuted(np.tile(np.arange(6), (STIMULI, 1)), axis=1)
        mixed = np.take_along_axis(trials, order[..., None], axis=1)
        halves = (pdist(mixed[:, part].mean(1), "correlation") for part in (slice(0, 3), slice(3, 6)))
        alike.append(pearsonr(*halves).statistic)
    assert pearson.ceiling_lower == pytest.approx(np.mean(alike), abs=0.02)
    assert pearson.ceiling_upper == pytest.approx(
        math.sqrt(2 * pearson.ceiling_lower / (1 + pearson.ceiling_lower)), abs=1e-9
    )


def test_crossnobis_of_responses(model, data, caplog):
    config = QUICK.replace(tasks=("cells",), responses="crossnobis", dissimilarities=("squared_euclidean",))
    rows = rsa(model, with_repeats(data), config, device=CPU)
    assert {row.session for row in rows} == {"first"}
    assert "cells/second is no target of RDMs and is left out: some stimuli have fewer than 2 repeats" in caplog.text
    assert {row.ceiling_of for row in rows} == {""}
    plain = rsa(model, with_repeats(data), config.replace(responses="same"), device=CPU)
    assert plain[0].similarity != rows[0].similarity


def test_neurons_without_all_stimuli_are_left_out(model, data, caplog):
    held = data.splits["test"]["cells"]["first"]
    targets = held.targets.clone()
    targets[3, 0] = torch.nan
    changed = with_test(data, cells={"first": dataclasses.replace(held, targets=targets)})
    config = QUICK.replace(tasks=("cells",), layers=("layer1",), draws=0)
    (row,) = rsa(model, changed, config, device=CPU)
    assert "cells/first: 1 of 4 neurons lack stimuli" in caplog.text
    own = pdist(features_of(model, held.images, "cells", "layer1"), "correlation")
    expected = spearmanr(own, pdist(held.targets[:, 1:].double().numpy(), "correlation")).statistic
    assert row.similarity == pytest.approx(expected, abs=2e-4)
    nearly = torch.full_like(targets, torch.nan)
    nearly[:, 0] = held.targets[:, 0]
    lonely = with_test(data, cells={"first": dataclasses.replace(held, targets=nearly)})
    assert rsa(model, lonely, config, device=CPU) == []
    assert "fewer than 2 neurons have responses to all stimuli" in caplog.text


def test_rdms_among_groups(model, data):
    images = data.splits["test"]["geometry"][""].images
    groups = torch.arange(STIMULI) % 6
    points = np.random.default_rng(2).normal(size=(6, 5))
    matrix = torch.from_numpy(squareform(pdist(points, "correlation")).astype(np.float32))
    changed = with_test(data, geometry={"": Source("rdm", images, matrix, groups=groups)})
    rows = rsa(model, changed, QUICK.replace(tasks=("geometry",), layers=("layer1",)), device=CPU)
    features = features_of(model, images, "geometry", "layer1")
    means = np.stack([features[groups.numpy() == group].mean(0) for group in range(6)])
    expected = spearmanr(pdist(means, "correlation"), squareform(matrix.double().numpy(), checks=False)).statistic
    assert [row.stimuli for row in rows] == [6]
    assert rows[0].similarity == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Twelve coloured pictures with RDMs of three subjects in two sessions each, responses and labels."""
    random = np.random.default_rng(4)
    points = random.normal(size=(12, 8))
    rdms = np.stack(
        [
            [squareform(pdist(points + 0.4 * random.normal(size=points.shape), "correlation")) for _ in range(2)]
            for _ in range(3)
        ]
    )
    np.savez(
        tmp_path / "pictures.npz",
        images=random.integers(0, 256, (12, 40, 40, 3), np.uint8),
        rdms=rdms,
        likeness=1 - rdms[0, 0],
        broken=points,
        responses=random.normal(size=(12, 3, 7)),
        category=np.array(["face", "house"] * 6),
        number=np.array([0, 1] * 6),
        names=np.array(["face", "house"]),
    )
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    return rdms


def of_file(**fields: object) -> RsaConfig:
    return RsaConfig(
        tasks=("none",),
        layers=("layer2",),
        draws=20,
        files=(StimulusFileConfig(name="people", path="pictures.npz", **fields),),
    )


def test_subjects_of_a_file(model, data, file):
    (row,) = rsa(model, data, of_file(rdm="rdms"), device=CPU)
    assert (row.target, row.subjects, row.stimuli, row.ceiling_of) == ("people", 3, 12, "subjects")
    means = file.mean(1)
    others = [means[[j for j in range(3) if j != i]] for i in range(3)]
    triangle = np.triu_indices(12, 1)
    lower = []
    for own, rest in zip(means, others, strict=True):
        # ranks are pooled, so that each subject counts alike
        pooled = sum(np.argsort(np.argsort(one[triangle])) for one in rest)
        lower.append(spearmanr(own[triangle], pooled).statistic)
    assert row.ceiling_lower == pytest.approx(np.mean(lower), abs=1e-6)
    (both,) = rsa(model, data, of_file(rdm="rdms").replace(over="both"), device=CPU)
    assert both.standard_error != row.standard_error
    assert both.similarity == row.similarity


def test_similarities_of_a_file_are_made_distances(model, data, file):
    (row,) = rsa(model, data, of_file(rdm="likeness", holds="similarity"), device=CPU)
    with_distances = of_file(rdm="rdms")
    assert row.subjects == 1
    drawn = rsa_picture(model, data, of_file(rdm="likeness", holds="similarity"), layer="layer2", device=CPU)
    assert np.allclose(drawn.target_rdm, file[0, 0], atol=1e-6)
    with pytest.raises(DataError, match=r"'likeness' \(.*holds: distance\): .* 1 all along the diag"):
        rsa(model, data, of_file(rdm="likeness"), device=CPU)
    assert rsa(model, data, with_distances.replace(images=8), device=CPU)[0].stimuli == 8


def test_responses_of_a_file(model, data, file):
    (row,) = rsa(model, data, of_file(responses="responses"), device=CPU)
    assert (row.subjects, row.ceiling_of) == (1, "repeats")


def test_what_files_are_refused_for(model, data, file):
    for config, message in (
        (of_file(), "name its array of RDMs or that of responses"),
        (of_file(rdm="broken"), r"expected \(12, 12\) as there are 12 images"),
        (of_file(responses="category"), "expected numbers"),
        (of_file(rdm="rdm"), "holds no array 'rdm'"),
        (of_file(rdm="rdms", labels="broken"), "expected a label"),
        (of_file(rdm="rdms", labels="category", label_names="names"), "labels must be whole numbers that count in it"),
    ):
        with pytest.raises(DataError, match=message):
            rsa(model, data, config, device=CPU)
    same = of_file(rdm="rdms").files[0]
    with pytest.raises(DataError, match="Two targets are called geometry"):
        rsa(model, data, QUICK.replace(files=(same.replace(name="geometry"),)), device=CPU)
    with pytest.raises(ConfigError, match=r"shown_as: the model has no task 'cell'. Did you mean 'cells'\?"):
        rsa(model, data, of_file(rdm="rdms").replace(shown_as="cell"), device=CPU)
    with pytest.raises(ModelError, match="no layer 'layer7'"):
        rsa(model, data, QUICK.replace(layers=("layer7",)), device=CPU)


def test_too_many_stimuli(model, data, monkeypatch):
    monkeypatch.setattr("cotrain.evaluations._rsa_targets.MOST_STIMULI", 10)
    with pytest.raises(DataError, match=r"cells/first has 30 stimuli, more than the 10 .* `images`"):
        rsa(model, data, QUICK, device=CPU)
    assert {row.stimuli for row in rsa(model, data, QUICK.replace(images=8, tasks=("cells",)), device=CPU)} == {8}


def test_data_without_a_target(model_of, data):
    model = model_of("animals")
    alone = dataclasses.replace(
        data, splits={split: {"animals": held["animals"]} for split, held in data.splits.items()}
    )
    assert rsa(model, alone, QUICK, device=CPU) == []


def test_the_model_is_as_it_was(model, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    rsa(model, data, QUICK.replace(tasks=("geometry",)), device=CPU)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()


def test_batches_and_projections(model, data):
    config = QUICK.replace(tasks=("geometry",), draws=0)
    rows = [rsa(model, data, config.replace(batch_size=size), device=CPU) for size in (7, 64)]
    assert [row.similarity for row in rows[0]] == pytest.approx([row.similarity for row in rows[1]], abs=1e-3)
    assert config.key() == config.replace(batch_size=7).key()
    pooled = rsa(model, data, config.replace(reduce="average_pool"), device=CPU)
    assert [row.similarity for row in pooled] != [row.similarity for row in rows[1]]


def test_what_is_drawn(model, data, file):
    config = of_file(rdm="rdms", labels="category").replace(layers=("blocks",), draws=0)
    drawn = rsa_picture(model, data, config, layer="layer1", device=CPU)
    numbered = of_file(rdm="rdms", labels="number", label_names="names")
    assert rsa_picture(model, data, numbered, layer="layer1", device=CPU).categories == drawn.categories
    assert (drawn.target, drawn.layer, drawn.categories[:2]) == ("people", "layer1", ("face", "house"))
    assert drawn.icons.shape == (12, 32, 32, 1)
    assert np.allclose(drawn.target_rdm, file.mean((0, 1)), atol=1e-6)
    assert [score.layer for score in drawn.scores] == ["layer1", "layer2"]
    own = squareform(drawn.model_rdm, checks=False)
    expected = np.mean([spearmanr(own, squareform(one, checks=False)).statistic for one in file.mean(1)])
    assert drawn.scores[0].similarity == pytest.approx(expected, abs=1e-6)


def test_published_ceilings_of_human_it(model, data, monkeypatch):
    """Four subjects in two sessions each, as published with the 92 images (Kriegeskorte et al. 2008)."""
    folder = os.environ.get("COTRAIN_TEST_DATA", "")
    if not folder or not (Path(folder) / "images92" / "images92.npz").is_file():
        pytest.skip("COTRAIN_TEST_DATA names no folder with images92/images92.npz")
    monkeypatch.setenv("COTRAIN_DATA", folder)
    file = StimulusFileConfig(name="human_it", path="images92/images92.npz", rdm="rdm_hIT_subj_sess")
    config = RsaConfig(layers=("layer2",), tasks=("none",), draws=0, files=(file,), comparisons=("spearman", "pearson"))
    spearman, pearson = rsa(model, data, config, device=CPU)
    assert (spearman.ceiling_lower, spearman.ceiling_upper) == pytest.approx((0.3723, 0.6657), abs=1e-3)
    assert (pearson.ceiling_lower, pearson.ceiling_upper) == pytest.approx((0.3944, 0.6804), abs=1e-3)
    assert (spearman.subjects, spearman.stimuli) == (4, 92)


def test_categories_come_from_the_same_pictures(model, data):
    animals = data.splits["test"]["animals"][""]
    order = torch.randperm(STIMULI, generator=torch.Generator().manual_seed(2))
    held = data.splits["test"]["geometry"][""]
    changed = with_test(data, geometry={"": dataclasses.replace(held, images=animals.images[order])})
    config = QUICK.replace(tasks=("geometry",))
    drawn = rsa_picture(model, changed, config, layer="layer1", device=CPU)
    assert drawn.categories == tuple(animals.class_names[label] for label in animals.targets[order].tolist())
    assert rsa_picture(model, data, config, layer="layer1", device=CPU).categories == ()


def test_targets_must_be_told_apart(model, data):
    with pytest.raises(CotrainError, match=r"several targets: cells/first, cells/second, geometry. Choose one"):
        rsa_picture(model, data, QUICK, layer="layer1", device=CPU)
    with pytest.raises(CotrainError, match=r"no target 'cells'. It has: cells/first"):
        rsa_picture(model, data, QUICK, layer="layer1", device=CPU, target="cells")
    with pytest.raises(CotrainError, match="The run has no target"):
        rsa_picture(model, data, QUICK.replace(tasks=("none",)), layer="layer1", device=CPU)
    with pytest.raises(ModelError, match=r"One layer is drawn, and 'layer\?' means layer1, layer2"):
        rsa_picture(model, data, QUICK, layer="layer?", device=CPU, target="geometry")
