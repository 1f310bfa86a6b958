"""Configs refuse wrong names and values, all at once."""

import json
from typing import ClassVar

import numpy as np
import pytest
from mylab.builders import EverythingConfig, FishConfig, PondConfig, ReedConfig, TrainerConfig
from pydantic import field_validator, model_validator

from cotrain import AnyConfig, Config
from cotrain.errors import ConfigError

pytestmark = pytest.mark.usefixtures("lab")


class LakeConfig(Config):
    """Configs within configs, in each place where one can be."""

    kind: ClassVar[str] = "mylab.lakes.lake"
    pond: PondConfig = PondConfig()
    ponds: tuple[PondConfig, ...] = ()
    fish: FishConfig | ReedConfig = FishConfig()
    both: tuple[FishConfig, ReedConfig] | None = None
    tree: tuple[tuple[int, FishConfig | ReedConfig | None], ...] = ()
    any: AnyConfig | None = None
    anys: tuple[AnyConfig, ...] = ()
    text_or_any: AnyConfig | str = ""


class CropConfig(Config):
    kind: ClassVar[str] = "mylab.lakes.crop"
    size: int = 32
    crop: int = 28

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError("MNIST-like sizes are even")
        return size

    @model_validator(mode="after")
    def _inside(self) -> "CropConfig":
        if self.crop > self.size:
            raise ValueError("Crop must not exceed size.")
        return self


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ponds": ()} | {"pnds": ()}, r"mylab\.lakes\.lake: pnds: unknown name\. Did you mean 'ponds'\?$"),
        ({"pond": {"frog": 1}}, r": pond\.frog: unknown name\. Did you mean 'frogs'\?$"),
        ({"pond": {"fish": {"lenth": 1.0}}}, r": pond\.fish\.lenth: unknown name\. Did you mean 'length'\?$"),
        ({"ponds": [{}, {"frog": 1}]}, r": ponds\.1\.frog: unknown name\. Did you mean 'frogs'\?$"),
        ({"ponds": [{"fish": {"lenth": 1.0}}]}, r": ponds\.0\.fish\.lenth: unknown name\. Did you mean 'length'\?$"),
        ({"both": [{}, {"stem": 1}]}, r": both\.1\.stem: unknown name\. Did you mean 'stems'\?$"),
        (
            {"fish": {"kind": "mylab.builders.ReedConfig", "stem": 1}},
            r": fish\.ReedConfig\.stem: unknown name\. Did you mean 'stems'\?$",
        ),
        (
            {"tree": [[1, {"kind": "mylab.builders.FishConfig", "nam": ""}]]},
            r": tree\.0\.1\.FishConfig\.nam: unknown name\. Did you mean 'name'\?$",
        ),
        ({"any": {"kind": "mylab.builders.pond", "frog": 1}}, r": any\.frog: unknown name\. Did you mean 'frogs'\?$"),
        (
            {"anys": [{"kind": "mylab.builders.net", "part": {"kind": "mylab.builders.pond", "fish": {"nam": ""}}}]},
            r": anys\.0\.part\.fish\.nam: unknown name\. Did you mean 'name'\?$",
        ),
        ({"zzzz": 1}, r": zzzz: unknown name\. Known: any, anys, both, fish, pond, ponds, text_or_any, tree\.$"),
    ],
)
def test_unknown_names(values, text):
    for record in (values, json.loads(json.dumps(values))):
        with pytest.raises(ConfigError, match=text):
            LakeConfig(**record)
        with pytest.raises(ConfigError, match=text):
            LakeConfig.validated(record)


