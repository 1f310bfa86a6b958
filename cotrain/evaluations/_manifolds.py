"""How separable the classes of images are in a run's layers, and why: the geometry of their manifolds."""

from __future__ import annotations

import logging
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import AfterValidator

from cotrain.analysis import (
    JointGeometry,
    ManifoldControl,
    joint_geometry,
    layer_depths,
    manifold_geometry,
    manifold_spectrum,
    randomise_manifolds,
)
from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import Data
from cotrain.errors import DataError
from cotrain.evaluations._epochs import Epochs
from cotrain.evaluations._labelled_images import LabelledImages, labelled_images
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features, reduction
from cotrain.evaluations._manifold_means import LONGEST_REASON, warn_of_missing, warn_of_noise
from cotrain.evaluations._manifold_rows import ClassManifold, LayerManifolds, of_classes, of_layer
from cotrain.evaluations._robustness import each_once
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig
from cotrain.seeds import derive_seed

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

Controls = Annotated[tuple[ManifoldControl, ...], AfterValidator(each_once)]


class ManifoldsConfig(Config):
    """Capacity, radius, dimension and centre correlation of the classes' manifolds in layers, of held-out images."""

    kind: ClassVar[str] = "cotrain.evaluations.manifolds"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    epochs: Epochs = ("best",)  # whose weights; "initial" and "kept" show geometry over training
    tasks: tuple[str, ...] = ()  # classifications, by name; none: all
    split: Literal["validation", "test"] = "test"  # whose images
    classes: Annotated[int, Ge(2)] | None = 50  # drawn where there are more; none: all
    of_class: Annotated[int, Ge(2)] | None = 50
    """The first so many images of each class; none: all. Capacity falls as they grow: compare equal numbers."""
    files: tuple[StimulusFileConfig, ...] = ()  # with labels
    shown_as: str = ""  # of files: the model's task whose image size and normalisation are used; "": its first
    reduce: Reduce = "sparse_projection"  # what is kept of each layer's features; "": all
    widest: Annotated[int, Ge(1)] = 4096  # features that a projection leaves; layers with no more stay as they are
    kappa: float = 0.0  # margin, in lengths of a class centre / sqrt(features)
    directions: Annotated[int, Ge(1)] = 300  # random ones, for each manifold
    removed: Annotated[int, Ge(0)] | None = None  # common directions of the centres; none: as many as part them best
    variant: Literal["default", "follow_up", "seed"] = "default"  # definitions, see `cotrain.analysis`
    joint_draws: Annotated[int, Ge(0)] = 50  # directions for all manifolds together; 0: no joint geometry
    controls: Controls = ()  # layers again, with manifolds that lack something: `cotrain.analysis.randomise_manifolds`
    seed: Annotated[int, Ge(0)] = 0  # of classes, directions, controls and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # images at once
    labelled: Annotated[AnyConfig | None, AddedLater(neutral=None)] = None
    """Data whose classifications are taken in place of those of the run's own, as of `linear_svm_scores`."""


def manifolds(
    model: MultiTaskModel,
    data: Data,
    config: ManifoldsConfig,
    *,
    device: torch.device,  # noqa: ARG001 features are computed where the model is
    seed: int = 0,
) -> list[LayerManifolds | ClassManifold]:
    """Measure the classes of each classification and file in each layer; empty for data without any.

    A set of images with one class is left out, which is logged. So is, where a measure cannot be told, the reason: its
    value is NaN.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where features are computed, in float32; geometry is computed in float64 on the CPU.
        seed: The run's, with which `labelled` data are split; all else that is random is the same for all runs.

    Returns:
        For each set of images and layer: its classes, the layer itself, and its controls.

    Raises:
        ModelError: There is no such layer.
        DataError: A file is not as the config says.
    """
    found: list[LayerManifolds | ClassManifold] = []
    sets = labelled_images(
        model, data, tasks=config.tasks, split=config.split, files=config.files, shown_as=config.shown_as,
        of_class=config.of_class, what="manifolds", labelled=config.labelled, seed=seed,
    )  # fmt: skip
    for held in sets:
        chosen = _chosen_classes(held, config)
        if len(chosen) < 2:
            log.warning("%s has no geometry of manifolds: its images are of %d class.", held.where, len(chosen))
            continue
        rows = np.flatnonzero(np.isin(held.labels, chosen))
        of_rows = [np.flatnonzero(held.labels[rows] == label) for label in chosen]
        shown = held.images[torch.from_numpy(rows)]
        depths = layer_depths(model, shown, config.layers, task=held.shown_as)
        names = [held.class_name(label) for label in chosen]
        measured: list[LayerManifolds | ClassManifold] = []
        with layer_features(
            model, shown, config.layers,
            shown_as=held.shown_as, reduce=reduction(config.reduce, config.widest), seed=config.seed,
            batch=config.batch_size,
        ) as features:  # fmt: skip
            for place, (layer, values) in enumerate(features):
                clouds = [values[points].numpy().T.astype(np.float64) for points in of_rows]
                at = {"target": held.name, "session": held.session, "layer_place": place, "layer": layer}
                measured += _measured(at, depths[layer], clouds, names, config)
        layers = [(row.layer, row) for row in measured if isinstance(row, LayerManifolds) and not row.control]
        warn_of_noise(held.where, layers, "classes")
        found += measured
    return found


def _measured(
    at: dict[str, Any], depth: float, clouds: list[Floats], names: list[str], config: ManifoldsConfig
) -> list[LayerManifolds | ClassManifold]:
    """The rows of one layer: it, its classes, and its controls.

    Args:
        at: Columns that say where this is.
        depth: Of the layer.
        clouds: (features, points) of each class.
        names: Of the classes.
        config: What is computed.
    """
    found: list[LayerManifolds | ClassManifold] = []
    points = min(cloud.shape[1] for cloud in clouds)
    for control in ("", *config.controls):
        own = {**at, "control": control, "depth": depth, "manifolds": len(clouds), "points": points}
        try:
            taken = randomise_manifolds(clouds, control, seed=config.seed) if control else clouds
            geometry = manifold_geometry(
                taken, kappa=config.kappa, n_t=config.directions, seed=config.seed, k=config.removed,
                variant=config.variant, warn=False,
            )  # fmt: skip
            spectrum = manifold_spectrum(taken)
            draws = config.joint_draws
            together = joint_geometry(taken, n_t=draws, seed=config.seed) if draws else JointGeometry()
        except DataError as error:  # features that say nothing, or too few of them: of this layer alone
            row = LayerManifolds(**own, undefined=str(error)[:LONGEST_REASON])
        else:
            row = LayerManifolds(**own, **of_layer(geometry, spectrum, together))
            found += [] if control else of_classes(geometry, spectrum, at, names)
        where = ", ".join(str(part) for part in (at["target"], at["session"], at["layer"], control) if part)
        warn_of_missing(where, row)
        found.append(row)
    return found


def _chosen_classes(held: LabelledImages, config: ManifoldsConfig) -> NDArray[np.generic]:
    classes = np.unique(held.labels)
    if config.classes is None or len(classes) <= config.classes:
        return classes
    generator = np.random.default_rng(derive_seed(config.seed, "split", "manifold classes"))
    return classes[np.sort(generator.permutation(len(classes))[: config.classes])]
