"""Rates follow their formulas at every step, those of torch where it has them, and go on from their state."""

from __future__ import annotations

import inspect
import io
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

import cotrain.training
from cotrain import build
from cotrain.config import Config
from cotrain.errors import ConfigError, TrainingError
from cotrain.resolve import resolve
from cotrain.training import (
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    MilestonesConfig,
    OneCycleConfig,
    PlateauConfig,
    RateSchedule,
    StepConfig,
    Timeline,
    Verdict,
    WarmUpConfig,
)

MINIMUM = 7  # builders of schedules found; fewer means that the search is broken
EXAMPLES = [
    ConstantConfig(),
    CosineConfig(),
    CosineConfig(warm_up=0.3, floor=0.0),
    StepConfig(every="2ep", factor=0.5),
    StepConfig(every="7st"),
    MilestonesConfig(at=("30sa", "3ep", "41st")),
    MilestonesConfig(at=("2ep", "5ep"), factor=0.3, restore_best=True),
    OneCycleConfig(),
    OneCycleConfig(rise=0.0, shape="linear"),
    PlateauConfig(patience=1, factor=0.5),
    PlateauConfig(patience=2, rounds=3, restore_best=True, cooldown=1, floor=0.05),
    WarmUpConfig(over="13st"),
    WarmUpConfig(over="1ep", then=PlateauConfig(patience=1, restore_best=True)),
    WarmUpConfig(over="0ep", then=MilestonesConfig(at=("4ep",), restore_best=True)),
    WarmUpConfig(over="2ep", then=WarmUpConfig(over="30sa", then=CosineConfig())),
]
TIMELINE = Timeline(epochs=12, steps_an_epoch=6, samples_a_step=5)


def timeline(steps: int) -> Timeline:
    """One epoch of so many steps."""
    return Timeline(1, steps, 1)


def factors(config: Config, steps: int) -> list[float]:
    """Of a schedule without a state, at each step."""
    schedule = build(config, timeline(steps))
    return [schedule.factor(step) for step in range(steps)]


