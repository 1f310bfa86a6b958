"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
from cotrain.analysis._manifold_arrays import manifolds_of_sessions
from cotrain.analysis._manifold_ball import ball_capacity
from cotrain.analysis._manifold_centers import CenterSubspace, center_subspace
from cotrain.analysis._manifold_controls import clip_dimension, randomise_manifolds, scale_radius
from cotrain.analysis._manifold_gaussian import GaussianGeometry, gaussian_geometry
from cotrain.analysis._manifold_geometry import manifold_geometry
from cotrain.analysis._manifold_joint import JointGeometry, joint_geometry
from cotrain.analysis._manifold_points import PointsSweep, capacity_by_points
from cotrain.analysis._manifold_result import ManifoldGeometry
from cotrain.analysis._manifold_spectrum import ManifoldSpectrum, manifold_spectrum
from cotrain.analysis._manifold_tuning_file import TuningSession, read_tuning
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._simulated_capacity import SimulatedCapacity, simulated_capacity

__all__ = [
    "CenterSubspace",
    "Copies",
    "GaussianGeometry",
    "Inspection",
    "JointGeometry",
    "ManifoldGeometry",
    "ManifoldSpectrum",
    "PointsSweep",
    "SimulatedCapacity",
    "TuningSession",
    "ball_capacity",
    "capacity_by_points",
    "center_subspace",
    "clip_dimension",
    "draw_rdm",
    "find_copies",
    "gaussian_geometry",
    "inspect_data",
    "inspection_figure",
    "joint_geometry",
    "manifold_geometry",
    "manifold_spectrum",
    "manifolds_of_sessions",
    "overview_figure",
    "paired_differences",
    "randomise_manifolds",
    "read_tuning",
    "scale_radius",
    "simulated_capacity",
]