def test_all_errors_at_once():
    with pytest.raises(ConfigError) as caught:
        LakeConfig(
            pond={"frogs": -1, "dept": 1.0, "fish": {"length": 0.0}},
            any={"kind": "mylab.builders.net", "width": 0, "parts": [{"kind": "mylab.builders.pond", "frogs": "3"}]},
            anys=({"kind": "os.system"}, {"kind": "mylab.builders.frog"}, {}, 3),
            lake=1,
        )
    assert str(caught.value).splitlines() == [
        "mylab.lakes.lake: 10 errors",
        "  pond.frogs: input should be greater than or equal to 0, found -1",
        "  pond.fish.length: input should be greater than 0, found 0.0",
        "  pond.dept: unknown name. Did you mean 'depth'?",
        "  any.width: input should be greater than or equal to 1, found 0",
        "  any.parts.0.frogs: input should be a valid integer, found '3' (this is text: leave out quotes, and write "
        "1.0e-3 for 1e-3, which YAML takes for text)",
        "  anys.0: 'os.system': builders of package 'os' are not allowed here (allowed: cotrain, mylab). If you trust "
        "it, set COTRAIN_BUILDERS=os or name it under 'builders' in cotrain.toml",
        "  anys.1: 'mylab.builders.frog' does not exist in 'mylab.builders'. Known: EverythingConfig, FishConfig, "
        "ReedConfig, net, pond, trainer",
        "  anys.2: needs 'kind', the dotted name of a builder",
        "  anys.3: expected a config, found 3",
        "  lake: unknown name. Known: any, anys, both, fish, pond, ponds, text_or_any, tree.",
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("frogs", True, "input should be a valid integer, found True"),
        ("frogs", 3.0, "input should be a valid integer, found 3.0"),
        ("frogs", "3", "input should be a valid integer, found '3'"),
        ("frogs", None, "input should be a valid integer, found None"),
        ("frogs", np.int64(3), "input should be a valid integer, found np.int64"),
        ("frogs", -1, "input should be greater than or equal to 0, found -1"),
        ("frogs", 100, "input should be less than 100, found 100"),
        ("depth", "0.1", "input should be a valid number, found '0.1' .this is text: leave out quotes"),
        ("depth", True, "input should be a valid number, found True"),
        ("depth", float("nan"), "input should be a finite number, found nan"),
        ("depth", float("inf"), "input should be a finite number, found inf"),
        ("depth", -float("inf"), "input should be a finite number, found -inf"),
        ("depth", 10**400, "input should be a valid number, found 10000"),
        ("depth", None, "input should be a valid number, found None"),
        ("colour", "red", "input should be 'green' or 'blue', found 'red'"),
        ("colour", b"green", "input should be 'green' or 'blue', found b'green'"),
        ("fish", 3, "input should be a valid dictionary or instance of FishConfig, found 3"),
        ("fish", ReedConfig(), "expected a FishConfig, found a ReedConfig"),
        ("fish", {"kind": "mylab.builders.ReedConfig"}, "expected kind 'mylab.builders.FishConfig', found 'mylab.bui"),
        ("fish", {"name": 3}, "name: input should be a valid string, found 3"),
        ("fish", {"name": "\0"}, r"text must hold no NUL and no half of a surrogate pair, found '.x00'"),
        ("fish", {"name": "a\udc00"}, "text must hold no NUL and no half of a surrogate pair, found"),
        ("workers", 2.0, "input should be a valid integer, found 2.0"),
    ],
)
def test_wrong_values(name, value, text):
    with pytest.raises(ConfigError, match=rf"^mylab\.builders\.pond: {name}.?.*{text}"):
        PondConfig(**{name: value})
    with pytest.raises(ConfigError, match=text):
        PondConfig().replace(**{name: value})


@pytest.mark.parametrize("value", [{1}, {1: 2}, "ab", 1, (i for i in ()), np.zeros(2), b"ab", ([1.0, "a"],), {}])
def test_tuples_take_lists_and_tuples_alone(value):
    with pytest.raises(ConfigError, match=r"row.*input should be a valid (tuple|number)"):
        EverythingConfig.validated({"row": value})


def test_whole_numbers_become_floats_where_a_float_is_wanted():
    config = TrainerConfig(lr=1)
    assert type(config.lr) is float
    assert type(TrainerConfig(lr=np.float64(0.1)).lr) is float


def test_required_fields():
    with pytest.raises(ConfigError, match=r"17 errors\n  none: a value is required\n  truth: a value is required\n"):
        EverythingConfig()


def test_errors_of_validators_keep_their_words():
    with pytest.raises(ConfigError, match=r"^mylab\.lakes\.crop: size: MNIST-like sizes are even, found 33$"):
        CropConfig(size=33)
    with pytest.raises(ConfigError, match=r"^mylab\.lakes\.crop: Crop must not exceed size$"):
        CropConfig(crop=40)


def test_names_that_are_no_text():
    with pytest.raises(ConfigError, match="1: keys should be strings, found 1"):
        PondConfig.validated({1: 2})


def test_no_mapping():
    with pytest.raises(ConfigError, match=r"valid dictionary or instance of PondConfig, found \[1\]"):
        PondConfig.validated([1])


def test_union_members_are_told_apart_by_their_kind():
    assert LakeConfig(fish={"kind": "mylab.builders.ReedConfig"}).fish == ReedConfig()
    with pytest.raises(ConfigError, match=r"2 errors\n.*FishConfig: expected kind .*\n.*ReedConfig: expected kind"):
        LakeConfig(fish={"kind": "mylab.builders.pond"})
    with pytest.raises(ConfigError, match=r"text_or_any\.config: needs 'kind'.*\n  text_or_any\.str: input should be"):
        LakeConfig(text_or_any={})
