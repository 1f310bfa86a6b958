"""The seed tree: fixed for ever, and no two uses of randomness share a child."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotrain.errors import ConfigError
from cotrain.seeds import USES, derive_seed

texts = st.text(st.sampled_from("ab\x1f\\:1") | st.characters(), max_size=5)
paths = st.lists(texts | st.integers(), max_size=4).map(tuple)


def test_children_are_the_same_for_ever():
    """Values of the first release. If this fails, every split and every initialisation has changed."""
    assert derive_seed(0, "split") == 8689875455210941287
    assert derive_seed(7, "order", "v1", 3) == 189074509385106277


def test_a_child_by_hand():
    text = "cotrain-seed/1\x1f7\x1forder\x1fstr:v1\x1fint:3"
    first_bytes = hashlib.sha256(text.encode()).digest()[:8]
    assert derive_seed(7, "order", "v1", 3) == int.from_bytes(first_bytes, "big") // 2


@given(st.integers(0), st.sampled_from(USES), paths)
def test_range(seed, use, path):
    assert 0 <= derive_seed(seed, use, *path) < 2**63
    assert derive_seed(seed, use, *path) == derive_seed(seed, use, *path)


@given(st.integers(0, 3), st.sampled_from(USES), paths, st.integers(0, 3), st.sampled_from(USES), paths)
def test_different_paths_have_different_children(seed, use, path, other_seed, other_use, other):
    same = (seed, use, path) == (other_seed, other_use, other) and list(map(type, path)) == list(map(type, other))
    assert (derive_seed(seed, use, *path) == derive_seed(other_seed, other_use, *other)) == same


def test_parts_of_a_path_do_not_run_together():
    paths = [
        (),
        ("",),
        ("", ""),
        ("a", "bc"),
        ("ab", "c"),
        ("abc",),
        ("1",),
        (1,),
        ("1", 1),
        (1, "1"),
        (11,),
        (1, 1),
        (-1,),
    ]
    paths += [("a\x1fstr:b",), ("a", "b"), ("a\\", "b"), ("a\\\x1fstr:b",), ("a\\x1fstr:b",), ("int:1",), ("\ud800",)]
    assert len({derive_seed(0, "noise", *path) for path in paths}) == len(paths)


def test_uses_are_independent():
    assert len({derive_seed(seed, use) for use in USES for seed in range(100)}) == 100 * len(USES)


def test_numpy_integers_are_integers():
    assert derive_seed(np.int64(3), "order", np.int32(4), np.str_("a")) == derive_seed(3, "order", 4, "a")


@pytest.mark.parametrize("seed", [-1, 1.0, "1", True, None, np.float64(1)])
def test_wrong_seeds(seed):
    with pytest.raises(ConfigError, match=r"^A seed must be a whole number, 0 or larger, found "):
        derive_seed(seed, "split")


@pytest.mark.parametrize(
    ("use", "advice"),
    [("splits", "Did you mean 'split'?"), ("x", "Known: augmentation, corruption, init"), ("", "Known: ")],
)
def test_wrong_uses(use, advice):
    with pytest.raises(ConfigError, match=f"^Seeds have no child '{use}'. {advice.replace('?', '.')}"):
        derive_seed(0, use)


@pytest.mark.parametrize("part", [1.0, None, True, b"a", ("a",)])
def test_wrong_paths(part):
    with pytest.raises(ConfigError, match=r"^The path of a seed is made of text and whole numbers, found "):
        derive_seed(0, "split", "a", part)
