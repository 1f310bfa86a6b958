"""Configs never change; copies with changes are validated; records and YAML lose nothing."""

import copy
import json
import pickle
import sys
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from mylab.builders import FishConfig, NetConfig, PondConfig, ReedConfig, TrainerConfig
from mylab.strategies import everything, texts
from pydantic import ValidationError

from cotrain import AnyConfig, Config
from cotrain.errors import ConfigError
from cotrain.resolve import read_config

pytestmark = pytest.mark.usefixtures("lab")


class LakeConfig(Config):
    kind: ClassVar[str] = "mylab.lakes.lake"
    pond: PondConfig = PondConfig()
    ponds: tuple[PondConfig, ...] = ()
    tree: tuple[tuple[int, FishConfig | ReedConfig | None], ...] = ()
    any: AnyConfig | None = None


def test_configs_are_frozen():
    config = LakeConfig(pond=PondConfig(frogs=5))
    for change in (lambda: setattr(config, "ponds", ()), lambda: setattr(config.pond, "frogs", 1)):
        with pytest.raises(ValidationError, match="frozen"):
            change()
    with pytest.raises(ValidationError, match="frozen"):
        config.other = 1
    with pytest.raises(ValidationError, match="frozen"):
        del config.ponds
    assert hash(config) == hash(LakeConfig(pond=PondConfig(frogs=5)))


def test_lists_become_tuples_and_records_are_copies():
    config = LakeConfig(tree=[[1, {"name": "eel"}]])
    assert config.tree == ((1, FishConfig(name="eel")),)
    config.record()["tree"][0][0] = 2
    assert config.tree[0][0] == 1


def test_replace():
    base = PondConfig(frogs=5, fish=FishConfig(name="eel", length=0.8))
    assert base.replace() == base
    assert base.replace(frogs=6, depth=2) == PondConfig(frogs=6, depth=2.0, fish=base.fish)
    assert base.replace(fish={"name": "pike"}).fish == FishConfig(name="pike", length=0.8)
    assert base.replace(fish={"kind": base.fish.kind, "name": "pike"}).fish == FishConfig(name="pike")
    assert base.frogs == 5


def test_replace_reaches_any_depth_and_keeps_the_rest():
    base = NetConfig(width=2, part=PondConfig(frogs=7, fish=FishConfig(name="eel", length=0.8)))
    assert base.replace(part={"fish": {"name": "pike"}}) == NetConfig(
        width=2, part=PondConfig(frogs=7, fish=FishConfig(name="pike", length=0.8))
    )
    assert base.replace(part={"kind": "mylab.builders.ReedConfig"}).part == ReedConfig()
    assert base.replace(part=None).part is None
    with pytest.raises(ConfigError, match=r"part\.fish\.nam: unknown name\. Did you mean 'name'\?$"):
        base.replace(part={"fish": {"nam": "pike"}})
    with pytest.raises(ConfigError, match=r"2 errors\n  part\.frogs: .*\n  widht: unknown name\. Did you mean 'width'"):
        base.replace(part={"frogs": "7"}, widht=3)


def test_ways_around_validation_are_closed():
    config = PondConfig()
    for refused in (config.model_copy, config.copy):
        with pytest.raises(TypeError, match=r"model_copy would skip validation; use \.replace\(\*\*changes\)\.$"):
            refused(update={"frogs": "many"})
    with pytest.raises(TypeError, match=r"model_construct would skip validation; use PondConfig\(\.\.\.\)\.$"):
        PondConfig.model_construct(frogs="many")


def test_copies_and_pickles_are_equal():
    config = LakeConfig(any=NetConfig(part=PondConfig()), ponds=(PondConfig(frogs=1),))
    for again in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
        assert again.key() == config.key()


def test_fields_may_be_called_cls_and_self():
    class OddConfig(Config):
        kind: ClassVar[str] = "mylab.lakes.odd"
        cls: Annotated[int, "any metadata"] = 1

    assert OddConfig(cls=2).replace(cls=3).cls == 3


@given(everything)
def test_records_survive(config):
    record = json.loads(json.dumps(config.record()))
    for again in (type(config).from_record(record), type(config).validated(record), read_config(record, stored=True)):
        assert again == config
        assert again.record() == config.record()
        assert again.key() == config.key()


@given(texts, everything)
def test_replace_by_the_same_changes_nothing(text, config):
    assert config.replace(**config.record()) == config
    assert config.replace(text=text).replace(text=config.text).key() == config.key()
    assert config.replace(fish={"length": config.fish.length}) == config


def test_extreme_floats_stay():
    for value in (5e-324, sys.float_info.max, 0.1, 1e22):
        assert TrainerConfig.from_yaml(TrainerConfig(lr=value).to_yaml()).lr == value
