"""Directions whose removal leaves the centres of manifolds least correlated: descent from several starts at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEMORY = 5  # steps that L-BFGS remembers
FLAT = 1e-8  # largest entry of a gradient that is none
ENOUGH = 1e-4  # share of the fall that the slope promises (Armijo)
SHORTER = 0.4  # each time that a step does not bring it
TRIES = 25


def correlation_cost(gram: Floats) -> Any:
    """1/2 sum over i and j of A_ij^2 / (A_ii A_jj), the squared cosines of the angles between centres.

    Args:
        gram: A, inner products of centres, (..., centres, centres). A centre of length 0 has cosine 0 with all.
    """
    lengths = np.diagonal(gram, axis1=-2, axis2=-1)
    scale = 1 / np.maximum(lengths, np.finfo(float).tiny)
    return 0.5 * (gram**2 * scale[..., :, None] * scale[..., None, :]).sum((-2, -1))


def descend(centers: Floats, starts: Floats, *, still: float = 1e-12, steps: int = 500) -> tuple[Floats, Floats]:
    """Subspaces V that are local minima of `correlation_cost` of what is left of the centres, X - X V V^T.

    L-BFGS (Liu & Nocedal 1989) on the Grassmann manifold: steps at right angles to V are led back to
    orthonormal columns (Absil, Mahony & Sepulchre 2008, Optimization algorithms on matrix manifolds, chapter 4). The
    cost does not depend on the basis of V.

    Args:
        centers: X, (centres, coordinates), of any unit.
        starts: (starts, coordinates, k), with orthonormal columns.
        still: A start whose cost falls by less in a step, in units of 1 + the cost, is done.
        steps: At most.

    Returns:
        The subspaces, (starts, coordinates, k), and their costs, (starts,).
    """
    x = centers / np.sqrt((centers**2).sum(1).mean())
    gram = x @ x.T
    found, costs = starts.copy(), np.zeros(len(starts))
    left = np.arange(len(starts))  # those that are still under way, and what is known of them
    v = starts.copy()
    cost, gradient = _cost_and_gradient(v, x, gram)
    memory: list[tuple[Floats, Floats, Floats]] = []  # steps, changes of the gradient, 1 / their product (0: no use)
    for _ in range(steps):
        direction = _direction(v, gradient, memory)
        slope = _inner(direction, gradient)
        uphill = slope >= 0
        direction[uphill], slope[uphill] = -gradient[uphill], -_inner(gradient, gradient)[uphill]
        new, new_cost, new_gradient, length = _search(v, cost, direction, slope, x, gram)
        step = _tangent(new, length[:, None, None] * direction)
        change = new_gradient - _tangent(new, gradient)
        memory = [*memory[-(MEMORY - 1) :], _remembered(step, change)]
        done = (cost - new_cost <= still * (1 + cost)) | (np.abs(new_gradient).max((1, 2)) < FLAT)
        v, cost, gradient = new, new_cost, new_gradient
        found[left], costs[left] = v, cost
        if done.any():
            on = ~done
            left, v, cost, gradient = left[on], v[on], cost[on], gradient[on]
            memory = [(s[on], y[on], r[on]) for s, y, r in memory]
        if not len(left):
            break
    return found, costs


def _cost_and_gradient(v: Floats, x: Floats, gram: Floats) -> tuple[Floats, Floats]:
    """With W_ij = A_ij / (A_ii A_jj) and H = W less its weighted diagonal, the gradient is -2 X^T H X V."""
    held = x @ v
    rest = gram - held @ held.swapaxes(1, 2)
    count = len(gram)
    lengths = np.maximum(rest.reshape(len(v), -1)[:, :: count + 1], 1e-14)  # of a centre that V holds, rounding is left
    scale = 1 / lengths
    weights = rest * scale[:, :, None] * scale[:, None, :]
    shares = np.einsum("bij,bij->bi", rest, weights)
    weights.reshape(len(v), -1)[:, :: count + 1] -= shares * scale
    gradient = -2 * (x.T @ (weights @ held))
    return 0.5 * shares.sum(1), _tangent(v, gradient)


def _tangent(v: Floats, change: Floats) -> Floats:
    """What of a change is at right angles to V."""
    rest: Floats = change - v @ (v.swapaxes(1, 2) @ change)
    return rest


def _inner(a: Floats, b: Floats) -> Floats:
    products: Floats = np.einsum("bij,bij->b", a, b)
    return products


def _remembered(step: Floats, change: Floats) -> tuple[Floats, Floats, Floats]:
    curvature = _inner(step, change)
    useful = curvature > 1e-12 * _inner(change, change)
    return step, change, np.where(useful, 1 / np.where(useful, curvature, 1.0), 0.0)


def _direction(v: Floats, gradient: Floats, memory: list[tuple[Floats, Floats, Floats]]) -> Floats:
    """Down, as the remembered curvature has it."""
    if not memory:
        return -0.1 * gradient / np.maximum(np.sqrt(_inner(gradient, gradient)), 1e-300)[:, None, None]
    q, shares = gradient.copy(), []
    for step, change, inverse in reversed(memory):
        shares.append(inverse * _inner(step, q))
        q -= shares[-1][:, None, None] * change
    _, change, inverse = memory[-1]
    known = inverse > 0
    scale = np.where(known, 1 / np.where(known, inverse * _inner(change, change), 1.0), 1.0)
    q *= scale[:, None, None]
    for (step, change, inverse), share in zip(memory, reversed(shares), strict=True):
        q += (share - inverse * _inner(change, q))[:, None, None] * step
    return -_tangent(v, q)


def _search(
    v: Floats, cost: Floats, direction: Floats, slope: Floats, x: Floats, gram: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """The first step, of ever shorter ones, that brings enough; where none does, none is made."""
    new, new_cost, length = v.copy(), cost.copy(), np.ones(len(v))
    new_gradient = np.zeros_like(v)
    trying = np.arange(len(v))
    for attempt in range(TRIES):
        moved = _orthonormal(v[trying] + length[trying, None, None] * direction[trying])
        value, gradient = _cost_and_gradient(moved, x, gram)
        good = value <= cost[trying] + ENOUGH * length[trying] * slope[trying]
        taken = trying[good]
        new[taken], new_cost[taken], new_gradient[taken] = moved[good], value[good], gradient[good]
        trying = trying[~good]
        if not len(trying):
            break
        length[trying] *= SHORTER if attempt < TRIES - 1 else 0.0
    return new, new_cost, new_gradient, length


def _orthonormal(columns: Floats) -> Floats:
    """As Gram and Schmidt's method has them, by Cholesky's.

    The products of orthonormal columns and a step at right angles to them are no less than the identity.
    """
    factor = np.linalg.cholesky(columns.swapaxes(1, 2) @ columns)
    orthonormal: Floats = columns @ np.linalg.inv(factor).swapaxes(1, 2)
    return orthonormal
