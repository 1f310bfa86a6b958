"""The nearest points of a cone to many directions at once: non-negative least squares, by one of three solvers.

The cone of some rows holds all their sums with weights a >= 0. Capacity, as a loss and as a measurement, asks for its
point nearest to each of hundreds of random directions b: min over a >= 0 of |rows^T a - b|^2.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import CotrainError, did_you_mean

SOLVERS = ("numba", "scipy", "torch")
EXACT = 1e-9  # to which a solution must fulfil the conditions of Karush, Kuhn and Tucker, in lengths of its direction

MANY = 500  # rows, from which on a few are tried first

Floats = NDArray[np.float64]


def cone_coefficients(rows: Floats, directions: Floats, *, solver: str = "scipy") -> Floats:
    """Coefficients a >= 0 of the rows for the point of their cone that is nearest to each direction.

    rows^T a is unique; a is so only where no rows are linearly dependent. What "numba" and "torch" find is checked
    against the conditions of an optimum, and what does not fulfil them is solved again by "scipy".

    Args:
        rows: (rows, coordinates), none of them zero. There may be more rows than coordinates, and copies.
        directions: (draws, coordinates).
        solver: "scipy", SciPy's `nnls`, one direction after the other; "numba", the method of Lawson & Hanson (1974) on
            the Gram matrix, compiled (`pip install cotrain[numba]`); "torch", block principal pivoting of all
            directions at once (Portugal, Judice & Vicente 1994), on the GPU where there is one, else slower than both.

    Returns:
        (draws, rows).

    Raises:
        CotrainError: There is no such solver, or it is not installed.
    """
    require_solver(solver)
    lengths = np.linalg.norm(rows, axis=1)
    system, targets = (rows / lengths[:, None]).T, directions  # rows of length 1 make one tolerance fit all
    if len(rows) < rows.shape[1]:  # what is at right angles to all rows changes no solution
        basis, system = np.linalg.qr(system)
        targets = directions @ basis
    agreement = targets @ system
    coefficients = np.zeros((len(directions), len(rows)))
    busy = (agreement > 0).any(1).nonzero()[0]  # of the others, the nearest point is 0
    if solver == "scipy":
        coefficients[busy] = _by_scipy(system, targets[busy])
    elif len(busy):
        gram = system.T @ system
        found = _of_gram(solver)(gram, agreement[busy])
        wrong = ~_is_optimum(gram, agreement[busy], found, np.linalg.norm(targets[busy], axis=1))
        found[wrong] = _by_scipy(system, targets[busy[wrong]])
        coefficients[busy] = found
    unscaled: Floats = coefficients / lengths
    return unscaled


def require_solver(name: str) -> None:
    """Refuse what is no solver, before anything is computed.

    Raises:
        CotrainError: There is none of that name, or it is not installed.
    """
    if name not in SOLVERS:
        raise CotrainError(f"There is no solver {name!r} of cones.{did_you_mean(name, SOLVERS)}")
    if name == "numba" and importlib.util.find_spec("numba") is None:
        raise CotrainError(
            "The solver 'numba' needs the package numba, which is not installed: pip install cotrain[numba], or take "
            "the solver 'scipy'."
        )


def _by_scipy(system: Floats, targets: Floats) -> Floats:
    solve = _of_many if system.shape[1] > max(MANY, 2 * len(system)) else _of_all
    found = [solve(system, target) for target in targets]
    return np.array(found).reshape(len(targets), system.shape[1])


def _of_all(system: Floats, target: Floats) -> Floats:
    from scipy.optimize import nnls

    coefficients: Floats = nnls(system, target, maxiter=30 * system.shape[1])[0]
    return coefficients


def _of_many(system: Floats, target: Floats) -> Floats:
    """Of a few rows first, as most will have the coefficient 0; then of those that were needed and those missed.

    Each round leaves less of the target, so that no choice of rows comes twice.
    """
    size, limit = len(target), EXACT / 10 * float(np.linalg.norm(target))
    chosen = np.argpartition(-(target @ system), 2 * size)[: 2 * size]
    least = np.inf
    while True:
        weights = _of_all(system[:, chosen], target)
        left = target - system[:, chosen] @ weights
        descent = left @ system
        descent[chosen] = 0
        missed = np.flatnonzero(descent > limit)
        distance = float(left @ left)
        if not len(missed) or distance >= least:  # or rounding is all that is left
            coefficients = np.zeros(system.shape[1])
            coefficients[chosen] = weights
            return coefficients
        least = distance
        worst = missed[np.argsort(-descent[missed])[:size]]
        chosen = np.concatenate([chosen[weights > 0], worst])


def _of_gram(solver: str) -> Callable[[Floats, Floats], Floats]:
    """A solver of min over a >= 0 of a.gram a / 2 - a.agreement; only now is its package imported."""
    if solver == "numba":
        from cotrain._lawson_hanson import lawson_hanson

        return lawson_hanson
    from cotrain._block_pivoting import block_pivoting

    return block_pivoting


def _is_optimum(gram: Floats, agreement: Floats, found: Floats, scale: Floats) -> NDArray[np.bool_]:
    """Which solutions have no negative coefficient, no descent left, and slack only where the coefficient is 0."""
    tolerance = EXACT * scale[:, None]
    descent = agreement - found @ gram
    good = (found >= 0) & (descent <= tolerance) & (np.abs(found * descent) <= tolerance * scale[:, None])
    return np.asarray(good.all(1))
