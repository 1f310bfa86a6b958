"""Dichotomies: which manifolds are to lie on which side of a plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LABELS = ("balanced", "one_vs_rest", "random")


def drawn_labels(kind: str, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """1 or -1 for each manifold.

    "balanced": half of them -1 (of an odd number, one more or one less, by chance); "one_vs_rest": one 1; "random":
    each by itself.
    """
    if kind == "random":
        return generator.choice([-1.0, 1.0], count)
    labels = -np.ones(count)
    half = (count + int(generator.integers(2))) // 2
    labels[generator.permutation(count)[: 1 if kind == "one_vs_rest" else half]] = 1.0
    return labels
