"""One manifold in the coordinates of its own cloud, in units of the length of its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError
from cotrain.manifolds import NO_CENTRE

Floats = NDArray[np.float64]

ROUNDING = 32 * np.finfo(np.float64).eps
DEPENDENT = 1e-10  # of the largest singular value: what is smaller is no dimension


@dataclass(frozen=True)
class Frame:
    """Points (points, dimension) about the centre in its units; `turn` leads from the coordinates of QR to these.

    `center_norm` is in the unit of the data, after removal. `turn`: (dimension of QR, dimension), None where they
    agree.
    """

    points: Floats
    center_norm: float
    turn: Floats | None = None

    @property
    def dimension(self) -> int:
        """Coordinates within the cloud."""
        return int(self.points.shape[1])

    @property
    def rows(self) -> Floats:
        """(points, dimension + 1): the last coordinate, 1, is that along the centre."""
        return np.concatenate([self.points, np.ones((len(self.points), 1))], 1)


def frame_of(cloud: Floats, middle: Floats, basis: Floats, variant: str) -> Frame | str:
    """The frame of a manifold, or why it has none.

    - "default": the cloud about its centre, in the coordinates of its principal axes, as many as it has dimensions.
    - "follow_up": the same in the coordinates of NumPy's QR decomposition of the cloud, which has a direction more than
      M points span: min(neurons, points) coordinates.
    - "seed": min(neurons, points) - 1 coordinates of the QR decomposition, in which the cloud stays where the centre
      has a part within its span.

    Args:
        cloud: (neurons, points), two or more.
        middle: (neurons,), what the centre is measured from.
        basis: (neurons, k), orthonormal directions to remove.
        variant: One of these.
    """
    level = np.sqrt((cloud**2).sum(0).mean())
    rest = cloud - middle[:, None]
    rest = rest - basis @ (basis.T @ rest)
    center = rest.mean(1)
    around = rest - center[:, None]
    norm, reach = float(np.linalg.norm(center)), float(np.sqrt((around**2).sum(0).mean()))
    if norm <= NO_CENTRE * reach or norm <= ROUNDING * level or norm == 0:
        if basis.shape[1]:
            return "the removed directions hold its centre, or it is the point that centres are measured from"
        return "its centre is the point that centres are measured from, so nothing tells it from the others"
    around = around / norm
    neurons, points = around.shape
    if variant == "default":
        return _principal(around, norm, ROUNDING * level / norm)
    if variant == "follow_up":
        return Frame(compact(around).T, norm)
    q = np.linalg.qr(around)[0][:, : min(neurons, points) - 1]
    return Frame((rest / norm).T @ q, norm)


def drawn_directions(frame: Frame, n_t: int, seed: int) -> Floats:
    """Standard normal, (n_t, dimension + 1)."""
    return np.random.default_rng(seed).standard_normal((n_t, frame.dimension + 1))


def given_directions(frame: Frame, given: Floats, number: int) -> Floats:
    """Directions (coordinates, n_t) of a caller as (n_t, dimension + 1).

    Raises:
        DataError: They are not finite, or do not fit the frame.
    """
    values = np.asarray(given, dtype=np.float64)
    fits = values.ndim == 2 and values.shape[1] > 0 and np.isfinite(values).all()
    if fits and len(values) == frame.dimension + 1:
        return np.ascontiguousarray(values.T)
    if fits and frame.turn is not None and len(values) == len(frame.turn) + 1:
        return np.concatenate([values[:-1].T @ frame.turn, values[-1:].T], 1)
    others = "" if frame.turn is None else f", or {len(frame.turn) + 1} in the coordinates of the QR decomposition"
    raise DataError(
        f"Directions of manifold {number} must be finite and of shape (coordinates, n_t) with {frame.dimension + 1} "
        f"coordinates{others}, the last one along the centre; found the shape {values.shape}."
    )


def compact(around: Floats) -> Floats:
    """Points with the same inner products in no more coordinates than there are points: those of QR."""
    if around.shape[0] <= around.shape[1]:
        return around
    decompose: Any = np.linalg.qr  # what NumPy says of its types leaves this mode out
    triangle: Floats = decompose(around, mode="r")
    return triangle


def _principal(around: Floats, norm: float, rounding: float) -> Frame:
    """In the axes of the cloud, whose signs do not depend on a rotation of the space or the order of points."""
    points = around.shape[1]
    left, values, right = np.linalg.svd(compact(around), full_matrices=False)
    dimension = int((values > max(DEPENDENT * values[0], rounding * np.sqrt(points))).sum())
    coordinates = right[:dimension].T * values[:dimension]
    signs = np.ones(dimension)
    if dimension:
        largest = np.abs(coordinates).argmax(0)
        signs = np.where(coordinates[largest, np.arange(dimension)] < 0, -1.0, 1.0)
    return Frame(coordinates * signs, norm, left[:, :dimension] * signs)
