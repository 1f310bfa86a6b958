"""Radius and dimension without any projection: the points that reach farthest along random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotrain.analysis._manifold_arrays import as_given, clouds_of
from cotrain.analysis._manifold_centers import given_subspace
from cotrain.analysis._manifold_checks import hopeless, require_draws
from cotrain.analysis._manifold_frame import drawn_directions, frame_of
from cotrain.seeds import derive_seed


@dataclass(frozen=True)
class GaussianGeometry:
    """One value a manifold, NaN where it has one point or no centre of its own.

    `radius`, in lengths of the centre; `dimension`; `width`, twice of which is the mean extent along a random
    direction.
    """

    radius: Any
    dimension: Any
    width: Any


def gaussian_geometry(
    manifolds: Sequence[Any], *, n_t: int = 1000, seed: int = 0, subspace: Any = None
) -> GaussianGeometry:
    """Gaussian ("fast") geometry: what radius and dimension are where manifolds are far smaller than their distance.

    With s the point that reaches farthest along t, less its mean over draws: width <t.s>, radius sqrt <|s|^2>, and
    dimension <t.s>^2 / <|s|^2> (Chung, Lee & Sompolinsky 2018, Physical Review X 8:031003, section IV: Gaussian
    geometry). It costs a matrix product a manifold, and is near `manifold_geometry` for small radii.

    Args:
        manifolds, subspace: As for `manifold_geometry`; None: nothing is removed.
        n_t: Random directions a manifold.
        seed: Of them.

    Raises:
        DataError: Manifolds are no list of (neurons, points), or leave nothing, or the subspace does not fit.
        CotrainError: There are no directions.
    """
    require_draws(n_t)
    held = clouds_of(manifolds)
    centers = np.stack([cloud.mean(1) for cloud in held.clouds], 1)
    basis = np.zeros((len(centers), 0))
    if subspace is not None:
        basis = given_subspace(centers, subspace, held.known).basis
    middle = centers.mean(1) if len(held.clouds) > 1 else np.zeros(len(centers))
    values = np.full((3, len(held.clouds)), np.nan)
    for number, (cloud, reason) in enumerate(zip(held.clouds, hopeless(held.clouds), strict=True)):
        frame = reason or frame_of(cloud, middle, basis, "default")
        if isinstance(frame, str):
            continue
        directions = drawn_directions(frame, n_t, derive_seed(seed, "noise", "gaussian geometry", number))[:, :-1]
        farthest = frame.points[(directions @ frame.points.T).argmax(1)]
        farthest = farthest - farthest.mean(0)
        width, square = (directions * farthest).sum(1).mean(), (farthest**2).sum(1).mean()
        values[:, number] = np.sqrt(square), width**2 / square if square > 0 else 0.0, width
    return as_given(GaussianGeometry(*values), held.tensors)
