"""Several data sets are one, with the same split wherever they hold the same images."""

from __future__ import annotations

import numpy as np
import pytest

from cotrain.data import (
    ArraysConfig,
    DigitsConfig,
    LabelArrayConfig,
    MultiTaskConfig,
    ResponseArrayConfig,
    SimulatedV1Config,
    SplitConfig,
    digits,
    multi_task,
    simulated_v1,
)
from cotrain.errors import BuilderError, DataError
from cotrain.tasks import SPLITS

DIGITS = DigitsConfig(size=16)
V1 = SimulatedV1Config(sessions=1, neurons=4, stimuli=60, size=16)


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    """Forty images with labels and the responses of two sessions."""
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "both.npz",
        images=random.integers(0, 256, (40, 6, 6), np.uint8),
        labels=np.arange(40) % 2,
        class_names=np.array(["cat", "dog"]),
        first=random.normal(size=(40, 3)),
        second=random.normal(size=(40, 5)),
    )
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    return "both.npz"


def recorded(file, session, **fields) -> ArraysConfig:
    return ArraysConfig(
        path=file, tasks=(ResponseArrayConfig(task="v4", session=session, responses=session),), **fields
    )


def test_parts_are_built_with_the_seed_and_joined():
    data = multi_task(MultiTaskConfig(parts=(DIGITS, V1)), seed=3)
    alone = {**digits(DIGITS, seed=3).info.tasks, **simulated_v1(V1, seed=3).info.tasks}
    assert data.info.tasks == alone
    assert list(data.info.tasks) == ["digits", "simulated_v1"]
    assert data.info.fingerprint == multi_task(MultiTaskConfig(parts=(DIGITS, V1)), seed=3).info.fingerprint
    assert data.info.fingerprint != multi_task(MultiTaskConfig(parts=(DIGITS, V1)), seed=4).info.fingerprint


def test_a_task_spread_over_parts_has_the_sessions_of_all(file):
    parts = (recorded(file, "first"), recorded(file, "second"))
    info = multi_task(MultiTaskConfig(parts=parts), seed=0).info.task("v4")
    assert {name: session.neurons for name, session in info.sessions.items()} == {"first": 3, "second": 5}


def test_parts_with_other_splits_of_the_same_images_are_refused(file):
    other = recorded(file, "second", split=SplitConfig(validation=0.3, test=0.3))
    with pytest.raises(DataError, match=r"One image stands in two splits: .*v4/first.* and .*v4/second"):
        multi_task(MultiTaskConfig(parts=(recorded(file, "first"), other)), seed=0)
    # a split in equal shares of classes is another one
    labelled = ArraysConfig(path=file, tasks=(LabelArrayConfig(task="objects"),))
    with pytest.raises(DataError, match=r"One image stands in two splits: .*objects.* and .*v4/first"):
        multi_task(MultiTaskConfig(parts=(recorded(file, "first"), labelled)), seed=0)


def test_parts_can_be_nested():
    inner = MultiTaskConfig(parts=(DIGITS,))
    data = multi_task(MultiTaskConfig(parts=(inner, V1)), seed=0)
    assert list(data.info.tasks) == ["digits", "simulated_v1"]
    assert [len(data.splits[split]["digits"][""]) > 0 for split in SPLITS] == [True] * 3


def test_what_cannot_be_joined_is_refused():
    with pytest.raises(DataError, match="multi_task needs at least one part"):
        multi_task(MultiTaskConfig(parts=()), seed=0)
    with pytest.raises(DataError, match=r"Two parts hold the task 'digits'\. Rename one"):
        multi_task(MultiTaskConfig(parts=(DIGITS, DigitsConfig(size=8))), seed=0)
    with pytest.raises(DataError, match="Two parts hold the task 'simulated_v1', session 'simulated1'"):
        multi_task(MultiTaskConfig(parts=(V1, V1.replace(neurons=5))), seed=0)
    with pytest.raises(BuilderError, match="SplitConfig"):
        multi_task(MultiTaskConfig(parts=(SplitConfig(),)), seed=0)
