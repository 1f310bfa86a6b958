"""What is refused when a config class is defined: all that could let a value change or a key lie."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
from typing import Annotated, Any, ClassVar, Literal, Optional, TypeVar

import numpy as np
import pydantic
import pytest
from annotated_types import Ge, Len

from cotrain import AnyConfig, Config
from cotrain.errors import ConfigError


class FishConfig(Config):
    kind: ClassVar[str] = "mylab.FishConfig"
    name: str = "carp"
    length: float = 0.3


class TankConfig(Config):
    kind: ClassVar[str] = "mylab.TankConfig"
    fish: FishConfig = FishConfig()


class Colour(enum.StrEnum):
    GREEN = "green"


@dataclasses.dataclass(frozen=True)
class Frozen:
    number: int


def define(annotation: Any, default: Any = ..., **more: Any) -> type[Config]:
    """A config class whose one field `x` has this annotation."""
    body = {"__annotations__": {"x": annotation}, "kind": "mylab.define", "__module__": __name__, **more}
    return types.new_class(
        "DefinedConfig",
        (Config,),
        exec_body=lambda space: space.update(body | ({} if default is ... else {"x": default})),
    )


@pytest.mark.parametrize(
    "annotation",
    [
        *(list, list[int], dict, dict[str, int], set, set[int], frozenset[int], bytes, Any, object, type),
        *(tuple, typing.Tuple, typing.List[int], tuple[list[int], ...], tuple[Any, ...], tuple[int, list[int]]),  # noqa: UP006
        *(pathlib.Path, decimal.Decimal, datetime.date, complex, Colour, Frozen),
        *(typing.Sequence[int], typing.Mapping[str, int], typing.Callable[[], int], TypeVar("T"), type[int]),
        *(int | list[int], Optional[set[int]], Annotated[list[int], Ge(0)], tuple[Annotated[Any, "x"], ...]),  # noqa: UP045
        *(Literal[Colour.GREEN], Literal[b"green"], typing.NamedTuple("Pair", [("a", int)]), pydantic.BaseModel),
        *(typing.NewType("Name", str), typing.Hashable, Literal[b"a", "a"]),
    ],
)
def test_fields_that_could_change_or_have_no_text(annotation):
    with pytest.raises(TypeError, match=r"^DefinedConfig\.x: a config may hold None, bool, .*Write a tuple for a list"):
        define(annotation)


@pytest.mark.parametrize("annotation", [np.ndarray, np.float64, np.int64, bytearray, typing.LiteralString, Exception])
def test_fields_that_pydantic_does_not_know(annotation):
    with pytest.raises(pydantic.errors.PydanticSchemaGenerationError):
        define(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        *(
            None,
            bool,
            int,
            float,
            str,
            tuple[()],
            tuple[int, ...],
            tuple[tuple[str, float], ...],
            FishConfig,
            AnyConfig,
        ),
        *(int | None, Optional[float], int | str | bool, Literal["a", 1, True, None], tuple[int, float], float | str),  # noqa: UP045
        *(tuple[int, float] | None, Annotated[int, Ge(0)] | None, Annotated[tuple[int, ...], Len(2)], float | bool),
        *(FishConfig | TankConfig | None, tuple[AnyConfig | None, ...], pydantic.StrictInt, typing.Tuple[int, ...]),  # noqa: UP006
    ],
)
def test_all_else_is_allowed(annotation):
    assert list(define(annotation).model_fields) == ["x"]


@pytest.mark.parametrize(
    "annotation",
    [
        int | float,
        float | int | None,
        Annotated[int, Ge(0)] | Annotated[float, Ge(0)],
        tuple[int | float, ...],
        tuple[int, ...] | tuple[float, ...],
        tuple[str, int] | tuple[str, tuple[float, ...]],
    ],
)
def test_int_or_float_is_refused_because_json_columns_forget_which(annotation):
    with pytest.raises(TypeError, match=r"x: stored numbers forget whether they were int or float; float takes both"):
        define(annotation)


@pytest.mark.parametrize(
    "kind", ["", "net", ".net", "mylab.", "mylab..net", "mylab._net", "my lab.net", "a.b\n", 3, None]
)
def test_kind_is_a_public_dotted_name(kind):
    with pytest.raises(
        TypeError, match=r"^DefinedConfig must state kind: ClassVar\[str\] = 'package\.module\.builder'"
    ):
        define(int, kind=kind)


def test_kind_is_stated_by_each_class():
    with pytest.raises(TypeError, match=r"BigFishConfig must state kind"):

        class BigFishConfig(FishConfig):
            weight: float = 1.0


@pytest.mark.filterwarnings("ignore:Field name")
def test_kind_is_no_field():
    with pytest.raises(TypeError, match=r"WrongConfig must state kind: ClassVar"):

        class WrongConfig(Config):
            kind: str = "mylab.wrong"


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize(
    "name", ["key", "identity", "record", "replace", "from_record", "validated", "to_yaml", "copy"]
)
def test_names_of_methods_are_no_fields(name):
    with pytest.raises(
        TypeError, match=rf"DefinedConfig\.{name}: every config has a method of this name; choose another"
    ):
        define(int, __annotations__={name: int})


def test_abstract_configs_are_bases_only():
    class AnyFishConfig(Config, abstract=True):
        fins: int = 4

    class SmallFishConfig(FishConfig, abstract=True):
        small: bool = True

    class EelConfig(AnyFishConfig):
        kind: ClassVar[str] = "mylab.eel"

    class BowlConfig(Config):
        kind: ClassVar[str] = "mylab.bowl"
        fish: AnyFishConfig

    assert EelConfig().record() == {"kind": "mylab.eel", "fins": 4}
    for cls in (Config, AnyFishConfig, SmallFishConfig):
        for make in (cls, lambda cls=cls: cls.validated({}), lambda cls=cls: cls.from_record({"kind": ""})):
            with pytest.raises(
                ConfigError, match=rf"^{cls.__name__}: {cls.__name__} has no kind: use a subclass of it"
            ):
                make()
    with pytest.raises(ConfigError, match=r"fish: AnyFishConfig has no kind: .*annotate the field with AnyConfig"):
        BowlConfig(fish=EelConfig())


def test_a_subclass_does_not_stand_for_its_parent():
    """Its record would say another kind than the field reads back."""

    class ShinyFishConfig(FishConfig):
        kind: ClassVar[str] = "mylab.ShinyFishConfig"

    for values in (ShinyFishConfig(), ShinyFishConfig().record()):
        with pytest.raises(ConfigError, match=r"fish: expected (a FishConfig|kind 'mylab\.FishConfig'), found .*Shiny"):
            TankConfig(fish=values)


def test_settings_of_pydantic_cannot_be_weakened():
    for weaker in ({"extra": "allow"}, {"frozen": False}, {"strict": False}, {"allow_inf_nan": True}):
        with pytest.raises(TypeError, match="DefinedConfig: model_config is the same for all configs; leave it out"):
            define(int, model_config=weaker)
    with pytest.raises(TypeError, match="model_config is the same for all"):

        class LooseConfig(Config, extra="allow"):
            kind: ClassVar[str] = "mylab.loose"


@pytest.mark.parametrize(
    "field",
    [
        pydantic.Field(1, alias="y"),
        pydantic.Field(1, validation_alias="y"),
        pydantic.Field(1, serialization_alias="y"),
        pydantic.Field(default_factory=lambda: 1),
    ],
)
def test_aliases_and_factories(field):
    with pytest.raises(TypeError, match=r"x: a config's field has no alias and no default_factory; write the default"):
        define(int, field)


def test_private_fields():
    with pytest.raises(TypeError, match=r"DefinedConfig: private fields are in no record: _hidden\."):
        define(int, 1, _hidden=pydantic.PrivateAttr(1))


def test_names_that_are_not_yet_defined():
    with pytest.raises(TypeError, match=r"x: what .*Later.* names must be defined or imported before this class\.$"):
        define("Later")


def test_a_wrong_default_is_an_error_at_the_first_use():
    with pytest.raises(ConfigError, match="x: input should be a valid integer, found 'a'"):
        define(int, "a")()
