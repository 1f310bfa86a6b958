"""How separable moved, scaled, sheared and turned images are in a run's layers: smooth manifolds by displacement."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen
from numpy.typing import NDArray
from pydantic import AfterValidator
from torch import Tensor

from cotrain.analysis import AffineFamily, AffineManifolds, affine_manifolds, layer_depths, manifold_geometry
from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import Data
from cotrain.errors import DataError
from cotrain.evaluations._epochs import Epochs
from cotrain.evaluations._labelled_images import LabelledImages, labelled_images
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features, reduction
from cotrain.evaluations._manifold_means import (
    LONGEST_REASON,
    ManifoldMeans,
    first_reason,
    mean_columns,
    warn_of_missing,
    warn_of_noise,
)
from cotrain.evaluations._robustness import each_once
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig

log = logging.getLogger(__name__)

Families = Annotated[tuple[AffineFamily, ...], MinLen(1), AfterValidator(each_once)]
Displacements = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), AfterValidator(each_once)]


class SmoothManifoldsConfig(Config):
    """Capacity, radius and dimension in layers of what affine maps make of single held-out images."""

    kind: ClassVar[str] = "cotrain.evaluations.smooth_manifolds"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    epochs: Epochs = ("initial", "best")  # whose weights: those before and after training
    families: Families = ("x_translation", "affine")  # of `cotrain.analysis.affine_manifolds`
    displacements: Displacements = (1.0, 2.0, 4.0)
    """How far corners of the object are moved, in pixels of the run's images."""
    points: Annotated[int, Ge(2)] = 51  # of each manifold; capacity falls as they grow: compare equal numbers
    images: Annotated[int, Ge(2)] = 50  # manifolds: the first image of each class, then the second one, and so on
    tasks: tuple[str, ...] = ()  # classifications, by name; none: all
    split: Literal["validation", "test"] = "test"  # whose images
    files: tuple[StimulusFileConfig, ...] = ()  # with labels
    shown_as: str = ""  # of files: the model's task whose image size and normalisation are used; "": its first
    size: Annotated[int, Ge(1)] | None = None
    """Side of the window in the middle that networks are shown, in pixels; none: whole images, the size that they were
    trained with."""
    object_size: Annotated[float, Gt(0)] | None = None  # side, in pixels; none: three quarters of what is shown
    fill: Annotated[float, Ge(0), Le(1)] | Literal["edge"] | None = "edge"
    """What is outside of images: their outer pixels, which whole images need, a number from 0 to 1, or nothing, for a
    window with margins."""
    reduce: Reduce = "sparse_projection"  # what is kept of each layer's features; "": all
    widest: Annotated[int, Ge(1)] = 4096  # features that a projection leaves; layers with no more stay as they are
    directions: Annotated[int, Ge(1)] = 300  # random ones, for each manifold
    removed: Annotated[int, Ge(0)] | None = None  # common directions of the centres; none: as many as part them best
    seed: Annotated[int, Ge(0)] = 0  # of random families, directions and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # warped images at once
    labelled: Annotated[AnyConfig | None, AddedLater(neutral=None)] = None
    """Data whose classifications are taken in place of those of the run's own, as of `linear_svm_scores`."""


@dataclass(frozen=True, kw_only=True)
class LayerSmoothManifolds(ManifoldMeans):
    """Geometry of the smooth manifolds of some images in a layer, for one family and displacement; NaN: undefined.

    Args:
        target: A classification, or a file's name.
        session: "" of tasks without any, and of files.
        family: Of affine maps.
        displacement_place: Of the displacement in the config, from 0.
        displacement: Pixels.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        depth: Share of the network's blocks that is done after it, above 0 and at most 1.
        manifolds, points: Images, and points of each. What is measured of them is told by `ManifoldMeans`, where a
            class is one image under all maps.
    """

    target: str
    session: str
    family: str
    displacement_place: int
    displacement: float
    layer_place: int
    layer: str
    depth: float
    manifolds: int
    points: int


