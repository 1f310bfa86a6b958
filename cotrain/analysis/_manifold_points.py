"""How capacity depends on the number of points that a manifold is known by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from cotrain.analysis._manifold_arrays import clouds_of
from cotrain.analysis._manifold_geometry import manifold_geometry
from cotrain.errors import DataError
from cotrain.seeds import derive_seed


@dataclass(frozen=True)
class PointsSweep:
    """Means over manifolds and over subsets, one for each number of points; arrays.

    `capacity_error` is the standard error of the mean over subsets, NaN for one.
    """

    points: Any
    capacity: Any
    capacity_error: Any
    radius: Any
    dimension: Any
    floor: Any  # 2 / points at kappa 0: capacity of noise

    @property
    def change(self) -> float:
        """Capacity at the largest number of points over that at half of it or fewer, less 1; near 0, more points would
        change little."""
        half = np.flatnonzero(self.points <= self.points[-1] / 2)
        return float(self.capacity[-1] / self.capacity[half[-1]] - 1) if len(half) else math.nan


def capacity_by_points(
    manifolds: Sequence[Any], counts: Sequence[int] | None = None, *, subsets: int = 3, seed: int = 0, **options: Any
) -> PointsSweep:
    """Capacity, radius and dimension of random subsets of each manifold's points.

    The hull of a few points is smaller than the manifold they were drawn from, and so capacity is too high: for points
    of a ball of radius 0.5 in 20 dimensions, 3.4 times too high at 10 points and twice at 300. Only a curve that has
    become flat is about the manifold.

    Args:
        manifolds: As for `manifold_geometry`.
        counts: Points a manifold, 2 to the number that the smallest manifold has; None: that number, its half, its
            quarter and its eighth.
        subsets: Drawn for each number; all points are taken once.
        seed: Of subsets and of directions.
        options: Of `manifold_geometry`. Where neither `k` nor `subspace` is among them, directions of the centres are
            looked for once, among all points.

    Raises:
        DataError: A manifold has fewer points.
    """
    held = clouds_of(manifolds)
    sizes = [cloud.shape[1] for cloud in held.clouds]
    wanted = sorted(set(counts if counts is not None else (max(2, min(sizes) >> shift) for shift in range(4))))
    if not wanted or wanted[0] < 2 or wanted[-1] > min(sizes):
        raise DataError(
            f"Subsets have 2 points or more, and no more than the smallest manifold, {min(sizes)}; found {wanted}."
        )
    if "k" not in options and options.get("subspace") is None:
        found = manifold_geometry(held.clouds, seed=seed, **{**options, "n_t": 1})
        options["subspace"] = np.asarray(found.subspace)
    rows = []
    for count in tqdm(wanted, desc="points", disable=None, delay=2, leave=False):
        results = []
        for subset in range(subsets if count < max(sizes) else 1):
            generator = np.random.default_rng(derive_seed(seed, "noise", "manifold points", count, subset))
            chosen = [cloud[:, np.sort(generator.permutation(cloud.shape[1])[:count])] for cloud in held.clouds]
            own = derive_seed(seed, "noise", "manifold points' directions", count, subset)
            results.append(manifold_geometry(chosen, seed=own, **options))
        capacities = np.array([one.mean_capacity for one in results])
        error = capacities.std(ddof=1) / math.sqrt(len(results)) if len(results) > 1 else math.nan
        radius, dimension = (
            np.mean([getattr(one, name) for one in results]) for name in ("mean_radius", "mean_dimension")
        )
        rows.append((count, capacities.mean(), error, radius, dimension, float(np.mean(np.asarray(results[0].floor)))))
    return PointsSweep(*(np.array(column) for column in zip(*rows, strict=True)))
