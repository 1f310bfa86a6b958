"""What the geometry of all manifolds of a layer comes to: means with their errors, and what is logged of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis import ManifoldGeometry

log = logging.getLogger(__name__)

NAN = float("nan")
LONGEST_REASON = 255  # letters, of the table's column
LEAST_CENTRE = 0.01  # share of a centre's length; with less of it left, lengths of the centre are no unit
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ManifoldMeans:
    """What a layer's row holds of its manifolds; NaN where it is undefined.

    Args:
        features: That are not silent, after projection.
        mean_capacity: 1 / mean of 1 / capacity, of the manifolds that have one.
        mean_capacity_error: Its standard error over random directions.
        mean_capacity_class_error: Its standard error over manifolds, as if classes were drawn from many.
        mean_floor: Capacity of noise of as many points, 2 / points at kappa 0.
        mean_radius: Of the manifolds that have a capacity and whose centres keep 1 % of their length or more, for radii
            are in lengths of what is left; with errors as above.
        mean_dimension: Of the manifolds that have a capacity, with errors as above.
        center_correlation: Mean |cosine| of pairs of centres about their mean.
        residual_correlation: The same after removal of common directions.
        removed: Number of these directions.
        stability: The smallest share of its length that a centre keeps after removal.
        at_floor, few_points, unknown: Shares of the manifolds whose capacity is within 10 % of the floor, that have
            fewer than 10 points a dimension, and that have no capacity.
        undefined: Why capacities are NaN; "" where all are known.
    """

    features: int = 0
    mean_capacity: float = NAN
    mean_capacity_error: float = NAN
    mean_capacity_class_error: float = NAN
    mean_floor: float = NAN
    mean_radius: float = NAN
    mean_radius_error: float = NAN
    mean_radius_class_error: float = NAN
    mean_dimension: float = NAN
    mean_dimension_error: float = NAN
    mean_dimension_class_error: float = NAN
    center_correlation: float = NAN
    residual_correlation: float = NAN
    removed: int = 0
    stability: float = NAN
    at_floor: float = NAN
    few_points: float = NAN
    unknown: float = 1.0
    undefined: str = ""


def mean_columns(geometry: ManifoldGeometry) -> dict[str, Any]:
    """The fields of `ManifoldMeans`: of manifolds with a capacity; radii of those that keep 1 % of their centre."""
    capacity = np.asarray(geometry.capacity)
    known = np.isfinite(capacity)
    centred = known & (geometry.center_share >= LEAST_CENTRE)
    mean, inverse = geometry.mean_capacity, 1 / capacity[known]
    return {
        "features": geometry.neurons,
        "mean_capacity": mean,
        "mean_capacity_error": geometry.mean_capacity_error,
        "mean_capacity_class_error": mean**2 * _standard_error(inverse),  # of the mean of 1 / capacity, turned over
        "mean_floor": float(1 / np.mean(1 / geometry.floor)),
        "mean_radius": mean_of_known(geometry.radius[centred]),
        "mean_radius_error": _error_of_mean(geometry.radius_error[centred]),
        "mean_radius_class_error": _standard_error(geometry.radius[centred]),
        "mean_dimension": geometry.mean_dimension,
        "mean_dimension_error": _error_of_mean(geometry.dimension_error[known]),
        "mean_dimension_class_error": _standard_error(geometry.dimension[known]),
        "center_correlation": geometry.center_correlation,
        "residual_correlation": geometry.residual_correlation,
        "removed": geometry.n_removed,
        "stability": geometry.stability,
        "at_floor": float(np.mean(geometry.at_floor)),
        "few_points": float(np.mean(geometry.few_points)),
        "unknown": float(np.mean(~known)),
    }


def mean_of_known(values: Floats) -> float:
    """Of those that are finite; NaN of none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else NAN


def first_reason(reasons: Sequence[str]) -> str:
    """Why a capacity is undefined, as the table has room for it; "" where none is."""
    return next((reason for reason in reasons if reason), "")[:LONGEST_REASON]


def warn_of_missing(where: str, row: Any) -> None:
    """Log what is undefined of a row, or left out of its means."""
    if row.undefined:
        log.warning("Manifolds of %s: %s", where, row.undefined)
    if row.stability < LEAST_CENTRE:
        log.warning(
            "Manifolds of %s: %d common directions leave %.2g of a centre's length: its radius is left out.",
            where, row.removed, row.stability,
        )  # fmt: skip


def warn_of_noise(where: str, rows: Sequence[tuple[str, Any]], one: str) -> None:
    """Log once where capacities are those of noise.

    Args:
        where: Whose images.
        rows: Of layers, each with its name.
        one: What manifolds are of, in the plural.
    """
    if near := [f"{name} ({row.at_floor * row.manifolds:.0f})" for name, row in rows if row.at_floor > 0]:
        log.warning(
            "Manifolds of %s: of %d %s some have a capacity within 10 %% of that of noise, which says nothing of "
            "them: %s.",
            where, rows[0][1].manifolds, one, ", ".join(near),
        )  # fmt: skip


def _standard_error(values: Floats) -> float:
    """Of the mean of independent values."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else NAN


def _error_of_mean(errors: Floats) -> float:
    """Of the mean of independent values with these standard errors."""
    return float(np.sqrt((errors**2).sum()) / len(errors)) if len(errors) else NAN
