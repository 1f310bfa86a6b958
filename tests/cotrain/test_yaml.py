"""YAML in and out: nothing is lost, overwritten or executed."""

import datetime
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mylab.builders import EverythingConfig, PondConfig, TrainerConfig
from mylab.strategies import AWKWARD, everything, numbers, texts

from cotrain._yaml import read_yaml, write_yaml
from cotrain.config import Config
from cotrain.errors import ConfigError

pytestmark = pytest.mark.usefixtures("lab")
leaves = st.none() | st.booleans() | st.integers() | numbers | texts
contents = st.dictionaries(
    texts,
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


def assert_identical(a, b):
    """Equal, and of equal types throughout: 1, 1.0 and True are three things."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b), "the order of names changed"
        for name in a:
            assert_identical(a[name], b[name])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_identical(one, other)
    elif isinstance(a, float):
        assert a == b
        assert math.copysign(1, a) == math.copysign(1, b)
    else:
        assert a == b


def assert_yaml_round_trip(config: Config):
    """The text of a config reads back to an equal config, with the same key and a field of each same type."""
    again = type(config).from_yaml(config.to_yaml())
    assert again == config
    assert again.key() == config.key()
    assert_identical(again.record(), config.record())


@given(contents)
@example({text: text for text in AWKWARD})
def test_plain_values_survive(content):
    assert_identical(read_yaml(write_yaml(content)), content)


@given(everything)
def test_configs_survive(config):
    assert_yaml_round_trip(config)


@pytest.mark.parametrize("text", AWKWARD)
def test_text_stays_text(text):
    held = {"none": None, "truth": True, "whole": 1, "number": 1, "choice": "no", "maybe": None, "empty": []}
    config = EverythingConfig.validated(
        {**held, "text": text, "mixed": text, "pair": [1, text], "row": [], "schedule": [[0, [[text, 1]]]]}
        | {"fish": {"name": text}, "pond": None, "school": [], "any": None, "anys": []}
    )
    assert_yaml_round_trip(config)
    assert EverythingConfig.from_yaml(config.to_yaml()).mixed == text


def test_a_person_may_leave_out_defaults_and_kind():
    assert PondConfig.from_yaml("frogs: 4\nfish: {name: eel}\n") == PondConfig(frogs=4, fish={"name": "eel"})


@pytest.mark.parametrize("text", ["lr: 1e-3", "lr: '0.1'", "lr: 1e3", "lr: !!str 1.0"])
def test_a_number_that_yaml_takes_for_text_gets_a_hint(text):
    with pytest.raises(
        ConfigError, match=r"lr: input should be a valid number, found '.*write 1\.0e-3 for 1e-3, which YAML takes for"
    ):
        TrainerConfig.from_yaml(text)


def test_text_that_is_no_number_gets_no_hint():
    with pytest.raises(ConfigError, match=r"lr: input should be a valid number, found 'fast'$"):
        TrainerConfig.from_yaml("lr: fast")


def test_hint_for_whole_numbers():
    with pytest.raises(ConfigError, match=r"epochs: input should be a valid integer, found '1e1' \(this is text"):
        TrainerConfig.from_yaml("epochs: 1e1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("colour: no", "False"),
        ("fish: {name: 2024-01-01}", repr(datetime.date(2024, 1, 1))),
        ("frogs: 1.0", "1.0"),
        ("fish: {name: 1}", "1"),
        ("fish: {name: null}", "None"),
        ("frogs: true", "True"),
        ("depth: .nan", "nan"),
    ],
)
def test_what_yaml_takes_for_another_type_is_refused(text, found):
    with pytest.raises(ConfigError, match=rf"input should be .*, found {found.replace('(', '.').replace(')', '.')}$"):
        PondConfig.from_yaml(text)


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a"),
        ("a:\n  b: 1\n  b: 1", 3, "b"),
        ("a: [{b: 1, b: 2}]", 1, "b"),
        ('"a": 1\na: 2', 2, "a"),
    ],
)
def test_names_that_stand_twice(text, line, name):
    with pytest.raises(ConfigError, match=rf"^YAML line {line}: '{name}' stands twice\. Keep one\.$"):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "found"), [("1: a", "1"), ("yes: 1", "True"), ("~: 1", "None"), ("a: {1.5: 2}", "1.5")]
)
def test_names_are_text(text, found):
    with pytest.raises(ConfigError, match=rf"^YAML line 1: a name must be text, found {found}\.$"):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "found"), [("", "NoneType"), ("# nothing", "NoneType"), ("- a", "list"), ("3", "int"), ("a b", "str")]
)
def test_only_mappings(text, found):
    with pytest.raises(ConfigError, match=rf"^Expected YAML of the form 'name: value', found {found}\.$"):
        read_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\n b: 2",
        "a: 1\n---\nb: 2",
        "a: \x07",
        "a: *b",
        "a: !!python/name:os.system",
        "a: !own 3",
        "a: =",
        "a: !!python/object/apply:os.system [ls]",
        "!!python/object/new:os.system [ls]",
        "a: !!python/tuple [1]",
    ],
)
def test_what_is_no_plain_yaml(text):
    with pytest.raises(ConfigError, match=r"^This is not valid YAML: "):
        read_yaml(text)


def test_python_tags_run_nothing(tmp_path):
    marker = tmp_path / "marker"
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_yaml(f"a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{marker}]]")
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    ["a: 2024-13-45", "a: 0b_", "a: !!int x", "a: !!bool maybe", "a: !!timestamp x", f"a: {'1' * 5000}"],
)
def test_values_that_yaml_itself_cannot_read(text):
    with pytest.raises(ConfigError, match=r"^This YAML holds a value that cannot be read \(.*\)\. Put quotes around"):
        read_yaml(text)


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "&x {a: *x}", "a: &x [[1, {b: *x}]]"])
def test_a_part_that_holds_itself(text):
    with pytest.raises(ConfigError, match=r"^YAML line 1: this part holds itself\. Write it out\.$"):
        read_yaml(text)


def test_nesting_beyond_all_use():
    with pytest.raises(ConfigError, match=r"^This YAML is nested too deeply\.$"):
        read_yaml("a: " + "[" * 3000)


def test_anchors_and_merges_work():
    text = "base: &b {u: 1, v: 2}\none: *b\ntwo:\n  <<: *b\n  u: 3\n"
    assert read_yaml(text) == {"base": {"u": 1, "v": 2}, "one": {"u": 1, "v": 2}, "two": {"u": 3, "v": 2}}


def test_a_name_that_stands_twice_beside_a_merge_is_still_refused():
    with pytest.raises(ConfigError, match="'u' stands twice"):
        read_yaml("base: &b {u: 1}\ntwo:\n  <<: *b\n  u: 3\n  u: 4\n")
