"""SIT and linear readout of stored models' layers: the library's scores of features from hooks of our own."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from cotrain import build
from cotrain.analysis import RecordingNoise, linear_svm_score, sit_score
from cotrain.data import (
    ArraysConfig,
    Data,
    LabelArrayConfig,
    ResponseRdmConfig,
    SelectTasksConfig,
    Source,
    SplitConfig,
)
from cotrain.errors import DataError
from cotrain.evaluations import (
    LinearSvmScoresConfig,
    ManifoldsConfig,
    RecordingNoiseConfig,
    SitScoresConfig,
    SmoothManifoldsConfig,
    StimulusFileConfig,
    linear_svm_scores,
    manifolds,
    sit_scores,
    smooth_manifolds,
)

CPU = torch.device("cpu")
SIT = SitScoresConfig(layers=("layer2",))
SVM = LinearSvmScoresConfig(layers=("layer2",), splits=2)
MILD = RecordingNoiseConfig(slope=0.01, offset=0.1, repeats=10)


def features_of(model, images, task: str) -> torch.Tensor:
    """What the second layer gives: (images, channels, height, width)."""
    held = []
    hook = model.backbone.layer2.register_forward_hook(lambda *inputs: held.append(inputs[-1]))
    model.eval()
    with torch.no_grad():
        model.pass_backbone(images, task)
    hook.remove()
    return held[0]


@pytest.fixture(scope="module")
def labelled(data: Data) -> Data:
    """The first session shows the pictures of the animals, in another order, and two that are none."""
    animals = data.splits["test"]["animals"][""]
    held = data.splits["test"]["cells"]["first"]
    order = torch.randperm(len(animals), generator=torch.Generator().manual_seed(3))
    images = torch.cat([animals.images[order][:28], held.images[28:]])
    cells = {**data.splits["test"]["cells"], "first": dataclasses.replace(held, images=images)}
    return dataclasses.replace(data, splits={**data.splits, "test": {**data.splits["test"], "cells": cells}})


def names_of(labelled: Data) -> np.ndarray:
    """The object of each of the 28 pictures."""
    animals = labelled.splits["test"]["animals"][""]
    shown = labelled.splits["test"]["cells"]["first"].images[:28]
    rows = [int((animals.images == image).flatten(1).all(1).nonzero()) for image in shown]
    return animals.targets[rows].numpy()


def test_sit_is_that_of_scipy(model, labelled):
    (row,) = sit_scores(model, labelled, SIT, device=CPU)
    source, names = labelled.splits["test"]["cells"]["first"], names_of(labelled)
    features = features_of(model, source.images[:28], "cells").flatten(1).double().numpy()
    responses = source.targets[:28].double().numpy()
    means = [np.stack([held[names == name].mean(0) for name in range(7)]) for held in (features, responses)]
    expected = spearmanr(*(pdist(held, "correlation") for held in means)).statistic
    assert row.sit == pytest.approx(expected, abs=1e-6)
    assert (row.target, row.session, row.layer, row.layer_place) == ("cells", "first", "layer2", 0)
    assert (row.objects, row.neurons, row.sit_spread) == (7, 4, 0.0)
    assert row.images == np.bincount(names).min()
    assert row.sit_low < row.sit < row.sit_high


def test_published_sit_with_noise(model, labelled):
    config = SIT.replace(variant="published", noise=MILD, draws=5, share=0.5, seed=2, tasks=("cells",))
    (row,) = sit_scores(model, labelled, config, device=CPU, seed=7)
    source = labelled.splits["test"]["cells"]["first"]
    expected = sit_score(
        features_of(model, source.images[:28], "cells").flatten(1),
        source.targets[:28],
        objects=names_of(labelled),
        variant="published",
        draws=5,
        share=0.5,
        noise=RecordingNoise(MILD.slope, MILD.offset, MILD.repeats),
        seed=2,
    )
    assert row.sit == pytest.approx(expected.mean, abs=1e-6)
    assert row.sit_spread == pytest.approx(expected.spread, abs=1e-6)
    assert math.isnan(row.sit_low)
    assert row.images == expected.images
    with pytest.raises(DataError, match="not the units of RecordingNoise"):
        sit_scores(model, labelled, config.replace(noise=RecordingNoiseConfig(offset=9.0, repeats=1)), device=CPU)


def test_sessions_without_labels_have_no_sit_score(model, data, labelled, caplog):
    assert sit_scores(model, data, SIT, device=CPU) == []
    assert sit_scores(model, labelled, SIT.replace(objects="plants"), device=CPU) == []
    assert sit_scores(model, labelled, SIT.replace(tasks=("geometry",)), device=CPU) == []
    with pytest.raises(DataError, match="'cells' is of kind neural; name a classification"):
        sit_scores(model, labelled, SIT.replace(objects="cells"), device=CPU)
    held = labelled.splits["test"]["cells"]["first"]
    few = held.subset(torch.from_numpy(np.flatnonzero(names_of(labelled) < 4)))
    changed = {**labelled.splits["test"], "cells": {"first": few}}
    changed = dataclasses.replace(labelled, splits={**labelled.splits, "test": changed})
    assert sit_scores(model, changed, SIT, device=CPU) == []
    assert "cells/first has no SIT score: 4 objects are too few." in caplog.text


def test_several_classifications_must_be_told_apart(model, labelled):
    tasks = dict(labelled.info.tasks)
    tasks["beasts"] = tasks["animals"]
    several = dataclasses.replace(labelled, info=dataclasses.replace(labelled.info, tasks=tasks))
    with pytest.raises(DataError, match="the classifications animals, beasts: say which one names the objects"):
        sit_scores(model, several, SIT, device=CPU)
    assert len(sit_scores(model, several, SIT.replace(objects="animals"), device=CPU)) == 1


def test_readout_of_the_test_images(model, data):
    (row,) = linear_svm_scores(model, data, SVM.replace(seed=3), device=CPU, seed=8)
    source = data.splits["test"]["animals"][""]
    rows = np.sort(np.concatenate([np.flatnonzero(source.targets.numpy() == label)[:40] for label in range(7)]))
    assert len(rows) == 30
    pooled = features_of(model, source.images, "animals").mean((2, 3))
    expected = linear_svm_score(pooled, source.targets, variant="nested", splits=2, seed=3)
    assert row.svm == pytest.approx(expected.mean, abs=1e-9)
    assert (row.target, row.session, row.layer, row.objects, row.images) == ("animals", "", "layer2", 7, 30)
    assert row.chance == pytest.approx(5 / 30)
    assert (row.svm_low, row.svm_high) == (expected.low, expected.high)
    assert row.unfinished == expected.unfinished / expected.fits


def test_nested_readout_has_an_interval_and_takes_some_of_each_class(model, data):
    (row,) = linear_svm_scores(model, data, SVM.replace(of_class=4, layers=("layer1",)), device=CPU)
    assert (row.images, row.objects, row.chance) == (28, 7, 1 / 7)
    assert row.svm_low <= row.svm <= row.svm_high
    assert linear_svm_scores(model, data, SVM.replace(tasks=("plants",)), device=CPU) == []
    with pytest.raises(DataError, match="5 folds need as many images of each object, one has 4"):
        linear_svm_scores(model, data, SVM.replace(splits=None, of_class=4), device=CPU)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Sixty pictures of six objects, far from each other, and responses that follow them."""
    random = np.random.default_rng(4)
    names = np.repeat(np.array(list("abcdef")), 10)
    order = random.permutation(60)
    means = random.integers(0, 200, (6, 32, 32))
    images = np.repeat(means, 10, 0) + random.integers(0, 40, (60, 32, 32))
    responses = np.repeat(random.normal(size=(6, 9)), 10, 0) + 0.2 * random.normal(size=(60, 9))
    np.savez(
        tmp_path / "objects.npz",
        images=images[order].astype(np.uint8),
        labels=names[order],
        responses=np.stack([responses[order], np.full((60, 9), np.nan)], 1),
    )
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))


