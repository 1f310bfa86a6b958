"""Pairs of RDMs that need no closer look, in NumPy: most comparisons are of such, and a call of few operations.

What has a gradient, lies on a GPU, holds similarities or missing pairs, or is not symmetric and zero on the diagonal to
the last bit, takes the long way, which knows what to do with it or says what is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from torch import Tensor

from cotrain.analysis._arrays import Given
from cotrain.analysis._tagged_rdm import Rdm
from cotrain.analysis._unit_vectors import ROUNDING, mean_ranks

Numbers = NDArray[np.float64]
STRIP = 128  # rows


def plain_pairs(a: Given | Rdm, b: Given | Rdm) -> tuple[Numbers, Numbers] | None:
    """(rdms, pairs) of both, each pair once, row by row; None where either needs a closer look."""
    if isinstance(a, Rdm) and isinstance(b, Rdm) and a.ids and b.ids and a.ids != b.ids:
        return None
    first = _pairs(a)
    second = None if first is None else _pairs(b)
    if first is None or second is None or first.shape[1] != second.shape[1]:
        return None
    return first, second


def unit_rows(rows: Numbers, name: str) -> Numbers:
    """As `unit_vectors`, of pairs: rows whose inner products are similarities; NaN for one that says nothing.

    Args:
        rows: (rdms, pairs), finite.
        name: "pearson", "cosine", "spearman" or "rho_a".
    """
    if name in ("spearman", "rho_a"):
        rows = mean_ranks(rows)
    centred = rows if name == "cosine" else rows - rows.mean(1, keepdims=True)
    if name == "rho_a":
        number = rows.shape[1]
        return np.asarray(centred * math.sqrt(12 / (number**3 - number)))
    norm = _norms(centred)
    whole = norm if name == "cosine" else _norms(rows)
    return centred / np.where(norm > ROUNDING * whole, norm, np.nan)


def _norms(rows: Numbers) -> Numbers:
    return np.array([[math.sqrt(row @ row)] for row in rows])


def _pairs(given: Given | Rdm) -> Numbers | None:
    tagged = isinstance(given, Rdm)
    if isinstance(given, Rdm) and given.kind != "distance":
        return None
    values: Any = given.values if isinstance(given, Rdm) else given
    if isinstance(values, Tensor):
        if values.requires_grad or values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
            return None
        values = values.numpy()
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        return None
    if values.ndim not in (2, 3) or values.shape[-1] != values.shape[-2] or values.shape[-1] < 3 or not len(values):
        return None
    held = np.ascontiguousarray(values, np.float64).reshape(-1, *values.shape[-2:])
    if not tagged and not _is_distance(held):  # an Rdm was looked at when it was made
        return None
    rows = [squareform(matrix, checks=False) for matrix in held]
    found = rows[0][None] if len(rows) == 1 else np.stack(rows)
    return found if math.isfinite(found.sum()) else None


def _is_distance(held: Numbers) -> bool:
    if held.diagonal(axis1=1, axis2=2).any():
        return False
    # in strips, each pair once: what is read across rows stays in the cache
    return all(
        np.array_equal(matrix[start : start + STRIP, start:], matrix[start:, start : start + STRIP].T)
        for matrix in held
        for start in range(0, len(matrix), STRIP)
    )
