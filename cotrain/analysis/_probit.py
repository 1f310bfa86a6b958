"""Where a share that rises with a number is one half: a normal distribution function fitted to counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NARROW = 0.2  # smallest width, as whole numbers tell nothing of smaller ones
WIDEST = 50.0  # times the largest number


def probit_middle(
    numbers: Floats, successes: Floats, trials: Floats, *, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """Middle and width of Phi((number - middle) / width) by maximum likelihood, and the interval of the middle.

    The interval holds the middles whose profile likelihood, with the best width for each, a likelihood ratio test does
    not refuse.

    Args:
        numbers: At which was tried.
        successes: How often it succeeded, 0 to `trials`.
        trials: How often it was tried, 1 or more.
        confidence: Of the interval, between 0 and 1.

    Returns:
        Middle, its lower and upper bound (infinite where counts do not bound it), and width.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.special import log_ndtr
    from scipy.stats import chi2

    spread = max(float(numbers.max() - numbers.min()), 1.0)

    def lost(middle: float, log_width: float) -> float:
        """- log likelihood."""
        z = (numbers - middle) / np.exp(log_width)
        return -float((successes * log_ndtr(z) + (trials - successes) * log_ndtr(-z)).sum())

    def best(middle: float) -> tuple[float, float]:
        limits = (np.log(NARROW), np.log(WIDEST * spread))
        found = minimize_scalar(lambda width: lost(middle, width), bounds=limits, method="bounded")
        return float(found.fun), float(np.exp(found.x))

    grid = np.linspace(numbers.min() - spread, numbers.max() + spread, 61)
    start = int(np.argmin([best(middle)[0] for middle in grid]))
    ends = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    middle = float(minimize_scalar(lambda value: best(value)[0], bounds=ends, method="bounded").x)
    least, width = best(middle)
    allowed = least + chi2.ppf(confidence, 1) / 2

    def bound(sign: int) -> float:
        reach: Callable[[float], float] = lambda distance: best(middle + sign * distance)[0] - allowed  # noqa: E731
        far = 0.1 * spread
        while reach(far) < 0:
            far *= 2
            if far > 10 * spread:
                return sign * np.inf
        return middle + sign * float(brentq(reach, 0.0, far))

    return middle, bound(-1), bound(1), width
