"""Batches come in the asked ratio whatever it is, reach every session, and go on from two integers."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import MicroStep, MixingConfig, MixingLoader, Schedule, Source
from cotrain.errors import ConfigError, DataError

FEW = settings(max_examples=40, deadline=None)
# (as in a config, exact value)
RATIOS = st.one_of(
    st.integers(0, 3000).map(lambda k: (k / 1000, Fraction(k, 1000))),
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda f: (f"{f[0]}/{f[1]}", Fraction(*f))),
)


def mixing(ratios=(), main="objects", batch_size=1, **fields) -> MixingConfig:
    """{first epoch: {task: ratio}} as a config."""
    entries = tuple((start, tuple(entry.items())) for start, entry in dict(ratios).items())
    return MixingConfig(main=main, ratios=entries, batch_size=batch_size, **fields)


def schedule(ratios, stimuli=None, world_size=1, **fields) -> Schedule:
    """Of 100 main batches an epoch, unless `stimuli` says otherwise."""
    stimuli = stimuli or {"objects": {"": 100}, "v1": {"a": 10}}
    return Schedule(mixing(ratios, **fields), stimuli, world_size=world_size)


def exact(ratio) -> Fraction:
    return Fraction(ratio if isinstance(ratio, str) else repr(ratio))


def count(steps, task="v1") -> int:
    return sum(step.task == task for step in steps)


def sources(**tasks) -> dict[str, dict[str, Source]]:
    """Sources of the given sizes; the target of a stimulus is its row."""
    return {
        task: {
            session: Source("neural", torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n).float()[:, None])
            for session, n in sessions.items()
        }
        for task, sessions in tasks.items()
    }


def loader(seed=0, rank=0, world_size=1, ratios=None, tasks=None, **fields) -> MixingLoader:
    tasks = tasks or {"objects": {"": 23}, "v1": {"a": 9, "b": 6}, "v4": {"c": 7}}
    ratios = ratios or {1: {"v1": 1.5, "v4": "2/3"}, 3: {"v1": 0.3, "v4": 1.0}}
    config = mixing(ratios, **{"batch_size": 4, **fields})
    return MixingLoader(sources(**tasks), config, seed=seed, rank=rank, world_size=world_size)


def seen(batches) -> list[tuple]:
    return [(b.task, b.session, tuple(b.targets.flatten().int().tolist()), b.step_ends) for b in batches]


def stream(made, epochs) -> list[tuple]:
    return [batch for _ in range(epochs) for batch in seen(made)]


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.3, 30), (0.15, 15), (0.7, 70), (1.5, 150), ("1/3", 33), ("2/3", 66), (2 / 3, 66), (0.01, 1), (3.0, 300)],
)
def test_any_ratio_is_met_and_evenly_spread(ratio, expected):
    # the predecessor gave 0 batches for .3, .15 and .7, a third for 2/3, and failed for 1.5
    steps = list(schedule({1: {"v1": ratio}}).epoch(1))
    assert count(steps) == expected
    ends = [place for place, step in enumerate(steps) if step.step_ends]
    gaps = [count(steps[: place + 1]) for place in ends]
    assert gaps == [int(exact(ratio) * (n + 1)) for n in range(100)]


@pytest.mark.parametrize("ratio", [0.01, 0.07, "1/9", 2.03])
def test_small_ratios_are_met_over_epochs(ratio):
    many = schedule({1: {"v1": ratio}}, {"objects": {"": 7}, "v1": {"a": 3}})
    total = sum(count(many.epoch(epoch)) for epoch in range(1, 501))
    assert total == int(exact(ratio) * 7 * 500)


@FEW
@given(st.data())
def test_counts_are_exact_for_any_schedule(data):
    main_batches, epochs = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    starts = sorted({1} | data.draw(st.sets(st.integers(2, 8), max_size=3)))
    tasks = ["v1", "v4"]
    drawn = {start: {task: data.draw(RATIOS) for task in tasks} for start in starts}
    ratios = {start: {task: value for task, (value, _) in entry.items()} for start, entry in drawn.items()}
    made = schedule(ratios, {"v4": {"": 5}, "objects": {"": main_batches}, "v1": {"a": 3, "b": 4}})
    total, due = Counter(), Counter()
    for epoch in range(1, epochs + 1):
        current = {task: drawn[max(s for s in starts if s <= epoch)][task][1] for task in tasks}
        for task in tasks:
            assert made.ratio(task, epoch) == current[task]
        steps = list(made.epoch(epoch))
        assert len(steps) == made.micro_steps(epoch)
        assert [step.step_ends for step in steps] == [step.task == "objects" for step in steps]
        assert steps[-1].step_ends and count(steps, "objects") == main_batches == made.main_batches
        group = []
        for step in steps:
            group.append(step.task)
            if not step.step_ends:
                total[step.task] += 1
                continue
            assert group == sorted(group, key=["v4", "v1", "objects"].index)  # the order of the data, main last
            group = []
            for task in tasks:
                due[task] += current[task]
                assert total[task] == int(due[task])


def test_a_ratio_that_rises_in_small_steps_is_met():
    ramp = schedule({epoch: {"v1": epoch / 100} for epoch in range(1, 20)}, {"objects": {"": 5}, "v1": {"a": 3}})
    assert sum(count(ramp.epoch(epoch)) for epoch in range(1, 20)) == 9  # of 9.5 that are due


def test_a_task_whose_ratio_stays_is_not_disturbed_by_another_task():
    # ten batches in 1000, although an entry for v4 begins at every epoch of 5
    ratios = {epoch: {"v1": 0.01, "v4": epoch / 1000} for epoch in range(1, 201)}
    made = schedule(ratios, {"objects": {"": 5}, "v1": {"a": 3}, "v4": {"b": 3}})
    assert sum(count(made.epoch(epoch)) for epoch in range(1, 201)) == 10


def test_tasks_rest_where_an_entry_leaves_them_out():
    stimuli = {"objects": {"": 10}, "v1": {"a": 3}, "v4": {"b": 3}}
    made = schedule({1: {"v1": 1.0}, 2: {"v4": 0.4}, 4: {"v1": 0.5, "v4": 2.0}}, stimuli)
    assert [count(made.epoch(epoch), "v1") for epoch in range(1, 6)] == [10, 0, 0, 5, 5]
    # the predecessor silently dropped the second neural task
    assert [count(made.epoch(epoch), "v4") for epoch in range(1, 6)] == [0, 4, 4, 20, 20]


def test_one_task_alone_needs_no_ratios():
    steps = list(schedule({}, {"objects": {"": 5}}).epoch(3))
    assert steps == [MicroStep("objects", "", number, True) for number in range(10, 15)]
    rows = [row for _, _, own, _ in seen(loader(tasks={"objects": {"": 24}}, ratios={1: {}})) for row in own]
    assert sorted(rows) == list(range(24))  # an epoch is a pass


def test_a_neural_task_can_be_the_main_one():
    made = schedule({1: {"objects": 1.0}}, {"objects": {"": 4}, "v1": {"a": 2, "b": 5}}, main="v1")
    steps = [step for step in made.epoch(1) if step.step_ends]
    assert Counter(step.session for step in steps) == {"a": 2, "b": 5}
    assert [step.number for step in steps if step.session == "b"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ratio", [0.01, 0.3, 2.0])
def test_sessions_take_turns_over_epochs(ratio):
    # the predecessor began each epoch with the first session again
    names = [f"s{number}" for number in range(11)]
    made = schedule({1: {"v1": ratio}}, {"objects": {"": 10}, "v1": dict.fromkeys(names, 5)})
    epochs = range(1, 200)
    steps = [step for epoch in epochs for step in made.epoch(epoch) if step.task == "v1"]
    assert [step.session for step in steps] == list(itertools.islice(itertools.cycle(names), len(steps)))
    for name in names:
        own = [step.number for step in steps if step.session == name]
        assert own == list(range(len(own)))


def test_sessions_by_size_come_as_often_as_their_stimuli_fill_batches():
    made = schedule({1: {"v1": 1.0}}, {"objects": {"": 120}, "v1": {"a": 1, "b": 2, "c": 9}}, sessions="by_size")
    steps = [step for step in made.epoch(1) if step.task == "v1"]
    for start in range(0, 120, 12):
        assert Counter(step.session for step in steps[start : start + 12]) == {"a": 1, "b": 2, "c": 9}
    assert [step.number for step in steps if step.session == "c"] == list(range(90))
    gaps = [b - a for a, b in itertools.pairwise(i for i, step in enumerate(steps) if step.session == "b")]
    assert min(gaps) > 1  # spread, not in a row


def test_a_pass_shows_each_stimulus_once_and_leaves_out_less_than_a_batch():
    tasks = {"objects": {"": 12}, "v1": {"a": 12, "b": 14, "small": 3}}
    made = loader(tasks=tasks, ratios={1: {"v1": 6.0}})
    rows: dict[str, list[tuple[int, ...]]] = {"a": [], "b": [], "small": []}
    for _ in range(10):
        for _, session, stimuli, _ in seen(made):
            rows.get(session, []).append(stimuli)
    for session, (size, batches, count_) in {"a": (4, 3, 12), "b": (4, 3, 14), "small": (3, 1, 3)}.items():
        passes = [sum(rows[session][at : at + batches], ()) for at in range(0, 60 // batches * batches, batches)]
        for one in passes:
            assert len(one) == len(set(one)) == size * batches
            assert set(one) <= set(range(count_))
        assert len(set(passes)) > 1  # each pass in an order of its own
        assert set().union(*passes) == set(range(count_))  # what one pass drops comes in another


@FEW
@given(st.integers(1, 4), st.integers(4, 9), st.integers(0, 10**6))
def test_ranks_share_each_batch(world_size, batch_size, seed):
    case = {1: {"v1": 1.5}}, {"objects": {"": 31}, "v1": {"a": 9, "b": 13}}
    ranks = [seen(loader(seed, rank, world_size, *case, batch_size=batch_size)) for rank in range(world_size)]
    # a batch is cut to what the ranks can share evenly
    alone = seen(loader(seed, 0, 1, *case, batch_size=batch_size // world_size * world_size))
    for (task, session, rows, ends), *shares in zip(alone, *ranks, strict=True):
        assert {(t, s, e) for t, s, _, e in shares} == {(task, session, ends)}
        assert sorted(row for _, _, own, _ in shares for row in own) == sorted(rows)
        assert len({len(own) for _, _, own, _ in shares}) == 1


@FEW
@given(st.integers(0, 40), st.integers(0, 10**6))
def test_a_restored_loader_goes_on_where_it_stood(taken, seed):
    whole = stream(loader(seed), 6)
    first, again = loader(seed), loader(seed)
    assert seen(itertools.islice(itertools.chain(first, first, first), taken)) == whole[:taken]
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert len(again) == len(first)
    rest = stream(again, 3)
    assert rest == stream(first, 3) == whole[taken : taken + len(rest)]


def test_state_counts_what_was_yielded():
    made = loader()
    assert made.state_dict() == {"epoch": 1, "micro_step": 0}
    length = len(made)
    for taken, _ in enumerate(made, 1):
        assert made.state_dict() == {"epoch": 1, "micro_step": taken}
        assert len(made) == length - taken
    assert made.state_dict() == {"epoch": 2, "micro_step": 0}


def test_what_is_fetched_early_is_the_same():
    steps = list(loader().schedule.epoch(2))
    expected = [loader().indices(step).tolist() for step in steps]
    ahead = loader()
    for place in [*reversed(range(len(steps))), *range(0, len(steps), 3)]:
        assert ahead.indices(steps[place]).tolist() == expected[place]


def test_the_seed_decides_the_order():
    assert seen(loader(1)) == seen(loader(1)) != seen(loader(2))
    first, other = ([(task, session) for task, session, _, _ in seen(loader(seed))] for seed in (1, 2))
    assert first == other  # the order of tasks follows from the ratios alone
    made = loader(tasks={"objects": {"": 8}, "v1": {"a": 8, "b": 8}}, ratios={1: {"v1": 2.0}}, batch_size=8)
    assert len({rows for _, _, rows, _ in seen(made)}) == 3  # sessions of equal size have orders of their own


def test_batches_hold_the_images_and_targets_of_their_stimuli():
    matrix = torch.arange(36.0).view(6, 6)
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    objects, it = Source("classification", images, torch.arange(6)), Source("rdm", images, matrix)
    held = {"objects": {"": objects}, "it": {"": it}}
    made = MixingLoader(held, mixing({1: {"it": 1.0}}, batch_size=3, batch_sizes=(("it", 4),)), seed=0)
    for batch in made:
        rows = batch.images.flatten().long()
        assert len(rows) == (4 if batch.task == "it" else 3)
        torch.testing.assert_close(batch.targets, matrix[rows][:, rows] if batch.task == "it" else rows)


V1 = {1: {"v1": 1.0}}


@pytest.mark.parametrize(
    ("ratios", "fields", "text"),
    [
        ({1: {"v1x": 1.0}}, {}, r"mixing names the task 'v1x', which the data lack\. Did you mean 'v1'\?"),
        (V1, {"main": "objekts"}, r"names the task 'objekts', which the data lack\. Did you mean 'objects'\?"),
        (V1, {"batch_sizes": (("v9", 2),)}, r"the task 'v9', which the data lack\. Known: objects, v1"),
        (V1, {"batch_sizes": (("v1", 2), ("v1", 3))}, r"batch_sizes: name each task once, found \['v1', 'v1'\]"),
        ({}, {}, "mixing gives the task 'v1' no ratio: name one, or leave the task out of the data"),
        ({1: {"v1": 1.0, "objects": 1.0}}, {}, r"from epoch 1: name each other task once, found \['v1', 'objects'\]"),
        ({2: {"v1": 1.0}}, {}, r"ratios must begin at epoch 1 and go upwards, found epochs \[2\]"),
        (V1 | {9: {}, 5: {}}, {}, r"ratios must begin at epoch 1 and go upwards, found epochs \[1, 9, 5\]"),
        (V1, {"world_size": 11}, "v1/a: 11 ranks cannot share a batch of 64; the session has 10 stimuli"),
        (V1, {"world_size": 4, "batch_size": 3}, "objects: 4 ranks cannot share a batch of 3"),
    ],
)
def test_wrong_mixing_is_refused(ratios, fields, text):
    with pytest.raises(DataError, match=text):
        schedule(ratios, **{"batch_size": 64, **fields})


@pytest.mark.parametrize(
    ("tasks", "starts", "text"),
    [(("v1", "v1"), (1,), r"epoch 1: name each .*\['v1', 'v1'\]"), (("v1",), (1, 1), r"found epochs \[1, 1\]")],
)
def test_a_task_or_an_epoch_named_twice_is_refused(tasks, starts, text):
    entry = tuple((task, 1.0) for task in tasks)
    mixed = MixingConfig(main="objects", ratios=tuple((start, entry) for start in starts))
    with pytest.raises(DataError, match=text):
        Schedule(mixed, {"objects": {"": 9}, "v1": {"": 9}})


@pytest.mark.parametrize("ratio", [-0.5, float("nan"), float("inf"), "0.3", "1/0", "-1/3", "1/3\n", None, True])
def test_what_is_no_ratio_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"MixingConfig: (\d errors\n +)?ratios\.0\.1\.0\.1"):
        mixing({1: {"v1": ratio}})


def test_an_epoch_before_the_first_is_refused():
    with pytest.raises(ConfigError, match=r"ratios\.0\.0: input should be greater than or equal to 1, found 0"):
        mixing({0: {"v1": 1.0}})


@given(
    batches=st.integers(1, 40),
    accumulate=st.integers(1, 7),
    ratio=st.floats(0.05, 3.0),
    epochs=st.integers(1, 3),
)
def test_a_step_of_several_batches_has_their_share_of_other_tasks(batches, accumulate, ratio, epochs):
    stimuli = {"objects": {"": 10 * batches + 3}, "v4": {"a": 100}}
    config = MixingConfig(main="objects", ratios=((1, (("v4", ratio),)),), batch_size=10, accumulate=accumulate)
    schedule = Schedule(config, stimuli)
    if batches < accumulate:
        with pytest.raises(
            DataError, match=f"accumulate: {accumulate} batches of 'objects' make a step, but .* has {batches}"
        ):
            schedule.steps  # noqa: B018 - a property that fails
        return
    assert schedule.steps == batches // accumulate and schedule.samples_a_step == 10 * accumulate
    groups, group, numbers = [], Counter(), []
    for epoch in range(1, epochs + 1):
        for micro_step in schedule.epoch(epoch):
            group[micro_step.task] += 1
            numbers += [micro_step.number] if micro_step.task == "objects" else []
            if micro_step.step_ends:
                groups.append(group)
                group = Counter()
        assert not group, "an epoch ends with a step"
    assert len(groups) == epochs * schedule.steps
    assert all(held["objects"] == accumulate for held in groups)
    assert numbers == list(range(len(numbers))), "what fills no step comes first in the next epoch"
    assert sum(held["v4"] for held in groups) == int(Fraction(repr(ratio)) * len(numbers))


def test_without_accumulation_nothing_changes():
    config = MixingConfig(main="objects", ratios=((1, (("v4", 1.3),)),), batch_size=10)
    assert config.key() == config.replace(accumulate=1).key() != config.replace(accumulate=2).key()
