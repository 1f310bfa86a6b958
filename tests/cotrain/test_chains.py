"""Experiments that need others: references are found wherever they stand, and get the right seed."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, ClassVar

import pytest

from cotrain import AnyConfig, Experiment
from cotrain.chains import NeededRun, RunOfConfig, RunReference, chain, experiment_of, needed_runs, run_of
from cotrain.config import Config, NotIdentity
from cotrain.data import DigitsConfig, MixingConfig, MultiTaskConfig, ShuffledConfig
from cotrain.errors import ConfigError
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig
from cotrain.tasks import TaskConfig
from cotrain.training import PredictedResponsesConfig, StartFromConfig, TeacherResponsesConfig, TrainerConfig

KEY = "0123456789abcdef" * 2
TASK = TaskConfig(name="digits", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig())
MODEL = SharedBackboneConfig(tasks=(TASK,))
FIRST = Experiment("first", DigitsConfig(), MODEL, TrainerConfig(mixing=MixingConfig(main="digits")))


class HookConfig(Config):
    """A part of a trainer that names runs by the way."""

    kind: ClassVar[str] = "elsewhere.hook"
    runs: tuple[tuple[str, RunReference], ...] = ()
    other: RunReference | None = None
    name: str = KEY  # text like a key is none
    comment: Annotated[str, NotIdentity()] = KEY


class WrapConfig(Config):
    """A config around any other."""

    kind: ClassVar[str] = "elsewhere.wrap"
    parts: tuple[tuple[str, AnyConfig], ...]


def taught(run, data=None):
    return TeacherResponsesConfig(data=data or DigitsConfig(), shown="digits", run=run, layer="layer2")


def started(run, model=MODEL):
    return StartFromConfig(model=model, run=run)


def with_seed(experiment, seed):
    return experiment.vary(experiment.label, seed=seed)


def keys(needed):
    return [run.key for run in needed]


def test_a_run_is_that_of_the_experiment_and_of_the_seed_that_names_it():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    for seed in (0, 5):
        (needed,) = needed_runs(with_seed(second, seed))
        assert needed.key == with_seed(FIRST, seed).key() == needed.experiment.key()
        assert (needed.experiment.label, needed.experiment.seed) == ("first", seed)
        assert str(needed) == f"{needed.key} ('first', seed {seed})"
    fixed = FIRST.vary("fixed", data=taught(run_of(FIRST, seed=3)), seed=8)
    assert keys(needed_runs(fixed)) == [with_seed(FIRST, 3).key()]


def test_an_experiment_without_references_needs_nothing():
    assert needed_runs(FIRST) == chain(FIRST) == ()


def test_references_are_found_wherever_they_stand():
    runs = [FIRST.vary(f"run {number}", trainer={"epochs": number}) for number in range(1, 8)]
    one, two, three, four, five, six, seven = (run_of(run) for run in runs)
    predicted = PredictedResponsesConfig(data=taught(one), shown="digits", run=two, predicted="teacher")
    data = MultiTaskConfig(parts=(ShuffledConfig(data=predicted, tasks=("digits",)), taught(KEY)))
    hook = HookConfig(runs=(("a", six), ("b", "f" * 32)), other=seven)
    trainer = FIRST.trainer.replace(optimiser=WrapConfig(parts=(("x", FIRST.trainer.optimiser), ("hook", hook))))
    last = Experiment("last", data, started(five, started(four, started(three))), trainer, seed=2)
    one, two, three, four, five, six, seven = (with_seed(run, 2).key() for run in runs)
    # in the order of fields: of start_from, `model` comes before `run`
    assert keys(needed_runs(last)) == [one, two, KEY, three, four, five, six, "f" * 32, seven]
    assert keys(needed_runs(last.vary("again"))) == keys(needed_runs(last))


def test_what_is_named_twice_counts_once_and_an_experiment_says_more_than_a_key():
    both = FIRST.vary("both", data=taught(FIRST.key()), model=started(run_of(FIRST)))
    assert [(run.key, run.experiment.label) for run in needed_runs(both)] == [(FIRST.key(), "first")]
    assert keys(needed_runs(with_seed(both, 1))) == [FIRST.key(), with_seed(FIRST, 1).key()]


def test_a_chain_has_the_first_first():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    third = FIRST.vary("third", model=started(run_of(second)), data=taught(run_of(FIRST, seed=9)))
    fourth = with_seed(FIRST.vary("fourth", model=started(run_of(third, seed=4))), 7)
    of_seed_4 = [with_seed(experiment, 4).key() for experiment in (second, third)]
    expected = [with_seed(FIRST, 9).key(), with_seed(FIRST, 4).key(), *of_seed_4]
    assert keys(chain(fourth)) == expected
    assert keys(needed_runs(fourth)) == expected[-1:], "its own references alone"


def test_what_only_finished_runs_need_is_not_needed():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    third = FIRST.vary("third", model=started(run_of(second)))
    fourth = FIRST.vary("fourth", model=started(run_of(third)), data=taught(run_of(FIRST)))
    for finished, needed in (
        ({second}, [FIRST, third]),
        ({third}, [FIRST]),
        ({FIRST}, [second, third]),
        ({FIRST, third}, []),
        ({second, FIRST}, [third]),
    ):
        done = {experiment.key() for experiment in finished}
        assert keys(chain(fourth, finished=done.__contains__)) == [experiment.key() for experiment in needed]


def test_a_key_is_followed_where_its_experiment_is_known():
    second = FIRST.vary("second", data=taught(FIRST.key()))
    third = FIRST.vary("third", model=started(second.key()))
    assert chain(third) == (NeededRun(second.key()),)
    assert str(chain(third)[0]) == second.key()
    known = {run.key(): run for run in (FIRST, second)}
    assert chain(third, known) == (NeededRun(FIRST.key(), FIRST), NeededRun(second.key(), second))


def test_labels_are_no_part_of_a_key():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    other = FIRST.vary("second", data=taught(run_of(FIRST.vary("called otherwise"))))
    assert second.key() == other.key()
    (needed,) = chain(second, {FIRST.key(): FIRST.vary("as the recipe has it")})
    assert needed.experiment.label == "as the recipe has it"
    nameless = RunOfConfig(data=FIRST.data, model=FIRST.model, trainer=FIRST.trainer)
    assert experiment_of(nameless, seed=1).label == "unnamed"
    assert experiment_of(nameless, seed=1).key() == with_seed(FIRST, 1).key()


def test_what_the_needed_run_is_decides_on_the_key():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    for other in (
        run_of(FIRST, seed=0),
        run_of(FIRST.vary("first", trainer={"epochs": 31})),
        run_of(FIRST.vary("first", data=DigitsConfig(size=8))),
    ):
        assert second.vary("other", data={"run": other}).key() != second.key()
    busy = FIRST.vary("first", trainer={"device": "cpu"})
    assert second.vary("other", data={"run": run_of(busy)}).key() == second.key()


def test_a_chain_goes_through_yaml():
    second = FIRST.vary("second", data=taught(run_of(FIRST)))
    third = FIRST.vary("third", model=started(run_of(second, seed=2), started(KEY)))
    assert Experiment.from_yaml(third.to_yaml()) == third
    assert Experiment.from_record(third.record()) == third
    assert keys(chain(Experiment.from_yaml(third.to_yaml()))) == keys(chain(third))


def test_keys_of_configs_that_name_a_run_by_its_key_are_what_they_were():
    """Computed before a run could be named otherwise."""
    assert taught(KEY).replace(layer="layer3").key() == "839cda8fcd8336aede3479271e99922e"
    predicted = PredictedResponsesConfig(data=DigitsConfig(), shown="digits", run=KEY, predicted="v4")
    assert predicted.key() == "fa452ebf4cf7c7e8d548aa9bfe961317"


@pytest.mark.parametrize("run", ["abc", "A" * 32, KEY + "\n", 3, None, DigitsConfig()])
def test_what_names_no_run_is_refused(run):
    with pytest.raises(ConfigError, match=r"responses: run: expected the key of a run \(32 hex.* or run_of\(.*, found"):
        taught(run)


def test_errors_within_a_run_say_where_they_are():
    held = {**taught(run_of(FIRST)).record()}
    held["run"] = {**held["run"], "trainer": {**held["run"]["trainer"], "epoch": 3}}
    with pytest.raises(ConfigError, match=r"run\.RunOfConfig\.trainer\.epoch: unknown name\. Did you mean 'epochs'"):
        TeacherResponsesConfig.validated(held)


@pytest.mark.parametrize(("field", "value"), [("seed", -1), ("seed", 2**31), ("seed", 1.0), ("label", "x" * 129)])
def test_wrong_fields_of_a_run_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        run_of(FIRST).replace(**{field: value})


def test_references_are_found_without_torch():
    code = f"""
import sys
import cotrain.chains
from typing import ClassVar
from cotrain import Config, Experiment
class PartConfig(Config):
    kind: ClassVar[str] = "elsewhere.part"
    run: cotrain.chains.RunReference = "{KEY}"
part = PartConfig()
held = Experiment("a", part, PartConfig(run=cotrain.chains.run_of(Experiment("b", part, part, part))), part)
assert len(cotrain.chains.chain(held)) == 2
assert not {{"torch", "datajoint"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_is_public_where_configs_are():
    import cotrain.training

    assert cotrain.training.RunOfConfig is RunOfConfig and cotrain.training.run_of is run_of
