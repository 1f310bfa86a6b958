"""Manifolds are a second task of the same images, and nothing else of the data changes."""

from __future__ import annotations

import pytest
import torch

from cotrain.data import ClassManifoldsConfig, Data, DigitsConfig, class_manifolds, digits, select_tasks
from cotrain.data import SelectTasksConfig as Selected
from cotrain.errors import DataError
from cotrain.resolve import build
from cotrain.tasks import SPLITS

DIGITS = DigitsConfig(size=8)
CONFIG = ClassManifoldsConfig(data=DIGITS, task="digits", name="shapes")


@pytest.fixture(scope="module")
def data() -> Data:
    return class_manifolds(CONFIG, seed=0)


def test_the_new_task_has_the_images_and_labels_of_the_classification(data):
    assert list(data.info.tasks) == ["digits", "shapes"]
    for split in SPLITS:
        one, other = data.splits[split]["digits"][""], data.splits[split]["shapes"][""]
        assert (one.kind, other.kind) == ("classification", "manifolds")
        assert other.images is one.images and other.targets is one.targets, "not a copy"
    rows = torch.tensor([3, 1])
    assert torch.equal(other.batch(rows)[1], other.targets[rows]) and len(other.subset(rows)) == 2


def test_the_info_is_that_of_the_classification_but_for_the_kind(data):
    one, other = data.info.task("digits"), data.info.task("shapes")
    assert other.kind == "manifolds" and other.class_names == one.class_names
    assert (other.image_mean, other.sessions) == (one.image_mean, one.sessions)


def test_the_classification_stays_as_it_was(data):
    alone = digits(DIGITS, seed=0)
    assert data.info.task("digits") == alone.info.task("digits")
    assert data.info.fingerprint != alone.info.fingerprint
    assert select_tasks(Selected(data=CONFIG, tasks=("digits",)), seed=0).info == alone.info
    assert build(CONFIG, seed=0).info.fingerprint == data.info.fingerprint


def test_manifolds_alone_can_be_kept():
    assert list(select_tasks(Selected(data=CONFIG, tasks=("shapes",)), seed=0).info.tasks) == ["shapes"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CONFIG.replace(task="digit"), r"The data have no task 'digit'\. Did you mean 'digits'\?"),
        (CONFIG.replace(name="digits"), r"the data hold a task 'digits' already\. Choose another name"),
        (CONFIG.replace(name="a b"), "Task 'a b': expected 1 to 32 letters"),
        (
            ClassManifoldsConfig(data=CONFIG, task="shapes", name="more"),
            "class_manifolds: the task 'shapes' is of kind manifolds; it needs a classification",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(config, text):
    with pytest.raises(DataError, match=text):
        class_manifolds(config, seed=0)
