"""What `cotrain show` tells of rooms and configs."""

import importlib
import re

import pytest

from cotrain.config import Config
from cotrain.describe import ROOMS, describe
from cotrain.errors import BuilderError
from cotrain.resolve import config_class


def configs_of(room):
    members = vars(importlib.import_module(f"cotrain.{room}")).values()
    return {found.kind for found in members if isinstance(found, type) and issubclass(found, Config) and found.kind}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_every_config_it_offers(room):
    text = describe(room)
    shown = re.findall(r"^cotrain\.\S+$", text, re.MULTILINE)
    assert set(shown) == configs_of(room)
    assert len(shown) == len(set(shown)) > 0


@pytest.mark.parametrize("kind", sorted(set().union(*(configs_of(room) for room in ROOMS))))
def test_a_config_shows_every_field_with_its_default(kind):
    cls = config_class(kind)
    text = describe(kind)
    first, purpose, *_ = text.splitlines()
    assert first == kind
    assert purpose.strip()
    for name, field in cls.model_fields.items():
        (line,) = re.findall(rf"^    {name}: (.*)$", text, re.MULTILINE)
        assert ("required" in line) == field.is_required()
        if not field.is_required():
            assert f"= {field.default!r}" in line
        for noise in ("typing.", "Annotated", "<class", "PlainValidator", "annotated_types", "Literal["):
            assert noise not in line


def test_types_bounds_and_remarks_read_as_in_a_config_file():
    lines = {
        line.strip().partition(":")[0]: line.strip() for line in describe("cotrain.data.MixingConfig").splitlines()
    }
    assert lines["batch_size"] == "batch_size: int >= 1 = 64"
    assert lines["sessions"].startswith("sessions: 'rotation' | 'by_size' = 'rotation'  # ")
    # the remark below a field is told as one beside it
    assert lines["ratios"].startswith(
        "ratios: ((int >= 1, ((str, float >= 0 | str), ...)), ...) = ()  # (from epoch, ("
    )
    assert lines["ratios"].endswith("that an entry leaves out rests until the next entry.")
    assert lines["main"].startswith("main: str required  # the task whose pass ")
    assert "    optimiser: config of any builder = AdamWConfig(" in describe("cotrain.training.trainer")
    assert "    clip_norm: float > 0 | None = None" in describe("cotrain.training.trainer")
    assert "    lr: float > 0 = 0.002\n" in describe("cotrain.training.adamw")


def test_a_config_without_a_builder_is_shown_too():
    assert describe("cotrain.tasks.TaskConfig").startswith("cotrain.tasks.TaskConfig\n")


@pytest.mark.usefixtures("lab")
def test_a_labs_own_builder_is_shown():
    text = describe("mylab.builders.pond")
    assert text.startswith("mylab.builders.pond\n")
    assert "    frogs: int >= 0 < 100 = 3\n" in text
    assert "    colour: 'green' | 'blue' = 'green'\n" in text
    assert "    fish: FishConfig = FishConfig(name='carp', length=0.3)\n" in text


@pytest.mark.parametrize("what", ["a2493a00", "co-trained", "analysis", "", "elsewhere.pond", "a.b.c"])
def test_what_is_no_room_and_no_config_may_be_a_run(what):
    assert describe(what) is None


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("cotrain.models.smal_cnn", r"^'cotrain\.models\.smal_cnn' does not exist .* Did you mean 'small_cnn'\?$"),
        ("cotrain.model.small_cnn", r"^'cotrain\.model\.small_cnn': there is no module 'cotrain\.model'\.$"),
        ("cotrain.models", r"^'cotrain\.models' is no builder"),
        ("cotrain.models._backbone.small_cnn", r"is private or no name"),
    ],
)
def test_a_name_of_cotrain_that_is_wrong_is_an_error(what, text):
    with pytest.raises(BuilderError, match=text):
        describe(what)
