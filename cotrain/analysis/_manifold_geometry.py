"""How separable manifolds are and why: mean-field capacity, radius and dimension of each, with standard errors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cotrain.analysis._control_variates import FEWEST, controlled_mean
from cotrain.analysis._manifold_anchors import Estimate, anchors, estimates, inverted
from cotrain.analysis._manifold_arrays import Clouds, as_given, clouds_of
from cotrain.analysis._manifold_centers import (
    CenterSubspace,
    Search,
    center_subspace,
    follow_up_largest,
    given_subspace,
)
from cotrain.analysis._manifold_checks import hopeless, noise_floor, require_choice, require_draws, warn_of
from cotrain.analysis._manifold_frame import Frame, drawn_directions, frame_of, given_directions
from cotrain.analysis._manifold_result import ManifoldGeometry
from cotrain.cones import cone_coefficients, require_solver
from cotrain.errors import DataError
from cotrain.seeds import derive_seed

Floats = NDArray[np.float64]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """Which of the definitions count as the capacity, radius and dimension, and where centres are measured from."""

    search: Search
    middle: Callable[[list[Floats]], Floats]
    inverse: str = "inverse"
    radius: str = "radius"
    dimension: str = "dimension_of_anchors"


def _mean_of_centers(clouds: list[Floats]) -> Floats:
    middle: Floats = np.mean([cloud.mean(1) for cloud in clouds], 0)
    return middle


def _mean_of_points(clouds: list[Floats]) -> Floats:
    middle: Floats = np.concatenate(clouds, 1).mean(1)
    return middle


VARIANTS = {
    "default": Variant(Search(), _mean_of_centers),
    "follow_up": Variant(Search("stability", 1, follow_up_largest, 5), _mean_of_points),
    "seed": Variant(Search("stability"), _mean_of_centers, "inverse_smoothed", dimension="dimension_of_products"),
}


def manifold_geometry(
    manifolds: Sequence[Any],
    *,
    kappa: float = 0.0,
    n_t: int = 300,
    seed: int = 0,
    directions: Sequence[Any] | None = None,
    subspace: Any = None,
    k: int | None = None,
    variant: str = "default",
    origin: Any = None,
    restarts: int = 10,
    control_variates: bool | None = None,
    solver: str = "scipy",
    warn: bool = True,
) -> ManifoldGeometry:
    """Mean-field capacity, radius and dimension of each manifold (a class's cloud of representations).

    Capacity is the number of such manifolds a dimension of the space up to which a plane can part them, whichever half
    lies on which side: 2 for points, less for larger clouds. Chung, Lee & Sompolinsky 2018 (Physical Review X
    8:031003), for the convex hulls of the points; what centres have in common is removed first (Cohen et al. 2020,
    Nature Communications 11:746). Unit, origin and rotation of the space change nothing. Fewer points than the true
    manifold has raise capacity and lower dimension, often by tens of percent: see `capacity_by_points`.

    Args:
        manifolds: List of (neurons, points), arrays or tensors, with the same neurons; points and neurons with NaN are
            left out. Of two manifolds or more, centres are measured from their mean; of one, from 0.
        kappa: Distance that points keep from the plane, in lengths of the manifold's centre / sqrt(neurons).
        n_t: Random directions a manifold, 1 or more.
        seed: Of directions and of the search for common directions of centres.
        directions: Fixed ones instead, an array (dimension + 1, n_t) for each manifold: coordinates in its frame, the
            last one along the centre. In the "default" variant the frame is in the cloud's principal axes, and
            coordinates in the frame of "follow_up" are taken as well.
        subspace: Directions of the centres to remove, (neurons, K); None: they are looked for.
        k: Number of directions to look for; None: the one after whose removal centres correlate least, 0 allowed.
        variant: "default"; "follow_up" and "seed" for comparison with numbers of the published Python and MATLAB codes.
            "follow_up" always removes a direction or more, takes the mean of all points as the origin, and counts a
            direction too many, which lowers small dimensions (0.81 for segments, not 1). "seed" averages over the
            coordinate along the centre, counts a direction too few where points outnumber neurons, keeps the part of
            the centre within the cloud's span, and reports <(t.d)^2 / |d|^2> as the dimension. Its sign of kappa, which
            is wrong there, is put right.
        origin: (neurons,), measure centres from there instead.
        restarts: Of the search, for each number of directions.
        control_variates: Reduce the noise of capacity by what is known of the directions; None: where they are drawn,
            60 or more, in the default variant.
        solver: "scipy", "numba" or "torch" (see `cotrain.cones`).
        warn: Whether what makes numbers doubtful is logged; the result says it, too.

    Returns:
        Arrays with one value a manifold; tensors where manifolds were tensors. Where capacity cannot be told it is NaN,
        and `reasons` says why.

    Raises:
        DataError: What is given does not fit together (see `clouds_of`), or leaves nothing of the centres.
        CotrainError: An argument is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> clouds = [rng.normal(size=(50, 1)) + 0.1 * rng.normal(size=(50, 20)) for _ in range(8)]
    >>> geometry = manifold_geometry(clouds, k=0)
    >>> bool(1 < geometry.mean_capacity < 2), geometry.capacity.shape
    (True, (8,))
    """
    require_choice("variant of manifold geometry", variant, tuple(VARIANTS))
    require_draws(n_t, kappa)
    require_solver(solver)
    held, chosen, kappa = clouds_of(manifolds), VARIANTS[variant], float(kappa)
    if directions is not None and len(directions) != len(held.clouds):
        raise DataError(f"{len(held.clouds)} manifolds need as many arrays of directions, found {len(directions)}.")
    removed = _removed(held, subspace, k, restarts, seed, chosen.search)
    middle = _middle(held, origin, chosen)
    reasons = hopeless(held.clouds)
    frames = [
        reason or frame_of(cloud, middle, removed.basis, variant)
        for cloud, reason in zip(held.clouds, reasons, strict=True)
    ]
    found: list[dict[str, Estimate]] = []
    for number, frame in enumerate(tqdm(frames, desc="manifolds", disable=None, delay=2, leave=False)):
        if isinstance(frame, str):
            found.append({})
            continue
        if directions is None:
            drawn = drawn_directions(frame, n_t, derive_seed(seed, "noise", "manifold directions", number))
        else:
            drawn = given_directions(frame, directions[number], number)
        usual = directions is None and len(drawn) >= FEWEST and variant == "default"
        found.append(_measured(frame, drawn, kappa, usual if control_variates is None else control_variates, solver))
    geometry = _assembled(held, frames, found, removed, middle, chosen, kappa)
    if warn:
        warn_of(geometry)
    return as_given(geometry, held.tensors)


def _measured(frame: Frame, drawn: Floats, kappa: float, controlled: bool, solver: str) -> dict[str, Estimate]:
    rows, shifted = frame.rows, drawn.copy()
    shifted[:, -1] += kappa
    nearest = cone_coefficients(rows, shifted, solver=solver) @ rows
    squares = (nearest**2).sum(1)
    if not squares.any():
        return {}
    found = estimates(drawn, anchors(frame.points, drawn, nearest), squares, kappa)
    if controlled:
        found["inverse"] = controlled_mean(squares, drawn, kappa)
    return found


def _removed(held: Clouds, subspace: Any, k: int | None, restarts: int, seed: int, search: Search) -> CenterSubspace:
    centers = np.stack([cloud.mean(1) for cloud in held.clouds], 1)
    if subspace is None:
        return center_subspace(centers, k=k, restarts=restarts, seed=seed, search=search)
    if k is not None:
        raise DataError("Give either a subspace to remove, or the number k of directions to look for.")
    return given_subspace(centers, subspace, held.known)


def _middle(held: Clouds, origin: Any, variant: Variant) -> Floats:
    if origin is not None:
        given = np.asarray(origin, dtype=np.float64)
        if given.shape != held.known.shape or not np.isfinite(given[held.known]).all():
            raise DataError(f"An origin is finite and of shape (neurons,) = {held.known.shape}, found {given.shape}.")
        return np.asarray(given[held.known], dtype=np.float64)
    return variant.middle(held.clouds) if len(held.clouds) > 1 else np.zeros(len(held.clouds[0]))


def _assembled(
    held: Clouds,
    frames: list[Frame | str],
    found: list[dict[str, Estimate]],
    removed: CenterSubspace,
    middle: Floats,
    variant: Variant,
    kappa: float,
) -> ManifoldGeometry:
    names = next((list(one) for one in found if one), [])
    unknown = Estimate(math.nan, math.nan)

    def column(name: str) -> tuple[Floats, Floats]:
        rows = [one.get(name, unknown) for one in found]
        return np.array([row.value for row in rows]), np.array([row.error for row in rows])

    inverses = [inverted(one.get(variant.inverse, unknown)) for one in found]
    capacity = np.array([one.value for one in inverses])
    reasons = []
    for number, frame in enumerate(frames):
        if isinstance(frame, str):
            reasons.append(frame)
        elif math.isnan(capacity[number]):
            reasons.append(
                f"too few of the directions touch its cone at kappa = {kappa:g}: more draws, or a larger kappa"
            )
        else:
            reasons.append("")
    radius, dimension = column(variant.radius), column(variant.dimension)
    alone = np.isnan(capacity)
    basis = np.zeros((len(held.known), removed.k))
    basis[held.known] = removed.basis
    centers = np.stack([cloud.mean(1) for cloud in held.clouds], 1) - middle[:, None]
    lengths = np.linalg.norm(centers, axis=0)
    kept = np.array([frame.center_norm if isinstance(frame, Frame) else math.nan for frame in frames])
    return ManifoldGeometry(
        capacity=capacity,
        capacity_error=np.array([one.error for one in inverses]),
        radius=np.where(alone, math.nan, radius[0]),
        radius_error=np.where(alone, math.nan, radius[1]),
        dimension=np.where(alone, math.nan, dimension[0]),
        dimension_error=np.where(alone, math.nan, dimension[1]),
        definitions={name: column(name)[0] for name in names},
        floor=noise_floor(held.clouds, frames, kappa),
        center_norm=kept,
        center_share=kept / np.where(lengths > 0, lengths, math.nan),
        points=np.array([cloud.shape[1] for cloud in held.clouds]),
        neurons=int(np.any([(cloud != 0).any(1) for cloud in held.clouds], 0).sum()),
        center_correlation=removed.correlation,
        residual_correlation=removed.residual_correlation,
        center_cost=removed.cost,
        stability=removed.stability,
        subspace=basis,
        n_removed=removed.k,
        kappa=kappa,
        reasons=tuple(reasons),
    )
