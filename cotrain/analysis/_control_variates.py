"""Means over random directions with less noise: what is known of the directions is regressed out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._manifold_anchors import Estimate
from cotrain.manifolds import inverse_capacity_of_points

Floats = NDArray[np.float64]

FEWEST = 60  # draws, ten a coefficient: fewer would fit their own noise


def controlled_mean(squares: Floats, directions: Floats, kappa: float) -> Estimate:
    """Mean of |P(b)|^2 over standard normal directions, with control variates.

    Values are regressed on functions of the direction whose means are known: with c its coordinate along the centre and
    r its length within the cloud, c, c^2 - 1, max(c + kappa, 0)^2 less the 1 / alpha of points, r^2 - D and c (r^2 -
    D). The constant of the regression is the mean, and its error that of what is left, which is 3 to 7 times smaller
    where manifolds are small. Standard: Owen, Monte Carlo theory, methods and examples, section 8.9.

    Args:
        squares: (draws,).
        directions: (draws, dimension + 1), drawn from the standard normal distribution.
        kappa: Margin.
    """
    center = directions[:, -1]
    within = (directions[:, :-1] ** 2).sum(1) - (directions.shape[1] - 1)
    known = np.stack(
        [
            np.ones(len(center)),
            center,
            center**2 - 1,
            np.maximum(center + kappa, 0) ** 2 - inverse_capacity_of_points(kappa),
            within,
            center * within,
        ],
        1,
    )
    coefficients, _, rank, _ = np.linalg.lstsq(known, squares, rcond=None)
    left = squares - known @ coefficients
    error = np.sqrt((left**2).sum() / (len(left) - rank) / len(left))
    return Estimate(float(coefficients[0]), float(error))