def of_file(config, **fields: str):
    return config.replace(tasks=("none",), files=(StimulusFileConfig(name="objects", path="objects.npz", **fields),))


def test_files(model, data, file):
    whole = {"labels": "labels", "responses": "responses"}
    (row,) = sit_scores(model, data, of_file(SIT, **whole), device=CPU)
    assert (row.target, row.session, row.objects, row.neurons, row.images) == ("objects", "", 6, 9, 10)
    (row,) = linear_svm_scores(model, data, of_file(SVM, labels="labels"), device=CPU)
    assert row.svm > 0.9
    assert row.images == 60
    published = of_file(SVM, labels="labels").replace(variant="published", subsets=2, subset_features=4)
    (row,) = linear_svm_scores(model, data, published, device=CPU)
    assert math.isnan(row.svm_low)
    config = of_file(SVM, **whole).replace(noise=MILD, of_class=5, reduce="")
    (noisy,) = linear_svm_scores(model, data, config, device=CPU)
    assert (noisy.images, noisy.target) == (30, "objects")


def test_what_files_lack(model, data, file):
    for config, message in (
        (of_file(SIT, labels="labels"), "SIT scores need its arrays `responses` and `labels`"),
        (of_file(SIT, labels="label", responses="responses"), "holds no array 'label'"),
    ):
        with pytest.raises(DataError, match=message):
            sit_scores(model, data, config, device=CPU)
    for config, message in (
        (of_file(SVM), "linear SVM scores need its array `labels`"),
        (of_file(SVM, labels="labels").replace(noise=MILD), "`labels` and, for noise, `responses`"),
        (SVM.replace(noise=MILD), "matched to the responses of files, and no file is given"),
    ):
        with pytest.raises(DataError, match=message):
            linear_svm_scores(model, data, config, device=CPU)
    twice = of_file(SIT, labels="labels", responses="responses")
    twice = twice.replace(files=twice.files * 2)
    with pytest.raises(DataError, match="Two recordings are called objects"):
        sit_scores(model, data, twice, device=CPU)
    with pytest.raises(DataError, match="Two sets of images are called objects"):
        linear_svm_scores(model, data, SVM.replace(files=twice.files), device=CPU)


