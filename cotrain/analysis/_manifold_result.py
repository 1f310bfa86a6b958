"""What is known of manifolds after `manifold_geometry`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NEAR = 1.1  # times the floor
MANY = 10  # points a dimension: with fewer, the hull of the points is much smaller than what they were drawn from


@dataclass(frozen=True)
class ManifoldGeometry:
    """One value a manifold where nothing else is said: arrays, or tensors where manifolds were given as tensors.

    Radius is in lengths of the centre. Errors are standard errors over random directions; they know nothing of other
    points, of other manifolds, or of another choice of the removed directions.

    `definitions` holds arrays of all definitions in use, by name. With t the direction within the cloud, D its number
    of coordinates, t_c its coordinate along the centre, s the anchor, and d = s less its mean over draws:

    - `inverse`: <|P(b)|^2>, 1 / alpha of the mean-field theory; equal to <max(t.s + t_c + kappa, 0)^2 / (1 + |s|^2)>.
    - `inverse_smoothed`: < I(t.d + kappa) / (1 + |d|^2) >, I(x) the 1 / alpha of points at the margin x: the average
      over the coordinate along the centre (the MATLAB code's formula, with the sign of kappa put right).
    - `radius`: sqrt <|d|^2>; `radius_about_center`: sqrt <|s|^2>.
    - `dimension_of_anchors`: D <cos(t, s)>^2 (the Python code's D_M).
    - `dimension_of_deviations`: D <cos(t, d)>^2, t with its coordinate along the centre (the MATLAB code's
      effective_dimension2).
    - `dimension_of_products`: <(t.d)^2 / |d|^2> (the MATLAB code's effective_dimension).
    - `width`: <t.d>.
    """

    capacity: Any
    capacity_error: Any
    radius: Any
    radius_error: Any
    dimension: Any
    dimension_error: Any
    definitions: dict[str, Any] = field(repr=False)
    floor: Any = field(repr=False)  # capacity of noise: of as many points at right angles; 2 / points at kappa 0
    center_norm: Any = field(repr=False)  # length of the centre after removal, in the unit of the data
    center_share: Any = field(repr=False)  # of its length before: near 0, the removed directions held the centre
    points: Any = field(repr=False)  # that were used
    neurons: int  # that are not silent throughout
    center_correlation: float  # mean over pairs of |cos| between centres about their mean; NaN for one manifold
    residual_correlation: float  # the same after removal
    center_cost: float  # half the sum of squared cosines after removal
    stability: float  # the smallest share of its length that a centre keeps
    subspace: Any = field(repr=False)  # (neurons, n_removed), orthonormal
    n_removed: int
    kappa: float
    reasons: tuple[str, ...] = field(repr=False)  # why capacity is NaN; "" where it is known

    @property
    def mean_capacity(self) -> float:
        """1 / mean of 1 / capacity, of the manifolds that have one: what a network of all of them is compared with."""
        known = self._known(self.capacity)
        return float(1 / np.mean(1 / known)) if len(known) else float("nan")

    @property
    def mean_capacity_error(self) -> float:
        """Its standard error."""
        known, errors = self._known(self.capacity), self._known(self.capacity_error)
        if not len(known) or len(errors) < len(known):
            return float("nan")
        return float(np.sqrt(np.sum((errors / known**2) ** 2)) / len(known) * self.mean_capacity**2)

    @property
    def mean_radius(self) -> float:
        """Of the manifolds that have one."""
        return self._mean(self.radius)

    @property
    def mean_dimension(self) -> float:
        """Of the manifolds that have one."""
        return self._mean(self.dimension)

    @property
    def load(self) -> float:
        """Manifolds a neuron: below the capacity, planes can part them."""
        return len(self.reasons) / self.neurons if self.neurons else float("nan")

    @property
    def at_floor(self) -> Any:
        """Whether capacity is no more than 1.1 times that of noise: then the centre carries next to nothing."""
        return self.capacity <= NEAR * self.floor

    @property
    def few_points(self) -> Any:
        """Whether there are fewer than ten points a dimension: more points would lower capacity much."""
        return self.points < MANY * self.dimension

    def table(self) -> pd.DataFrame:
        """One row a manifold."""
        import pandas as pd

        names = ("capacity", "capacity_error", "radius", "radius_error", "dimension", "dimension_error", "floor")
        columns = {name: np.asarray(getattr(self, name)) for name in (*names, "center_norm", "center_share", "points")}
        held = {name: np.asarray(values) for name, values in self.definitions.items() if name not in columns}
        return pd.DataFrame(columns | held | {"reason": list(self.reasons)})

    @staticmethod
    def _known(values: Any) -> Any:
        array = np.asarray(values)
        return array[~np.isnan(array)]

    def _mean(self, values: Any) -> float:
        known = self._known(values)
        return float(known.mean()) if len(known) else float("nan")
