"""Text about what cotrain offers: the builders of a room, and the fields of a config."""

from __future__ import annotations

import inspect
from importlib import import_module

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.errors import BuilderError
from cotrain.resolve import config_class

ROOMS = ("data", "losses", "models", "tasks", "training")


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
    """A config as people read it: its kind, what it is for, and each field with type and default."""
    lines = [cls.kind, *("  " + line for line in (inspect.getdoc(cls) or "").splitlines())]
    for name, field in cls.model_fields.items():
        annotation = str(field.annotation)
        if isinstance(field.annotation, type) and field.annotation is not Config:
            annotation = field.annotation.__name__
        for noise in ("typing.", "annotated_types.", "cotrain.config.", "<class '", "'>"):
            annotation = annotation.replace(noise, "")
        bounds = [str(mark) for mark in field.metadata if not isinstance(mark, (AddedLater, NotIdentity))]
        bounds = [bound for bound in bounds if "Validator" not in bound]
        default = "required" if field.is_required() else f"= {field.default!r}"
        lines.append(f"    {name}: {annotation} {default}" + (f"  [{', '.join(bounds)}]" if bounds else ""))
    return "\n".join(lines)
