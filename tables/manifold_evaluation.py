"""Tables of how separable classes, and moved images, are in layers of finished runs, after training and on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.evaluation import Evaluation, EvaluationTable, table_definition
from cotrain.tables.runs import TrainedModel

__all__ = ["Evaluation", "Manifolds", "SmoothManifolds", "TrainedModel"]  # two that the definition refers to

MEANS = """
features : int32                # that are not silent, after projection
mean_capacity = null : float64  # 1 / mean of 1 / capacity: manifolds a feature that planes can part
mean_capacity_error = null : float64       # standard error over random directions
mean_capacity_class_error = null : float64 # standard error over manifolds
mean_floor = null : float64     # capacity of noise of as many points
mean_radius = null : float64    # in lengths of the centre
mean_radius_error = null : float64
mean_radius_class_error = null : float64
mean_dimension = null : float64
mean_dimension_error = null : float64
mean_dimension_class_error = null : float64
center_correlation = null : float64   # mean absolute cosine of pairs of centres
residual_correlation = null : float64 # the same after removal of common directions
removed : int32                 # number of these directions
stability = null : float64      # the smallest share of its length that a centre keeps
at_floor = null : float64       # share of manifolds whose capacity is that of noise
few_points = null : float64     # share of manifolds with fewer than 10 points a dimension
unknown : float64               # share of manifolds without a capacity
"""
"""Columns of both tables: the fields of `ManifoldMeans`, but for the reason."""


@schema
class Manifolds(EvaluationTable):
    """How separable classes are in layers, and why."""

    kinds = ("cotrain.evaluations.manifolds",)
    prefix = "manifolds"
    rows = "Layer"
    by_type: ClassVar[Mapping[str, str]] = {"ClassManifold": "Class"}
    within = ("epoch", "target", "session", "control", "layer")
    shown = ("mean_capacity", "mean_floor", "mean_radius", "mean_dimension", "center_correlation", "joint_capacity")
    kept = ("kappa", "variant", "seed")
    by_epoch = True
    definition = table_definition(
        prefix,
        "Geometry of class manifolds in layers of a run",
        "of layers, of all epochs, sets of images and controls",
        "manifolds_kappa : float64       # margin, in lengths of a centre / sqrt(features)",
        "manifolds_variant : varchar(16) # default, follow_up or seed: whose definitions",
        "manifolds_seed : int32          # of classes, directions, controls and projections",
    )

    class Layer(dj.Part):
        """The manifolds of all classes in one layer."""

        definition = f"""
        # Geometry of all manifolds of a layer; null: undefined
        -> master
        epoch : int32                   # weights after so many epochs; 0: as initialised
        target : varchar(64)            # classification, or the name of a file of the config
        session : varchar(32)
        control : varchar(32)           # what manifolds lack; empty: as they are
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        depth : float64                 # share of the blocks that is done after it, at most 1
        manifolds : int32               # classes
        points : int32                  # images of each, the fewest
        {MEANS}
        joint_capacity = null : float64 # of all manifolds together
        joint_capacity_error = null : float64 # standard error over random directions
        joint_radius = null : float64
        joint_dimension = null : float64
        center_alignment = null : float64
        axis_alignment = null : float64
        center_axis_alignment = null : float64
        separable = null : float64      # share of dichotomies that planes can make with all features
        participation_ratio = null : float64        # mean over manifolds
        center_participation_ratio = null : float64 # of centres
        total_participation_ratio = null : float64  # of all points
        undefined : varchar(255)        # why a capacity is null; empty: none is
        """

    class Class(dj.Part):
        """The manifold of one class in one layer."""

        definition = """
        # Geometry of the manifold of a class; null: undefined
        -> master
        epoch : int32                   # weights after so many epochs; 0: as initialised
        target : varchar(64)            # classification, or the name of a file of the config
        session : varchar(32)
        layer_place : int32             # in the order of a pass, counted from 0
        manifold : int32                # place among the classes that were used, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        class_name : varchar(255)
        capacity = null : float64
        capacity_error = null : float64 # standard error over random directions
        radius = null : float64         # in lengths of the centre
        radius_error = null : float64
        dimension = null : float64
        dimension_error = null : float64
        floor = null : float64          # capacity of noise of as many points
        center_norm = null : float64    # after removal of common directions
        center_share = null : float64   # of its length before
        own_participation_ratio = null : float64
        own_points : int32              # images
        reason : varchar(255)           # why capacity is null; empty: it is known
        """


@schema
class SmoothManifolds(EvaluationTable):
    """How separable images are in layers while they are moved, scaled, sheared or turned."""

    kinds = ("cotrain.evaluations.smooth_manifolds",)
    prefix = "smooth"
    rows = "Layer"
    within = ("epoch", "target", "session", "family", "displacement", "layer")
    shown = ("mean_capacity", "mean_floor", "mean_radius", "mean_dimension", "center_correlation")
    kept = ("seed",)
    by_epoch = True
    definition = table_definition(
        prefix,
        "Geometry of smooth manifolds of images in layers of a run",
        "of layers, of all epochs, sets of images, families and displacements",
        "smooth_seed : int32            # of random families, directions and projections",
    )

    class Layer(dj.Part):
        """The manifolds of some images, under one family of maps, in one layer."""

        definition = f"""
        # Geometry of smooth manifolds of images in a layer; null: undefined
        -> master
        epoch : int32                   # weights after so many epochs; 0: as initialised
        target : varchar(64)            # classification, or the name of a file of the config
        session : varchar(32)
        family : varchar(32)            # of affine maps
        displacement_place : int32      # of the displacement in the config, counted from 0
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        displacement : float64          # (pixels) how far corners of the object are moved
        layer : varchar(255)            # path in the backbone
        depth : float64                 # share of the blocks that is done after it, at most 1
        manifolds : int32               # images
        points : int32                  # of each
        {MEANS}
        undefined : varchar(255)        # why a capacity is null; empty: none is
        """
