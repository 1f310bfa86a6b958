"""Published folders of corrupted pictures: read as the run's images are, matched by class names, refused clearly."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data.corruptions import corruption_names
from cotrain.errors import ConfigError, DataError
from cotrain.evaluations import CorruptedFoldersConfig, CorruptionsConfig, corrupted_folders, corruptions

CPU = torch.device("cpu")
CONFIG = CorruptedFoldersConfig(path="tiny-c", corruptions=("gaussian_noise",), severities=(2, 5))
EACH = 3  # pictures of a class under a condition


def evaluated(model, data, config=CONFIG, **options):
    return corrupted_folders(model, data, config, device=CPU, **options)


@pytest.fixture
def root(data, tmp_path, monkeypatch):
    """Colour pictures, twice as large and wider than high, of all seven classes and of one that the run lacks."""
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    for severity, name, number in itertools.product(
        (2, 5), (*data.info.tasks["animals"].class_names, "yak"), range(EACH)
    ):
        folder = tmp_path / "tiny-c" / "gaussian_noise" / str(severity) / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (64, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}_{number}.JPEG")
    return tmp_path / "tiny-c"


def by_hand(model, root, severity, names, *, fit="crop"):
    """Accuracy of pictures that Pillow makes grey, cuts and scales."""
    right = []
    for label, name in enumerate(names):
        for path in sorted((root / "gaussian_noise" / str(severity) / name).iterdir()):
            image = Image.open(path).convert("L")
            image = image.crop((8, 0, 72, 64)) if fit == "crop" else image
            image = image.resize((32, 32), Image.Resampling.BILINEAR)
            with torch.no_grad():
                scores = model.eval()(torch.from_numpy(np.asarray(image)[None, None].copy()), "animals")
            right.append(int(scores.argmax()) == label)
    return np.mean(right)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_scores_are_those_of_the_pictures(model, data, root, fit):
    rows = evaluated(model, data, CONFIG.replace(fit=fit))
    found = {(row.corruption, row.severity): row.value for row in rows if row.metric == "accuracy"}
    names = data.info.tasks["animals"].class_names
    assert list(found) == [("clean", 0), ("gaussian_noise", 2), ("gaussian_noise", 5)]
    for severity in (2, 5):
        assert found["gaussian_noise", severity] == pytest.approx(by_hand(model, root, severity, names, fit=fit))
    assert {row.images for row in rows if row.severity} == {len(names) * EACH}, "without the class that the run lacks"
    assert {(row.task, row.session, row.metric) for row in rows} == {
        ("animals", "", metric) for metric in ("accuracy", "top5", "loss")
    }


def test_clean_is_the_test_split_of_the_run(model, data, root):
    same = CorruptionsConfig(corruptions=("gaussian_noise",), severities=(1,), tasks=("animals",))
    clean = [row for row in corruptions(model, data, same, device=CPU) if row.corruption == "clean"]
    assert [row for row in evaluated(model, data) if row.corruption == "clean"] == clean


def test_the_first_pictures_are_of_all_classes(model, data, root):
    whole = evaluated(model, data, CONFIG.replace(images=7))
    for name in data.info.tasks["animals"].class_names:
        for severity in ("2", "5"):
            for number in (1, 2):
                (root / "gaussian_noise" / severity / name / f"{name}_{number}.JPEG").unlink()
    assert [row for row in evaluated(model, data) if row.severity] == [row for row in whole if row.severity]


def test_a_killed_evaluation_goes_on(model, data, root, tmp_path):
    journal, told = tmp_path / "a.jsonl", []

    def stop_at_the_second():
        told.append(1)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(model, data, journal=journal, on_condition=stop_at_the_second)
    for path in (root / "gaussian_noise" / "2").rglob("*.JPEG"):
        path.write_text("what was read is not read again")
    found = evaluated(model, data, journal=journal)
    assert [(row.corruption, row.severity) for row in found][::3] == [
        ("clean", 0),
        ("gaussian_noise", 2),
        ("gaussian_noise", 5),
    ]


def test_a_run_without_the_classification(model, model_of, data, root):
    assert evaluated(model_of("cells"), data) == []
    assert evaluated(model, data, CONFIG.replace(task="plants")) == []
    assert evaluated(model, data, CONFIG.replace(task="cells")) == []


def test_two_classifications_are_told_apart(model, data, root):
    test, info = data.splits["test"], data.info.tasks
    changed = dataclasses.replace(
        data,
        splits={**data.splits, "test": {**test, "cells": test["animals"]}},
        info=dataclasses.replace(data.info, tasks={**info, "cells": info["animals"]}),
    )
    with pytest.raises(DataError, match=r"several classifications: animals, cells\. Name one as task"):
        evaluated(model, changed)


def test_what_folders_lack_is_told(model, data, root, tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*elsewhere\. Set COTRAIN_DATA"):
        evaluated(model, data, CONFIG.replace(path="elsewhere"))
    told = r"lacks 1 of 3 folders <corruption>/<severity>: gaussian_noise/4\. It has gaussian_noise\."
    with pytest.raises(DataError, match=told):
        evaluated(model, data, CONFIG.replace(severities=(2, 4, 5)))
    for name in ("ant", "elk"):
        (root / "gaussian_noise" / "5" / name).rename(tmp_path / name)
    with pytest.raises(
        DataError, match=r"5 lacks 2 of the run's 7 classes: ant, elk\. It has bee, cow, dog, fox, gnu and 1"
    ):
        evaluated(model, data)


def test_a_picture_that_is_none_and_a_class_without(model, data, root):
    folder = root / "gaussian_noise" / "5" / "bee"
    (folder / "bee_1.JPEG").write_text("no picture")
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}/bee_1\.JPEG cannot be read"):
        evaluated(model, data)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"bee holds no pictures\.$"):
        evaluated(model, data)


def test_wrong_configs():
    with pytest.raises(ConfigError, match="path: a value is required"):
        CorruptedFoldersConfig()
    with pytest.raises(ConfigError, match="there is no corruption 'gausian_noise'"):
        CorruptedFoldersConfig(path="tiny-c", corruptions=("gausian_noise",))
    assert CorruptedFoldersConfig(path="tiny-c").corruptions == ("common",)
    assert "gaussian_noise" in corruption_names()
