"""Regression on principal components, which are those of the fitted stimuli alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.analysis._feature_pca import principal_components
from cotrain.analysis._regression_methods import Method, Ridge
from cotrain.errors import DataError


@dataclass(frozen=True)
class PrincipalComponents:
    """A method of `regress` on principal components instead of features; axes are fitted anew in each fold.

    Args:
        components: How many; fewer than training stimuli, and no more than features, or there are as many as can be.
        method: That is fitted on them.

    >>> PrincipalComponents(100, Ridge()).each_alone
    True
    """

    components: int
    method: Method = field(default_factory=Ridge)

    def __post_init__(self) -> None:
        if self.components < 1:
            raise DataError(f"PrincipalComponents: {self.components} components; give one or more.")

    @property
    def each_alone(self) -> bool:
        """As of the method."""
        return self.method.each_alone

    def fit_predict(
        self, x: NDArray[Any], y: NDArray[Any], others: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Predictions for `others`, as of the method."""
        both = torch.from_numpy(np.concatenate([x, others]))
        found = principal_components(both, self.components, torch.arange(len(x))).numpy().astype(x.dtype)
        return self.method.fit_predict(found[: len(x)], y, found[len(x) :])
