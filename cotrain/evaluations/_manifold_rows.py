"""Rows of the geometry of manifolds: a layer, and a class in a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cotrain.analysis import JointGeometry, ManifoldGeometry, ManifoldSpectrum
from cotrain.evaluations._manifold_means import (
    LONGEST_REASON,
    NAN,
    ManifoldMeans,
    first_reason,
    mean_columns,
    mean_of_known,
)


@dataclass(frozen=True, kw_only=True)
class LayerManifolds(ManifoldMeans):
    """Geometry of all manifolds of a layer; NaN where it is undefined.

    Args:
        target: A classification, or a file's name.
        session: "" of tasks without any, and of files.
        control: What manifolds lack, as in the config; "" of the manifolds as they are.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        depth: Share of the network's blocks that is done after it, above 0 and at most 1.
        joint_capacity: Of all manifolds together, whose centres may be correlated, with its error over directions.
        joint_radius, joint_dimension, center_alignment, axis_alignment, center_axis_alignment, separable: As of
            `cotrain.analysis.joint_geometry`.
        participation_ratio: Mean over manifolds.
        center_participation_ratio, total_participation_ratio: Of the centres, and of all points.
        manifolds, points: Classes, and images of each (the fewest).
        undefined: Of `ManifoldMeans`; also why the joint capacity is NaN.
    """

    target: str
    session: str
    control: str
    layer_place: int
    layer: str
    depth: float
    manifolds: int
    points: int
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


def of_layer(geometry: ManifoldGeometry, spectrum: ManifoldSpectrum, together: JointGeometry) -> dict[str, Any]:
    """The fields of `LayerManifolds` that are measured."""
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


def of_classes(
    geometry: ManifoldGeometry, spectrum: ManifoldSpectrum, at: dict[str, Any], names: list[str]
) -> list[ClassManifold]:
    """The rows of all classes.

    Args:
        geometry, spectrum: Of their manifolds.
        at: Fields that say where this is.
        names: Of the classes.
    """
    measures: dict[str, Any] = {
        name: getattr(geometry, name)
        for name in (
            "capacity", "capacity_error", "radius", "radius_error", "dimension", "dimension_error", "floor",
            "center_norm", "center_share",
        )
    }  # fmt: skip
    measures["own_participation_ratio"] = spectrum.participation_ratio
    found = []
    for number, (name, reason) in enumerate(zip(names, geometry.reasons, strict=True)):
        own: dict[str, Any] = {key: float(values[number]) for key, values in measures.items()}
        points = int(geometry.points[number])
        found.append(
            ClassManifold(
                **at, manifold=number, class_name=name, **own, own_points=points, reason=reason[:LONGEST_REASON]
            )
        )
    return found
