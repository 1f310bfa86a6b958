"""What the centres of manifolds have in common, and its removal before each manifold is looked at by itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.analysis._grassmann import correlation_cost, descend
from cotrain.errors import CotrainError, DataError, did_you_mean
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

SELECTIONS = ("cost", "stability")
PATIENCE = 3  # further directions that are tried after the best number of them
LARGEST = 46  # number of directions that is tried, as in the MATLAB code of Cohen et al. 2020


@dataclass(frozen=True)
class CenterSubspace:
    """Directions that were chosen to be removed, and how the centres correlate with and without them.

    Correlations are means over pairs of centres of |cos|, after the mean of all centres is taken away; NaN for one.
    """

    basis: Floats = field(repr=False)  # (neurons, k), orthonormal
    correlation: float  # of the centres as they are
    residual_correlation: float  # of what is left of them
    cost: float  # half the sum of squared cosines of what is left, with the diagonal
    stability: float  # smallest share of its length that any centre keeps, 0 to 1
    tried: tuple[float, ...]  # residual correlation for each number of directions that was tried: 0, 1, ...

    @property
    def k(self) -> int:
        """Number of directions."""
        return int(self.basis.shape[1])


@dataclass(frozen=True)
class Search:
    """How the number of directions is chosen.

    `select`: the start that is taken of several, by "cost" or by "stability". `smallest`, `largest`: numbers that are
    tried, the latter from the singular values of the centres. `least_tried`: numbers that are tried in any case.
    """

    select: str = "cost"
    smallest: int = 0
    largest: Callable[[Floats], int] = lambda values: min(math.ceil((len(values)) / 2), LARGEST)
    least_tried: int = 0


def follow_up_largest(values: Floats) -> int:
    """Directions that hold 95 % of the centres' variance, and ten more."""
    held = np.cumsum(values**2) / max(np.sum(values**2), np.finfo(float).tiny)
    return int((held < 0.95).sum()) + 10


def center_subspace(
    centers: Floats, *, k: int | None = None, restarts: int = 10, seed: int = 0, search: Search | None = None
) -> CenterSubspace:
    """The directions without which the centres correlate least.

    Mean-field theory takes centres to be in random directions. What they share is removed first (Cohen, Chung, Lee &
    Sompolinsky 2020, Nature Communications 11:746, methods): for each number of directions k, those that minimise
    1/2 sum over i and j of cos(i, j)^2 of the centres left; then the k with the smallest mean |cos|. The problem is not
    convex. Each k starts `restarts` times, from the directions of k - 1 and a random one.

    Args:
        centers: (neurons, centres); their mean is taken away.
        k: That many; None: chosen, which may be none. 0 to the number of independent centres less 1.
        restarts: 1 or more.
        seed: Of the random directions.
        search: How the number is chosen; None: by cost, from 0 to half the centres, 46 at most.

    Raises:
        DataError: So many directions would leave nothing of the centres.
        CotrainError: An argument is no number of directions or restarts, or there is no such selection.
    """
    search = search or Search()
    if search.select not in SELECTIONS:
        raise CotrainError(
            f"There is no selection {search.select!r} of starts.{did_you_mean(search.select, SELECTIONS)}"
        )
    if restarts < 1 or (k is not None and k < 0):
        raise CotrainError(
            f"The search for common directions needs 1 restart or more and k of 0 or more, found restarts = {restarts} "
            f"and k = {k}."
        )
    around = centers - centers.mean(1, keepdims=True)
    left, values, _ = np.linalg.svd(around, full_matrices=False)
    rank = int((values > 1e-10 * max(values[0], np.finfo(float).tiny)).sum())
    if k is not None and k >= max(rank, 1):
        raise DataError(
            f"{centers.shape[1]} manifolds have centres of {rank} independent directions, of which {k} cannot be "
            f"removed: nothing would be left of them. Give k from 0 to {max(rank - 1, 0)}, or None to have it chosen."
        )
    x = around.T @ left[:, :rank]
    found = [np.zeros((rank, 0))]
    tried = [mean_correlation(around)]
    best = 0 if search.smallest == 0 else -1
    last = k if k is not None else min(max(search.largest(values), search.smallest), rank - 1)
    for number in tqdm(range(1, last + 1), desc="center directions", disable=None, delay=2, leave=False):
        found.append(
            _descended(x, found[-1], restarts, derive_seed(seed, "noise", "center directions", number), search)
        )
        tried.append(mean_correlation(_rest(x, found[-1]).T))
        if number >= search.smallest and (best < 0 or tried[number] < tried[best]):
            best = number
        if k is None and number - best >= PATIENCE and number >= search.least_tried:
            break
    chosen = found[max(best, 0) if k is None else k]
    chosen = descend(x, chosen[None])[0][0] if chosen.shape[1] else chosen
    return _described(around, left[:, :rank] @ chosen, tuple(tried))