def torchs(scheduler, steps: int, **options) -> list[float]:
    """The rates that a scheduler of torch gives, of a full rate of 1, at each step."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    other, found = scheduler(optimiser, **options), []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        other.step()
    return found


def schedule_configs() -> list[type[Config]]:
    """Those of the builders of the room that give a schedule."""
    found = []
    for name in cotrain.training.__all__:
        member = getattr(cotrain.training, name)
        if inspect.isclass(member) and issubclass(member, Config):
            builder = resolve(member.kind)
            if builder is not member and inspect.signature(builder).return_annotation == "RateSchedule":
                found.append(member)
    return found


def test_every_schedule_is_among_the_examples():
    found = schedule_configs()
    assert len(found) >= MINIMUM
    assert {type(config) for config in EXAMPLES} == set(found)


def go(schedule: RateSchedule, verdicts: list[bool], start: int) -> list[tuple[list[float], Verdict]]:
    """Rates and verdict of each epoch from `start`, counted from 0."""
    an_epoch, found = TIMELINE.steps_an_epoch, []
    for epoch, better in enumerate(verdicts[start:], start=start):
        rates = [schedule.factor(step) for step in range(epoch * an_epoch, (epoch + 1) * an_epoch)]
        assert rates == [schedule.factor(step) for step in range(epoch * an_epoch, (epoch + 1) * an_epoch)]
        assert all(type(rate) is float and math.isfinite(rate) and rate >= 0 for rate in rates)
        found.append((rates, schedule.epoch_end(better)))
    return found


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: config.kind.rpartition(".")[2])
@given(verdicts=st.lists(st.booleans(), min_size=TIMELINE.epochs, max_size=TIMELINE.epochs))
def test_every_schedule_goes_on_from_its_state_at_any_epoch(config, verdicts):
    expected = go(build(config, TIMELINE), verdicts, 0)
    for cut in range(TIMELINE.epochs):
        first, second = build(config, TIMELINE), build(config, TIMELINE)
        assert isinstance(first, RateSchedule)
        found = go(first, verdicts[:cut], 0)
        state = first.state_dict()
        assert json.loads(json.dumps(state, allow_nan=False)) == state, "plain values"
        second.load_state_dict(state)
        assert found + go(second, verdicts, cut) == expected
        assert state == json.loads(json.dumps(state)), "what was told is no part of what goes on"


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: config.kind.rpartition(".")[2])
def test_every_state_can_be_read_from_a_checkpoint(config):
    schedule = build(config, TIMELINE)
    go(schedule, [False] * 5, 0)
    file = io.BytesIO()
    torch.save(schedule.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == schedule.state_dict()


@pytest.mark.parametrize(
    ("config", "fields", "name"),
    [
        (CosineConfig, {"warm_up": 1.0}, "warm_up"),
        (CosineConfig, {"floor": 1.1}, "floor"),
        (StepConfig, {"every": "0ep"}, "every"),
        (StepConfig, {"every": "1ep", "factor": 0.0}, "factor"),
        (MilestonesConfig, {"at": ()}, "at"),
        (MilestonesConfig, {"at": ("10",)}, "at"),
        (OneCycleConfig, {"rise": 1.0}, "rise"),
        (OneCycleConfig, {"start_divisor": 0.5}, "start_divisor"),
        (PlateauConfig, {"factor": 1.0}, "factor"),
        (PlateauConfig, {"patience": 0}, "patience"),
        (PlateauConfig, {"rounds": 0}, "rounds"),
        (WarmUpConfig, {"over": "5"}, "over"),
    ],
)
def test_senseless_numbers_are_refused(config, fields, name):
    with pytest.raises(ConfigError, match=name):
        config(**fields)


def test_the_constant_rate_stays():
    assert factors(ConstantConfig(), 12) == [1.0] * 12


def test_the_cosine_by_hand():
    rate = build(CosineConfig(warm_up=0.2, floor=0.1), timeline(10)).factor
    # two steps of warm-up on the line from 0 to the third, which has the full rate; then half a cosine over eight
    expected = [1 / 3, 2 / 3, *(0.1 + 0.45 * (1 + math.cos(math.pi * n / 8)) for n in range(8))]
    assert [rate(step) for step in range(10)] == pytest.approx(expected)
    assert rate(2) == 1.0 and rate(6) == pytest.approx(0.55)
    assert rate(10) == rate(11) == pytest.approx(0.1), "and no more after the last step"


def test_the_cosine_after_the_warm_up_is_that_of_torch():
    steps, warm_up = 40, 4
    expected = torchs(lr_scheduler.CosineAnnealingLR, steps - warm_up, T_max=steps - warm_up, eta_min=0.01)
    assert factors(CosineConfig(), steps)[warm_up:] == pytest.approx(expected, rel=1e-6)


@given(
    steps=st.integers(1, 300),
    warm_up=st.floats(0, 1, exclude_max=True),
    floor=st.floats(0, 1),
)
def test_any_cosine_rises_to_the_full_rate_and_falls_to_the_floor(steps, warm_up, floor):
    values = factors(CosineConfig(warm_up=warm_up, floor=floor), steps)
    top = round(warm_up * steps)
    assert all(0 < value <= 1 + 1e-12 for value in values[: top + 1]) and values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert all(floor - 1e-12 <= value for value in values[top:])
    if top < steps:
        assert values[top] == pytest.approx(1.0)


@given(every=st.integers(1, 30), factor=st.floats(0.01, 1), steps=st.integers(1, 80))
def test_the_staircase_is_that_of_torch(every, factor, steps):
    expected = torchs(lr_scheduler.StepLR, steps, step_size=every, gamma=factor)
    assert factors(StepConfig(every=f"{every}st", factor=factor), steps) == pytest.approx(expected, rel=1e-9)


def test_a_staircase_of_epochs_falls_at_their_ends():
    rate = build(StepConfig(every="2ep"), TIMELINE).factor
    assert [rate(step) for step in (0, 11, 12, 23, 24)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


@given(at=st.sets(st.integers(1, 60), min_size=1, max_size=5), factor=st.floats(0.01, 1))
def test_milestones_are_those_of_torch(at, factor):
    config = MilestonesConfig(at=tuple(f"{step}st" for step in sorted(at)), factor=factor)
    expected = torchs(lr_scheduler.MultiStepLR, 60, milestones=sorted(at), gamma=factor)
    assert factors(config, 60) == pytest.approx(expected, rel=1e-9)


def test_milestones_that_restore_do_so_at_the_ends_of_their_epochs():
    plain = build(MilestonesConfig(at=("12st", "5ep")), TIMELINE)
    assert [verdict for _, verdict in go(plain, [False] * 12, 0)] == [Verdict.GO_ON] * 12
    schedule = build(MilestonesConfig(at=("12st", "5ep"), restore_best=True), TIMELINE)
    told = go(schedule, [True, False] * 6, 0)
    assert [epoch for epoch, (_, verdict) in enumerate(told, 1) if verdict is Verdict.RESTORE] == [2, 5]
    assert [rates[0] for rates, _ in told] == pytest.approx([1, 1, *[0.1] * 3, *[0.01] * 7]), "the rate falls after it"


def test_milestones_within_an_epoch_cannot_restore():
    text = (
        r"with restore_best each is the end of an epoch \(6 steps\), but '13st' is step 13 of training.*such as '10ep'"
    )
    with pytest.raises(TrainingError, match=text):
        build(MilestonesConfig(at=("1ep", "13st"), restore_best=True), TIMELINE)
    within = WarmUpConfig(over="2st", then=MilestonesConfig(at=("1ep",), restore_best=True))
    with pytest.raises(TrainingError, match="'1ep' is step 8 of training"):
        build(within, TIMELINE)


def test_milestones_are_in_order():
    for at in (("2ep", "1ep"), ("2ep", "12st"), ("20st", "100sa")):
        with pytest.raises(
            TrainingError, match=rf"milestones: '{at[1]}' \(step \d+\) does not come after '{at[0]}'.*order"
        ):
            build(MilestonesConfig(at=at), TIMELINE)


@given(
    steps=st.integers(2, 200),
    rise=st.floats(0, 1, exclude_max=True),
    start=st.floats(1, 100),
    end=st.floats(1, 1e5),
    shape=st.sampled_from(["cosine", "linear"]),
)
def test_one_cycle_is_that_of_torch(steps, rise, start, end, shape):
    if rise * steps == 1.0:  # torch divides by 0 here
        return
    config = OneCycleConfig(rise=rise, start_divisor=start, end_divisor=end, shape=shape)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    other = lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=1.0,
        total_steps=steps,
        pct_start=rise,
        anneal_strategy={"cosine": "cos", "linear": "linear"}[shape],
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=False,
    )
    found = []
    for step in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step < steps - 1:
            other.step()
    assert factors(config, steps) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_one_cycle_by_hand():
    values = factors(OneCycleConfig(rise=0.5, start_divisor=10.0, end_divisor=100.0, shape="linear"), 10)
    assert values[0] == pytest.approx(0.1) and values[4] == 1.0 and values[-1] == pytest.approx(0.001)
    assert values[2] == pytest.approx(0.55), "half-way up the line"
    assert factors(OneCycleConfig(rise=0.25), 4)[0] == 1.0, "where the rise has no room it begins at the top"


SERIES = st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.4, 0.5]), min_size=1, max_size=40)


@given(
    SERIES,
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.07]),
    st.sampled_from([0.0, 0.02]),
)
def test_a_plateau_is_that_of_torch(values, patience, cooldown, tolerance, floor):
    """`better` is found here as the monitor finds it; torch waits one epoch more than its patience says."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    other = lr_scheduler.ReduceLROnPlateau(
        optimiser,
        mode="max",
        factor=0.3,
        patience=patience - 1,
        threshold=tolerance,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=floor,
        eps=0.0,
    )
    schedule = build(PlateauConfig(factor=0.3, patience=patience, cooldown=cooldown, floor=floor), TIMELINE)
    best, found, expected = -math.inf, [], []
    for value in values:
        other.step(value)
        expected.append(optimiser.param_groups[0]["lr"])
        better = value > best + tolerance
        best = value if better else best
        assert schedule.epoch_end(better) is Verdict.GO_ON
        found.append(schedule.factor(0))
    assert found == pytest.approx(expected, rel=1e-9)


