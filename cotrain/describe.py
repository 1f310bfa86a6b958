"""Text about what cotrain offers: the builders of a room, and the fields of a config."""

from __future__ import annotations

import inspect
import re
import typing
from importlib import import_module
from typing import Any

from cotrain.config import Config
from cotrain.errors import BuilderError
from cotrain.resolve import config_class

ROOMS = ("data", "evaluations", "losses", "models", "tasks", "training", "training.hooks")


def describe(what: str) -> str | None:
    """The configs of a room (`models`) or the fields of one config (`cotrain.models.small_cnn`).

    Returns None where `what` names neither.
    """
    if what in ROOMS:
        module = import_module(f"cotrain.{what}")
        names = [name for name in dir(module) if _is_config(getattr(module, name))]
        return "\n\n".join(_fields(getattr(module, name)) for name in names)
    if "." not in what:
        return None
    try:
        return _fields(config_class(what))
    except BuilderError:
        if what.startswith("cotrain."):
            raise
        return None


def _is_config(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Config) and found is not Config


def _fields(cls: type[Config]) -> str:
    """A config as people read it: its kind, what it is for, and each field with type, default and remark."""
    lines = [cls.kind, *("  " + line for line in (inspect.getdoc(cls) or "").splitlines())]
    source = inspect.getsource(cls)
    remarks = dict(re.findall(r"^    (\w+): .*  # (.*)$", source, re.MULTILINE))
    for name, text in re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL):
        remarks[name] = " ".join(text.split())
    for name, field in cls.model_fields.items():
        bounds = [_bound(mark) for mark in field.metadata]
        kind = " ".join([_type(field.annotation), *(bound for bound in bounds if bound)])
        default = "required" if field.is_required() else f"= {field.default!r}"
        lines.append(f"    {name}: {kind} {default}" + (f"  # {remarks[name]}" if name in remarks else ""))
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    """An annotation in the words of a config file."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Config:
        return "config of any builder"
    if annotation in (None, type(None), Ellipsis):
        return "..." if annotation is Ellipsis else "None"
    if origin is typing.Annotated:
        return " ".join([_type(parts[0]), *(bound for mark in parts[1:] if (bound := _bound(mark)))])
    if origin is typing.Literal:
        return " | ".join(repr(part) for part in parts)
    if origin is tuple:
        return f"({', '.join(_type(part) for part in parts)})"
    if parts:  # a union
        return " | ".join(_type(part) for part in parts)
    return str(annotation.__name__)


def _bound(mark: Any) -> str:
    """A bound of a value, for example `>= 1`; nothing for marks that are none."""
    for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
        if (limit := getattr(mark, name, None)) is not None:
            return f"{sign} {limit}"
    return ""
