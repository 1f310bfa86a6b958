"""Every built-in hook: interrupted equals uninterrupted, weightings go with it, and it changes what it is for."""

from __future__ import annotations

import importlib
import random
import re
from pathlib import Path

import pytest

from cotrain import run
from cotrain.config import Config
from cotrain.losses import (
    CrossEntropyConfig,
    GradientAggregationConfig,
    GradNormConfig,
    QuasiPoissonConfig,
    RdmMatchConfig,
)
from cotrain.resolve import build, resolve
from cotrain.training import Hook, MonitorConfig, SgdConfig
from cotrain.training.hooks import (
    AverageWeightsConfig,
    ClipGradientsConfig,
    FreezeBatchNormConfig,
    FreezeConfig,
    LotteryTicketConfig,
    MatchRepresentationsConfig,
    NoiseConfig,
    ProfileConfig,
    ResetReadoutsConfig,
    StopOnNanConfig,
)

FACE = "cotrain.training.hooks"
MINIMUM = 10  # builders found; raise it when hooks are added

# One or more of each kind, made for the tiny experiment and three epochs.
EXAMPLES = (
    FreezeConfig(parameters=("backbone.layer1", "heads.simulated_v1", "objectives.*"), until="2ep", batch_norm=True),
    FreezeBatchNormConfig(from_epoch=2, affine=True),
    ResetReadoutsConfig(tasks=("simulated_v1",), sessions=("simulated2",), every=1),
    NoiseConfig(std=((0.1, 0.4),), snr=((4.0, 0.3), (1.0, 0.1))),
    MatchRepresentationsConfig(layers=("layer1.0", "layer1"), layer_weights="learned", std=((0.1, 1.0),)),
    LotteryTicketConfig(rounds=2, epochs_a_round=1, pruned=0.5, rewind="2st"),
    AverageWeightsConfig(decay=0.8, every=2),
    ClipGradientsConfig(parameters=("backbone",), norm=0.05, value=0.01),
    StopOnNanConfig(every=3),
    ProfileConfig(wait=1, warm_up=1, active=2),
)
MORE_EXAMPLES = (
    FreezeConfig(parameters=("backbone",)),
    ResetReadoutsConfig(tasks=("digits", "simulated_v1"), after=1),
    MatchRepresentationsConfig(
        layers=("layer1", "layer2"), tasks=("digits",), distance="cosine", snr=((2.0, 1.0),), detach_clean=True
    ),
    LotteryTicketConfig(parameters=("*",), rounds=1, epochs_a_round=2, scope="layer", rewind="none"),
)
WATCH_ONLY = {f"{FACE}.{name}" for name in ("average_weights", "stop_on_nan", "profile")}
"""They leave what is trained as it is, bit for bit."""


def name_of(config: Config) -> str:
    return config.kind.rpartition(".")[2]


@pytest.fixture
def experiment(tiny):
    """A function of hooks and changes that gives a short experiment whose monitor stops nothing."""

    def make(*hooks, model=None, **changes):
        return tiny(model=model, hooks=hooks, **{"epochs": 3, "monitor": MonitorConfig(), "device": "cpu"} | changes)

    return make


def with_fixed_weights(experiment, *hooks, **changes):
    """Weightings compare losses, so those of objectives must not be learnt."""
    objectives = (CrossEntropyConfig(weight=1.0), QuasiPoissonConfig(weight=0.5), RdmMatchConfig(weight=1.0))
    held = experiment(*hooks, **changes)
    tasks = zip(held.model.tasks, objectives, strict=True)
    return held.vary("tiny", model={"tasks": tuple(task.replace(objective=objective) for task, objective in tasks)})


def test_every_hook_has_an_example():
    face = importlib.import_module(FACE)
    builders = {f"{FACE}.{name}" for name in face.__all__ if not isinstance(getattr(face, name), type)}
    assert len(builders) >= MINIMUM
    assert {config.kind for config in (*EXAMPLES, *MORE_EXAMPLES)} == builders
    assert builders > WATCH_ONLY


