"""Interrupted equals uninterrupted for every schedule, weighting and order of batches that cotrain has.

Every builder is found by itself; `--log-cli-level=INFO` prints which combinations were interrupted.
"""

from __future__ import annotations

import functools
import inspect
import logging
import random

import pytest

import cotrain.losses
import cotrain.training
from cotrain import build, run
from cotrain.config import Config
from cotrain.data import MixingConfig
from cotrain.errors import TrainingError
from cotrain.losses import (
    CrossEntropyConfig,
    GradientAggregationConfig,
    GradNormConfig,
    QuasiPoissonConfig,
    RdmMatchConfig,
    Weighting,
)
from cotrain.losses._aggregation import aggregation_methods
from cotrain.resolve import resolve
from cotrain.training import (
    AdamConfig,
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    MilestonesConfig,
    MonitorConfig,
    OneCycleConfig,
    ParameterGroupConfig,
    PlateauConfig,
    RateSchedule,
    SgdConfig,
    StepConfig,
    WarmUpConfig,
)

log = logging.getLogger(__name__)
EPOCHS, BATCHES = 3, 50  # those of the tiny experiment, about, in so many epochs
NEVER = MonitorConfig(tasks=(("digits", 1.0),), tolerance=10.0)  # after the first, no epoch is better

SCHEDULES = (
    ConstantConfig(),
    CosineConfig(),
    StepConfig(every="5st", factor=0.5),
    MilestonesConfig(at=("1ep", "2ep"), restore_best=True),
    OneCycleConfig(),
    PlateauConfig(patience=1, restore_best=True, factor=0.5),
    PlateauConfig(patience=1, rounds=2),  # stops before the last epoch
    WarmUpConfig(over="300sa", then=PlateauConfig(patience=1)),
)
OPTIMISERS = (
    SgdConfig(lr=0.05, nesterov=True),
    AdamConfig(lr=0.01, weight_decay=1e-3),
    AdamWConfig(lr=0.02, groups=(ParameterGroupConfig(parameters=("heads.*",), lr_factor=0.3),)),
)
MONITORS = tuple(
    MonitorConfig(rule=rule, tolerance=0.02, patience=1, minimum_epochs=2) for rule in ("mean", "all", "any", "pareto")
)


def mixings(held: MixingConfig) -> dict[str, MixingConfig]:
    """Orders of batches, by name."""
    return {
        "sessions by size": held.replace(sessions="by_size"),
        "balanced": held.replace(balanced=(("digits", 4),)),
        "accumulated": held.replace(accumulate=3, batch_size=40),
        "a main task with sessions": MixingConfig(
            main="simulated_v1", ratios=((1, (("digits", 1.7), ("simulated_rdm", "1/3"))),), batch_size=9
        ),
        "a task that rests": held.replace(
            ratios=((1, (("simulated_v1", 1.0),)), (2, (("simulated_rdm", "3/2"), ("simulated_v1", 0.2))))
        ),
    }


def weightings() -> list[Config]:
    """One of each builder, and of each published method."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    found = [builder_config() for builder_config in configs_of(cotrain.losses, Weighting)]
    named = [GradientAggregationConfig(method=method) for method in aggregation_methods(torchjd)]
    return [*found, *(config for config in named if installed(config))]


def installed(config: Config) -> bool:
    """Whether the solver that a method needs is here; CAGrad's is large, and no dependency."""
    try:
        build(config, ["one", "other"])
    except TrainingError:
        return False
    return True


def configs_of(room, result: type) -> list[type[Config]]:
    """The configs of a room whose builders give a `result`."""
    members = (getattr(room, name) for name in room.__all__)
    classes = [held for held in members if inspect.isclass(held) and issubclass(held, Config) and held.kind]
    return [cls for cls in classes if gives(resolve(cls.kind), result)]


def gives(builder, result: type) -> bool:
    annotation = getattr(builder, "__annotations__", {}).get("return", "")
    known = {cls.__name__ for cls in [result, *subclasses(result)]}
    return str(annotation) in known


def subclasses(base: type) -> list[type]:
    return [found for cls in base.__subclasses__() for found in [cls, *subclasses(cls)]]


def described(config: Config) -> str:
    return f"{type(config).__name__} {config}"


def combinations(tiny):
    """{name: changes of the tiny experiment's trainer}, every part of the trainer in turn."""
    found = {}
    for held in SCHEDULES:
        monitor = {"monitor": NEVER} if isinstance(held, PlateauConfig | MilestonesConfig | WarmUpConfig) else {}
        found[f"schedule {described(held)}"] = {"schedule": held, **monitor}
    found |= {f"optimiser {described(held)}": {"optimiser": held} for held in OPTIMISERS}
    found |= {f"monitor {held.rule}": {"monitor": held} for held in MONITORS}
    found |= {f"mixing: {name}": {"mixing": held} for name, held in mixings(tiny().trainer.mixing).items()}
    found |= {f"precision {name}": {"precision": name} for name in ("bfloat16", "float16")}
    found |= {f"weighting {described(held)}": {"weighting": held} for held in weightings()}
    return found


