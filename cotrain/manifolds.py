"""How well class manifolds can be told apart by planes: mean-field capacity, differentiable.

A manifold is the cloud of one class's representations. Its capacity alpha is the number of such manifolds for each
dimension of the space up to which a plane through the origin can part them, with a margin, whichever half of them is to
lie on which side (Chung, Lee & Sompolinsky 2018, Physical Review X 8:031003): 2 for points, less for larger clouds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.cones import cone_coefficients
from cotrain.errors import ModelError

LARGEST_SAMPLE = 50  # points of a class that scores look at: the usual number, and enough for a mean over classes
NO_CENTRE = 1e-6  # length of a centre, in units of the deviations from it, that no longer counts


def inverse_capacity(
    manifolds: Sequence[Float[Tensor, "_points neurons"]],
    *,
    draws: int = 200,
    kappa: float = 0.0,
    generator: torch.Generator | None = None,
    directions: Sequence[Float[Tensor, "_draws coordinates"]] | None = None,
) -> Float[Tensor, " manifolds"]:
    """1 / alpha of each manifold, a mean over random directions; differentiable, float64, on the CPU.

    Chung, Lee & Sompolinsky 2018 (mean-field theory of general manifolds), for the convex hull of the points. The frame
    S of a manifold has one row a point: its deviation from the manifold's centre divided by the length of that centre
    (which is taken from the mean of all centres), and a last coordinate 1. For t of standard normal coordinates and
    b = t + kappa e_last

        1 / alpha = mean over t of |P(b)|^2,   P: projection onto the cone of the rows of S,

    since min |v - t|^2 with S v <= -kappa is |P(b)|^2 (Moreau). No correlations between centres are removed.

    For a point it is (1 + kappa^2) Phi(kappa) + kappa phi(kappa), 1/2 for kappa 0, and never below 0. M points at right
    angles, such as independent noise in many dimensions, are at M / 2 for kappa 0; no M points are above M - 1/2, but
    for the draws. Neither unit, origin nor rotation of the space change it. It grows with the number of points, so only
    manifolds of as many points compare.

    A manifold whose centre is the mean of all centres, but for a millionth of how far its points lie from it, or that
    has a value that is not finite, cannot be told from the others: its 1 / alpha is the largest that its points may
    come to, min(M - 1, neurons) more than that of a point, and its gradient is 0. One that is not finite does not
    count in the mean of all centres.

    The projection's coefficients are held fixed for the gradient, which is exact (envelope theorem).

    Args:
        manifolds: Two or more, of any number of points each (1 or more), on any device.
        draws: How many random directions for each manifold; the value of one is off by about 1 / sqrt(draws) of itself,
            that of a point by twice as much. They are drawn in the span of the frame: the rest has no effect.
        kappa: Distance that points keep from the plane, in lengths of their centre / sqrt(neurons); 0: separability.
        generator: Of the directions, on the CPU; None: torch's own.
        directions: Given ones instead, for each manifold (draws, neurons + 1), the last coordinate that of the centre.

    Raises:
        ModelError: There are fewer than two manifolds, or one without points.
    """
    if len(manifolds) < 2 or min(len(points) for points in manifolds) == 0:
        sizes = [len(points) for points in manifolds]
        raise ModelError(
            f"Capacity needs two manifolds or more, each with a point or more; found manifolds of {sizes} points. "
            "Give images of two classes or more."
        )
    clouds = [points.cpu().double() for points in manifolds]
    with torch.autocast("cpu", enabled=False):
        finite = [bool(points.detach().isfinite().all()) for points in clouds]
        centres = [points.mean(0) for points, good in zip(clouds, finite, strict=True) if good]
        middle = torch.stack(centres).mean(0) if centres else torch.zeros(clouds[0].shape[1], dtype=torch.float64)
        values = []
        for number, points in enumerate(clouds):
            frame = _frame(points, middle) if finite[number] else None
            if frame is None:
                worst = min(len(points) - 1, points.shape[1]) + inverse_capacity_of_points(kappa)
                # part of the graph where it can be: a loss of nothing else is still to be differentiated
                values.append(worst + (0 * points).sum() if finite[number] else middle.new_tensor(worst))
                continue
            given = _in_span(frame.detach(), draws, generator) if directions is None else directions[number]
            values.append(_mean_square_projection(frame, given, kappa))
        return torch.stack(values)


def inverse_capacity_of_points(kappa: float) -> float:
    """1 / alpha of points at a margin kappa: the integral over t > -kappa of (t + kappa)^2 (Gardner 1988, J. Phys. A
    21:257)."""
    density = math.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)
    return (1 + kappa**2) * math.erfc(-kappa / math.sqrt(2)) / 2 + kappa * density


def cone_projection(
    frame: Float[Tensor, "points coordinates"], directions: Float[Tensor, "draws coordinates"]
) -> Float[Tensor, "draws points"]:
    """Coefficients a >= 0 of the points of the cone of the frame's rows that are nearest to the directions.

    `cotrain.cones.cone_coefficients`, which the analyses of manifolds use as well, on tensors.

    Args:
        frame: S, float64, on the CPU, no row zero; no gradient passes. There may be more points than coordinates, and
            copies of points.
        directions: b, one a row.
    """
    return torch.from_numpy(cone_coefficients(frame.numpy(), directions.numpy()))


def split_by_class(
    features: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    *,
    at_most: int | None = None,
    seed: int = 0,
) -> list[Float[Tensor, "_points features"]]:
    """The features of each class that occurs, in the order of labels; of larger ones a random choice, by the seed."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for label in labels.unique():  # sorted
        rows = (labels == label).nonzero().flatten()
        if at_most is not None and len(rows) > at_most:
            rows = rows[torch.randperm(len(rows), generator=generator)[:at_most].sort().values.to(rows.device)]
        found.append(features[rows])
    return found


def _frame(points: Tensor, middle: Tensor) -> Tensor | None:
    """S of one manifold; None where its centre is the middle, but for rounding or next to how far its points reach."""
    centre = points.mean(0)
    deviations = points - centre
    square = (centre - middle).square().sum()
    reach, level = deviations.detach().square().sum(1).mean(), centre.detach().square().sum()
    if bool(square <= NO_CENTRE**2 * reach) or bool(square <= (32 * torch.finfo(torch.float64).eps) ** 2 * level):
        return None
    return torch.cat([deviations / square.sqrt(), points.new_ones(len(points), 1)], 1)


def _in_span(frame: Tensor, draws: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal directions in the span of the rows."""
    basis, reduced = torch.linalg.qr(frame.T)
    # QR leaves the signs to the machine; with these, a rotated frame gets rotated directions
    basis = basis * torch.where(reduced.diagonal() < 0, -1.0, 1.0)
    drawn: Tensor = torch.randn(draws, basis.shape[1], dtype=torch.float64, generator=generator) @ basis.T
    return drawn


def _mean_square_projection(frame: Tensor, directions: Tensor, kappa: float) -> Tensor:
    """Mean of |P(b)|^2 = max over a >= 0 of 2 a.S b - |S^T a|^2; a is held fixed for the gradient."""
    shifted = directions.detach().double().clone()
    shifted[:, -1] += kappa
    held = cone_projection(frame.detach(), shifted)
    # small sums over draws, so that nothing of size (draws, neurons) waits for the backward pass
    linear, quadratic = held.T @ shifted / len(held), held.T @ held / len(held)
    return 2 * (frame * linear).sum() - (frame * (quadratic @ frame)).sum()
