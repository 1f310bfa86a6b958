"""Capacity, radius and dimension of one manifold, from the points that random directions pick out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

NOTHING = 1e-10  # weight along the centre below which a direction touches no point of the cone


@dataclass(frozen=True)
class Estimate:
    """A mean over draws, and its standard error."""

    value: float
    error: float


def anchors(points: Floats, directions: Floats, nearest: Floats) -> Floats:
    """The point of each manifold's convex hull that a direction picks: (draws, dimension), in units of the centre.

    Where the cone's nearest point is 0, the manifold lies on the right side of the plane as it is, and its anchor is
    the point that reaches farthest along the direction; else it is where the nearest point, lengthened, meets the
    manifold (Chung, Lee & Sompolinsky 2018, Physical Review X 8:031003, section IV).

    Args:
        points: (points, dimension).
        directions: (draws, dimension + 1).
        nearest: (draws, dimension + 1), the projections onto the cone.
    """
    weight = nearest[:, -1]
    inside = weight <= NOTHING
    found = nearest[:, :-1] / np.where(inside, 1.0, weight)[:, None]
    if inside.any():
        found[inside] = points[(directions[inside, :-1] @ points.T).argmax(1)]
    return found


def estimates(directions: Floats, picked: Floats, squares: Floats, kappa: float) -> dict[str, Estimate]:
    """All definitions of radius and dimension that are in use, by name, and the two of 1 / capacity.

    See `ManifoldGeometry` for what each is.

    Args:
        directions: (draws, dimension + 1).
        picked: (draws, dimension), anchors.
        squares: (draws,), |P(b)|^2.
        kappa: Margin.
    """
    t = directions[:, :-1]
    deviations = picked - picked.mean(0)
    lengths = (deviations**2).sum(1)
    products = (t * deviations).sum(1)
    size = max(t.shape[1], 1)
    margin = products + kappa
    smoothed = (1 + margin**2) * ndtr(margin) + margin * np.exp(-(margin**2) / 2) / np.sqrt(2 * np.pi)
    floor = np.finfo(np.float64).tiny
    ratios = np.where(lengths > floor, products**2 / np.maximum(lengths, floor), 0.0)
    return {
        "inverse": _mean(squares),
        "inverse_smoothed": _mean(smoothed / (1 + lengths)),
        "radius": _root(_mean(lengths)),
        "radius_about_center": _root(_mean((picked**2).sum(1))),
        "dimension_of_anchors": _square(_mean(_cosines(t, picked)), size),
        "dimension_of_deviations": _square(_mean(products / _lengths(directions, deviations)), size),
        "dimension_of_products": _mean(ratios),
        "width": _mean(products),
    }


def inverted(inverse: Estimate) -> Estimate:
    """Of 1 / x, x; NaN where the mean is not above 0."""
    if not inverse.value > 0:
        return Estimate(np.nan, np.nan)
    return Estimate(1 / inverse.value, inverse.error / inverse.value**2)


def _mean(values: Floats) -> Estimate:
    count = len(values)
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Estimate(float(values.mean()), error)


def _root(square: Estimate) -> Estimate:
    value = float(np.sqrt(square.value))
    return Estimate(value, square.error / (2 * value) if value > 0 else 0.0)


def _square(mean: Estimate, factor: int) -> Estimate:
    return Estimate(factor * mean.value**2, 2 * factor * abs(mean.value) * mean.error)


def _cosines(a: Floats, b: Floats) -> Floats:
    """0 where either has no length."""
    cosines: Floats = (a * b).sum(1) / _lengths(a, b)
    return cosines


def _lengths(a: Floats, b: Floats) -> Floats:
    """Products of the lengths of rows, and 1 where either has none."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    positive: Floats = np.where(lengths > np.finfo(np.float64).tiny, lengths, 1.0)
    return positive
