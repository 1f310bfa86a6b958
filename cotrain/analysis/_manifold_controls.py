"""Manifolds as they would be without something: their centres, their axes, their classes; smaller or flatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._manifold_arrays import clouds_of
from cotrain.analysis._manifold_checks import require_choice
from cotrain.errors import CotrainError, DataError
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

ManifoldControl = Literal[
    "equal_random_centers_and_axes",
    "orthogonal_centers",
    "random_axes",
    "random_centers",
    "random_centers_and_axes",
    "random_neurons",
    "shuffled_points",
]
"""What manifolds are to lack, as `randomise_manifolds` tells."""

CONTROLS = get_args(ManifoldControl)
WITH_RANDOM_CENTERS = ("random_centers", "random_centers_and_axes", "equal_random_centers_and_axes")
WITH_RANDOM_AXES = ("random_axes", "random_centers_and_axes", "equal_random_centers_and_axes", "random_neurons")


def randomise_manifolds(manifolds: Sequence[Any], control: str, *, seed: int) -> list[Floats]:
    """Manifolds that lack one thing, to see what it does for capacity.

    The controls of Cohen et al. 2020 (Nature Communications 11:746). The mean of the centres is taken away first.

    - "orthogonal_centers": centres of the same lengths at right angles to each other.
    - "random_centers": centres of the same lengths in random directions.
    - "random_axes": the neurons of each cloud about its centre are permuted, of each in another way.
    - "random_centers_and_axes": both.
    - "equal_random_centers_and_axes": both, and all centres get the mean length.
    - "random_neurons": the neurons of each manifold are permuted, centre and cloud alike.
    - "shuffled_points": points are dealt out anew to the manifolds, whose sizes stay.

    Args:
        manifolds: As for `manifold_geometry`.
        control: One of these.
        seed: Of the random choice.

    Returns:
        (known neurons, points) each.

    Raises:
        CotrainError: There is no such control.
        DataError: There are more manifolds than neurons for centres at right angles.
    """
    require_choice("control of manifolds", control, CONTROLS)
    clouds, generator = (
        _centered(manifolds),
        np.random.default_rng(derive_seed(seed, "noise", "manifold control", control)),
    )
    if control == "shuffled_points":
        together = np.concatenate(clouds, 1)
        dealt = generator.permuted(np.arange(together.shape[1]))
        ends = np.cumsum([cloud.shape[1] for cloud in clouds])[:-1]
        return [together[:, rows] for rows in np.split(dealt, ends)]
    centers = np.stack([cloud.mean(1) for cloud in clouds], 1)
    around = [cloud - center[:, None] for cloud, center in zip(clouds, centers.T, strict=True)]
    lengths = np.linalg.norm(centers, axis=0)
    if control == "orthogonal_centers":
        if len(clouds) > len(centers):
            raise DataError(f"{len(clouds)} centres cannot be at right angles to each other in {len(centers)} neurons.")
        q, r = np.linalg.qr(centers)
        centers = q * np.where(np.diagonal(r) < 0, -1.0, 1.0) * lengths
    elif control in WITH_RANDOM_CENTERS:
        drawn = generator.standard_normal(centers.shape)
        wanted = np.full(len(lengths), lengths.mean()) if control.startswith("equal") else lengths
        centers = drawn * (wanted / np.linalg.norm(drawn, axis=0))
    found = []
    for center, cloud in zip(centers.T, around, strict=True):
        order = generator.permutation(len(center)) if control in WITH_RANDOM_AXES else np.arange(len(center))
        moved = center[order] if control == "random_neurons" else center
        found.append(cloud[order] + moved[:, None])
    return found


def scale_radius(manifolds: Sequence[Any], factor: float) -> list[Floats]:
    """Clouds about the same centres, with radii `factor` times as large (0: all points become their centre).

    Raises:
        CotrainError: The factor is negative or not finite.
    """
    if not (np.isfinite(factor) and factor >= 0):
        raise CotrainError(f"A radius is scaled by a finite factor of 0 or more, found {factor!r}.")
    clouds = clouds_of(manifolds).clouds
    return [cloud.mean(1, keepdims=True) + factor * (cloud - cloud.mean(1, keepdims=True)) for cloud in clouds]


def clip_dimension(manifolds: Sequence[Any], dimension: int) -> list[Floats]:
    """Clouds about the same centres, flattened to that many of their principal axes, those of the largest variance.

    Raises:
        CotrainError: The number is negative.
    """
    if dimension < 0:
        raise CotrainError(f"Manifolds are clipped to 0 or more dimensions, found {dimension}.")
    found = []
    for cloud in clouds_of(manifolds).clouds:
        center = cloud.mean(1, keepdims=True)
        left, values, right = np.linalg.svd(cloud - center, full_matrices=False)
        found.append(center + (left[:, :dimension] * values[:dimension]) @ right[:dimension])
    return found


def _centered(manifolds: Sequence[Any]) -> list[Floats]:
    """About the mean of their centres."""
    clouds = clouds_of(manifolds).clouds
    middle = np.mean([cloud.mean(1) for cloud in clouds], 0)
    return [cloud - middle[:, None] for cloud in clouds]
