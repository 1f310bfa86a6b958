"""Capacity of balls, the shape to which a manifold of some radius and dimension is compared."""

from __future__ import annotations

import math

import numpy as np

from cotrain.errors import CotrainError


def ball_capacity(radius: float, dimension: float, kappa: float = 0.0) -> float:
    """Mean-field capacity of a ball, at right angles to its centre, whose length is the unit.

    Chung, Lee & Sompolinsky 2016 (Physical Review E 93:060301): with r the length of a normal vector in the ball's
    dimensions, c the normal coordinate along the centre, and b = c + kappa, 1 / alpha is the mean of

        0                              where b <= -R r,
        (b + R r)^2 / (1 + R^2)        where -R r < b < r / R,
        b^2 + r^2                      where b >= r / R.

    It is 2 for a point, 1 / (1/2 + 2 arctan(R) / pi) for a segment, 2 / (D + 1) for R = 1, and near 1 / (D + 1/2) for
    large R, all at kappa 0.

    Args:
        radius: R, 0 or larger.
        dimension: D, above 0; need not be whole.
        kappa: Margin.

    Raises:
        CotrainError: The radius is negative, or the dimension not positive.

    >>> round(ball_capacity(1.0, 5), 6)
    0.333333
    """
    from scipy.integrate import quad
    from scipy.stats import chi

    if not radius >= 0 or not dimension > 0 or not all(map(math.isfinite, (radius, dimension, kappa))):
        raise CotrainError(
            f"A ball has a radius of 0 or more and a dimension above 0, found {radius!r} and {dimension!r} "
            f"(kappa {kappa!r})."
        )
    if radius == 0:
        return 1 / _above(-kappa, kappa)

    def given(r: float) -> float:
        """1 / alpha for one length of the vector: integrals over c of squares times the normal density."""
        low, high = -radius * r - kappa, r / radius - kappa
        shift = kappa + radius * r
        touching = (_above(low, shift) - _above(high, shift)) / (1 + radius**2)
        return touching + _above(high, kappa) + r**2 * math.erfc(high / math.sqrt(2)) / 2

    density = chi(dimension).pdf
    middle, far = math.sqrt(dimension), math.sqrt(dimension) + 12
    parts = [quad(lambda r: float(density(r)) * given(r), *ends, limit=200)[0] for ends in ((0, middle), (middle, far))]
    return float(1 / np.sum(parts))


def _above(low: float, shift: float) -> float:
    """Integral over c > low of (c + shift)^2 times the normal density."""
    density = math.exp(-(low**2) / 2) / math.sqrt(2 * math.pi)
    return (1 + shift**2) * math.erfc(low / math.sqrt(2)) / 2 + (low + 2 * shift) * density