def test_decay_rounds_begin_from_the_best_weights_and_end_training():
    schedule = build(PlateauConfig(factor=0.5, patience=2, rounds=3, restore_best=True), TIMELINE)
    told = [
        schedule.epoch_end(better) for better in (True, False, True, False, False, True, False, False, False, False)
    ]
    on, restore, stop = Verdict.GO_ON, Verdict.RESTORE, Verdict.STOP
    assert told == [on, on, on, on, restore, on, on, restore, on, stop]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 3), st.integers(1, 4))
def test_so_many_rounds_are_trained(verdicts, patience, rounds):
    schedule = build(PlateauConfig(patience=patience, rounds=rounds, factor=0.5), TIMELINE)
    waited = ended = 0
    for better in verdicts:
        waited = 0 if better else waited + 1
        ended += waited == patience
        waited %= patience
        assert (schedule.epoch_end(better) is Verdict.STOP) == (ended == rounds)
        if ended == rounds:
            break
        assert schedule.factor(0) == 0.5**ended


def test_a_warm_up_rises_as_that_of_the_cosine_then_another_schedule_begins():
    share = factors(CosineConfig(warm_up=0.2, floor=0.1), 10)
    wrapped = factors(WarmUpConfig(over="2st", then=CosineConfig(warm_up=0.0, floor=0.1)), 10)
    assert wrapped == share, "bit for bit"
    staircase = factors(WarmUpConfig(over="3sa", then=StepConfig(every="2st")), 9)
    assert staircase == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors(WarmUpConfig(over="0st"), 3) == [1.0] * 3


