"""Ways from features to responses that `regress` knows beside any estimator of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.analysis._held_out_scores import Metric
from cotrain.analysis._ridge import fitted
from cotrain.errors import DataError

WIDE_GRID = tuple(float(alpha) for alpha in np.logspace(-2, 8, 21))


class Method(Protocol):
    """Fits some stimuli and predicts others; each call starts anew."""

    @property
    def each_alone(self) -> bool:
        """Whether a target's fit does not depend on the other targets."""

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Predictions (stimuli, targets) for `others` of a fit to x and y, and chosen alphas where there are any."""


@dataclass(frozen=True)
class Ridge:
    """`cotrain.analysis.ridge`; in each fold alphas are chosen anew, by leave-one-out among its training stimuli.

    Args:
        alphas: Above 0.
        metric: By which they are chosen.
        standardise: Whether features are z-scored over the training stimuli.
    """

    alphas: tuple[float, ...] = WIDE_GRID
    metric: Metric = "r2"
    standardise: bool = False

    each_alone = True

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        fit = fitted(x, y, self.alphas, metric=self.metric, standardise=self.standardise)
        return fit.predict(others), fit.alphas


@dataclass(frozen=True)
class Pls:
    """Partial least squares of all targets together; 25 components without scaling is Brain-Score's mapping.

    Args:
        components: Fewer than training stimuli, and no more than features.
        scale: Whether features and targets are divided by their standard deviation.
    """

    components: int = 25
    scale: bool = False

    each_alone = False

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        from sklearn.cross_decomposition import PLSRegression

        most = min(len(x) - 1, x.shape[1])
        if not 1 <= self.components <= most:
            raise DataError(
                f"Pls: {self.components} components, but {len(x)} training stimuli with {x.shape[1]} features have "
                f"{most} at most. Take fewer components."
            )
        return PLSRegression(self.components, scale=self.scale).fit(x, y).predict(others), None


@dataclass(frozen=True)
class Ols:
    """Ordinary least squares with an intercept; of more features than stimuli, the smallest coefficients that fit."""

    each_alone = True

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        from sklearn.linear_model import LinearRegression

        return LinearRegression().fit(x, y).predict(others), None


@dataclass(frozen=True)
class Estimator:
    """Any regressor of scikit-learn that takes several targets, or a pipeline; it is cloned for each fold."""

    estimator: Any

    each_alone = False  # not known

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        from sklearn.base import clone

        found = np.asarray(clone(self.estimator).fit(x, y).predict(others))
        return found.reshape(len(others), y.shape[1]), None


def as_method(method: Method | object) -> Method:
    """A method, from one, or from an estimator of scikit-learn.

    Raises:
        DataError: It can neither be fitted nor predict.
    """
    if not isinstance(method, type) and hasattr(method, "fit_predict") and hasattr(method, "each_alone"):
        return method
    if isinstance(method, type) or not (hasattr(method, "fit") and hasattr(method, "predict")):
        raise DataError(
            f"regress: {method!r} is no way to predict. Give Ridge(), Pls(), Ols() or an estimator of scikit-learn "
            "(an object, not its class)."
        )
    return Estimator(method)


def as_float(values: torch.Tensor) -> NDArray[Any]:
    """On the CPU, as scikit-learn reads them."""
    found: NDArray[Any] = values.cpu().numpy()
    return found
