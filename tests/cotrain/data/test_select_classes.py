"""Some classes of a classification: labels are counted anew, and all else stays as it was."""

from __future__ import annotations

import functools

import pytest
import torch

from cotrain.data import (
    Data,
    DigitsConfig,
    MultiTaskConfig,
    SelectClassesConfig,
    SimulatedV1Config,
    _natural_patches,
    multi_task,
    select_classes,
)
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

BOTH = MultiTaskConfig(
    parts=(
        DigitsConfig(size=8),
        SimulatedV1Config(
            task="v1", sessions=1, neurons=4, stimuli=40, size=12, rdm_task="geometry", rdm_stimuli=30, repeats=2
        ),
    )
)
KEPT = ("7", "0", "3")


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
def some() -> Data:
    return select_classes(SelectClassesConfig(data=BOTH, task="digits", classes=KEPT), seed=0)


def test_images_of_the_classes_stay_in_their_split_and_order_with_new_labels(whole, some):
    assert some.info.task("digits").class_names == KEPT
    for split in SPLITS:
        source, found = whole.splits[split]["digits"][""], some.splits[split]["digits"][""]
        names = [whole.info.task("digits").class_names[label] for label in source.targets]
        rows = [row for row, name in enumerate(names) if name in KEPT]
        assert torch.equal(found.images, source.images[rows])
        assert [KEPT[label] for label in found.targets] == [names[row] for row in rows]
        assert found.targets.dtype == torch.int64


def test_other_tasks_stay_as_they_were(whole, some):
    for task in ("v1", "geometry"):
        assert some.info.task(task) == whole.info.task(task)
        for split in SPLITS:
            for session, one in whole.splits[split][task].items():
                other = some.splits[split][task][session]
                assert torch.equal(one.targets, other.targets) and torch.equal(one.images, other.images)


def test_image_statistics_are_those_of_the_images_that_are_left(some):
    shown = some.splits["train"]["digits"][""].images.double() / 255
    torch.testing.assert_close(some.info.task("digits").image_mean[0], shown.mean().item(), rtol=1e-9, atol=0)
    torch.testing.assert_close(some.info.task("digits").image_std[0], shown.std(correction=0).item(), rtol=1e-9, atol=0)


def test_all_classes_in_their_order_are_the_same_data(whole):
    names = whole.info.task("digits").class_names
    assert select_classes(SelectClassesConfig(data=BOTH, task="digits", classes=names), seed=0).info == whole.info


def test_the_order_of_classes_is_that_of_labels(some):
    turned = select_classes(SelectClassesConfig(data=BOTH, task="digits", classes=KEPT[::-1]), seed=0)
    one, other = (data.splits["test"]["digits"][""].targets for data in (some, turned))
    assert torch.equal(one, 2 - other)


@pytest.mark.parametrize(
    ("task", "classes", "text"),
    [
        ("digit", KEPT, r"The data have no task 'digit'\. Did you mean 'digits'\?"),
        ("v1", KEPT, "the task 'v1' is of kind neural; it has no classes"),
        ("geometry", KEPT, "the task 'geometry' is of kind rdm; it has no classes"),
        ("digits", ("1", "11"), r"The task 'digits' has no class '11'\."),
        ("digits", ("1",), r"name two or more classes, each once, found \['1'\]"),
        ("digits", (), "name two or more classes"),
        ("digits", ("1", "2", "1"), "name two or more classes, each once"),
    ],
)
def test_what_cannot_be_selected_is_refused(task, classes, text):
    with pytest.raises(DataError, match=text):
        select_classes(SelectClassesConfig(data=BOTH, task=task, classes=classes), seed=0)
