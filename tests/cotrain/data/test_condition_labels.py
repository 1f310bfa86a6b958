"""Classes of a recording's pictures: beside the neurons, in the same split, in equal shares."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from cotrain.data import ConditionLabelsConfig, RecordedConfig, SplitConfig, recorded
from cotrain.data.recordings import Recording, Session, save_recording
from cotrain.errors import DataError

KINDS = ("dog", "cat", "")  # of pictures in turn; the last are not named


def session(numbers, seed):
    """Pictures whose first pixel is their number."""
    random = np.random.default_rng(seed)
    images = np.stack([np.random.default_rng(n).integers(0, 256, (6, 6), np.uint8) for n in numbers])
    images[:, 0, 0] = numbers
    return Session(
        stimuli=tuple(map(str, numbers)),
        responses=random.normal(size=(len(numbers), 3)).astype(np.float32),
        images=images,
        conditions={"kind": tuple(KINDS[n % 3] for n in numbers), "one": ("same",) * len(numbers)},
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    sessions = {"a": session(range(60), 0), "b": session(range(45, 105), 1)}  # 15 pictures are in both
    save_recording(Recording(sessions, unit="spikes"), tmp_path / "lab")


def read(seed=0, **changes):
    labels = (ConditionLabelsConfig(condition="kind", task="animals"),)
    given = {"path": "lab", "format": "cotrain", "labels": labels, "split": SplitConfig(validation=0.2, test=0.2)}
    return recorded(RecordedConfig(**{**given, **changes}), seed=seed)


def test_each_picture_has_its_class_in_the_split_of_its_neurons(place, caplog):
    with caplog.at_level(logging.WARNING):
        data = read()
    assert "40 stimuli have no kind; task animals does without" in caplog.text
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    for split, share in shares.items():
        source = data.splits[split]["animals"][""]
        assert source.class_names == ("cat", "dog")
        numbers = source.images[:][:, 0, 0, 0].numpy()
        assert [source.class_names[label] for label in source.targets] == [KINDS[n % 3] for n in numbers]
        shown = np.concatenate([held.images[:][:, 0, 0, 0].numpy() for held in data.splits[split]["v4"].values()])
        assert sorted(numbers) == sorted(n for n in shown if KINDS[n % 3])
        counts = np.bincount(source.targets)
        assert abs(counts - 40 * share).max() <= 3


def test_without_labels_nothing_changes(place):
    plain, labelled = read(labels=()), read()
    assert list(plain.info.tasks) == ["v4"] and set(labelled.info.tasks) == {"v4", "animals"}
    bare = RecordedConfig(path="lab", format="cotrain")
    labelled = bare.replace(labels=(ConditionLabelsConfig(condition="kind"),))
    assert bare.key() == bare.replace(labels=()).key() != labelled.key()


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([{"condition": "kinds"}], "session a: its stimuli have no condition 'kinds'. Did you mean 'kind'"),
        ([{"condition": "one"}], "the condition 'one' has 1 values"),
        ([{"condition": "kind", "task": "v4"}], "the task 'v4' is named twice"),
        ([{"condition": "kind"}, {"condition": "one"}], "the task 'objects' is named twice"),
    ],
)
def test_labels_that_cannot_be_are_refused(place, labels, text):
    with pytest.raises(DataError, match=text):
        read(labels=tuple(ConditionLabelsConfig(**held) for held in labels))
