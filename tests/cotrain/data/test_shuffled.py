"""The control keeps all there is of images and of responses except which belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain.data import (
    Data,
    DigitsConfig,
    MultiTaskConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SimulatedV1Config,
    multi_task,
    select_tasks,
    shuffled,
)
from cotrain.errors import DataError
from cotrain.tasks import SPLITS

PAIRED = MultiTaskConfig(
    parts=(
        DigitsConfig(size=8),
        SimulatedV1Config(task="v1", neurons=5, stimuli=80, size=16, rdm_task="geometry", rdm_stimuli=60, repeats=3),
    )
)
TASKS = ("digits", "v1", "geometry")


@pytest.fixture(scope="module")
def paired() -> Data:
    return multi_task(PAIRED, seed=0)


@pytest.fixture(scope="module")
def control() -> Data:
    return shuffled(ShuffledConfig(data=PAIRED, tasks=TASKS), seed=0)


def walk_both(one: Data, other: Data, splits=SPLITS):
    for split in splits:
        for task, sessions in one.splits[split].items():
            for session, source in sessions.items():
                yield split, task, source, other.splits[split][task][session]


def sorted_rows(targets: torch.Tensor) -> np.ndarray:
    rows = targets.reshape(len(targets), -1).numpy()
    return rows[np.lexsort(rows.T)]


def test_images_stay_and_responses_keep_their_marginals(paired, control):
    for _, task, source, other in walk_both(paired, control):
        assert torch.equal(source.images, other.images)
        assert source.kind == other.kind
        if task != "geometry":
            np.testing.assert_array_equal(sorted_rows(source.targets), sorted_rows(other.targets))
    for task, info in paired.info.tasks.items():
        found = control.info.task(task)
        assert (found.image_mean, found.image_std, found.class_names) == (
            info.image_mean,
            info.image_std,
            info.class_names,
        )
        for session, held in info.sessions.items():
            np.testing.assert_allclose(found.sessions[session].mean_response, held.mean_response, rtol=1e-12)
            assert found.sessions[session].lowest_response == held.lowest_response


def test_pairs_are_broken_in_training_and_validation(paired, control):
    for _, task, source, other in walk_both(paired, control, ("train", "validation")):
        if task == "digits":
            same = (source.targets == other.targets).float().mean()
            assert same == pytest.approx(0.1, abs=0.06)  # by chance
        elif task == "v1":
            together = np.corrcoef(source.targets.T, other.targets.T)[:5, 5:]
            assert np.abs(np.diag(together)).mean() < 0.5
            assert (source.targets != other.targets).any(1).float().mean() > 0.7
        else:
            assert (source.targets != other.targets).float().mean() > 0.7


def test_the_test_split_is_untouched(paired, control):
    for _, _, source, other in walk_both(paired, control, ("test",)):
        assert torch.equal(source.targets, other.targets)
        assert source.repeats is other.repeats is None or torch.equal(source.repeats, other.repeats)


def test_rows_and_columns_of_an_rdm_move_together(paired, control):
    for _, task, source, other in walk_both(paired, control, ("train", "validation")):
        if task == "geometry":
            torch.testing.assert_close(other.targets, other.targets.T)
            assert not other.targets.diagonal().any()
            # the same stimuli under other names: each keeps its distances to all others
            profiles = [sorted(map(tuple, held.targets.sort(1).values.tolist())) for held in (source, other)]
            assert profiles[0] == profiles[1]


def test_repeats_stay_with_their_mean(control):
    for _, task, source, _ in walk_both(control, control):
        if task == "v1":
            torch.testing.assert_close(source.repeats.mean(1), source.targets)


def test_only_the_tasks_that_are_named_are_shuffled(paired):
    data = shuffled(ShuffledConfig(data=PAIRED, tasks=("v1",)), seed=0)
    for split, task, source, other in walk_both(paired, data):
        assert torch.equal(source.targets, other.targets) == (task != "v1" or split == "test")


def test_the_seed_decides_the_order(control):
    again = shuffled(ShuffledConfig(data=PAIRED, tasks=TASKS), seed=0)
    assert again.info.fingerprint == control.info.fingerprint
    other = shuffled(ShuffledConfig(data=PAIRED, tasks=TASKS), seed=1)
    assert other.info.fingerprint != control.info.fingerprint
    sessions = control.splits["train"]["v1"]
    assert len({str(source.targets.tolist()) for source in sessions.values()}) == 2


def test_selected_tasks_are_as_they_were(paired):
    data = select_tasks(SelectTasksConfig(data=PAIRED, tasks=("v1",)), seed=0)
    assert list(data.info.tasks) == ["v1"]
    assert data.info.task("v1") == paired.info.task("v1")
    for _, _, source, other in walk_both(data, paired):
        assert torch.equal(source.images, other.images) and torch.equal(source.targets, other.targets)


@pytest.mark.parametrize("control", [(ShuffledConfig, shuffled), (SelectTasksConfig, select_tasks)])
def test_a_task_that_the_data_lack_is_refused(control):
    config, builder = control
    with pytest.raises(DataError, match=r"no task 'digit'.* Did you mean 'digits'\?"):
        builder(config(data=DigitsConfig(size=8), tasks=("digit",)), seed=0)


def test_no_task_at_all_is_refused():
    with pytest.raises(DataError, match="shuffled: name at least one task"):
        shuffled(ShuffledConfig(data=DigitsConfig(size=8), tasks=()), seed=0)
    with pytest.raises(DataError, match="The data hold no task"):
        select_tasks(SelectTasksConfig(data=DigitsConfig(size=8), tasks=()), seed=0)