def smooth_manifolds(
    model: MultiTaskModel,
    data: Data,
    config: SmoothManifoldsConfig,
    *,
    device: torch.device,
    seed: int = 0,
) -> list[LayerSmoothManifolds]:
    """Measure each family and displacement in each layer; empty for data without classifications or files.

    Images are warped batch by batch, and those of one family and displacement pass once. Until a layer's turn its
    features lie in a temporary file. A set with one image is left out, which is logged; so is, where a measure cannot
    be told, the reason.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where images are warped and features computed, in float32; geometry is computed in float64 on the CPU.
        seed: The run's, with which `labelled` data are split; all else that is random is the same for all runs.

    Returns:
        For each set of images, family and displacement, one row a layer.

    Raises:
        ModelError: There is no such layer.
        DataError: A file is not as the config says, or a window or family does not fit the images, which is said before
            anything is passed.
    """
    found: list[LayerSmoothManifolds] = []
    sets = labelled_images(
        model, data, tasks=config.tasks, split=config.split, files=config.files, shown_as=config.shown_as,
        of_class=config.images, what="smooth manifolds", labelled=config.labelled, seed=seed,
    )  # fmt: skip
    for held in sets:
        images = _one_of_each(held, config.images)
        if len(images) < 2:
            log.warning("%s has no geometry of smooth manifolds: it has %d image.", held.where, len(images))
            continue
        made = [
            (place, affine_manifolds(
                images, family, displacement, config.points,
                size=config.size, object_size=config.object_size, fill=config.fill, seed=config.seed, device=device,
            ))
            for family in config.families for place, displacement in enumerate(config.displacements)
        ]  # fmt: skip
        depths = layer_depths(model, made[0][1][:1], config.layers, task=held.shown_as)
        measured: list[LayerSmoothManifolds] = []
        for place, moved in made:
            measured += _measured(model, held, moved, place, depths, config)
        layers = [(f"{row.family} {row.displacement:g}, {row.layer}", row) for row in measured]
        warn_of_noise(held.where, layers, "images")
        found += measured
    return found


def _measured(
    model: MultiTaskModel,
    held: LabelledImages,
    moved: AffineManifolds,
    displacement_place: int,
    depths: dict[str, float],
    config: SmoothManifoldsConfig,
) -> list[LayerSmoothManifolds]:
    """The rows of one family and displacement, one a layer."""
    found = []
    with layer_features(
        model, moved, config.layers,
        shown_as=held.shown_as, reduce=reduction(config.reduce, config.widest), seed=config.seed,
        batch=config.batch_size,
    ) as features:  # fmt: skip
        for place, (layer, values) in enumerate(features):
            at: dict[str, Any] = {
                "target": held.name, "session": held.session, "family": moved.family,
                "displacement_place": displacement_place, "displacement": moved.displacement,
                "layer_place": place, "layer": layer, "depth": depths[layer],
                "manifolds": len(moved) // moved.points, "points": moved.points,
            }  # fmt: skip
            clouds = moved.split(values.numpy().astype(np.float64))
            try:
                geometry = manifold_geometry(
                    clouds, n_t=config.directions, seed=config.seed, k=config.removed, warn=False
                )
            except DataError as error:  # features that say nothing, or too few of them: of this layer alone
                row = LayerSmoothManifolds(**at, undefined=str(error)[:LONGEST_REASON])
            else:
                row = LayerSmoothManifolds(**at, **mean_columns(geometry), undefined=first_reason(geometry.reasons))
            warn_of_missing(f"{held.where}, {moved.family} by {moved.displacement:g} pixels, {layer}", row)
            found.append(row)
    return found


def _one_of_each(held: LabelledImages, count: int) -> Tensor:
    """The first image of each class, then the second one of each, and so on, until there are so many."""
    _, classes = np.unique(held.labels, return_inverse=True)
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], classes[order])
    turn: NDArray[np.int64] = np.empty(len(order), np.int64)
    turn[order] = np.arange(len(order)) - starts
    chosen = np.lexsort((classes, turn))[:count]
    return held.images[torch.from_numpy(chosen)]