def test_every_builder_is_among_the_combinations():
    assert {type(held) for held in SCHEDULES} == set(configs_of(cotrain.training, RateSchedule))
    assert {type(held) for held in weightings()} >= set(configs_of(cotrain.losses, Weighting))
    assert len(weightings()) >= 15
    optimisers = {AdamConfig, AdamWConfig, SgdConfig}
    names = {name for name in cotrain.training.__all__ if name in ("sgd", "adam", "adamw")}
    assert {type(held) for held in OPTIMISERS} == optimisers and len(names) == len(optimisers)


def with_fixed_objectives(experiment):
    """Weightings that compare losses take no learnt weights."""
    objectives = (CrossEntropyConfig(weight=1.0), QuasiPoissonConfig(weight=0.5), RdmMatchConfig(weight=1.0))
    tasks = zip(experiment.model.tasks, objectives, strict=True)
    changed = tuple(task.replace(objective=objective) for task, objective in tasks)
    return experiment.vary(experiment.label, model={"tasks": changed})


def interrupted_and_whole(experiment, folder, pull_plug, draw):
    run(experiment, out=folder / "whole")
    for _ in range(2):
        pull_plug(experiment, folder / "cut", after=draw.randrange(2, BATCHES // 3))
    run(experiment, out=folder / "cut")


@pytest.mark.slow
def test_no_combination_leaves_a_trace(tiny, tmp_path, pull_plug, assert_same_run):
    draw, done = random.Random(0), []
    for name, changes in combinations(tiny).items():
        experiment = tiny(**{"epochs": EPOCHS, "monitor": MonitorConfig(), **changes})
        if "weighting" in changes:
            experiment = with_fixed_objectives(experiment)
        folder = tmp_path / str(len(done))
        interrupted_and_whole(experiment, folder, pull_plug, draw)
        assert_same_run(folder / "cut", folder / "whole")
        done.append(name)
    log.info("%d combinations, each interrupted twice:\n%s", len(done), "\n".join(done))
    assert len(done) >= 36


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": PlateauConfig(patience=1, restore_best=True, factor=0.5), "monitor": NEVER},
        {"weighting": GradNormConfig(), "precision": "bfloat16", "mixing": "accumulated"},
    ],
    ids=["decay rounds", "GradNorm, bfloat16, accumulated"],
)
def test_some_combinations_leave_no_trace(changes, tiny, tmp_path, pull_plug, assert_same_run):
    if isinstance(name := changes.get("mixing"), str):
        changes = {**changes, "mixing": mixings(tiny().trainer.mixing)[name]}
    experiment = tiny(**{"epochs": EPOCHS, "monitor": MonitorConfig(), **changes})
    experiment = with_fixed_objectives(experiment) if "weighting" in changes else experiment
    interrupted_and_whole(experiment, tmp_path, pull_plug, random.Random(1))
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@functools.cache
def _weights(path):
    from cotrain.training import load_state

    return load_state(path)


def test_decay_rounds_go_back_to_the_best_weights_and_lower_the_rate(tiny, tmp_path, states):
    """The predecessor's decay rounds: patience 1, back to the best, rate times 0.5, and the third time an end."""
    schedule = PlateauConfig(patience=1, rounds=3, restore_best=True, factor=0.5)
    held = states(tiny(epochs=8, monitor=NEVER, schedule=schedule, checkpoint_steps=0), tmp_path)
    ends = sorted(held)
    steps = ends[1]  # of an epoch
    assert ends == [0, steps, 2 * steps, 3 * steps, 4 * steps], (
        "the first epoch is best; three rounds of one epoch each"
    )
    best = held[steps]["model"]
    for end in ends[2:4]:
        assert all((value == best[name]).all() for name, value in held[end]["model"].items()), "gone back to"
    assert not all((value == best[name]).all() for name, value in held[ends[4]]["model"].items())
    assert held[ends[4]]["done"] and not held[ends[3]]["done"]
    rates = [row[5] for row in held[ends[4]]["history"] if row[4] == "learning_rate"]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.005])
    assert _weights(tmp_path / "best.pt")["epoch"] == 1


def test_a_run_that_a_schedule_ended_stays_ended(digits, tmp_path):
    schedule = PlateauConfig(patience=1, rounds=1)
    monitor = MonitorConfig(tolerance=10.0)
    result = run(digits(epochs=6, monitor=monitor, schedule=schedule), out=tmp_path)
    assert result.scores.epoch.max() == 2
    (tmp_path / "result.json").unlink()  # as if killed just before the end
    again = run(digits(epochs=6, monitor=monitor, schedule=schedule), out=tmp_path)
    assert again.scores.equals(result.scores)
