"""Refuse what no manifold geometry can be computed from, and say so where a number means little."""

from __future__ import annotations

import logging
import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._manifold_frame import ROUNDING, Frame
from cotrain.errors import CotrainError, did_you_mean
from cotrain.manifolds import NO_CENTRE, inverse_capacity_of_points

if TYPE_CHECKING:
    from cotrain.analysis._manifold_result import ManifoldGeometry

Floats = NDArray[np.float64]

log = logging.getLogger(__name__)


def require_choice(what: str, name: Any, known: tuple[str, ...]) -> None:
    """Refuse an unknown name.

    Raises:
        CotrainError: It is not one of those that are known.
    """
    if name not in known:
        raise CotrainError(f"There is no {what} {name!r}.{did_you_mean(str(name), known)}")


def require_draws(n_t: int, kappa: float = 0.0) -> None:
    """Refuse a number of draws or a margin that nothing can be computed with.

    Raises:
        CotrainError: There are none, or the margin is not finite.
    """
    if not isinstance(n_t, Integral) or n_t < 1:
        raise CotrainError(f"n_t is the number of random directions, a whole number of 1 or more, found {n_t!r}.")
    if not math.isfinite(kappa):
        raise CotrainError(f"A margin kappa is a finite number, 0 for none, found {kappa!r}.")


def hopeless(clouds: list[Floats]) -> list[str]:
    """Why a manifold's capacity cannot be told from its points; "" where it can.

    One point has the capacity of points, whatever it is, and neither radius nor dimension. Two manifolds with one
    centre overlap, and no plane parts them.
    """
    centers = np.stack([cloud.mean(1) for cloud in clouds], 1)
    reach = np.array([np.sqrt(((cloud - cloud.mean(1)[:, None]) ** 2).sum(0).mean()) for cloud in clouds])
    level = np.linalg.norm(centers, axis=0)
    squares = level**2
    distances = squares[:, None] + squares - 2 * centers.T @ centers
    pairs = np.argwhere(np.triu(distances <= 1e-6 * (squares[:, None] + squares + reach**2), 1))
    same: dict[int, int] = {}
    for a, b in pairs.tolist():  # few: a difference of large numbers is computed again without loss
        limit = max(NO_CENTRE * max(reach[a], reach[b]), ROUNDING * max(level[a], level[b]))
        if np.linalg.norm(centers[:, a] - centers[:, b]) <= limit:
            same.setdefault(a, b)
            same.setdefault(b, a)
    reasons = []
    for number, cloud in enumerate(clouds):
        if cloud.shape[1] < 2:
            reasons.append("it has one point, and a capacity like radius and dimension needs two or more")
        elif number in same:
            reasons.append(f"its centre is that of manifold {same[number]}, so no plane parts the two")
        else:
            reasons.append("")
    return reasons


def noise_floor(clouds: list[Floats], frames: list[Frame | str], kappa: float) -> Floats:
    """Capacity of as many points at right angles, or of points all around the origin where they outnumber dimensions.

    M points at right angles span an orthant, on which the projection of a direction has the mean square
    M I(kappa / sqrt(M)), I the 1 / alpha of points: M / 2 at kappa 0. D dimensions hold no more than D + I(kappa).
    """
    values = []
    for cloud, frame in zip(clouds, frames, strict=True):
        points = cloud.shape[1]
        orthant = points * inverse_capacity_of_points(kappa / math.sqrt(points))
        dimension = frame.dimension if isinstance(frame, Frame) else min(len(cloud), points - 1)
        values.append(1 / max(min(orthant, dimension + inverse_capacity_of_points(kappa)), np.finfo(float).tiny))
    return np.array(values)


def warn_of(geometry: ManifoldGeometry) -> None:
    """Say in the log what makes numbers doubtful."""
    lost = [number for number, reason in enumerate(geometry.reasons) if reason]
    if lost:
        log.warning(
            "%d of %d manifolds have no capacity; manifold %d: %s",
            len(lost),
            len(geometry.reasons),
            lost[0],
            geometry.reasons[lost[0]],
        )
    if low := int(np.sum(geometry.at_floor)):
        log.warning(
            "%d manifolds have a capacity within 10 %% of that of noise of as many points (2 / points): their centres "
            "carry next to nothing",
            low,
        )
    if few := int(np.sum(geometry.few_points)):
        log.info(
            "%d manifolds have fewer than 10 points a dimension: their capacity is too high, see capacity_by_points",
            few,
        )
