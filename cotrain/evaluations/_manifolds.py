"""How separable the classes of images are in a run's layers, and why: the geometry of their manifolds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import AfterValidator

from cotrain.analysis import (
    JointGeometry,
    ManifoldGeometry,
    ManifoldSpectrum,
    joint_geometry,
    layer_depths,
    manifold_geometry,
    manifold_spectrum,
    randomise_manifolds,
)
from cotrain.config import Config, NotIdentity
from cotrain.data import Data
from cotrain.errors import DataError
from cotrain.evaluations._epochs import Epochs
from cotrain.evaluations._labelled_images import LabelledImages, labelled_images
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features, reduction
from cotrain.evaluations._manifold_means import (
    LONGEST_REASON,
    NAN,
    first_reason,
    mean_columns,
    mean_of_known,
    warn_of_missing,
    warn_of_noise,
)
from cotrain.evaluations._robustness import each_once
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

Controls = Annotated[
    tuple[
        Literal[
            "equal_random_centers_and_axes",
            "orthogonal_centers",
            "random_axes",
            "random_centers",
            "random_centers_and_axes",
            "random_neurons",
            "shuffled_points",
        ],
        ...,
    ],
    AfterValidator(each_once),
]


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


@dataclass(frozen=True)
class LayerManifolds:
    """Geometry of all manifolds of a layer; NaN where it is undefined.

    Args:
        target: A classification, or a file's name.
        session: "" of tasks without any, and of files.
        control: What manifolds lack, as in the config; "" of the manifolds as they are.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        depth: Share of the network's blocks that is done after it, above 0 and at most 1.
        mean_capacity: 1 / mean of 1 / capacity, of the manifolds that have one.
        mean_capacity_error: Its standard error over random directions.
        mean_capacity_class_error: Its standard error over manifolds, as if classes were drawn from many.
        mean_floor: Capacity of noise of as many points, 2 / points at kappa 0.
        mean_radius: Of the manifolds that have a capacity and whose centres keep 1 % of their length or more, for radii
            are in lengths of what is left; with errors as above.
        mean_dimension: Of the manifolds that have a capacity, with errors as above.
        center_correlation: Mean |cosine| of pairs of centres about their mean.
        residual_correlation: The same after removal of common directions.
        removed: Number of these directions.
        stability: The smallest share of its length that a centre keeps after removal.
        at_floor, few_points, unknown: Shares of the manifolds whose capacity is within 10 % of the floor, that have
            fewer than 10 points a dimension, and that have no capacity.
        joint_capacity: Of all manifolds together, whose centres may be correlated, with its error over directions.
        joint_radius, joint_dimension, center_alignment, axis_alignment, center_axis_alignment, separable: As of
            `cotrain.analysis.joint_geometry`.
        participation_ratio: Mean over manifolds.
        center_participation_ratio, total_participation_ratio: Of the centres, and of all points.
        manifolds, points, features: Classes, images of each (the fewest), and features that are not silent, after
            projection.
        undefined: Why capacities are NaN, that of one manifold at a time or the joint one; "" where both are known.
    """

    target: str
    session: str
    control: str
    layer_place: int
    layer: str
    depth: float
    manifolds: int
    points: int
    features: int = 0
    mean_capacity: float = NAN
    mean_capacity_error: float = NAN
    mean_capacity_class_error: float = NAN
    mean_floor: float = NAN
    mean_radius: float = NAN
    mean_radius_error: float = NAN
    mean_radius_class_error: float = NAN
    mean_dimension: float = NAN
    mean_dimension_error: float = NAN
    mean_dimension_class_error: float = NAN
    center_correlation: float = NAN
    residual_correlation: float = NAN
    removed: int = 0
    stability: float = NAN
    at_floor: float = NAN
    few_points: float = NAN
    unknown: float = 1.0
    joint_capacity: float = NAN
    joint_capacity_error: float = NAN
    joint_radius: float = NAN
    joint_dimension: float = NAN
    center_alignment: float = NAN
    axis_alignment: float = NAN
    center_axis_alignment: float = NAN
    separable: float = NAN
    participation_ratio: float = NAN
    center_participation_ratio: float = NAN
    total_participation_ratio: float = NAN
    undefined: str = ""


@dataclass(frozen=True)
class ClassManifold:
    """Geometry of one class's manifold in a layer; NaN where it is undefined.

    Args:
        target, session, layer_place, layer: As of the layer.
        manifold: Of the class among those that were used, from 0.
        class_name: Its name.
        capacity, radius, dimension: With standard errors over random directions; the radius is in lengths of the
            centre, after removal of common directions.
        floor: Capacity of noise of as many points.
        center_norm: Length of the centre after removal, in the units of the features.
        center_share: Of its length before.
        own_participation_ratio: Of its points.
        own_points: Images.
        reason: Why capacity is NaN; "" where it is known.
    """

    target: str
    session: str
    layer_place: int
    manifold: int
    layer: str
    class_name: str
    capacity: float
    capacity_error: float
    radius: float
    radius_error: float
    dimension: float
    dimension_error: float
    floor: float
    center_norm: float
    center_share: float
    own_participation_ratio: float
    own_points: int
    reason: str


def manifolds(
    model: MultiTaskModel,
    data: Data,
    config: ManifoldsConfig,
    *,
    device: torch.device,  # noqa: ARG001 features are computed where the model is
    seed: int = 0,  # noqa: ARG001 what is random is the same for all runs
) -> list[LayerManifolds | ClassManifold]:
    """Measure the classes of each classification and file in each layer; empty for data without any.

    A set of images with one class is left out, which is logged. So is, where a measure cannot be told, the reason: its
    value is NaN.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where features are computed, in float32; geometry is computed in float64 on the CPU.
        seed: Not used.

    Returns:
        For each set of images and layer: its classes, the layer itself, and its controls.

    Raises:
        ModelError: There is no such layer.
        DataError: A file is not as the config says.
    """
    found: list[LayerManifolds | ClassManifold] = []
    sets = labelled_images(
        model, data, tasks=config.tasks, split=config.split, files=config.files, shown_as=config.shown_as,
        of_class=config.of_class, what="manifolds",
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
        of_layer = {**at, "control": control, "depth": depth, "manifolds": len(clouds), "points": points}
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
            row = LayerManifolds(**of_layer, undefined=str(error)[:LONGEST_REASON])
        else:
            row = LayerManifolds(**of_layer, **_of_layer(geometry, spectrum, together))
            found += [] if control else _of_classes(geometry, spectrum, at, names)
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


def _of_layer(geometry: ManifoldGeometry, spectrum: ManifoldSpectrum, together: JointGeometry) -> dict[str, Any]:
    return {
        **mean_columns(geometry),
        "joint_capacity": together.capacity,
        "joint_capacity_error": together.capacity_error,
        "joint_radius": together.radius,
        "joint_dimension": together.dimension,
        "center_alignment": together.center_alignment,
        "axis_alignment": together.axis_alignment,
        "center_axis_alignment": together.center_axis_alignment,
        "separable": together.separable,
        "participation_ratio": mean_of_known(np.asarray(spectrum.participation_ratio)),
        "center_participation_ratio": spectrum.center_participation_ratio,
        "total_participation_ratio": spectrum.total_participation_ratio,
        "undefined": first_reason([*geometry.reasons, together.reason]),
    }


def _of_classes(
    geometry: ManifoldGeometry, spectrum: ManifoldSpectrum, at: dict[str, Any], names: list[str]
) -> list[ClassManifold]:
    columns = ("capacity", "radius", "dimension")
    measures = {name: getattr(geometry, name) for name in (*columns, *(f"{name}_error" for name in columns))}
    measures |= {name: getattr(geometry, name) for name in ("floor", "center_norm", "center_share")}
    measures["own_participation_ratio"] = spectrum.participation_ratio
    return [
        ClassManifold(
            **at, manifold=number, class_name=name, **{key: float(values[number]) for key, values in measures.items()},
            own_points=int(geometry.points[number]), reason=geometry.reasons[number][:LONGEST_REASON],
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