def test_a_warm_up_passes_on_what_epochs_bring():
    schedule = build(WarmUpConfig(over="1ep", then=PlateauConfig(patience=2, rounds=2, restore_best=True)), TIMELINE)
    on, restore, stop = Verdict.GO_ON, Verdict.RESTORE, Verdict.STOP
    assert [schedule.epoch_end(better) for better in (True, False, False, False, False)] == [on, on, restore, on, stop]
    moments = build(WarmUpConfig(over="1ep", then=MilestonesConfig(at=("2ep",), restore_best=True)), TIMELINE)
    assert [verdict for _, verdict in go(moments, [False] * 4, 0)] == [on, on, restore, on], "after three of training"
    assert moments.factor(17) == 1.0 and moments.factor(18) == 0.1


@pytest.mark.parametrize("over", ["12ep", "72st", "360sa", "100ep"])
def test_a_warm_up_as_long_as_training_is_refused(over):
    with pytest.raises(TrainingError, match=rf"warm_up: over='{over}' is \d+ steps, and training has 72.*shorter, or"):
        build(WarmUpConfig(over=over), TIMELINE)


def test_what_follows_a_warm_up_is_a_schedule():
    text = r"cotrain.training.adamw is nothing for the trainer's field 'schedule.then'.*Name another config there"
    with pytest.raises(TrainingError, match=text):
        build(WarmUpConfig(over="1st", then=AdamWConfig()), TIMELINE)


def test_a_lab_s_own_schedule_needs_a_factor_alone():
    class Halved(RateSchedule):
        def factor(self, step: int) -> float:
            return 0.5

    schedule = Halved()
    schedule.load_state_dict(schedule.state_dict())
    assert schedule.state_dict() == {} and schedule.epoch_end(better=False) is Verdict.GO_ON
    with pytest.raises(TypeError, match="abstract"):
        RateSchedule()
