"""Radius and dimension from the variances along principal axes: of each manifold, of centres, and of all points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._manifold_arrays import as_given, clouds_of
from cotrain.analysis._manifold_frame import compact
from cotrain.errors import CotrainError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ManifoldSpectrum:
    """One value a manifold: arrays, or tensors; the rest is of all manifolds together.

    With l_i the variances of a manifold's points along its principal axes (divided by the number of points), and |c|
    the distance of its centre from the mean of centres (of one manifold, from 0):
    """

    participation_ratio: Any  # (sum l)^2 / sum l^2, 1 to the number of dimensions; NaN where points do not differ
    radius: Any  # sqrt(sum l) / |c|, NaN where the centre is at the mean
    variance_radius: Any  # sqrt(sum l^2) / |c|^2, which the MATLAB code reports with its mean-field results
    explained_dimension: Any  # principal axes that hold 90 % of the variance
    center_participation_ratio: float  # of the centres
    total_participation_ratio: float  # of all points of all manifolds
    total_explained_dimension: int  # axes that hold 90 % of the variance of all points


def manifold_spectrum(manifolds: Sequence[Any], *, share: float = 0.9) -> ManifoldSpectrum:
    """Spectral measures of manifolds, as in the code of Cohen et al. 2020 (Nature Communications 11:746).

    Args:
        manifolds: As for `manifold_geometry`.
        share: Of the variance, for `explained_dimension`; above 0, at most 1.

    Raises:
        DataError: Manifolds are no list of (neurons, points), or leave nothing.
        CotrainError: The share is out of its range.
    """
    if not 0 < share <= 1:
        raise CotrainError(f"A share of variance is above 0 and at most 1, found {share!r}.")
    held = clouds_of(manifolds)
    centers = np.stack([cloud.mean(1) for cloud in held.clouds], 1)
    middle = centers.mean(1) if len(held.clouds) > 1 else np.zeros(len(centers))
    distances = np.linalg.norm(centers - middle[:, None], axis=0)
    scale = np.where(distances > 0, distances, np.nan)
    spectra = [_variances(cloud) for cloud in held.clouds]
    together, of_centers = _variances(np.concatenate(held.clouds, 1)), _variances(centers)
    found = ManifoldSpectrum(
        participation_ratio=np.array([_participation(one) for one in spectra]),
        radius=np.array([np.sqrt(one.sum()) for one in spectra]) / scale,
        variance_radius=np.array([np.sqrt((one**2).sum()) for one in spectra]) / scale**2,
        explained_dimension=np.array([_explained(one, share) for one in spectra]),
        center_participation_ratio=_participation(of_centers),
        total_participation_ratio=_participation(together),
        total_explained_dimension=_explained(together, share),
    )
    return as_given(found, held.tensors)


def _variances(cloud: Floats) -> Floats:
    """Along principal axes, largest first; what is rounding is 0."""
    around = cloud - cloud.mean(1, keepdims=True)
    points = around.shape[1]
    values = np.linalg.svd(compact(around), compute_uv=False)
    level = np.sqrt((cloud**2).sum())
    variances: Floats = np.where(values > 32 * np.finfo(float).eps * level, values, 0.0) ** 2 / points
    return variances


def _participation(variances: Floats) -> float:
    total = variances.sum()
    return float(1 / ((variances / total) ** 2).sum()) if total > 0 else float("nan")


def _explained(variances: Floats, share: float) -> int:
    """The fewest axes that hold the share, for rounding a little less."""
    total = variances.sum()
    return int((np.cumsum(variances) < (share - 1e-12) * total).sum()) + 1 if total > 0 else 0
