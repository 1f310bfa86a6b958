"""Experiments and recipes: what is varied, what is repeated, and every error of a recipe in one report."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mylab.builders import FishConfig, NetConfig, PondConfig, ReedConfig, TrainerConfig
from mylab.strategies import fish, nets, numbers, texts

from cotrain import Experiment, Recipe
from cotrain.errors import ConfigError, RecipeError

pytestmark = pytest.mark.usefixtures("lab")

BASE = Experiment("base", PondConfig(), NetConfig(width=4), TrainerConfig())
labels = texts.filter(lambda text: text.strip() and len(text) <= 128)
experiments = st.builds(
    Experiment,
    label=labels,
    data=st.builds(PondConfig, depth=numbers, fish=fish),
    model=nets,
    trainer=st.builds(TrainerConfig, lr=numbers, optimiser=fish | nets),
    seed=st.integers(0, 2**31 - 1),
)


def recipe(*cells, seeds=(0,)):
    """A recipe that yields these; a cell may be a function that makes it."""

    class Given(Recipe):
        def experiments(self):
            for cell in cells:
                yield cell() if callable(cell) else cell

    Given.seeds = seeds
    return Given()


def test_vary_keeps_what_it_does_not_name():
    varied = BASE.vary("wide", model={"width": 8}, trainer={"optimiser": {"length": 2.0}}, data=ReedConfig(), seed=3)
    assert varied == Experiment(
        "wide", ReedConfig(), NetConfig(width=8), TrainerConfig(optimiser=FishConfig(length=2.0)), seed=3
    )
    assert (BASE.label, BASE.data, BASE.model, BASE.seed) == ("base", PondConfig(), NetConfig(width=4), 0)
    assert varied.vary("again").seed == 3
    assert BASE.vary("again") == Experiment("again", BASE.data, BASE.model, BASE.trainer)


def test_vary_reports_all_three_parts():
    with pytest.raises(ConfigError) as caught:
        BASE.vary("typos", data={"frog": 1, "depth": "1"}, model={"widht": 2}, trainer=3)
    assert str(caught.value).splitlines() == [
        "'typos': data: mylab.builders.pond: 2 errors",
        "  depth: input should be a valid number, found '1' (this is text: leave out quotes, and write 1.0e-3 for 1e-3"
        ", which YAML takes for text)",
        "  frog: unknown name. Did you mean 'frogs'?",
        "model: mylab.builders.net: widht: unknown name. Did you mean 'width'?",
        "trainer: expected fields to change, or a config, found 3",
    ]


@pytest.mark.parametrize("label", ["", " ", "\n", "a" * 129, None, 3, b"a"])
def test_wrong_labels(label):
    with pytest.raises(RecipeError, match=r"^Experiment .*: label must be 1 to 128 characters of text, found "):
        Experiment(label, BASE.data, BASE.model, BASE.trainer)


@pytest.mark.parametrize("seed", [-1, 2**31, True, 1.0, "1", None])
def test_wrong_seeds(seed):
    with pytest.raises(RecipeError, match=r"^Experiment 'x': seed must be a whole number from 0 to 2147483647, found "):
        Experiment("x", BASE.data, BASE.model, BASE.trainer, seed=seed)


def test_limits_of_labels_and_seeds():
    assert Experiment("a" * 128, BASE.data, BASE.model, BASE.trainer, seed=2**31 - 1).seed == 2**31 - 1


def test_wrong_parts_are_reported_together():
    with pytest.raises(
        RecipeError, match=r"data must be a config, found \{\}; trainer must be a config, found None; seed"
    ):
        Experiment("x", {}, NetConfig(), None, seed=-1)


def test_the_key_by_hand():
    parts = [config.key() for config in (BASE.data, BASE.model, BASE.trainer)]
    text = 'cotrain-experiment/1\n{{"data":"{}","model":"{}","seed":5,"trainer":"{}"}}'.format(*parts)
    assert BASE.vary("any", seed=5).key() == hashlib.sha256(text.encode()).hexdigest()[:32]


@given(experiments, labels)
def test_the_label_is_not_in_the_key(experiment, label):
    assert experiment.vary(label).key() == experiment.key()
    assert experiment.vary(label, data={"workers": 99}).key() == experiment.key()


def test_each_part_and_the_seed_are_in_the_key():
    varied = [
        BASE,
        *(BASE.vary("x", seed=1), BASE.vary("x", data={"frogs": 4}), BASE.vary("x", model={"width": 5})),
        *(BASE.vary("x", trainer={"lr": 0.2}), Experiment("x", BASE.model, BASE.data, BASE.trainer)),
    ]
    assert len({experiment.key() for experiment in varied}) == len(varied)


@given(experiments)
def test_records_and_yaml_survive(experiment):
    stored = Experiment.from_record(json.loads(json.dumps(experiment.record())))
    read = Experiment.from_yaml(experiment.to_yaml())
    assert stored == read == experiment
    assert stored.key() == read.key() == experiment.key()


def test_a_person_may_leave_out_label_seed_and_defaults():
    text = "data: {kind: mylab.builders.pond}\nmodel: {kind: mylab.builders.net, width: 4}\ntrainer: &t\n"
    assert Experiment.from_yaml(text + "  kind: mylab.builders.trainer\n") == BASE.vary("unnamed")


def test_errors_of_records_are_listed_together():
    record = {
        "sed": 1,
        "label": "x",
        "data": {"kind": "mylab.builders.pond", "frog": 1},
        "model": {"kind": "os.system"},
    }
    with pytest.raises(ConfigError) as caught:
        Experiment.from_record(record, stored=False)
    lines = str(caught.value).splitlines()
    assert lines[0] == "This experiment has errors:"
    assert lines[1] == "sed: unknown name. Did you mean 'seed'?"
    assert lines[2] == "data: mylab.builders.pond: frog: unknown name. Did you mean 'frogs'?"
    assert lines[3].startswith("model: 'os.system': builders of package 'os' are not allowed here")
    assert lines[4:] == ["trainer: a config is required, a mapping with a 'kind'"]


@pytest.mark.parametrize("name", ["label", "seed", "data", "model", "trainer"])
def test_stored_records_are_whole(name):
    record = BASE.record()
    del record[name]
    with pytest.raises(
        ConfigError, match=rf"^This experiment has errors:\n{name}: (the stored record lacks it|a config)"
    ):
        Experiment.from_record(record)


@pytest.mark.parametrize(("name", "value"), [("seed", "1"), ("seed", True), ("label", False), ("label", None)])
def test_wrong_labels_and_seeds_of_records(name, value):
    with pytest.raises(RecipeError, match=rf"{name} must be"):
        Experiment.from_record({**BASE.record(), name: value}, stored=False)


def test_seeds_repeat_all_cells():
    wide = BASE.vary("wide", model={"width": 8})
    found = recipe(BASE, wide, seeds=(3, 1)).expand()
    assert [(e.label, e.seed) for e in found] == [("base", 3), ("base", 1), ("wide", 3), ("wide", 1)]
    assert len({e.key() for e in found}) == 4


def test_three_wrong_vary_calls_are_reported_together():
    cells = recipe(
        BASE,
        lambda: BASE.vary("one", data={"frog": 1}),
        lambda: BASE.vary("two", model={"width": 0}, trainer={"epoch": 1}),
        lambda: BASE.vary("three", trainer={"optimiser": {"kind": "os.system"}}),
    )
    with pytest.raises(RecipeError) as caught:
        cells.expand()
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "Given has 4 errors:",
        "'one', data: mylab.builders.pond: frog: unknown name. Did you mean 'frogs'?",
        "'two', model: mylab.builders.net: width: input should be greater than or equal to 1, found 0",
        "'two', trainer: mylab.builders.trainer: epoch: unknown name. Did you mean 'epochs'?",
    ]
    assert lines[4].startswith("'three', trainer: mylab.builders.trainer: optimiser: 'os.system': builders of package")
    with pytest.raises(ConfigError, match=r"^'one': data: "):
        BASE.vary("one", data={"frog": 1})  # outside a recipe errors are raised at once, also after a failed one


def test_an_error_that_ends_the_recipe_comes_after_those_collected():
    def fails():
        raise ConfigError("this one ends it")

    with pytest.raises(RecipeError, match=r"^Given has 2 errors:\n'one', data: .*\nthis one ends it$"):
        recipe(lambda: BASE.vary("one", data={"frog": 1}), fails, lambda: BASE.vary("two", data={"frog": 1})).expand()


def test_other_errors_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        recipe(lambda: 1 / 0).expand()


def test_a_recipe_within_a_recipe():
    inner = recipe(BASE, lambda: BASE.vary("one", data={"frog": 1}))
    with pytest.raises(RecipeError, match=r"^Given has 1 error:\nGiven has 1 error:\n'one', data: "):
        recipe(lambda: inner.expand()[0]).expand()


@pytest.mark.parametrize(
    ("cells", "seeds", "text"),
    [
        ((), (0,), r"it yields no experiments$"),
        ((BASE, 3), (0,), r"experiments\(\) must yield Experiment objects, found 3$"),
        ((BASE, BASE), (0,), r"the label 'base' is used twice$"),
        ((BASE, BASE.vary("same")), (0,), r"'base' and 'same' are the same experiment$"),
        ((BASE, BASE.vary("same", data={"workers": 9})), (0, 1), r"'base' and 'same' are the same experiment$"),
        ((BASE, BASE.vary("base", model={"width": 5})), (0,), r"the label 'base' is used twice$"),
        (
            (BASE.vary("five", seed=5),),
            (0,),
            r"'five': its seed 5 would be ignored; a recipe's seeds stand in `seeds`$",
        ),
        ((BASE,), (), r"seeds must be a tuple of different whole numbers, at least one, found \(\)$"),
        ((BASE,), (1, 1), r"seeds must be a tuple of different whole numbers, at least one, found \(1, 1\)$"),
        ((BASE,), 3, r"seeds must be a tuple of different whole numbers, at least one, found 3$"),
        ((BASE,), (0, 1.0), r"seed must be a whole number from 0 to 2147483647, found 1\.0"),
        ((BASE,), (-1,), r"seed must be a whole number from 0 to 2147483647, found -1"),
    ],
)
def test_wrong_recipes(cells, seeds, text):
    with pytest.raises(RecipeError, match=text):
        recipe(*cells, seeds=seeds).expand()


def test_builders_that_do_not_resolve_are_reported_with_their_cells():
    class NowhereConfig(NetConfig):
        kind = "mylab.builders.nowhere"

    cells = (BASE.vary("a", model=NowhereConfig(width=1)), BASE.vary("b", trainer=NowhereConfig(width=2)))
    with pytest.raises(RecipeError, match=r"has 2 errors:\n'a', model: 'mylab.*does not exist.*\n'b', trainer: 'mylab"):
        recipe(*cells).expand()


def test_a_recipe_must_define_its_experiments():
    class Empty(Recipe):
        """Is there anything?

        No.
        """

    with pytest.raises(
        NotImplementedError, match=r"^Empty must define experiments\(self\) and yield Experiment objects\.$"
    ):
        Empty().expand()
    assert Empty.question() == "Is there anything?"
