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
    D). The constant is the mean. Its standard error allows for noise that depends on the direction
    (HC3 of MacKinnon & White 1985, Journal of Econometrics 29:305); it is 3 to 7 times smaller where manifolds are
    small. Standard: Owen, Monte Carlo theory, methods and examples, section 8.9.

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
    inverse = np.linalg.pinv(known)
    mean = float(inverse[0] @ squares)
    leverage = np.minimum((known * inverse.T).sum(1), 1 - 1e-9)
    left = (squares - known @ (inverse @ squares)) / (1 - leverage)
    return Estimate(mean, float(np.sqrt(((inverse[0] * left) ** 2).sum())))
