"""The seed tree: one seed an experiment, and a child of its own for every use of randomness.

A child depends on the seed and on its path alone, so that a run with more data workers, or with another
augmentation, keeps its split and its initial weights.
"""

from __future__ import annotations

import hashlib
from numbers import Integral
from typing import Any

from cotrain.errors import ConfigError, did_you_mean

USES = ("augmentation", "corruption", "initialisation", "noise", "order", "split")


def derive_seed(seed: int, use: str, *path: str | int) -> int:
    """The child seed of one use of randomness.

    Args:
        seed: The experiment's seed, 0 or larger.
        use: One of `USES`.
        path: What the use is for, for example a task's name and an epoch.

    Returns:
        An integer from 0 to 2**63 - 1.

    Raises:
        ConfigError: `seed` is negative or no integer, `use` is not one of `USES`, or a part of the path is neither
            text nor an integer.

    >>> derive_seed(0, "split") == derive_seed(0, "split")
    True
    >>> derive_seed(0, "order", "v1", 3) == derive_seed(0, "order", "v1", 4)
    False
    """
    if not _is_integer(seed) or seed < 0:
        raise ConfigError(f"A seed must be a whole number, 0 or larger, found {seed!r}.")
    if use not in USES:
        raise ConfigError(f"Seeds have no child {use!r}.{did_you_mean(use, USES)}")
    text = "\x1f".join(["cotrain-seed/1", str(int(seed)), use, *map(_part, path)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def _part(part: str | int) -> str:
    """Text that no other part, and no two parts together, have."""
    if isinstance(part, str):
        return "str:" + part.replace("\\", "\\\\").replace("\x1f", "\\x1f")
    if not _is_integer(part):
        raise ConfigError(f"The path of a seed is made of text and whole numbers, found {part!r}.")
    return f"int:{int(part)}"


def _is_integer(value: Any) -> bool:
    """NumPy's integers count, True does not."""
    return isinstance(value, Integral) and not isinstance(value, bool)