def test_the_page_of_concepts_names_every_hook():
    text = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", text.partition("\n## Hooks")[2].partition("\n## ")[0], re.MULTILINE)
    assert sorted(told) == sorted({name_of(config) for config in EXAMPLES})


@pytest.mark.parametrize("config", EXAMPLES, ids=name_of)
def test_builders_give_hooks(config):
    assert resolve(config.kind).__module__.startswith(f"{FACE}._")
    assert isinstance(build(config), Hook)
    assert type(build(config)).__doc__ and type(config).__doc__


def test_the_table_of_events_names_every_method_that_may_be_overridden():
    events = [name for name, held in vars(Hook).items() if callable(held) and not name.startswith("_")]
    told = re.findall(r"^    \| `(\w+)` \|", Hook.__doc__, re.MULTILINE)
    assert told == [name for name in events if name not in ("state_dict", "load_state_dict")]


QUICK = ("freeze", "lottery_ticket")  # the others, too, among the slow tests


@pytest.mark.parametrize(
    "config",
    [pytest.param(held, marks=[] if name_of(held) in QUICK else pytest.mark.slow) for held in EXAMPLES],
    ids=name_of,
)
def test_an_interruption_leaves_no_trace(config, experiment, tmp_path, pull_plug, assert_same_run):
    held = experiment(config)
    run(held, out=tmp_path / "whole")
    pull_plug(held, tmp_path / "cut", after=random.Random(name_of(config)).randrange(20, 45))
    run(held, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("config", [*EXAMPLES, *MORE_EXAMPLES], ids=name_of)
def test_many_interruptions_leave_no_trace(config, steps, experiment, tmp_path, pull_plug, assert_same_run):
    held = experiment(config, checkpoint_steps=steps, optimiser=SgdConfig(lr=0.02))
    draw = random.Random()
    run(held, out=tmp_path / "whole")
    for _ in range(6):
        pull_plug(held, tmp_path / "cut", after=draw.randrange(1, 12))
    run(held, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("weighting", [GradNormConfig(), GradientAggregationConfig(method="PCGrad")], ids=name_of)
@pytest.mark.parametrize("config", [*EXAMPLES, *MORE_EXAMPLES], ids=name_of)
def test_weightings_go_with_it(config, weighting, experiment, tmp_path, pull_plug, assert_same_run):
    if isinstance(weighting, GradientAggregationConfig):
        pytest.importorskip("torchjd")
    if isinstance(config, FreezeConfig):
        config = config.replace(parameters=config.parameters[:1])  # objectives have nothing to freeze now
    held = with_fixed_weights(experiment, config, weighting=weighting)
    run(held, out=tmp_path / "whole")
    pull_plug(held, tmp_path / "cut", after=25)
    run(held, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.fixture(scope="module")
def losses_of(tiny, tmp_path_factory):
    """A function of hooks that gives training losses of a run, with what is random switched off alike."""

    def train(*hooks):
        held = tiny(hooks=hooks, epochs=3, monitor=MonitorConfig())
        scores = run(held, out=tmp_path_factory.mktemp("run")).scores
        return scores[(scores.split == "train") & (scores.metric == "loss")].value.tolist()

    return train


@pytest.fixture(scope="module")
def plain(losses_of):
    return losses_of()


@pytest.mark.parametrize("config", EXAMPLES, ids=name_of)
def test_it_changes_training_or_only_watches(config, losses_of, plain):
    assert (losses_of(config) == plain) == (config.kind in WATCH_ONLY)


@pytest.mark.slow
def test_all_hooks_at_once(experiment, tmp_path, pull_plug, assert_same_run):
    held = experiment(*EXAMPLES)
    run(held, out=tmp_path / "whole")
    for after in (9, 14, 11):
        pull_plug(held, tmp_path / "cut", after=after)
    run(held, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
