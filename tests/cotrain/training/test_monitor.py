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


def scores(epoch=1, losses=(), **values) -> list[Score]:
    """The primary scores of an epoch, among others that must not count, and losses of some tasks."""
    losses, found = dict(losses), []
    for task, value in values.items():
        found += [
            Score(epoch, task, "", "train", PRIMARY[task], 90.0),
            Score(epoch, task, "", "validation", PRIMARY[task], value),
            Score(epoch, task, "a", "validation", PRIMARY[task], 91.0),
            Score(epoch, task, "", "validation", "loss", losses.get(task, 92.0)),
            Score(epoch, task, "", "test", PRIMARY[task], 93.0),
        ]
    return found


def alone(**fields) -> MonitorConfig:
    """Of one task."""
    return MonitorConfig(tasks=(("it", 1.0),), **fields)


def follow(config, values) -> tuple[Monitor, list[int], int]:
    """Epoch by epoch until it stops: the monitor, the epochs that were better, and the last epoch.

    A value is the score of the one task, or {task: score}.
    """
    monitor, better = Monitor(config, INFO), []
    for epoch, value in enumerate(values, start=1):
        held = value if isinstance(value, dict) else {"it": value}
        if monitor.better(epoch, scores(epoch, **held)):
            better.append(epoch)
        if monitor.stops():
            break
    return monitor, better, epoch


