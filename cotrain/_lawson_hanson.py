"""Non-negative least squares on a Gram matrix, compiled by numba where it is installed.

Lawson & Hanson 1974 (Solving least squares problems, chapter 23): a set of free variables grows by the one along which
the descent is steepest, and shrinks by those that would become negative. Its Cholesky factor grows by a row at a time.
Solutions have few free variables, so a problem of n variables costs about n times the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])

STEEP = 1e-12  # of the largest agreement: a smaller descent is none
DEPENDENT = 1e-11  # squared distance of a row of length 1 from the span of the free ones that is none
OUT, FREE, SKIPPED = 0, 1, 2


def _compiled(function: Function) -> Function:
    """By numba, kept on disk; the plain function, slow but the same, where there is no numba."""
    try:
        from numba import njit
    except ImportError:
        return function
    compiled: Function = njit(cache=True, nogil=True)(function)
    return compiled


def lawson_hanson(gram: Floats, agreement: Floats) -> Floats:
    """min over a >= 0 of a.gram a / 2 - a.agreement, for each row of `agreement`.

    Args:
        gram: (n, n), ones on its diagonal.
        agreement: (problems, n).

    Returns:
        (problems, n). One that takes more than 10 n steps is left as it is then: check it.
    """
    solutions = np.zeros_like(agreement)
    _solve_all(np.ascontiguousarray(gram), np.ascontiguousarray(agreement), solutions)
    return solutions


@_compiled
def _append(gram: Floats, factor: Floats, order: NDArray[np.int64], free: int, new: int) -> bool:
    """The factor's row of a new variable; False where it depends on the free ones."""
    left = gram[new, new]
    for a in range(free):
        value = gram[order[a], new]
        for b in range(a):
            value -= factor[a, b] * factor[free, b]
        value /= factor[a, a]
        factor[free, a] = value
        left -= value * value
    if left <= DEPENDENT:
        return False
    factor[free, free] = np.sqrt(left)
    order[free] = new
    return True


@_compiled
def _solve_free(agreement: Floats, factor: Floats, order: NDArray[np.int64], free: int, wanted: Floats) -> None:
    """What the free variables would be, were they allowed to be negative."""
    for a in range(free):
        value = agreement[order[a]]
        for b in range(a):
            value -= factor[a, b] * wanted[b]
        wanted[a] = value / factor[a, a]
    for a in range(free - 1, -1, -1):
        value = wanted[a]
        for b in range(a + 1, free):
            value -= factor[b, a] * wanted[b]
        wanted[a] = value / factor[a, a]


@_compiled
def _shrink(
    gram: Floats,
    factor: Floats,
    order: NDArray[np.int64],
    state: NDArray[np.int64],
    free: int,
    wanted: Floats,
    solution: Floats,
) -> int:
    """Go towards what is wanted until a variable is 0, and let that one go; the number of those left."""
    step, first = 1.0, -1
    for a in range(free):
        if wanted[a] <= 0:
            share = solution[order[a]] / (solution[order[a]] - wanted[a])
            if first < 0 or share < step:
                step, first = share, a
    for a in range(free):
        solution[order[a]] += step * (wanted[a] - solution[order[a]])
    kept = 0
    for a in range(free):
        if a == first or (wanted[a] <= 0 and solution[order[a]] <= 1e-15):
            solution[order[a]] = 0.0
            state[order[a]] = OUT
        else:
            order[kept] = order[a]
            kept += 1
    done = 0
    while done < kept:  # rows before the first that went stay as they are; to compute them again costs little
        if not _append(gram, factor, order, done, order[done]):
            factor[done, done] = np.sqrt(DEPENDENT)
        done += 1
    return kept


@_compiled
def _solve(
    gram: Floats,
    agreement: Floats,
    solution: Floats,
    factor: Floats,
    wanted: Floats,
    order: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """One problem; the arrays after `solution` are room for its work."""
    size = len(agreement)
    free, descent = 0, agreement.copy()
    steep = STEEP * np.abs(agreement).max()
    state[:] = OUT
    for _ in range(10 * size):
        new, largest = -1, steep
        for j in range(size):
            if state[j] == OUT and descent[j] > largest:
                new, largest = j, descent[j]
        if new < 0:
            return
        if free == size or not _append(gram, factor, order, free, new):
            state[new] = SKIPPED  # until the free ones have changed
            continue
        state[new] = FREE
        free += 1
        while free > 0:
            _solve_free(agreement, factor, order, free, wanted)
            if wanted[:free].min() > 0:
                break
            free = _shrink(gram, factor, order, state, free, wanted, solution)
        for a in range(free):
            solution[order[a]] = wanted[a]
        for j in range(size):
            value = agreement[j]
            for a in range(free):
                value -= gram[j, order[a]] * solution[order[a]]
            descent[j] = value
            if state[j] == SKIPPED:
                state[j] = OUT


@_compiled
def _solve_all(gram: Floats, agreement: Floats, solutions: Floats) -> None:
    size = len(gram)
    factor, wanted = np.zeros((size, size)), np.zeros(size)
    order, state = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for problem in range(len(agreement)):
        _solve(gram, agreement[problem], solutions[problem], factor, wanted, order, state)
