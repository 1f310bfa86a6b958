"""`AddedLater` and `NotIdentity` are refused, when the class is defined, where they would not do what they say."""

import types
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge

from cotrain import AddedLater, AnyConfig, Config, NotIdentity


class FishConfig(Config):
    kind: ClassVar[str] = "mylab.FishConfig"
    name: str = "carp"
    length: float = 0.3
    workers: Annotated[int, NotIdentity()] = 1


class TankConfig(Config):
    kind: ClassVar[str] = "mylab.TankConfig"
    fish: FishConfig = FishConfig()


def define(annotation: Any, default: Any = ...) -> type[Config]:
    """A config class whose one field `x` has this annotation."""
    body = {"__annotations__": {"x": annotation}, "kind": "mylab.define", "__module__": __name__}
    if default is not ...:
        body["x"] = default
    return types.new_class("DefinedConfig", (Config,), exec_body=lambda space: space.update(body))


@pytest.mark.parametrize("mark", [AddedLater, NotIdentity])
def test_marks_have_brackets(mark):
    with pytest.raises(TypeError, match=rf"x: write {mark.__name__}\(\.\.\.\), with brackets"):
        define(Annotated[int, mark], 1)


@pytest.mark.parametrize("mark", [AddedLater(neutral=0), NotIdentity()])
def test_marks_are_of_whole_fields(mark):
    for annotation in (Annotated[int, mark] | None, tuple[Annotated[int, mark], ...]):
        with pytest.raises(TypeError, match=r"must mark the whole field: Annotated\[<all of its type>, (AddedL|NotId)"):
            define(annotation)


def test_equal_neutral_values_of_other_types_are_kept_apart():
    first = define(Annotated[bool, AddedLater(neutral=False)])
    assert first is not None
    with pytest.raises(TypeError, match=r"neutral=0 is no value of the field"):
        define(Annotated[bool, AddedLater(neutral=0)])


@pytest.mark.parametrize(
    ("annotation", "neutral"),
    [
        *(
            (int, 0.5),
            (int, "0"),
            (int, None),
            (int, True),
            (bool, 0),
            (float, "0.0"),
            (float, float("nan")),
            (str, None),
        ),
        *(
            (Annotated[int, Ge(1)], 0),
            (Literal["a", "b"], "c"),
            (tuple[int, ...], [1]),
            (tuple[int, ...], 1),
            (None, 0),
        ),
        *((FishConfig, 1), (FishConfig, TankConfig()), (FishConfig, {"name": "eel"}), (FishConfig | None, "none")),
        *((AnyConfig, None), (int, ...), (tuple[tuple[int, str], ...], ((1, 2),))),
    ],
)
def test_neutral_is_a_value_of_the_field(annotation, neutral):
    with pytest.raises(TypeError, match=r"^DefinedConfig\.x: neutral=.* is no value of the field: "):
        define(Annotated[annotation, AddedLater(neutral=neutral)])


@pytest.mark.parametrize(
    ("annotation", "neutral"),
    [
        (int, 0),
        (float, 1),
        (int | None, None),
        (tuple[int, ...], ()),
        (FishConfig | None, None),
        (AnyConfig | None, None),
    ]
    + [
        (annotation, FishConfig(name="eel", length=1.0))
        for annotation in (FishConfig, AnyConfig, FishConfig | TankConfig)
    ]
    + [(FishConfig, {"name": "eel", "length": 1.0}), (TankConfig, TankConfig(fish=FishConfig(name="eel", length=1.0)))],
)
def test_neutral_values(annotation, neutral):
    cls = define(Annotated[annotation, AddedLater(neutral=neutral)])
    assert cls(x=neutral).identity() == {"kind": "mylab.define"}


@pytest.mark.parametrize(
    ("annotation", "neutral", "unstated"),
    [
        (FishConfig, FishConfig(), r"FishConfig\.name, FishConfig\.length"),
        (AnyConfig | None, FishConfig(name="eel"), r"FishConfig\.length"),
        (tuple[FishConfig, ...], (FishConfig(length=1.0),), r"FishConfig\.name"),
        (TankConfig, TankConfig(fish=FishConfig(name="eel")), r"FishConfig\.length"),
    ],
)
def test_a_neutral_config_rests_on_no_default(annotation, neutral, unstated):
    with pytest.raises(TypeError, match=rf"x: neutral must not rest on defaults; state {unstated}\.$"):
        define(Annotated[annotation, AddedLater(neutral=neutral)])