def test_all_tasks_count_alike_unless_weights_are_given():
    values = {"digits": 0.9, "v1": 0.3, "it": 0.6}
    assert Monitor(MonitorConfig(), INFO).value(scores(**values)) == pytest.approx(0.6)
    weighted = MonitorConfig(tasks=(("digits", 3.0), ("v1", 1.0)))
    assert Monitor(weighted, INFO).value(scores(**values)) == pytest.approx((3 * 0.9 + 0.3) / 4)
    one = MonitorConfig(tasks=(("it", 0.01),))
    assert Monitor(one, INFO).value(scores(**values)) == pytest.approx(0.6)


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
    [
        ({"patience": 0}, "patience"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tasks": (("v1", 0.0),)}, "tasks"),
        ({"rule": "some"}, "rule"),
        ({"minimum_epochs": -1}, "minimum_epochs"),
        ({"tolerance_is": "share"}, "tolerance_is"),
    ],
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
    monitor, found, _ = follow(alone(tolerance=tolerance), values)
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
    assert follow(alone(patience=patience), values)[2] == last


@given(
    st.lists(VALUES, min_size=1, max_size=20),
    st.one_of(st.none(), st.integers(1, 5)),
    st.sampled_from([0.0, 0.05, 0.2]),
)
def test_the_rule_is_that_of_a_plain_search(values, patience, tolerance):
    monitor, better, last = follow(alone(patience=patience, tolerance=tolerance), values)
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


RULES = ("mean", "all", "any", "pareto", "last")
SCORE = st.one_of(st.just(math.nan), st.sampled_from([-0.4, -0.1, 0.0, 0.1, 0.2, 0.3, 0.35, 0.5]), st.floats(-1, 1))
EPOCHS = st.lists(st.fixed_dictionaries(dict.fromkeys(KINDS, SCORE)), min_size=1, max_size=15)
CONFIGS = st.builds(
    MonitorConfig,
    rule=st.sampled_from(RULES),
    patience=st.one_of(st.none(), st.integers(1, 5)),
    minimum_epochs=st.integers(0, 8),
    tolerance=st.sampled_from([0.0, 0.05, 0.2]),
    tolerance_is=st.sampled_from(["absolute", "relative"]),
    tasks=st.sampled_from([(), (("v1", 1.0), ("it", 3.0))]),
)


def better_epochs(config, epochs) -> list[int]:
    """Which epochs are better, looked up anew for each epoch in all that came before it."""
    weights = dict(config.tasks) or dict.fromkeys(KINDS, 1.0)

    def exceeds(new, old):
        if math.isnan(old):
            return not math.isnan(new)
        return new > old + config.tolerance * (abs(old) if config.tolerance_is == "relative" else 1)

    def worse(new, old):
        return math.isnan(new) or (not math.isnan(old) and exceeds(-new, -old))

    def mean(values):
        return sum(weight * values[task] for task, weight in weights.items()) / sum(weights.values())

    def records(task, until):
        """Values of a task that were better than each such value before."""
        found = [epochs[0][task]]
        for values in epochs[1:until]:
            found += [values[task]] if exceeds(values[task], found[-1]) else []
        return found

    better = [1]
    for epoch, values in enumerate(epochs[1:], start=2):
        best = epochs[better[-1] - 1]
        tasks = {task: exceeds(values[task], best[task]) for task in weights}
        own = {task: exceeds(values[task], records(task, epoch - 1)[-1]) for task in weights}
        found = {
            "mean": exceeds(mean(values), mean(best)),
            "all": all(tasks.values()),
            "any": any(own.values()),
            "pareto": any(tasks.values()) and not any(worse(values[task], best[task]) for task in weights),
            "last": True,
        }
        better += [epoch] if found[config.rule] else []
    return better


@given(CONFIGS, EPOCHS)
def test_each_rule_is_that_of_a_plain_search(config, epochs):
    monitor, found, last = follow(config, epochs)
    expected = better_epochs(config, epochs)
    assert found == [epoch for epoch in expected if epoch <= last]
    value = monitor.value(scores(**epochs[found[-1] - 1]))
    assert monitor.best == (-math.inf if math.isnan(value) else value)
    assert (monitor.best_epoch, monitor.epoch) == (found[-1], last)
    waits = [epoch - max(b for b in expected if b <= epoch) for epoch in range(1, len(epochs) + 1)]
    out = [e for e, wait in enumerate(waits, 1) if wait >= (config.patience or math.inf) and e >= config.minimum_epochs]
    assert last == min([*out, len(epochs)])


BEFORE = {"digits": 0.6, "v1": 0.3}


@pytest.mark.parametrize(
    ("rule", "values", "better"),
    [
        ("mean", (0.5, 0.5), True),
        ("mean", (0.5, 0.39), False),
        ("all", (0.61, 0.31), True),
        ("all", (0.9, 0.3), False),
        ("any", (0.1, 0.31), True),
        ("any", (0.6, 0.3), False),
        ("any", (math.nan, 0.31), True),
        ("all", (math.nan, 0.31), False),
        ("pareto", (0.6, 0.31), True),
        ("pareto", (0.9, 0.29), False),
        ("pareto", (0.6, 0.3), False),
        ("pareto", (0.9, math.nan), False),
        ("last", (0.1, 0.1), True),
        ("last", (math.nan, 0.1), True),
    ],
)
def test_the_rules_by_example(rule, values, better):
    config = MonitorConfig(tasks=(("digits", 1.0), ("v1", 1.0)), rule=rule)
    assert follow(config, [BEFORE, dict(zip(BEFORE, values, strict=True))])[1] == ([1, 2] if better else [1])


@pytest.mark.parametrize(
    ("rule", "values", "better"),
    [
        ("pareto", (0.71, 0.21), True),
        ("pareto", (0.71, 0.19), False),
        ("pareto", (0.69, 0.39), False),
        ("all", (0.71, 0.41), True),
        ("all", (0.71, 0.39), False),
        ("any", (0.0, 0.41), True),
        ("any", (0.69, 0.39), False),
    ],
)
def test_better_and_worse_are_by_more_than_the_tolerance(rule, values, better):
    config = MonitorConfig(tasks=(("digits", 1.0), ("v1", 1.0)), rule=rule, tolerance=0.1)
    assert follow(config, [BEFORE, dict(zip(BEFORE, values, strict=True))])[1] == ([1, 2] if better else [1])


def test_any_task_is_held_against_its_own_best_and_not_the_best_epoch_s():
    config = MonitorConfig(tasks=(("digits", 1.0), ("v1", 1.0)), rule="any")
    epochs = [BEFORE, {"digits": 0.1, "v1": 0.4}, {"digits": 0.5, "v1": 0.4}, {"digits": 0.7, "v1": 0.0}]
    assert follow(config, epochs)[1] == [1, 2, 4]


@pytest.mark.parametrize(
    ("start", "values", "better"),
    [
        (0.5, [0.549, 0.551, 0.6], [1, 3]),
        (0.01, [0.0105, 0.0112], [1, 3]),
        (-0.5, [-0.46, -0.44], [1, 3]),
        (0.0, [1e-9], [1, 2]),
    ],
)
def test_a_relative_tolerance_is_a_share_of_the_best_score(start, values, better):
    assert follow(alone(tolerance=0.1, tolerance_is="relative"), [start, *values])[1] == better


def test_another_metric_than_the_primary_one_may_be_followed_and_losses_fall():
    config = MonitorConfig(tasks=(("digits", 1.0), ("v1", 3.0)), metrics=(("v1", "loss"),))
    monitor, values = Monitor(config, INFO), {"digits": 0.8, "v1": 0.3}
    assert monitor.value(scores(losses={"v1": 2.0}, **values)) == pytest.approx((0.8 - 3 * 2.0) / 4)
    found = [monitor.better(n, scores(losses={"v1": loss}, **values)) for n, loss in enumerate((2.0, 2.1, 1.9), 1)]
    assert found == [True, False, True] and monitor.best == pytest.approx((0.8 - 3 * 1.9) / 4)
    alike = Monitor(MonitorConfig(metrics=(("digits", "accuracy"),)), INFO)
    assert alike.value(scores(it=0.1, **values)) == Monitor(MonitorConfig(), INFO).value(scores(it=0.1, **values))


def test_a_metric_that_validation_does_not_give_is_named():
    monitor = Monitor(MonitorConfig(metrics=(("digits", "acuracy"),)), INFO)
    held = scores(digits=0.5, v1=0.5, it=0.5)
    text = r"monitor follows 'acuracy' of task 'digits', which validation does not give.*Did you mean 'accuracy'"
    for ask in (lambda: monitor.value(held), lambda: monitor.better(1, held)):
        with pytest.raises(TrainingError, match=text):
            ask()
    far = Monitor(MonitorConfig(metrics=(("v1", "top5"),)), INFO)
    with pytest.raises(TrainingError, match=r"'top5' of task 'v1'.*Known: correlation, loss\."):
        far.value(held)


def test_metrics_are_of_monitored_tasks_and_one_each():
    with pytest.raises(TrainingError, match=r"monitor.metrics names the task 'v1', which is not monitored"):
        Monitor(alone(metrics=(("v1", "loss"),)), INFO)
    with pytest.raises(TrainingError, match=r"monitor.metrics names a task twice; one metric of each is followed"):
        Monitor(MonitorConfig(metrics=(("v1", "loss"), ("v1", "correlation"))), INFO)


@pytest.mark.parametrize(("minimum", "last"), [(0, 3), (3, 3), (4, 4), (6, 7), (50, 9)])
def test_training_has_its_least_number_of_epochs(minimum, last):
    values = [0.5, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6]
    assert follow(alone(patience=2, minimum_epochs=minimum), values)[2] == last


def test_the_fields_that_came_later_leave_keys_alone():
    assert MonitorConfig(rule="mean", minimum_epochs=0).identity().keys() == {"kind", "tasks", "patience", "tolerance"}
    assert MonitorConfig(rule="all").key() != MonitorConfig().key()


@given(CONFIGS, EPOCHS, st.data())
def test_it_goes_on_from_its_state_as_if_nothing_had_happened(config, epochs, data):
    cut = data.draw(st.integers(0, len(epochs) - 1))
    whole, first, second = (Monitor(config, INFO) for _ in range(3))

    def go(monitor, start, stop):
        numbered = list(enumerate(epochs, start=1))[start:stop]
        return [(monitor.better(epoch, scores(**values)), monitor.stops()) for epoch, values in numbered]

    expected = go(whole, 0, None)
    found = go(first, 0, cut)
    state = first.state_dict()
    first.better(99, scores(**dict.fromkeys(KINDS, 2.0)))  # which the state, once taken, knows nothing of
    second.load_state_dict(state)
    assert found + go(second, cut, None) == expected
    assert second.state_dict() == whole.state_dict()
    held = second.state_dict()
    plain = [*held.pop("bests").values(), *held.values()]
    assert all(type(value) in (int, float) for value in plain), "no tensors, no NumPy numbers"
