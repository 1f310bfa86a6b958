"""Random configs for property tests."""

import sys

from hypothesis import strategies as st
from mylab.builders import EverythingConfig, FishConfig, NetConfig, ReedConfig

# what YAML, JSON or a database may take for something else than text
AWKWARD = (
    *("", " ", " a", "a ", "~", "null", "Null", "no", "NO", "yes", "on", "off", "true", "False", "y", "n"),
    *("1", "-1", "1e-3", "1.0e-3", "1.", ".5", "0x1F", "010", "0o17", "0b1", "1_000", "12:30", ".nan", ".inf", "+1"),
    *("2024-01-01", "2024-13-45", "2024-01-01 10:00:00", "=", "<<", "!!int 3", "!x", "&a", "*a", "@", "`", "%"),
    *("- a", "? a", "a: b", "a #b", "#", "[1]", "{a: 1}", "|", ">", "---", "...", "'", '"', "\\", "\\n", "'a\"b'"),
    *("\n", "a\nb", "a\n", "\na", "a\n\n b\n", "\t", "a\tb", "\r", "a\r\nb", "\x85", "\u2028", "\ufeff", "\x1f"),
    *("\x7f", "é", "e\u0301", "日本語", "🐸", "\U0010ffff", "\ufffe", "a" * 300, "a b " * 80, "kind", "ß", "\u200f"),
)

texts = st.sampled_from(AWKWARD) | st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    (5e-324, -5e-324, sys.float_info.max, sys.float_info.min, -0.0, 0.0, 1e-5, 1e-3, 1e15, 1e16, 1e17, 1e22, 0.1, 1 / 3)
)
integers = st.integers() | st.sampled_from((0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30))

fish = st.builds(FishConfig, name=texts, length=st.floats(0, exclude_min=True, allow_infinity=False))
reeds = st.builds(ReedConfig, stems=st.integers(0))
nets = st.builds(
    NetConfig, width=st.integers(1), part=st.none() | fish, parts=st.lists(fish | reeds, max_size=2).map(tuple)
)
everything = st.builds(
    EverythingConfig,
    none=st.none(),
    truth=st.booleans(),
    whole=integers,
    number=numbers,
    text=texts,
    choice=st.sampled_from(("no", "yes", "1", 1, None)),
    mixed=integers | texts | st.booleans() | st.none(),
    maybe=numbers | st.none(),
    pair=st.tuples(integers, texts),
    row=st.lists(numbers, max_size=3).map(tuple),
    empty=st.just(()),
    schedule=st.lists(st.tuples(integers, st.lists(st.tuples(texts, numbers), max_size=2).map(tuple)), max_size=2).map(
        tuple
    ),
    fish=fish,
    pond=fish | reeds | st.none(),
    school=st.lists(fish | reeds, max_size=2).map(tuple),
    any=fish | reeds | nets | st.none(),
    anys=st.lists(fish | nets, max_size=2).map(tuple),
)
