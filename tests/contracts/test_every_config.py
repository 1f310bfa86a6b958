"""Every public config leads back to itself, and the key of one instance of each is pinned for ever.

`python tests/contracts/test_every_config.py` pins the classes that tests/golden/keys.json lacks. It changes no entry.
"""

import functools
import importlib
import importlib.util
import inspect
import json
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import DigitsConfig
from cotrain.errors import CotrainError
from cotrain.models import CifarResNetConfig
from cotrain.resolve import config_class, read_config, resolve

GOLDEN = Path(__file__).parents[1] / "golden" / "keys.json"
FACES = [
    f"cotrain.{room}"
    for room in (
        "analysis",
        "data",
        "evaluations",
        "losses",
        "metrics",
        "models",
        "tasks",
        "training",
        "training.hooks",
    )
]
MINIMUM = 97  # configs found; raise it when configs are added, so that a broken search is seen

# For classes whose required fields `example` cannot guess: {kind: record}.
RUN = {"data": DigitsConfig(), "shown": "digits", "run": "0123456789abcdef" * 2}
EXAMPLES: dict[str, dict[str, Any]] = {
    "cotrain.training.teacher_responses": {**RUN, "layer": "layer3"},
    "cotrain.training.predicted_responses": {**RUN, "predicted": "v4"},
    "cotrain.training.network_rdm": {"data": DigitsConfig(), "shown": "digits", "network": CifarResNetConfig()},
    "cotrain.models.penultimate": {"name": "resnet18"},
    "cotrain.training.start_from": {"model": DigitsConfig(), "run": RUN["run"]},
    "cotrain.training.hooks.clip_gradients": {"norm": 1.0},
    "cotrain.training.hooks.match_representations": {"layers": ("layer1",), "snr": ((4.0, 0.5),)},
    "cotrain.training.hooks.noise": {"std": ((0.1, 0.5),)},
    "cotrain.training.hooks.reset_readouts": {"tasks": ("v1",), "every": 5},
}


@functools.cache
def public_configs() -> dict[str, type[Config]]:
    """{place: class} of the concrete configs that the faces offer."""
    found = {}
    for face in FACES:
        spec = importlib.util.find_spec(face)
        if spec is None or spec.origin is None:
            continue  # not written yet
        module = importlib.import_module(face)
        for name in getattr(module, "__all__", sorted(n for n in vars(module) if not n.startswith("_"))):
            member = getattr(module, name)
            is_config = inspect.isclass(member) and issubclass(member, Config) and member.kind
            if is_config and (hasattr(module, "__all__") or member.__module__ == face):
                found[f"{face}.{name}"] = member
    return found


def all_configs(base: type[Config] = Config) -> set[type[Config]]:
    """The concrete configs that cotrain's own modules define, public or not; examples in docstrings are none."""
    below = {found for cls in base.__subclasses__() for found in {cls} | all_configs(cls)}
    own = {cls for cls in below if cls.kind and cls.__module__.startswith("cotrain.")}
    return {cls for cls in own if getattr(sys.modules[cls.__module__], cls.__qualname__, None) is cls}


def golden() -> dict[str, dict[str, Any]]:
    return json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}


def problems(check: typing.Callable[[type[Config]], str | None]) -> dict[str, str]:
    return {place: text for place, cls in public_configs().items() if (text := check(cls))}


def test_enough_configs_were_found():
    assert len(public_configs()) >= MINIMUM
    kinds = [cls.kind for cls in public_configs().values()]
    assert len(set(kinds)) == len(kinds), "two classes of one kind, or one class at two places"


def test_every_config_is_public():
    public = set(public_configs().values())
    assert {f"{cls.__module__}.{cls.__qualname__}" for cls in all_configs() - public} == set()


def test_every_kind_leads_back_to_its_config():
    def check(cls: type[Config]) -> str | None:
        try:
            return None if config_class(cls.kind) is cls else f"{cls.kind} leads to {config_class(cls.kind)}"
        except CotrainError as error:
            return str(error)

    assert problems(check) == {}


