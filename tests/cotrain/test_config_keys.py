"""The rule of keys: equal experiments have one key for ever, different ones never share one."""

import hashlib
import json
import random
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mylab.builders import EverythingConfig, FishConfig, NetConfig, PondConfig
from mylab.strategies import everything, numbers

from cotrain import Config, NotIdentity
from cotrain.config import canonical, content_key
from cotrain.resolve import read_config

pytestmark = pytest.mark.usefixtures("lab")


def meaning(value: Any) -> Any:
    """What a config says, told apart by type: an independent statement of the identity, without AddedLater."""
    if isinstance(value, Config):
        fields = type(value).model_fields
        kept = sorted(name for name in fields if not any(isinstance(m, NotIdentity) for m in fields[name].metadata))
        return (value.kind, *((name, meaning(getattr(value, name))) for name in kept))
    if isinstance(value, tuple):
        return ("tuple", *map(meaning, value))
    return (type(value).__name__, value)  # -0.0 == 0.0, as wanted


def shuffled(value: Any, order: random.Random) -> Any:
    """The same JSON values with the names of each mapping in another order."""
    if isinstance(value, dict):
        names = list(value)
        order.shuffle(names)
        return {name: shuffled(value[name], order) for name in names}
    return [shuffled(v, order) for v in value] if isinstance(value, list) else value


def postgres_json(value: Any) -> str:
    """JSON text as PostgreSQL's jsonb returns it: names sorted by length, numbers without exponents."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name), name))
        return "{" + ", ".join(f"{json.dumps(name)}: {postgres_json(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(postgres_json, value)) + "]"
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def test_the_key_by_hand():
    text = (
        "cotrain-config/1\n"
        '{"colour":"green","depth":0.5,'
        '"fish":{"kind":"mylab.builders.FishConfig","length":1e-05,"name":"h\\u00e9"},'
        '"frogs":3,"kind":"mylab.builders.pond"}'
    )
    config = PondConfig(fish=FishConfig(name="hé", length=0.00001), workers=99)
    assert config.key() == hashlib.sha256(text.encode("ascii")).hexdigest()[:32] == "72ebcfef7b59d16abaf55b7339cde0eb"


def test_canonical_text():
    content = {"b": [1, 1.0, True, None, "é"], "a": {}}
    assert canonical(content) == '{"a":{},"b":[1,1.0,true,null,"\\u00e9"]}'
    assert content_key("scheme/1", content) != content_key("scheme/2", content)
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical([float("nan")])


@given(everything, st.randoms(use_true_random=False))
def test_keys_are_stable(config, order):
    values = [(name, getattr(config, name)) for name in type(config).model_fields]
    order.shuffle(values)
    again = EverythingConfig(**dict(values))
    assert again.key() == config.key() == EverythingConfig.from_record(config.record()).key()
    assert len(config.key()) == 32
    assert set(config.key()) <= set("0123456789abcdef")


@given(everything, everything, st.data())
def test_different_identities_have_different_keys(config, other, data):
    names = data.draw(st.sets(st.sampled_from(sorted(EverythingConfig.model_fields)), max_size=2))
    changed = config.replace(**{name: getattr(other, name) for name in names})
    assert (changed.key() == config.key()) == (meaning(changed) == meaning(config))
    assert (other.key() == config.key()) == (meaning(other) == meaning(config))


def test_values_that_python_calls_equal_or_prints_alike():
    base = {"none": None, "truth": True, "whole": 1, "number": 1, "text": "", "choice": 1, "maybe": None}
    base |= {"pair": (1, ""), "row": (), "empty": (), "schedule": (), "fish": FishConfig(), "pond": None}
    base |= {"school": (), "any": None, "anys": (), "mixed": None}
    config = EverythingConfig(**base)
    variants = [
        *(config.replace(mixed=value) for value in (0, 1, True, False, "1", "True", "true", "", None, "null", "None")),
        *(config.replace(choice=value) for value in ("1", None, "no")),
        *(config.replace(text=value) for value in ("é", "e\u0301", "\\u00e9", "a", "A", " a", "a ", "a\n")),
        *(config.replace(row=value) for value in ((1,), (1, 1), (0.1 + 0.2,), (0.3,), (5e-324,))),
        *(config.replace(anys=value) for value in ((FishConfig(),), (FishConfig(), FishConfig()), (NetConfig(),))),
        *(config.replace(maybe=0), config.replace(any=FishConfig()), config.replace(pond=FishConfig())),
        *(config.replace(whole=2**53), config.replace(whole=2**53 + 1), config.replace(number=2**53)),
        config.replace(schedule=((1, (("a", 1), ("b", 1))),)),
        config.replace(schedule=((1, (("a", 1),)), (1, (("b", 1),)))),
    ]
    assert len({variant.key() for variant in variants}) == len(variants)


@given(numbers)
def test_a_number_has_one_key(number):
    def keys(value: float) -> set[str]:
        return {PondConfig(depth=value).key(), NetConfig(part=PondConfig(depth=value)).key()}

    assert keys(number) == keys(number + 0.0)
    if number == 0:
        assert keys(0.0) == keys(-0.0) == keys(0)
        assert "-" not in canonical(PondConfig(depth=number).record())
    if number.is_integer():
        assert keys(number) == keys(int(number))


@given(everything, st.randoms(use_true_random=False))
def test_stored_records_keep_the_key(config, order):
    for text in (json.dumps(shuffled(config.record(), order)), postgres_json(config.record())):
        again = read_config(json.loads(text), stored=True)
        assert again.key() == config.key()
        assert again.record() == config.record()


def test_equal_fields_under_different_kinds():
    class PoolConfig(Config):
        kind: ClassVar[str] = "mylab.pool"
        frogs: int = 3

    class TubConfig(Config):
        kind: ClassVar[str] = "mylab.tub"
        frogs: int = 3

    class SmallPondConfig(PondConfig):
        kind: ClassVar[str] = "mylab.small_pond"

    assert PoolConfig().key() != TubConfig().key()
    assert SmallPondConfig().key() != PondConfig().key()
