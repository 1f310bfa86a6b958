"""Capacity without theory: in how few random dimensions half of all dichotomies can still be made by a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.analysis._manifold_arrays import clouds_of
from cotrain.analysis._manifold_checks import require_choice
from cotrain.analysis._manifold_frame import compact
from cotrain.analysis._manifold_labels import LABELS, drawn_labels
from cotrain.analysis._manifold_separability import is_separable
from cotrain.analysis._probit import probit_middle
from cotrain.errors import CotrainError
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

PROJECTIONS = ("neurons", "random")
FIRST = 7  # dichotomies at each number of dimensions while the range is narrowed
PLACES = (-1.2, -0.5, 0.0, 0.5, 1.2)  # in widths of the transition, where the others are tried


@dataclass(frozen=True)
class SimulatedCapacity:
    """`capacity` = manifolds / `dimensions`; `low` and `high` bound it with the confidence that was asked for."""

    capacity: float
    low: float
    high: float
    dimensions: float  # at which half of the dichotomies are separable
    width: float  # of the transition, in dimensions: the standard deviation of the fitted normal distribution
    tried: Any = field(repr=False)  # numbers of dimensions, ascending
    separable: Any = field(repr=False)  # how many dichotomies were separable there
    trials: Any = field(repr=False)  # of how many
    reason: str  # why capacity is NaN; "" where it is known

    def __float__(self) -> float:
        return self.capacity


def simulated_capacity(
    manifolds: Sequence[Any],
    *,
    seed: int,
    trials: int = 300,
    projection: str = "random",
    labels: str = "balanced",
    bias: bool = True,
    confidence: float = 0.95,
) -> SimulatedCapacity:
    """Direct estimate of capacity: how many dimensions it takes to make half of the random dichotomies by a plane.

    Cohen et al. 2020 (Nature Communications 11:746). Each trial draws a dichotomy and a projection of the manifolds,
    and asks whether a plane parts them. Their code takes the first number of dimensions at which half of the trials
    succeed; here a normal distribution function is fitted to all trials, which have their place near the transition,
    and gives an interval. A plane with a bias needs one dimension less than one through the origin, which theory is
    about.

    Args:
        manifolds: As for `manifold_geometry`; two or more.
        seed: Of dichotomies and projections.
        trials: Near the transition; more narrow the interval like 1 / sqrt(trials).
        projection: "random", onto normal directions, or "neurons", a random choice of them.
        labels: "balanced", "one_vs_rest" or "random".
        bias: Whether planes may miss the origin; else the mean of the centres is the origin.
        confidence: Of the interval, between 0 and 1.

    Returns:
        Capacity; NaN with a reason and what is known as bounds where fewer dimensions than one, or more than there are
        neurons, would be needed.

    Raises:
        DataError: Manifolds are no list of (neurons, points), or leave nothing.
        CotrainError: An argument is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> points = [rng.normal(size=(40, 1)) for _ in range(20)]
    >>> simulated = simulated_capacity(points, seed=0)
    >>> bool(simulated.low < 2.2 < simulated.high), simulated.reason
    (True, '')
    """
    require_choice("projection", projection, PROJECTIONS)
    require_choice("kind of labels", labels, LABELS)
    if trials < 1 or not 0 < confidence < 1:
        raise CotrainError(
            f"A simulation needs 1 trial or more and a confidence between 0 and 1, found {trials} and {confidence}."
        )
    clouds = _reduced(clouds_of(manifolds).clouds, projection, bias)
    count, most = len(clouds), len(clouds[0])
    if count < 2:
        return _unknown("one manifold has no dichotomies: give two or more", {})
    counts: dict[int, list[int]] = {}
    bar = tqdm(desc="dichotomies", disable=None, delay=2, leave=False)

    def tried(dimensions: int, times: int) -> float:
        """The share that is separable, of all trials at this number so far."""
        held = counts.setdefault(dimensions, [0, 0])
        for _ in range(times):
            own = derive_seed(seed, "noise", "dichotomy", dimensions, held[1])
            held[0] += _separable(clouds, dimensions, projection, labels, bias, np.random.default_rng(own))
            held[1] += 1
            bar.update()
        return held[0] / held[1]

    with bar:
        high, low = 1, 0
        while high < most and tried(high, FIRST) < 0.5:
            low, high = high, min(2 * high, most)
        if high == most and tried(high, 3 * FIRST) < 0.5:
            rank = max(int(np.linalg.matrix_rank(np.concatenate(clouds, 1))), 1)
            return _unknown(
                f"most dichotomies are not separable in all {rank} dimensions: capacity is below {count} / {rank}",
                counts,
                high=count / rank,
            )
        if high == 1:
            return _unknown("most dichotomies are separable in one dimension", counts, low=float(count))
        while high - low > 1:
            between = (low + high) // 2
            low, high = (low, between) if tried(between, FIRST) >= 0.5 else (between, high)
        fit = _fitted(counts, confidence)
        rounds = -(-trials // (4 * len(PLACES)))
        for _ in range(rounds):
            for place in PLACES:
                tried(int(np.clip(round(fit[0] + place * max(fit[3], 0.5)), 1, most)), 4)
            fit = _fitted(counts, confidence)
    middle, least, largest, width = fit
    reason = "" if middle > 0 else "the fitted transition is at no positive number of dimensions: more trials"
    return SimulatedCapacity(
        capacity=count / middle if middle > 0 else math.nan,
        low=count / largest if largest > 0 else math.inf,
        high=count / least if least > 0 else math.inf,
        dimensions=middle,
        width=width,
        **_columns(counts),
        reason=reason,
    )


def _reduced(clouds: list[Floats], projection: str, bias: bool) -> list[Floats]:
    """Without what no trial needs: silent neurons, or more coordinates than points; about the origin of planes."""
    if not bias:
        middle = np.mean([cloud.mean(1) for cloud in clouds], 0)[:, None]
        clouds = [cloud - middle for cloud in clouds]
    together = np.concatenate(clouds, 1)
    ends = np.cumsum([cloud.shape[1] for cloud in clouds])[:-1]
    if projection == "neurons":
        active = np.ptp(together, axis=1) > 0 if bias else (together != 0).any(1)
        return np.split(together[active] if active.any() else together[:1], ends, axis=1)
    if bias:  # planes may lie anywhere, so the origin may be where it costs no dimension
        together = together - together.mean(1, keepdims=True)
    return np.split(compact(together), ends, axis=1)


def _separable(
    clouds: list[Floats], dimensions: int, projection: str, labels: str, bias: bool, generator: np.random.Generator
) -> bool:
    chosen = drawn_labels(labels, len(clouds), generator)
    if projection == "neurons":
        kept = generator.permutation(len(clouds[0]))[:dimensions]
        return is_separable([cloud[kept] for cloud in clouds], chosen, bias=bias)
    drawn = generator.standard_normal((dimensions, len(clouds[0])))
    return is_separable([drawn @ cloud for cloud in clouds], chosen, bias=bias)


def _fitted(counts: dict[int, list[int]], confidence: float) -> tuple[float, float, float, float]:
    held = _columns(counts)
    return probit_middle(
        held["tried"].astype(float),
        held["separable"].astype(float),
        held["trials"].astype(float),
        confidence=confidence,
    )


def _columns(counts: dict[int, list[int]]) -> dict[str, Any]:
    numbers = sorted(counts)
    return {
        "tried": np.array(numbers, int),
        "separable": np.array([counts[number][0] for number in numbers], int),
        "trials": np.array([counts[number][1] for number in numbers], int),
    }


def _unknown(
    reason: str, counts: dict[int, list[int]], *, low: float = 0.0, high: float = math.inf
) -> SimulatedCapacity:
    return SimulatedCapacity(math.nan, low, high, math.nan, math.nan, **_columns(counts), reason=reason)
