"""Names that can stand everywhere, and info that survives storage."""

from __future__ import annotations

import json
import re
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cotrain.errors import DataError, ModelError
from cotrain.metrics import classification_scores, manifold_scores, neural_scores, rdm_scores
from cotrain.tasks import KINDS, PRIMARY_METRIC, DataInfo, SessionInfo, TaskInfo, check_name

LETTERS = string.ascii_letters + string.digits
NAMES = st.text(LETTERS + "_-", min_size=1, max_size=32).filter(lambda name: name[0] in LETTERS)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SESSIONS = st.builds(
    SessionInfo,
    neurons=st.integers(0, 5),
    mean_response=st.lists(NUMBERS, max_size=4).map(tuple),
    lowest_response=NUMBERS,
    stimuli=st.fixed_dictionaries({"train": st.integers(1, 9), "validation": st.integers(1, 9), "test": st.just(3)}),
)
TASKS = st.builds(
    TaskInfo,
    kind=st.sampled_from(KINDS),
    image_shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 99), st.integers(1, 99)),
    image_mean=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    image_std=st.tuples(NUMBERS),
    class_names=st.lists(st.text(), max_size=3).map(tuple),
    sessions=st.dictionaries(NAMES | st.just(""), SESSIONS, max_size=3),
)


@given(st.builds(DataInfo, tasks=st.dictionaries(NAMES, TASKS, max_size=3), fingerprint=st.text()))
def test_info_survives_json(info):
    text = json.dumps(info.record(), allow_nan=False)
    again = DataInfo.from_record(json.loads(text))
    assert again == info
    assert json.dumps(again.record()) == text
    assert list(again.tasks) == list(info.tasks)


def test_a_task_that_the_data_lack_names_those_they_have():
    info = DataInfo({"objects": TaskInfo("rdm", (1, 2, 3), (0.5,), (0.1,))}, "")
    assert info.task("objects").kind == "rdm"
    with pytest.raises(ModelError, match=r"The data have no task 'object'\. Did you mean 'objects'\?"):
        info.task("object")
    with pytest.raises(ModelError, match=r"The data have no task 'v1'\. Known: objects\."):
        info.task("v1")


@given(NAMES)
def test_a_name_is_taken_if_and_only_if_torch_takes_it(name):
    if hasattr(nn.ModuleDict(), name):
        with pytest.raises(DataError, match=re.escape(f"Task '{name}': torch.nn.ModuleDict keeps this name")):
            check_name(name, "Task")
    else:
        assert check_name(name, "Task") == name
        nn.ModuleDict({name: nn.Identity()})


@pytest.mark.parametrize("name", [name for name in dir(nn.ModuleDict()) if name[0] != "_" and len(name) <= 32])
def test_names_reserved_by_torch_are_refused(name):
    with pytest.raises(DataError, match=f"Session '{name}': torch.nn.ModuleDict keeps this name for itself"):
        check_name(name, "Session")


@pytest.mark.parametrize("name", ["", "a" * 33, "v 1", "v.1", "v/1", "_v1", "-v1", "v1\n", "über", "..", "v1\0", "٣"])
def test_names_that_cannot_stand_in_files_are_refused(name):
    with pytest.raises(DataError, match=r"Task '.*': expected 1 to 32 letters, digits, '_' or '-', the first no sign"):
        check_name(name, "Task")


@pytest.mark.parametrize("name", ["a", "7", "v1", "it-rdm", "objects_2", "A" * 32, "190923"])
def test_usual_names_are_taken(name):
    assert check_name(name, "Task") == name


def test_every_kind_has_a_primary_metric():
    eye = torch.eye(4)
    given_ = {
        "classification": classification_scores(eye, torch.arange(4)),
        "neural": neural_scores(torch.ones(3)),
        "rdm": rdm_scores(eye, 1 - eye),
        "manifolds": manifold_scores(eye, torch.arange(4) % 2),
    }
    assert set(PRIMARY_METRIC) == set(KINDS) == set(given_)
    for kind, scores in given_.items():
        assert PRIMARY_METRIC[kind] in dict(scores)
