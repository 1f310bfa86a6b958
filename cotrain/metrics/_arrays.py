"""Arrays in, arrays out: what is written for tensors, for those whose responses are NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from torch import Tensor

from cotrain._tensors import tensor_of

Function = TypeVar("Function", bound=Callable[..., Any])


def arrays_too(function: Function) -> Function:
    """The function, which now takes NumPy arrays as well: given one or more, it answers with arrays."""

    @functools.wraps(function)
    def answer(*args: Any, **settings: Any) -> Any:
        if not any(isinstance(value, np.ndarray) for value in (*args, *settings.values())):
            return function(*args, **settings)
        found = function(*map(_tensor, args), **{name: _tensor(value) for name, value in settings.items()})
        return _array(found)

    return cast(Function, answer)


def _tensor(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return tensor_of(np.ascontiguousarray(value))


def _array(found: Any) -> Any:
    if isinstance(found, tuple):
        values = [_array(value) for value in found]
        return type(found)(*values) if hasattr(found, "_fields") else tuple(values)
    return found.numpy() if isinstance(found, Tensor) else found