def test_builders_take_their_config_and_keyword_seeds():
    def check(cls: type[Config]) -> str | None:
        builder = resolve(cls.kind)
        if builder is cls:
            return None
        parameters = inspect.signature(builder).parameters
        seed = parameters.get("seed")
        if seed is not None and seed.kind is not inspect.Parameter.KEYWORD_ONLY:
            return "seed must be a keyword-only argument"
        return None if "config" in parameters else "no parameter 'config'"

    assert problems(check) == {}


def test_configs_say_what_they_are_for():
    assert problems(lambda cls: None if cls.__doc__ and cls.__doc__ != Config.__doc__ else "no docstring") == {}


def test_no_key_is_lacking():
    lacking = sorted(cls.kind for cls in public_configs().values() if cls.kind not in golden())
    assert lacking == [], "pin them with `python tests/contracts/test_every_config.py`, which changes no other entry"


def test_keys_are_what_they_were():
    def check(kind: str, held: dict[str, Any]) -> str | None:
        try:
            key = read_config(held["record"], stored=True).key()
        except CotrainError as error:
            return f"a stored config can no longer be read: {error}"
        return None if key == held["key"] and held["record"]["kind"] == kind else f"the key is now {key}"

    changed = {kind: text for kind, held in golden().items() if (text := check(kind, held))}
    assert changed == {}, (
        "rows in lab databases depend on these. A new field needs AddedLater(neutral=...); a field or a kind that "
        "goes needs a decision record and an entry in CHANGELOG.md"
    )


def test_pinned_instances_state_every_field_of_their_release():
    """What is pinned must be a whole record: only fields that came later, or never count, may be absent."""
    for kind, held in golden().items():
        fields = config_class(kind).model_fields
        absent = [name for name in fields if name not in held["record"]]
        marks = (AddedLater, NotIdentity)
        assert all(any(isinstance(mark, marks) for mark in fields[name].metadata) for name in absent), kind


def example(annotation: Any, metadata: tuple[Any, ...] = ()) -> Any:
    """A value that a field of this type takes."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return example(parts[0], (*parts[1:], *metadata))
    if annotation is Config:  # AnyConfig
        return next(cls for place, cls in public_configs().items() if place.endswith(".DigitsConfig"))()
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        return instance(annotation)
    if origin is tuple:
        return tuple(example(part) for part in parts if part is not Ellipsis)
    if origin in (typing.Union, types.UnionType):
        return next(example(part) for part in parts if part is not type(None))
    guesses = parts if origin is Literal else ("example", "1/3", "1ep", 1, 2, 16, 0, 0.5, 1.0, 0.0, True, None)
    for mark in metadata:
        annotation = Annotated[annotation, mark]
    takes = TypeAdapter(annotation, config=ConfigDict(strict=True))
    for guess in guesses:
        try:
            return takes.validate_python(guess)
        except ValidationError:
            continue
    raise LookupError(f"no example of {annotation}; write one into EXAMPLES")


def instance(cls: type[Config]) -> Config:
    """An instance with defaults where there are any, and examples elsewhere."""
    if cls.kind in EXAMPLES:
        return cls.validated(EXAMPLES[cls.kind])
    required = {name: field for name, field in cls.model_fields.items() if field.is_required()}
    return cls(**{name: example(field.annotation, tuple(field.metadata)) for name, field in required.items()})


def add_missing(path: Path = GOLDEN) -> list[str]:
    """Pin the configs that the file lacks; returns their kinds."""
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    lacking = sorted({cls.kind: cls for cls in public_configs().values() if cls.kind not in held}.items())
    for kind, cls in lacking:
        config = instance(cls)
        held[kind] = {"key": config.key(), "record": config.record()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(sorted(held.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [kind for kind, _ in lacking]


@pytest.mark.skipif(not public_configs(), reason="no config is public yet")
def test_pinning_adds_and_never_changes(tmp_path):
    path = tmp_path / "golden" / "keys.json"
    assert add_missing(path) == sorted(cls.kind for cls in public_configs().values())
    held = json.loads(path.read_text(encoding="utf-8"))
    kind = max(held)
    changed = {**held, kind: {"key": "as it was", "record": {}}}
    del changed[min(held)]
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert add_missing(path) == [min(held)]
    assert json.loads(path.read_text(encoding="utf-8")) == {**held, kind: changed[kind]}


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"pinned in {GOLDEN}: {', '.join(add_missing()) or 'nothing new'}\n")
