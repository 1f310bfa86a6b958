"""From the public dotted name of a builder to the builder and its config class, and nowhere else.

There is no registry: a builder is a function whose parameter `config` is annotated with a config class whose
`kind` is the function's public name. A lab's own package works the same way once it is allowed.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from cotrain._fields import is_public_name
from cotrain.config import Config, passed_up
from cotrain.errors import BuilderError, did_you_mean
from cotrain.settings import allowed_packages

Builder = Callable[..., Any]


def resolve(name: str) -> Builder:
    """The builder (or, for a config without one, the config class) that a public dotted name stands for.

    Args:
        name: For example `cotrain.models.shared_backbone`.

    Raises:
        BuilderError: The name lacks a module, its package is not allowed, there is no such module or builder,
            or what is there declares no config of that kind.

    >>> resolve("cotrain.modles.shared_backbone")
    Traceback (most recent call last):
    cotrain.errors.BuilderError: 'cotrain.modles.shared_backbone': there is no module 'cotrain.modles'.
    """
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        raise BuilderError(f"{name!r} lacks a module; write a dotted name such as 'cotrain.models.{name}'.")
    package = module_name.partition(".")[0]
    if package in {"tables", "recipes"}:
        raise BuilderError(f"{name!r}: write 'cotrain.{name}'; the bare name belongs to another package.")
    if package not in allowed_packages():
        raise BuilderError(
            f"{name!r}: builders of package {package!r} are not allowed here (allowed: "
            f"{', '.join(allowed_packages())}). If you trust it, set COTRAIN_BUILDERS={package} or name it "
            "under 'builders' in cotrain.toml."
        )
    if not is_public_name(name):
        raise BuilderError(f"{name!r} is private or no name; a config names the public place of a builder.")
    module = _import(module_name, name)
    builder = getattr(module, attribute, None)
    if _declared_kind(builder) != name:
        known = [
            public
            for public in dir(module)
            if _declared_kind(getattr(module, public, None)) == f"{module_name}.{public}"
        ]
        reason = (
            "is no builder (a function with a parameter 'config', annotated with a config class that has this kind "
            "and is imported at run time)"
        )
        if builder is None:
            reason = f"does not exist in {module_name!r}"
        raise BuilderError(f"{name!r} {reason}.{did_you_mean(attribute, known)}")
    return typing.cast(Builder, builder)


def config_class(name: str) -> type[Config]:
    """The config class that belongs to a builder's public dotted name; raises as `resolve` does."""
    builder = resolve(name)
    found = _config_of(builder)
    assert found is not None  # resolve has looked
    return found


def read_config(record: Mapping[str, Any], *, stored: bool = False) -> Config:
    """The config that a record with a `kind` stands for; `stored` completes it with neutral values.

    Raises:
        BuilderError: The kind leads to no builder.
        ConfigError: Names or values are wrong; all are listed.
    """
    if not isinstance(kind := record.get("kind"), str):
        raise BuilderError(f"A config needs 'kind', the dotted name of its builder; found {sorted(map(str, record))}.")
    return config_class(kind).validated(record, stored=stored)


def build(config: Config, *args: Any, **named: Any) -> Any:
    """Call the builder of `config` with it and with further arguments.

    Raises:
        BuilderError: The kind leads to no builder, or to a config class, which builds nothing.
    """
    builder: Any = resolve(config.kind)
    if isinstance(builder, type) and issubclass(builder, Config):
        raise BuilderError(f"{config.kind!r} is a config without a builder; it is a part of another config.")
    return builder(*args, config=config, **named)


def _any_config(value: Any, info: ValidationInfo) -> Config:
    if isinstance(value, Config):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("config", "expected a config, found {found}", {"found": repr(value)})
    if not isinstance(kind := value.get("kind"), str):
        raise PydanticCustomError("config", "needs 'kind', the dotted name of a builder", {})
    try:
        cls = config_class(kind)
    except BuilderError as error:
        raise PydanticCustomError("config", "{text}", {"text": str(error)}) from None
    try:
        return cls.model_validate(value, context=info.context)
    except ValidationError as error:
        raise passed_up(cls, error) from None


AnyConfig = Annotated[Config, PlainValidator(_any_config)]
"""Annotation of a field that holds the config of any builder, told apart by its `kind`."""


def _import(module_name: str, name: str) -> ModuleType:
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, one of its own imports does not: not the name's fault
        raise BuilderError(f"{name!r}: there is no module {error.name!r}.") from None


def _declared_kind(builder: Any) -> str:
    config = _config_of(builder)
    return config.kind if config else ""


def _config_of(builder: Any) -> type[Config] | None:
    if isinstance(builder, type):
        return builder if issubclass(builder, Config) else None
    try:
        if not callable(builder) or "config" not in getattr(builder, "__annotations__", {}):
            return None
        # that of `config` alone: others may name what only type checkers import
        annotation = types.SimpleNamespace(__annotations__={"config": builder.__annotations__["config"]})
        found = typing.get_type_hints(annotation, getattr(inspect.unwrap(builder), "__globals__", {}))["config"]
    except (AttributeError, NameError, SyntaxError, TypeError):  # an annotation that means nothing at run time
        return None
    return found if isinstance(found, type) and issubclass(found, Config) else None
