"""Weights of filters as whole numbers: sums of these with pixels are exact, in every order of summation."""

from __future__ import annotations

import math
from collections.abc import Sequence

BITS = 16
ONE = 1 << BITS  # 16-bit weights times bytes stay below 2^24, which float32 still holds exactly


def fixed_point(weights: Sequence[float], one: int = ONE) -> list[int]:
    """Weights as whole numbers that sum to `one` exactly, each within 1 of its share.

    What is missing after rounding down goes to those that were rounded down most; of equal ones, to the first.

    Args:
        weights: 0 or larger, with a positive sum.
        one: What they shall sum to.

    >>> fixed_point([1.0, 1.0, 1.0])
    [21846, 21845, 21845]
    """
    total = math.fsum(weights)
    shares = [weight / total * one for weight in weights]
    whole = [math.floor(share) for share in shares]
    # a rounded remainder, so that the last bit of an exponential decides nothing
    order = sorted(range(len(shares)), key=lambda i: (-round(shares[i] - whole[i], 9), i))
    for i in order[: one - sum(whole)]:
        whole[i] += 1
    return whole
