"""Arrays come out of pickles as they went in; whatever else a pickle asks for is named and never run."""

from __future__ import annotations

import builtins
import codecs
import contextlib
import functools
import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cotrain.data.recordings._unpickler import load_arrays
from cotrain.errors import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def written(tmp_path, content: bytes):
    path = tmp_path / "session.pickle"
    path.write_bytes(content)
    return path


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        if expected.dtype == object:
            for one, other in zip(found.ravel(), expected.ravel(), strict=True):
                assert_same(one, other)
        else:
            np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


OBJECTS = np.empty(3, object)
OBJECTS[:] = ["a", None, [1, np.arange(3)]]
EVERYTHING = {
    "floats": np.linspace(0, 1, 24).reshape(2, 3, 4),
    "swapped": np.arange(5, dtype=">i4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::2],
    "axes": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "bools": np.array([True, False]),
    "texts": np.array(["mua", "isolated"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": OBJECTS,
    "empty": np.zeros((0, 3), np.float32),
    "no axes": np.array(3),
    "scalar": np.float32(1.5),
    "text scalar": np.str_("x"),
    "plain": ["text", 1, 2.5, True, None, b"raw", b"", (1, 2), {3, 4}, frozenset([5]), 10**30],
    7: {"nested": [np.arange(2)]},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_plain_values_come_back(tmp_path, protocol):
    path = written(tmp_path, pickle.dumps(EVERYTHING, protocol))
    assert_same(load_arrays(path), EVERYTHING)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_1_spells_its_modules_without_underscore(tmp_path, protocol):
    content = pickle.dumps({"x": np.arange(4.0), "y": np.float64(2)}, protocol)
    # lengths of framed texts change with them, so the pickle is written anew from its opcodes
    older = io.BytesIO()
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name == "GLOBAL":
            older.write(f"c{argument.replace('numpy._core', 'numpy.core').replace(' ', chr(10))}\n".encode())
        elif opcode.name == "SHORT_BINUNICODE":
            text = argument.replace("numpy._core", "numpy.core").encode()
            older.write(b"\x8c" + bytes([len(text)]) + text)
        elif opcode.name != "FRAME":
            ends = [p for _, _, p in pickletools.genops(content) if p > position]
            older.write(content[position : min(ends, default=len(content))])
    assert b"numpy.core" in older.getvalue() and b"_core" not in older.getvalue()
    assert_same(load_arrays(written(tmp_path, older.getvalue())), {"x": np.arange(4.0), "y": np.float64(2)})


def test_pickles_of_python_2(tmp_path):
    """Python 2 wrote bytes as text without an encoding; this is such a pickle, written by hand."""
    data = np.arange(3.0).tobytes()
    content = (
        b"\x80\x02}U\x01x" + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(data)]) + data + b"tbs."
    )
    assert_same(load_arrays(written(tmp_path, content)), {"x": np.arange(3.0)})


@given(
    hnp.arrays(
        st.one_of(hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.unicode_string_dtypes()),
        hnp.array_shapes(min_dims=0, max_side=4),
    ),
    st.sampled_from(PROTOCOLS),
)
def test_arrays_of_any_kind_come_back(tmp_path_factory, array, protocol):
    path = written(tmp_path_factory.mktemp("pickle"), pickle.dumps([array, array], protocol))
    one, other = load_arrays(path)
    assert one is other  # shared in the pickle, and shared again
    assert_same(one, array)


class Asks:
    """An object whose pickle calls a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def asking(kind, canary):
    objects = np.empty(1, object)
    command = f"touch {canary}"
    objects[0] = Asks(os.system, command)
    writing = f"open({str(canary)!r}, 'w').close()"
    return {
        "posix.system": Asks(os.system, command),
        "builtins.eval": Asks(builtins.eval, writing),
        "builtins.exec": Asks(builtins.exec, writing),
        "builtins.getattr": Asks(getattr, "text", "join"),
        "builtins.open": Asks(builtins.open, str(canary), "w"),
        "numpy.load": Asks(np.load, str(canary)),
        "numpy.save": Asks(np.save, str(canary), np.arange(3)),
        "numpy.fromfile": Asks(np.fromfile, str(canary)),
        "numpy.memmap": Asks(np.memmap, str(canary), "u1", "w+", 0, 4),
        "numpy.lib._npyio_impl.savetxt": Asks(np.savetxt, str(canary), [1.0]),
        "functools.partial": functools.partial(os.system, command),
        "object array": {"x": objects},
        "nested": [{"x": (Asks(os.system, command),)}],
        "matrix": np.ma.masked_array([1.0]),
    }[kind]


KINDS = [
    "posix.system",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "builtins.open",
    "numpy.load",
    "numpy.save",
    "numpy.fromfile",
    "numpy.memmap",
    "numpy.lib._npyio_impl.savetxt",
    "functools.partial",
    "object array",
    "nested",
    "matrix",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_functions_are_named_and_not_run(tmp_path, kind, protocol):
    canary = tmp_path / "canary"
    content = pickle.dumps(asking(kind, canary), protocol)
    canary.unlink(missing_ok=True)
    path = written(tmp_path, content)
    with pytest.raises(DataError, match="numpy arrays alone are admitted") as error:
        load_arrays(path)
    assert str(error.value).startswith(f"{path} holds ")
    if "." in kind:
        assert kind.split(".")[-1] in str(error.value)
    assert not canary.exists()


def stack_global(module: str, name: str, rest: bytes) -> bytes:
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + texts + b"\x93" + rest


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "ndarray.tofile"),
        ("numpy", "ndarray.dump"),
        ("numpy", "dtype.__class__"),
        ("numpy", "f2py"),
        ("numpy.f2py", "compile"),
        ("numpy", "core.multiarray._reconstruct"),
        ("numpy._core.multiarray", "_reconstruct.__globals__"),
        ("numpy._core.multiarray", "fromfile"),
        ("numpy._core.numeric", "load"),
        ("numpy._core.numeric", "_frombuffer.__globals__"),
        ("_codecs", "encode.__self__"),
        ("_codecs", "decode"),
        ("_codecs", "lookup"),
        ("builtins", "set.__class__"),
        ("builtins", "object"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("copy_reg", "_reconstructor"),
        ("numpy ", "ndarray"),
        ("Numpy", "ndarray"),
        ("os", "system"),
        ("nt", "system"),
    ],
)
def test_names_are_compared_whole(tmp_path, module, name):
    path = written(tmp_path, stack_global(module, name, b")R."))
    with pytest.raises(DataError, match="numpy arrays alone are admitted"):
        load_arrays(path)
    lines = b"c" + module.encode() + b"\n" + name.encode() + b"\n)R."
    with pytest.raises(DataError, match="numpy arrays alone are admitted"):
        load_arrays(written(tmp_path, lines))


def call(name: tuple[str, str], arguments: bytes, state: bytes = b"") -> bytes:
    return stack_global(*name, arguments + b"R" + state + b".")


RECONSTRUCT = ("numpy._core.multiarray", "_reconstruct")
DTYPE_O = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
DTYPE_F = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        # raw bytes that claim to be objects would be pointers
        (call(RECONSTRUCT, b")", b"(K\x01K\x01\x85" + DTYPE_O + b"\x89C\x08AAAAAAAAtb"), "contradict each other"),
        (
            call(RECONSTRUCT, b")", b"(K\x01K\x01\x85" + DTYPE_F + b"\x89](NetbN"),
            "contradict each other|cannot be read",
        ),
        (call(RECONSTRUCT, b")", b"(K\x01K\x02\x85" + DTYPE_F + b"\x89C\x08AAAAAAAAtb"), "holds 8 bytes"),
        (call(RECONSTRUCT, b")", b"(K\x01K\x02\x85" + DTYPE_O + b"\x89]tb"), "holds 0 objects"),
        (call(RECONSTRUCT, b")", b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE_F + b"\x89C\x00tb"), "has the shape"),
        (call(RECONSTRUCT, b")"), "lacks its content"),
        (call(RECONSTRUCT, b")", b"K\x01b"), "cannot be read"),
        # a dtype of records may hide objects
        (call(("numpy", "dtype"), b"X\x02\x00\x00\x00V8\x89\x88\x87"), "dtype 'V8' are not admitted"),
        (call(("numpy", "dtype"), b"]X\x01\x00\x00\x00O\x89\x87"), "not admitted"),
        (
            call(
                ("numpy", "dtype"), b"X\x02\x00\x00\x00f8\x89\x88\x87", b"(K\x03X\x01\x00\x00\x00<NN}K\x08K\x01K\x1btb"
            ),
            "arrays of records are not admitted",
        ),
        (
            call(
                ("numpy", "dtype"), b"X\x02\x00\x00\x00f8\x89\x88\x87", b"(K\x03X\x01\x00\x00\x00!NNNK\x08K\x01K\x1btb"
            ),
            "the byte order '!'",
        ),
        (call(("numpy", "dtype"), b"X\x02\x00\x00\x00f8\x89\x88\x87"), "numpy function or dtype by itself"),
        (stack_global("numpy", "ndarray", b"."), "numpy function or dtype by itself"),
        (call(("numpy", "ndarray"), b"K\x05\x85"), "calls ndarray"),
        (stack_global("numpy", "ndarray", b"}b."), "changes a function"),
        (stack_global("numpy", "ndarray", b")\x81."), "cannot be read"),
        (call(("_codecs", "encode"), b"X\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86"), "encodes with 'utf-8'"),
        (call(("_codecs", "encode"), b"X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86"), "encodes with 'rot13'"),
        (call(("builtins", "set"), b"X\x01\x00\x00\x00a\x85"), "must be written as a list"),
        (call(("builtins", "bytes"), b"J\xff\xff\xff\x7f\x85"), "cannot be read"),
        (call(("numpy._core.multiarray", "scalar"), DTYPE_O + b"N\x86"), "is no number or text"),
        (b"\x80\x04]\x94h\x00a.", "a list that contains itself"),
        (b"\x80\x02\x82\x01.", "cannot be read"),  # a number of the extension registry
        (b"\x80\x04X\x01\x00\x00\x00aQ.", "cannot be read"),  # a persistent id
        (b"\x80\x05\x97.", "cannot be read"),  # a buffer from outside
        (b"", "cannot be read"),
        (b"no pickle", "cannot be read"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62), "cannot be read"),
        (pickle.dumps({"x": np.arange(100.0)})[:-50], "cannot be read"),
    ],
)
def test_crafted_and_damaged_pickles(tmp_path, content, text):
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=text) as error:
        load_arrays(path)
    assert str(path) in str(error.value)


@given(st.integers(2, 4), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5))
def test_bytes_that_changed_are_damage_or_other_values(tmp_path_factory, protocol, changes):
    content = bytearray(pickle.dumps({"x": np.arange(9.0), "y": ["a", np.array(["b"], object)]}, protocol))
    for position, byte in changes:
        content[position % len(content)] = byte
    path = written(tmp_path_factory.mktemp("damage"), content)
    with contextlib.suppress(DataError):
        load_arrays(path)


def test_no_codec_is_looked_up(tmp_path):
    asked = []
    codecs.register(asked.append)
    try:
        path = written(tmp_path, call(("_codecs", "encode"), b"X\x01\x00\x00\x00aX\x07\x00\x00\x00cotrain\x86"))
        with pytest.raises(DataError, match="encodes with 'cotrain'"):
            load_arrays(path)
    finally:
        codecs.unregister(asked.append)
    assert asked == []


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.pickle cannot be read"):
        load_arrays(tmp_path / "none.pickle")
