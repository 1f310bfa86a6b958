"""Pickles that hold NumPy arrays and Python's own values, read without running what else a pickle may ask for.

A pickle is a program: `pickle.load` runs whatever function it names. This reader knows eight names, all of NumPy's
arrays, and gives the pickle none of NumPy's own functions for them: stand-ins collect what describes an array, and the
arrays are made when the pickle has ended. NumPy's own functions would take crafted descriptions, too, for example raw
bytes that claim to be Python objects.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|f16|c8|c16|O[48]?|[SUa][1-9][0-9]{0,5}")


def load_arrays(path: Path) -> Any:
    """What a pickle holds: arrays of numbers, texts or objects, and dict, list, tuple, set, text, bytes, numbers, None.

    Args:
        path: The pickle, of protocol 0 to 5; one that Python 2 wrote is read with latin1. Arrays may be read-only.

    Raises:
        DataError: The file is missing or damaged, or asks for anything else; nothing of that is imported or run.
    """
    try:
        with path.open("rb") as file:
            return _finished(_ArrayUnpickler(file, path).load(), path, {})
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way: each opcode has its own
        raise DataError(f"{path} cannot be read as a pickle of numpy arrays: {error or type(error).__name__}") from None


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str, /) -> Any:
        # names are compared whole: "ndarray.tofile", which Python would look up in two steps, is none of them
        if (module, name) in ADMITTED:
            return _StandIn(ADMITTED[module, name])
        raise DataError(
            f"{self._path} holds {module}.{name}: numpy arrays alone are admitted, for a pickle can run any program. "
            "If you trust the file, load it once with the program that wrote it, turn its values into numpy arrays "
            "(numpy.asarray), and pickle a dict of these."
        )


class _StandIn:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a function")


class _Dtype:
    """A dtype as its pickle describes it: a code, then a state with the byte order."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            raise ValueError(f"arrays of dtype {code!r} are not admitted; numbers, texts and objects are")
        self._code, self._order = code, "|"

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, sub-array, field names, fields, ...): arrays of records are not admitted
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("arrays of records are not admitted")
        order = _raw(state[1]).decode("latin1")
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"a dtype has the byte order {order!r}")
        self._order = order

    @property
    def is_object(self) -> bool:
        return self._code.startswith("O")

    def made(self) -> np.dtype[Any]:
        """Without references to objects, whatever the pickle said."""
        return np.dtype(self._code.replace("a", "S")).newbyteorder("=" if self._order == "|" else self._order)  # type: ignore[arg-type]


class _Array:
    """An array as its pickle describes it."""

    __slots__ = ("_axes", "_data", "_dtype", "_order", "_shape")

    def __init__(self) -> None:
        self._dtype: _Dtype | None = None

    def __setstate__(self, state: Any) -> None:
        # (version, shape, dtype, in Fortran's order, bytes or list of objects); the first pickles had no version
        shape, dtype, fortran, data = state[-4:]
        self._describe(shape, dtype, "F" if fortran else "C", data, None)

    def _describe(self, shape: Any, dtype: Any, order: Any, data: Any, axes: Any) -> None:
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"an array has the shape {shape!r}")
        if not isinstance(dtype, _Dtype) or dtype.is_object is not isinstance(data, list):
            raise ValueError("an array's dtype and data contradict each other")
        if order not in ("C", "F"):
            raise ValueError(f"an array has the order {order!r}")
        self._shape, self._dtype, self._order = shape, dtype, order
        self._data, self._axes = data if dtype.is_object else _raw(data), axes

    def made(self, finish: Callable[[Any], Any]) -> NDArray[Any]:
        if self._dtype is None:
            raise ValueError("an array lacks its content")
        count = math.prod(self._shape)
        flat: NDArray[Any]
        if self._dtype.is_object:
            if len(self._data) != count:
                raise ValueError(f"an array of shape {self._shape} holds {len(self._data)} objects")
            flat = np.empty(count, object)
            for position, value in enumerate(self._data):
                flat[position] = finish(value)
        else:
            dtype = self._dtype.made()
            if len(self._data) != count * dtype.itemsize:
                raise ValueError(f"an array of shape {self._shape} holds {len(self._data)} bytes")
            flat = np.frombuffer(self._data, dtype) if self._data else np.zeros(count, dtype)
        array = flat.reshape(self._shape, order=self._order)
        return array if self._axes is None else array.transpose(self._axes)


def _raw(data: Any) -> bytes | bytearray:
    """Bytes; those of Python 2 were read as text."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError(f"expected bytes, found {type(data).__name__}")
    return data


def _reconstruct(*_: Any) -> _Array:
    return _Array()  # its arguments only say that it begins empty


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    array = _Array()
    array._describe(shape, dtype, "C" if order == "K" else order, data, axes)
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.is_object:
        raise ValueError("a numpy scalar is no number or text")
    array = _Array()
    array._describe((), dtype, "C", data, None)
    return array.made(lambda value: value)[()]


def _no_ndarray(*_: Any) -> None:
    raise ValueError("it calls ndarray, which a pickle of arrays only names")


def _latin1(text: Any, encoding: Any) -> bytes:
    """How protocols below 3 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it encodes with {encoding!r}; bytes are written with latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocols below 3 write bytes of length 0."""
    return b""


def _collected(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A set; but of a list only, for anything else might be long to go through."""

    def collect(values: Any) -> Any:
        if not isinstance(values, list):
            raise ValueError("a set must be written as a list")
        return kind(values)

    return collect


ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _no_ndarray,
    ("numpy", "dtype"): lambda code, *_: _Dtype(code),
    ("_codecs", "encode"): _latin1,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    **{(module, "set"): _collected(set) for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): _collected(frozenset) for module in ("builtins", "__builtin__")},
}


def _finished(value: Any, path: Path, made: dict[int, Any]) -> Any:
    """A value with arrays in the place of their descriptions; one that several places share is made once."""
    if isinstance(value, _Array | dict | list | tuple | set | frozenset):
        if id(value) in made:
            if made[id(value)] is None:
                raise DataError(f"{path} holds a {type(value).__name__.strip('_').lower()} that contains itself.")
            return made[id(value)]
        made[id(value)] = None
        result: Any
        if isinstance(value, _Array):
            result = value.made(lambda part: _finished(part, path, made))
        elif isinstance(value, dict):
            result = {_finished(key, path, made): _finished(part, path, made) for key, part in value.items()}
        else:
            result = type(value)(_finished(part, path, made) for part in value)
        made[id(value)] = result
        return result
    if isinstance(value, _StandIn | _Dtype):
        raise DataError(f"{path} holds a numpy function or dtype by itself. Pickle arrays only.")
    return value
