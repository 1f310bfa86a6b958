"""Keys and stored records over releases: two versions of a class with one kind stand for two releases."""

import json
import types
from typing import Annotated, Any

import mylab.releases
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mylab.builders import FishConfig
from mylab.strategies import texts

from cotrain import AddedLater, AnyConfig, Config, NotIdentity
from cotrain.errors import ConfigError

pytestmark = pytest.mark.usefixtures("lab")


def release(name: str = "PartConfig", **fields: Any) -> type[Config]:
    """The class `name` in one release: fields as name=(annotation, default), or name=annotation."""
    body: dict[str, Any] = {"kind": f"mylab.releases.{name}", "__module__": __name__, "__annotations__": {}}
    for field, held in fields.items():
        annotation, *default = held if isinstance(held, tuple) else (held,)
        body["__annotations__"][field] = annotation
        if default:
            body[field] = default[0]
    return types.new_class(name, (Config,), exec_body=lambda space: space.update(body))


@given(st.integers(), st.integers(), st.integers(), st.integers())
def test_a_field_added_later_keeps_old_keys_whatever_its_default(depth, neutral, default, value):
    first = release(depth=(int, 16))
    second = release(depth=(int, 16), width=(Annotated[int, AddedLater(neutral=neutral)], default))
    assert second(depth=depth, width=neutral).key() == first(depth=depth).key()
    assert second(depth=depth, width=neutral).identity() == first(depth=depth).identity()
    new = second(depth=depth, width=value)
    assert (new.key() == first(depth=depth).key()) == (value == neutral)
    assert (second(depth=depth).key() == first(depth=depth).key()) == (default == neutral)
    assert second(depth=depth, width=neutral).record()["width"] == neutral  # records leave nothing out


@given(st.integers(), st.integers(), st.integers())
def test_old_records_are_read_with_neutral_not_with_the_default(depth, neutral, default):
    first = release(depth=(int, 16))
    second = release(depth=(int, 16), width=(Annotated[int, AddedLater(neutral=neutral)], default))
    old = first(depth=depth)
    read = second.from_record(json.loads(json.dumps(old.record())))
    assert read.width == neutral
    assert read.key() == old.key()
    assert second.validated(old.record()).width == default  # what a person writes is completed with the default


@given(st.integers(), st.integers())
def test_a_changed_default_cannot_collide(old_default, new_default):
    assume(old_default != new_default)
    first, second = release(depth=(int, old_default)), release(depth=(int, new_default))
    assert first().key() != second().key()
    assert first().key() == second(depth=old_default).key()
    assert second.from_record(first().record()).depth == old_default


def test_three_releases():
    first = release(a=(int, 1))
    second = release(a=(int, 1), b=(Annotated[float, AddedLater(neutral=-0.0)], 0.5))
    third = release(
        a=(int, 2),
        b=(Annotated[float, AddedLater(neutral=0)], 0.7),
        c=(Annotated[tuple[str, ...] | None, AddedLater(neutral=None)], ("x",)),
    )
    for old in (first(), first(a=5), second(), second(b=0), second(a=3, b=0.7)):
        assert third.from_record(old.record()).key() == old.key()
        assert third.from_record(old.record()).c is None
    assert len({first().key(), second().key(), third().key(), third(a=1, b=0).key(), third(c=()).key()}) == 5


@pytest.mark.parametrize("missing", ["a", "b"])
def test_a_stored_record_that_lacks_a_first_field_is_refused(missing):
    part = release(a=(int, 1), b=(Annotated[int | None, "no mark"], None), c=(Annotated[int, NotIdentity()], 3))
    record = part().record()
    del record[missing]
    with pytest.raises(
        ConfigError, match=rf"PartConfig: the stored record lacks '{missing}', which was never optional"
    ):
        part.from_record(record)
    record = {"kind": "mylab.releases.HolderConfig", "parts": [record]}
    holder = release("HolderConfig", parts=tuple[part, ...])
    with pytest.raises(ConfigError, match=rf"HolderConfig: parts\.0: the stored record lacks '{missing}'"):
        holder.from_record(record)
    assert holder.validated(record).parts == (part(),)