def given_subspace(centers: Floats, given: Any, known: NDArray[np.bool_] | None = None) -> CenterSubspace:
    """The same description of directions that are given, (neurons, k); they are made orthonormal.

    `known`: of all neurons, those that the centres have; then directions may be of all neurons.

    Raises:
        DataError: They do not fit the neurons, or depend on each other.
    """
    basis = np.asarray(given, dtype=np.float64)
    if known is not None and basis.ndim == 2 and len(basis) == len(known):
        basis = basis[known]
    if basis.ndim != 2 or len(basis) != len(centers) or not np.isfinite(basis).all():
        raise DataError(
            f"A subspace to remove is finite and has the shape (neurons, directions) = ({len(centers)}, k), found "
            f"{basis.shape}."
        )
    q, r = np.linalg.qr(basis)
    lengths = np.linalg.norm(basis, axis=0)
    if basis.shape[1] > len(basis) or (np.abs(np.diagonal(r)) <= 1e-10 * lengths).any():
        raise DataError(f"The {basis.shape[1]} directions of the subspace depend on each other. Give independent ones.")
    return _described(centers - centers.mean(1, keepdims=True), q, (mean_correlation(centers),))


def mean_correlation(centers: Floats) -> float:
    """Mean over pairs of |cos| of centres, (neurons, centres), about their mean; NaN for one centre.

    One of no length has cosine 0 with all.
    """
    count = centers.shape[1]
    if count < 2:
        return math.nan
    around = centers - centers.mean(1, keepdims=True)
    lengths = np.linalg.norm(around, axis=0)
    unit = around / np.where(lengths > 0, lengths, 1)
    cosines = np.abs(unit.T @ unit)
    return float((cosines.sum() - np.diagonal(cosines).sum()) / (count * (count - 1)))


def _descended(x: Floats, last: Floats, restarts: int, seed: int, search: Search) -> Floats:
    """The best of several starts, from the last directions and a random one that the centres span."""
    drawn = np.random.default_rng(seed).standard_normal((restarts, len(x), 1))
    starts = np.stack([np.linalg.qr(np.concatenate([x.T @ draw, last], 1))[0] for draw in drawn])
    by_cost = search.select == "cost"
    # the cost of a start is soon known well enough to choose; its smallest residual centre is not
    subspaces, costs = descend(x, starts, still=1e-6, steps=100) if by_cost else descend(x, starts, still=1e-9)
    best = costs.argmin() if by_cost else np.argmax([_stability(x.T, subspace) for subspace in subspaces])
    chosen: Floats = subspaces[best]
    return chosen


def _rest(x: Floats, basis: Floats) -> Floats:
    rest: Floats = x - x @ basis @ basis.T
    return rest


def _stability(around: Floats, basis: Floats) -> float:
    """The smallest share of its length that a centre, (neurons, centres), keeps; centres of no length do not count."""
    lengths = np.linalg.norm(around, axis=0)
    kept = np.linalg.norm(_rest(around.T, basis), axis=1)
    some = lengths > 1e-12 * max(lengths.max(), np.finfo(float).tiny)
    return float(np.min(kept[some] / lengths[some], initial=1.0))


def _described(around: Floats, basis: Floats, tried: tuple[float, ...]) -> CenterSubspace:
    rest = _rest(around.T, basis)
    lengths = np.linalg.norm(rest, axis=1)
    unit = rest / np.where(lengths > 0, lengths, 1)[:, None]
    return CenterSubspace(
        basis=basis,
        correlation=mean_correlation(around),
        residual_correlation=mean_correlation(rest.T),
        cost=float(correlation_cost(unit @ unit.T)),
        stability=_stability(around, basis),
        tried=tried,
    )
