"""A decorator of a lab, whose module knows no config."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return wrapper
