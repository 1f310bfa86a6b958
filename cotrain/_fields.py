"""What a field of a config may be: types whose values cannot change, and two marks that say what enters the key."""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Union

LEAVES = (type(None), bool, int, float, str)


@dataclass(frozen=True, eq=False)  # typing keeps one of equal marks, and 0 equals False
class AddedLater:
    """Marks a field that the first release of its config lacked.

    `neutral` is the value that reproduces the behaviour before the field existed. It is fixed for ever: the
    field is left out of the identity when it equals `neutral`, whatever the default is or becomes.
    """

    neutral: Any


@dataclass(frozen=True)
class NotIdentity:
    """Marks a field that changes how fast or where something runs, never what is computed."""


def find_mark(metadata: Iterable[Any], mark: type[Any]) -> Any:
    """The mark of this class, or None."""
    return next((m for m in metadata if isinstance(m, mark)), None)


def check_marks(where: str, metadata: Iterable[Any], *, whole_field: bool) -> None:
    """Refuse marks that would have no effect: a class without brackets, or a mark of a part of the field."""
    for mark in metadata:
        if mark is AddedLater or mark is NotIdentity:
            raise TypeError(f"{where}: write {mark.__name__}(...), with brackets.")
        if isinstance(mark, (AddedLater, NotIdentity)) and not whole_field:
            raise TypeError(f"{where}: {mark} must mark the whole field: Annotated[<all of its type>, {mark}].")


def check_annotation(where: str, annotation: Any, config: type) -> None:
    """Refuse a field whose value could change or has no canonical text; `config` is the base of configs."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in LEAVES or (isinstance(annotation, type) and issubclass(annotation, config)):
        return
    if origin is Literal and all(type(part) in LEAVES for part in parts):
        return
    if origin is typing.Annotated:
        check_marks(where, parts[1:], whole_field=False)
        check_annotation(where, parts[0], config)
    elif origin in (tuple, Union, types.UnionType) and annotation is not typing.Tuple:  # noqa: UP006
        members = [] if origin is tuple else map(_numbers, parts)
        if any(int in one and float in other for one, other in itertools.permutations(members, 2)):
            raise TypeError(f"{where}: stored numbers forget whether they were int or float; float takes both.")
        for part in parts:
            if part is not Ellipsis:
                check_annotation(where, part, config)
    elif isinstance(annotation, (str, typing.ForwardRef)):
        raise TypeError(f"{where}: what {annotation!r} names must be defined or imported before this class.")
    else:
        raise TypeError(
            f"{where}: a config may hold None, bool, int, float, str, Literal, configs and tuples of these, "
            f"found {annotation!r}. Write a tuple for a list and a tuple of pairs for a mapping."
        )


def _numbers(annotation: Any) -> set[Any]:
    if annotation is int or annotation is float:
        return {annotation}
    if typing.get_origin(annotation) is Literal:
        return set()
    return set().union(*map(_numbers, typing.get_args(annotation)))


def is_public_name(name: object) -> bool:
    """Whether this is dotted text such as 'package.module.builder' with no private part.

    >>> is_public_name("mylab.models.deep"), is_public_name("deep"), is_public_name("mylab._models.deep")
    (True, False, False)
    """
    parts = name.split(".") if isinstance(name, str) else []
    return len(parts) > 1 and all(part.isidentifier() and part[0] != "_" for part in parts)