def test_a_stored_record_with_a_field_that_is_gone_is_refused():
    with pytest.raises(ConfigError, match=r"old: unknown name"):
        release(a=(int, 1)).from_record(release(a=(int, 1), old=(int, 2))().record())


@pytest.mark.parametrize("field", ["part", "maybe", "parts", "any", "anys", "deep"])
def test_nested_configs_follow_the_same_rules(field, monkeypatch):
    def of_release(part: type[Config]) -> tuple[type[Config], type[Config]]:
        monkeypatch.setattr(mylab.releases, "PartConfig", part, raising=False)
        fields: dict[str, Any] = {"part": part, "maybe": part | None, "parts": tuple[part, ...]}
        fields |= {"any": AnyConfig, "anys": tuple[AnyConfig, ...], "deep": tuple[tuple[int, part | FishConfig], ...]}
        return part, release("HolderConfig", **{field: fields[field]})

    def held(part: Config) -> Any:
        return {"parts": (part,), "anys": (FishConfig(), part), "deep": ((0, FishConfig()), (1, part))}.get(field, part)

    first, first_holder = of_release(release(a=(int, 1), workers=(Annotated[int, NotIdentity()], 1)))
    old = first_holder(**{field: held(first(a=5))})
    assert old.key() == first_holder(**{field: held(first(a=5, workers=9))}).key()
    assert old.key() != first_holder(**{field: held(first(a=6))}).key()

    fields = {"a": (int, 2), "b": (Annotated[int, AddedLater(neutral=0)], 7)}
    second, second_holder = of_release(release(**fields, workers=(Annotated[int, NotIdentity()], 2)))
    read = second_holder.from_record(json.loads(json.dumps(old.record())))
    assert read == second_holder(**{field: held(second(a=5, b=0, workers=1))})
    assert read.key() == old.key()
    assert second_holder(**{field: held(second(a=5))}).key() != old.key()


def test_a_neutral_config_keeps_its_meaning_when_its_class_gets_fields():
    fish = release("FishConfig", length=(int, 1))
    first, second = release(a=(int, 1)), release(a=(int, 1), fish=Annotated[fish, AddedLater(neutral=fish(length=1))])
    assert second.from_record(first().record()).key() == first().key() == second(fish=fish(length=1)).key()

    fish = release("FishConfig", length=(int, 99), fins=(Annotated[int, AddedLater(neutral=4)], 6))
    with pytest.raises(TypeError, match=r"fish: neutral must not rest on defaults; state FishConfig\.fins"):
        release(a=(int, 1), fish=Annotated[fish, AddedLater(neutral=fish(length=1))])
    third = release(a=(int, 1), fish=Annotated[fish, AddedLater(neutral=fish(length=1, fins=4))])
    assert third.from_record(first().record()).key() == first().key()
    assert third(fish=fish(length=1)).key() != first().key()


@given(st.integers(), texts)
def test_what_is_not_identity_never_enters(workers, comment):
    part = release(a=(int, 1), workers=(Annotated[int, NotIdentity()], 1), comment=(Annotated[str, NotIdentity()], ""))
    config = part(workers=workers, comment=comment)
    assert config.key() == part().key() == release(a=(int, 1))().key()
    assert config.identity() == {"kind": "mylab.releases.PartConfig", "a": 1}
    assert part.from_record(config.record()) == config
    assert part.from_record({"a": 1}) == part()


def test_a_field_may_carry_both_marks():
    both = release(a=(int, 1), cache=(Annotated[str, NotIdentity(), AddedLater(neutral="")], "c"))
    assert both(cache="x").key() == release(a=(int, 1))().key()
    assert both.from_record({"a": 1}).cache == "c"