def test_neurons_that_lack_images_are_left_out(model, labelled, caplog):
    held = labelled.splits["test"]["cells"]["first"]

    def changed(targets: torch.Tensor) -> Data:
        cells: dict[str, Source] = {"first": dataclasses.replace(held, targets=targets)}
        return dataclasses.replace(
            labelled, splits={**labelled.splits, "test": {**labelled.splits["test"], "cells": cells}}
        )

    targets = held.targets.clone()
    targets[0, 1] = torch.nan
    (row,) = sit_scores(model, changed(targets), SIT, device=CPU)
    assert row.neurons == 3
    assert "cells: 1 of 4 neurons lack stimuli" in caplog.text
    targets[0] = torch.nan
    with pytest.raises(DataError, match="cells/first: no neuron has responses to all images of the objects"):
        sit_scores(model, changed(targets), SIT, device=CPU)


LABELLED = ArraysConfig(
    path="stripes.npz",
    tasks=(
        LabelArrayConfig(task="stripes"),
        LabelArrayConfig(task="halves", labels="halves"),
        ResponseRdmConfig(task="geometry", responses="cells"),
    ),
    split=SplitConfig(validation=0.2, test=0.4),
)
OTHER = SVM.replace(labelled=LABELLED, tasks=("stripes",))


@pytest.fixture
def finetuned(tmp_path, monkeypatch, model_of):
    """A model of an RDM alone, and the data that it would have learnt from with seed 3."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = random.integers(0, 255, (60, 32, 32)).astype(np.uint8)
    images[labels == 1, ::2] //= 4
    names, cells = np.array(["grey", "striped"]), random.normal(size=(60, 6))
    np.savez(
        tmp_path / "stripes.npz",
        images=images,
        labels=labels,
        class_names=names,
        halves=np.arange(60) // 30,
        cells=cells,
    )
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    data = build(SelectTasksConfig(data=LABELLED, tasks=("geometry",)), seed=3)
    return model_of("geometry"), data


def test_labels_of_other_data(finetuned):
    """For a run without a classification; with its seed, the data are split as for it."""
    model, data = finetuned
    assert linear_svm_scores(model, data, SVM, device=CPU, seed=3) == []
    (row,) = linear_svm_scores(model, data, OTHER, device=CPU, seed=3)
    source = build(LABELLED, seed=3).splits["test"]["stripes"][""]
    pooled = features_of(model, source.images[torch.arange(len(source))], "geometry").mean((2, 3))
    expected = linear_svm_score(pooled, source.targets, variant="nested", splits=2, seed=0)
    assert row.svm == pytest.approx(expected.mean, abs=1e-9)
    assert row.svm > 0.8, "stripes are easily seen"
    assert (row.target, row.images, row.objects) == ("stripes", 24, 2)
    both = linear_svm_scores(model, data, OTHER.replace(tasks=()), device=CPU, seed=3)
    assert [row.target for row in both] == ["stripes", "halves"]


def test_images_that_the_run_may_have_learnt_are_refused(finetuned):
    model, data = finetuned
    with pytest.raises(
        DataError, match=r"labelled: \d+ of the test images are in another split .* Split both data alike"
    ):
        linear_svm_scores(model, data, OTHER, device=CPU, seed=4)
    with pytest.raises(DataError, match="of the validation images are in another split"):
        linear_svm_scores(model, data, OTHER.replace(split="validation"), device=CPU, seed=4)
    assert len(linear_svm_scores(model, data, OTHER.replace(split="validation"), device=CPU, seed=3)) == 1


def test_labelled_data_without_such_a_classification(finetuned):
    model, data = finetuned
    with pytest.raises(
        DataError, match=r"labelled: these data have no classification 'stripe'\. Did you mean 'stripes'"
    ):
        linear_svm_scores(model, data, OTHER.replace(tasks=("stripe",)), device=CPU, seed=3)
    alone = SelectTasksConfig(data=LABELLED, tasks=("geometry",))
    with pytest.raises(DataError, match=r"labelled: these data have no classification\. Name data with one"):
        linear_svm_scores(model, data, SVM.replace(labelled=alone), device=CPU, seed=3)


def test_labelled_images_of_another_shape(finetuned):
    model, data = finetuned
    small = OTHER.replace(labelled=LABELLED.replace(size=16))
    with pytest.raises(
        DataError, match=r"labelled: images of 'stripes' are \(1, 16, 16\), those that the run saw \(1, 32"
    ):
        linear_svm_scores(model, data, small, device=CPU, seed=3)


def test_manifolds_of_a_run_without_classes(finetuned):
    """Two classes of images that the run's own data know nothing of, as many as were held out."""
    model, data = finetuned
    config = ManifoldsConfig(layers=("layer2",), labelled=LABELLED, tasks=("stripes",), directions=20, joint_draws=0)
    *classes, layer = manifolds(model, data, config, device=CPU, seed=3)
    images = linear_svm_scores(model, data, OTHER, device=CPU, seed=3)[0].images
    assert (layer.target, layer.manifolds, len(classes)) == ("stripes", 2, 2)
    assert sum(one.own_points for one in classes) == images
    assert manifolds(model, data, config.replace(labelled=None), device=CPU, seed=3) == []
    smooth = SmoothManifoldsConfig(
        layers=("layer2",), labelled=LABELLED, tasks=("stripes",), images=4, points=3, displacements=(1,), directions=20
    )
    moved = smooth_manifolds(model, data, smooth, device=CPU, seed=3)
    assert [(row.target, row.family, row.manifolds) for row in moved] == [
        ("stripes", "x_translation", 4), ("stripes", "affine", 4),
    ]  # fmt: skip
