"""One rule, from validation scores alone, says which epoch is best and when training stops."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotrain.errors import ConfigError, TrainingError
from cotrain.tasks import DataInfo, TaskInfo
from cotrain.training import Monitor, MonitorConfig, Score

KINDS = {"digits": "classification", "v1": "neural", "it": "rdm"}
PRIMARY = {"digits": "accuracy", "v1": "correlation", "it": "spearman"}
INFO = DataInfo({name: TaskInfo(kind, (1, 8, 8), (0.5,), (0.2,)) for name, kind in KINDS.items()}, "0" * 32)
VALUES = st.one_of(st.just(math.nan), st.sampled_from([0.1, 0.2, 0.3, 0.35]), st.floats(-1, 1))


def scores(epoch=1, **values) -> list[Score]:
    """The primary scores of an epoch, among others that must not count."""
    found = []
    for task, value in values.items():
        found += [
            Score(epoch, task, "", "train", PRIMARY[task], 90.0),
            Score(epoch, task, "", "validation", PRIMARY[task], value),
            Score(epoch, task, "a", "validation", PRIMARY[task], 91.0),
            Score(epoch, task, "", "validation", "loss", 92.0),
            Score(epoch, task, "", "test", PRIMARY[task], 93.0),
        ]
    return found


def follow(config, values) -> tuple[Monitor, list[int], int]:
    """Epoch by epoch until it stops: the monitor, the epochs that were better, and the last epoch."""
    monitor, better = Monitor(config, INFO), []
    for epoch, value in enumerate(values, start=1):
        if monitor.better(epoch, value):
            better.append(epoch)
        if monitor.stops():
            break
    return monitor, better, epoch


def test_all_tasks_count_alike_unless_weights_are_given():
    values = {"digits": 0.9, "v1": 0.3, "it": 0.6}
    assert Monitor(MonitorConfig(), INFO).value(scores(**values)) == pytest.approx(0.6)
    weighted = MonitorConfig(tasks=(("digits", 3.0), ("v1", 1.0)))
    assert Monitor(weighted, INFO).value(scores(**values)) == pytest.approx((3 * 0.9 + 0.3) / 4)
    alone = MonitorConfig(tasks=(("it", 0.01),))
    assert Monitor(alone, INFO).value(scores(**values)) == pytest.approx(0.6)


def test_an_undefined_part_makes_the_whole_undefined_unless_it_is_not_monitored():
    values = {"digits": 0.9, "v1": math.nan, "it": 0.6}
    assert math.isnan(Monitor(MonitorConfig(), INFO).value(scores(**values)))
    assert Monitor(MonitorConfig(tasks=(("digits", 1.0),)), INFO).value(scores(**values)) == 0.9


def test_tasks_that_the_data_lack_are_named():
    with pytest.raises(TrainingError, match=r"monitor names the task 'digit', which the data lack.*Did you mean 'digi"):
        Monitor(MonitorConfig(tasks=(("digit", 1.0),)), INFO)


def test_a_task_named_twice_is_refused():
    with pytest.raises(TrainingError, match="monitor names a task twice; give each one weight"):
        Monitor(MonitorConfig(tasks=(("v1", 1.0), ("it", 1.0), ("v1", 2.0))), INFO)


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"patience": 0}, "patience"), ({"tolerance": -0.1}, "tolerance"), ({"tasks": (("v1", 0.0),)}, "tasks")],
)
def test_senseless_values_are_refused(fields, name):
    with pytest.raises(ConfigError, match=name):
        MonitorConfig(**fields)


@pytest.mark.parametrize(
    ("tolerance", "values", "better"),
    [
        (0.0, [0.1, 0.3, 0.2, 0.3, 0.4], [1, 2, 5]),  # a tie keeps the earlier epoch
        (0.15, [0.1, 0.2, 0.3, 0.4], [1, 3]),  # measured from the best epoch, not from the last
        (0.0, [math.nan, math.nan, -0.9, math.nan, -0.8], [1, 3, 5]),
        (0.5, [math.nan, -0.9], [1, 2]),
        (0.0, [0.5, math.nan, 0.6], [1, 3]),
        (0.0, [math.nan], [1]),
    ],
)
def test_an_epoch_is_best_if_it_is_better_by_more_than_the_tolerance(tolerance, values, better):
    monitor, found, _ = follow(MonitorConfig(tolerance=tolerance), values)
    assert found == better
    assert monitor.best_epoch == better[-1]


@pytest.mark.parametrize(
    ("patience", "values", "last"),
    [
        (1, [0.1, 0.2, 0.2, 0.9], 3),
        (2, [0.1, 0.2, 0.2, 0.3, 0.1, 0.1, 0.9], 6),
        (1, [math.nan, math.nan, 0.5], 2),
        (None, [0.9] + [0.1] * 50, 51),
        (3, [0.1, 0.2, 0.3], 3),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_one(patience, values, last):
    assert follow(MonitorConfig(patience=patience), values)[2] == last


@given(
    st.lists(VALUES, min_size=1, max_size=20),
    st.one_of(st.none(), st.integers(1, 5)),
    st.sampled_from([0.0, 0.05, 0.2]),
)
def test_the_rule_is_that_of_a_plain_search(values, patience, tolerance):
    monitor, better, last = follow(MonitorConfig(patience=patience, tolerance=tolerance), values)
    best, found = None, []
    for epoch, value in enumerate(values[:last], start=1):
        held = -math.inf if math.isnan(value) else value
        if best is None or held > best + tolerance:
            best = held
            found.append(epoch)
    assert better == found and monitor.best == best
    waits = [epoch - max(b for b in found if b <= epoch) for epoch in range(1, last + 1)]
    assert all(wait < (patience or math.inf) for wait in waits[:-1])
    assert last == len(values) or waits[-1] == patience


@given(st.lists(VALUES, min_size=2, max_size=12), st.data())
def test_it_goes_on_from_its_state_as_if_nothing_had_happened(values, data):
    config = MonitorConfig(patience=2, tolerance=0.05)
    cut = data.draw(st.integers(0, len(values) - 1))
    whole, first, second = (Monitor(config, INFO) for _ in range(3))
    expected = [(whole.better(epoch, value), whole.stops()) for epoch, value in enumerate(values, start=1)]
    found = [(first.better(epoch, value), first.stops()) for epoch, value in enumerate(values[:cut], start=1)]
    second.load_state_dict(first.state_dict())
    rest = enumerate(values[cut:], start=cut + 1)
    found += [(second.better(epoch, value), second.stops()) for epoch, value in rest]
    assert found == expected
    assert second.state_dict() == whole.state_dict()
    assert all(type(value) in (int, float) for value in second.state_dict().values()), "no tensors, no NumPy numbers"
