"""Geometry of the smooth manifolds of images in the layers of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from cotrain.analysis._affine_manifolds import AffineManifolds
from cotrain.analysis._extract import extract
from cotrain.analysis._layers import Layers
from cotrain.analysis._manifold_geometry import manifold_geometry
from cotrain.analysis._manifold_result import ManifoldGeometry
from cotrain.analysis._reductions import Reduction, SparseProjection
from cotrain.analysis._shown_images import Prepare

WIDEST = 4096  # features of a layer that are kept; the published code records as many units


def affine_geometry(
    model: nn.Module,
    manifolds: AffineManifolds,
    layers: Layers,
    *,
    reduce: Reduction | str | None = None,
    memory_budget: float | None = None,
    task: str = "",
    prepare: Prepare | None = None,
    batch: int = 32,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
    **options: Any,
) -> dict[str, ManifoldGeometry]:
    """Capacity, radius and dimension of smooth manifolds in each of some layers.

    Images are warped batch by batch on `manifolds.device` and pass the network once; memory holds the features of all
    layers that are asked for, images * points * features * 4 bytes each, and one layer at a time in float64.

    Whether a manifold has points enough, `capacity_by_points` shows.

    Args:
        model: As for `extract`.
        manifolds: Of two images or more, from `affine_manifolds`.
        layers: As for `extract`.
        reduce: What is kept of a layer; None: a sparse random projection of layers with more than 4,096 features onto
            so many, which keeps distances and with them geometry to some percent, and all features of other layers.
        memory_budget: As for `extract`, of features and one batch.
        task, prepare, batch, device: As for `extract`.
        seed: Of projections, and of `manifold_geometry`.
        progress: Whether bars are shown.
        options: Of `manifold_geometry`.

    Returns:
        {layer: geometry}, in the order of a pass.

    Raises:
        ModelError, DataError, CotrainError: As `extract` and `manifold_geometry`.

    >>> from cotrain.analysis import affine_manifolds
    >>> moved = affine_manifolds(torch.rand(6, 1, 16, 16), "x_translation", 1.0, 3, size=12)
    >>> affine_geometry(nn.Sequential(nn.Flatten()), moved, "0", k=0)["0"].capacity.shape
    (6,)
    """
    features = extract(
        model,
        manifolds,
        layers,
        reduce=SparseProjection(size=WIDEST) if reduce is None else reduce,
        memory_budget=memory_budget,
        task=task,
        prepare=prepare,
        batch=batch,
        seed=seed,
        device=device,
        progress=progress,
    )
    found = {}
    for layer in tqdm(list(features), desc="layers", disable=not progress, leave=False):
        found[layer] = manifold_geometry(manifolds.split(features.pop(layer)), seed=seed, **options)
    return found
