"""Typed configs: strict, frozen, with a key that names the experiment for ever.

A builder's config is a subclass of `Config`. Its fields are its schema, its `kind` is the public dotted name of
the builder that it belongs to. `docs/decisions/0003-keys.md` explains the rule behind `Config.key`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import no_info_before_validator_function

from cotrain._fields import AddedLater, NotIdentity, check_annotation, check_marks, find_mark, is_public_name
from cotrain._yaml import read_yaml, write_yaml
from cotrain.errors import ConfigError, did_you_mean

__all__ = ["AddedLater", "Config", "NotIdentity", "canonical", "config_error", "content_key", "passed_up"]

KEY_SCHEME = "cotrain-config/1"
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL's JSON holds none of these


def content_key(scheme: str, content: Any) -> str:
    """32 hexadecimal digits that name JSON-ready `content`: SHA-256 of its canonical text under `scheme`."""
    return hashlib.sha256(f"{scheme}\n{canonical(content)}".encode()).hexdigest()[:32]


def canonical(content: Any) -> str:
    """JSON text that is the same for equal content on every machine: sorted, no spaces, ASCII, no NaN."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


if typing.TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _ConfigMeta(ModelMetaclass):
    """Turns pydantic's report into ours where a config is made by hand (pydantic calls this once, at the top)."""

    def __call__(cls, /, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise config_error(typing.cast("type[Config]", cls), error) from None


class Config(BaseModel, metaclass=_ConfigMeta):
    """Base of every config: unknown names and wrong types are refused, values never change.

    Fields may be None, bool, int, float, str, `Literal`, another config, a union of these, or tuples of them.
    `abstract=True` declares a class that only serves as the base of others and has no `kind`.

    Example:
        >>> class PondConfig(Config):
        ...     kind: ClassVar[str] = "mylab.data.pond"
        ...     frogs: int = 3
        ...     ducks: Annotated[int, AddedLater(neutral=0)] = 2  # since the second release
        ...     workers: Annotated[int, NotIdentity()] = 4
        >>> PondConfig(frog=4)
        Traceback (most recent call last):
        cotrain.errors.ConfigError: mylab.data.pond: frog: unknown name. Did you mean 'frogs'?
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )
    kind: ClassVar[str] = ""

    def __init_subclass__(cls, *, abstract: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)

    @classmethod
    def __pydantic_init_subclass__(cls, *, abstract: bool = False, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if abstract:
            cls.kind = ""  # a parent's kind names the parent
        elif not is_public_name(cls.__dict__.get("kind", "")):
            raise TypeError(
                f"{cls.__qualname__} must state kind: ClassVar[str] = 'package.module.builder', the public name "
                "of its builder (or be declared with abstract=True)."
            )
        _check_class(cls)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A config that is made already must be of this very class: the kind of a subclass is another."""

        def same_class(value: Any) -> Any:
            if not cls.kind:
                text = "{name} has no kind: use a subclass of it, or annotate the field with AnyConfig"
                raise PydanticCustomError("config", text, {"name": cls.__name__})
            if isinstance(value, Config) and type(value) is not cls:
                names = {"expected": cls.__name__, "found": type(value).__name__}
                raise PydanticCustomError("kind", "expected a {expected}, found a {found}", names)
            return value

        return no_info_before_validator_function(same_class, handler(source))

    @model_validator(mode="before")
    @classmethod
    def _open_record(cls, values: Any, info: ValidationInfo) -> Any:
        """Accept a record, i.e. a mapping that also names its kind; complete a stored one with neutral values."""
        if not isinstance(values, Mapping):
            return values
        values = {name: _storable(value) for name, value in values.items()}
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            names = {"expected": repr(cls.kind), "found": repr(kind)}
            raise PydanticCustomError("kind", "expected kind {expected}, found {found}", names)
        if info.context == STORED:
            for name, field in cls.model_fields.items():
                if name in values or find_mark(field.metadata, NotIdentity):
                    continue
                if not (added := find_mark(field.metadata, AddedLater)):
                    text = "the stored record lacks {name}, which was never optional"
                    raise PydanticCustomError("config", text, {"name": repr(name)})
                values[name] = added.neutral
        return values

    def replace(self, /, **changes: Any) -> Self:
        """A validated copy with some fields changed.

        A mapping as the new value of a field that holds a config changes fields of that config, at any depth:
        `trainer.replace(optimiser={"lr": 0.1})`. A mapping with a `kind` replaces it by another config.

        Raises:
            ConfigError: Unknown names or wrong values, all of them listed.
        """
        return type(self)(**_merged(self, changes))

    def identity(self) -> dict[str, Any]:
        """The part of this config that defines the experiment, as JSON-ready values."""
        return dict(_plain(self, identity=True))

    def key(self) -> str:
        """32 hexadecimal digits that name this config; equal identities, and only they, have equal keys."""
        return content_key(KEY_SCHEME, self.identity())

    def record(self) -> dict[str, Any]:
        """Every field with its value, and the kind, as JSON-ready values: what is stored."""
        return dict(_plain(self, identity=False))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `record` of this or an older release wrote.

        A field that the older release did not know gets its neutral value, not today's default.

        Raises:
            ConfigError: A field of the first release is missing, or anything else is wrong.
        """
        return cls.validated(record, stored=True)

    @classmethod
    def validated(cls, record: Mapping[str, Any], *, stored: bool = False) -> Self:
        """Read a mapping that a person wrote (missing fields get defaults) or, if `stored`, a stored record."""
        try:
            return cls.model_validate(record, context=STORED if stored else None)
        except ValidationError as error:
            raise config_error(cls, error) from None

    def to_yaml(self) -> str:
        """This config as YAML text that `from_yaml` reads back to an equal config."""
        return write_yaml(self.record())

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read YAML text; fields that it leaves out get their defaults.

        Raises:
            ConfigError: The text is no YAML mapping, or names and values are wrong; all are listed.
        """
        return cls.validated(read_yaml(text))

    def model_copy(self, **_: Any) -> NoReturn:
        """Not offered: pydantic's copy accepts unknown names and wrong values."""
        raise TypeError("model_copy would skip validation; use .replace(**changes).")

    def copy(self, **_: Any) -> NoReturn:
        """Not offered, for the same reason: pydantic's older name for `model_copy`."""
        self.model_copy()

    @classmethod
    def model_construct(cls, *_: Any, **__: Any) -> NoReturn:
        """Not offered: it would skip validation."""
        raise TypeError(f"model_construct would skip validation; use {cls.__name__}(...).")


STORED = "stored"


def config_error(cls: type[Config], error: ValidationError) -> ConfigError:
    """Our one error for all that pydantic found wrong in a config of class `cls`."""
    lines = [f"{'.'.join(map(str, place))}: {text}" if place else text for place, text in _lines(cls, error)]
    where = cls.kind or cls.__name__
    if len(lines) == 1:
        return ConfigError(f"{where}: {lines[0]}")
    return ConfigError(f"{where}: {len(lines)} errors\n" + "\n".join(f"  {line}" for line in lines))


def passed_up(cls: type[Config], error: ValidationError) -> ValidationError:
    """The same errors with our texts, for a validator inside another config: only here is `cls` known."""
    details = [
        InitErrorDetails(type=PydanticCustomError("config", "{text}", {"text": text}), loc=place, input=None)
        for place, text in _lines(cls, error)
    ]
    return ValidationError.from_exception_data(cls.__name__, details)


def _lines(cls: type[Config], error: ValidationError) -> Iterator[tuple[tuple[int | str, ...], str]]:
    items = [(tuple(map(_step, item["loc"])), item) for item in error.errors(include_url=False)]
    for place, item in items:
        kind, text, found = item["type"], item["msg"], item["input"]
        text = text.removeprefix("Value error, ").removesuffix(".")
        if kind == "kind" and _other_member_meant(cls, place, items):
            continue
        if kind == "extra_forbidden":
            known = [name for owner in _classes_at(cls, place[:-1]) for name in owner.model_fields]
            text = f"unknown name.{did_you_mean(str(place[-1]), known)}"
        elif kind == "missing":
            text = "a value is required"
        elif kind == "value_error" and isinstance(found, (Config, Mapping)):
            pass  # of a validator that compares several fields; it says which
        elif kind not in {"config", "kind"}:
            text = f"{text if kind == 'value_error' else text[:1].lower() + text[1:]}, found {found!r}"
            if isinstance(found, str) and kind.startswith(("float", "int")) and _is_number(found):
                text += " (this is text: leave out quotes, and write 1.0e-3 for 1e-3, which YAML takes for text)"
        yield place, text


def _step(step: int | str) -> int | str:
    """A step of a path; where it is a member of a union, pydantic also spells out the member's validators."""
    if isinstance(step, str) and "function-" in step:
        step = re.sub(r"function-\w+\[_any_config\(\)\]", "config", step)
        while (shorter := re.sub(r"function-\w+\[\w+\(\), ([^\[\]]*)\]", r"\1", step)) != step:
            step = shorter
    return step


def _other_member_meant(cls: type[Config], place: tuple[int | str, ...], items: list[Any]) -> bool:
    """Whether a wrong kind at `place` is no news: the mapping has the kind of another member of the union."""
    union, member = place[:-1], place[-1:]
    members = [(c.__name__,) for c in _classes_at(cls, union)]
    depth = len(place)
    return member in members and any(
        other[: depth - 1] == union and other[depth - 1 : depth] in members and (other[:depth] != place)
        for other, item in items
        if item["type"] != "kind" or len(other) > depth
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _classes_at(cls: type[Config], place: tuple[int | str, ...]) -> list[type[Config]]:
    """The config classes that a path of names, tuple positions and union members leads to."""
    classes = [cls]
    for step in place:
        if not isinstance(step, str):
            continue
        if owner := next((c for c in classes if step in c.model_fields), None):
            classes = _config_classes(owner.model_fields[step].annotation)
        else:
            classes = [c for c in classes if re.search(rf"\b{c.__name__}\b", step)]
    return classes


def _config_classes(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _config_classes(part)]


def _check_class(cls: type[Config]) -> None:
    """Refuse, when the class is defined, what would make its values change, or its keys or records lie."""
    if cls.model_config != Config.model_config:
        raise TypeError(f"{cls.__qualname__}: model_config is the same for all configs; leave it out.")
    if cls.__private_attributes__:
        raise TypeError(
            f"{cls.__qualname__}: private fields are in no record: {', '.join(cls.__private_attributes__)}."
        )
    for name, field in cls.model_fields.items():
        where = f"{cls.__qualname__}.{name}"
        if name in vars(Config):
            raise TypeError(f"{where}: every config has a method of this name; choose another.")
        if field.alias or field.validation_alias or field.serialization_alias or field.default_factory:
            raise TypeError(f"{where}: a config's field has no alias and no default_factory; write the default itself.")
        check_annotation(where, field.annotation, Config)
        check_marks(where, field.metadata, whole_field=True)
        if find_mark(field.metadata, AddedLater):
            _neutral_text(cls, name)


@functools.cache
def _neutral_text(cls: type[Config], name: str) -> str:
    """Canonical text of the neutral value as the field would hold it; refused where the field could not."""
    field = cls.model_fields[name]
    neutral = find_mark(field.metadata, AddedLater).neutral
    annotation: Any = field.annotation
    for mark in field.metadata:
        annotation = Annotated[annotation, mark]
    cell: Any = types.GenericAlias(tuple, (annotation,))  # pydantic takes no settings for a config class alone
    adapter = TypeAdapter[Any](cell, config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        (held,) = adapter.validate_python((neutral,), context=STORED)
    except ValidationError as error:
        text = error.errors()[0]["msg"]
        raise TypeError(f"{cls.__qualname__}.{name}: neutral={neutral!r} is no value of the field: {text}") from None
    if unstated := list(_unstated(held)):
        raise TypeError(f"{cls.__qualname__}.{name}: neutral must not rest on defaults; state {', '.join(unstated)}.")
    return canonical(_plain(held, identity=True))


def _unstated(value: Any) -> Iterator[str]:
    """Fields that configs within `value` left to their defaults."""
    if isinstance(value, tuple):
        for part in value:
            yield from _unstated(part)
    if isinstance(value, Config):
        for name, field in type(value).model_fields.items():
            if not find_mark(field.metadata, NotIdentity):
                yield from [] if name in value.model_fields_set else [f"{type(value).__name__}.{name}"]
                yield from _unstated(getattr(value, name))


def _merged(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config with changes, which reach into nested configs."""
    values = {name: getattr(config, name) for name in type(config).model_fields}
    for name, change in changes.items():
        held = values.get(name)
        if isinstance(held, Config) and isinstance(change, Mapping) and "kind" not in change:
            change = {"kind": held.kind, **_merged(held, change)}
        values[name] = change
    return values


def _storable(value: Any) -> Any:
    """Lists, which JSON and YAML have, as tuples, which configs have; text that no database holds is refused."""
    if isinstance(value, (list, tuple)):
        return tuple(_storable(v) for v in value)
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise PydanticCustomError(
            "config", "text must hold no NUL and no half of a surrogate pair, found {found}", {"found": ascii(value)}
        )
    return value


def _plain(value: Any, *, identity: bool) -> Any:
    if isinstance(value, Config):
        out: dict[str, Any] = {"kind": value.kind}
        for name, field in type(value).model_fields.items():
            if identity and find_mark(field.metadata, NotIdentity):
                continue
            held = _plain(getattr(value, name), identity=identity)
            later = identity and find_mark(field.metadata, AddedLater)
            if later and canonical(held) == _neutral_text(type(value), name):
                continue
            out[name] = held
        return out
    if isinstance(value, tuple):
        return [_plain(v, identity=identity) for v in value]
    if isinstance(value, float):
        return 0.0 if value == 0 else value  # -0.0 and 0.0 are one value
    return value
