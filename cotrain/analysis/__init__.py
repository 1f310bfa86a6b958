"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._affine_families import AffineFamily
from cotrain.analysis._affine_geometry import affine_geometry
from cotrain.analysis._affine_manifolds import AffineManifolds, affine_manifolds
from cotrain.analysis._compare_rdms import compare_rdms
from cotrain.analysis._contact_sheet import contact_sheet
from cotrain.analysis._corruption_errors import corruption_errors
from cotrain.analysis._crossvalidated_rdm import crossvalidated_rdm
from cotrain.analysis._deltas_figure import deltas_figure
from cotrain.analysis._difference_figure import draw_differences
from cotrain.analysis._encoding_rsa import EncodingRsa, encoding_rsa
from cotrain.analysis._extract import extract
from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._finetuning_deltas import deltas_as_text, finetuning_deltas
from cotrain.analysis._folds import Folds, brain_score_splits, given_folds, group_k_fold, k_fold, stratified_k_fold
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
from cotrain.analysis._layer_depths import layer_depths
from cotrain.analysis._layer_scores import layer_scores, network_scores
from cotrain.analysis._layer_selection import LayerSelection, chosen_layers, select_layers
from cotrain.analysis._linear_svm import SvmScore, linear_svm_score
from cotrain.analysis._manifold_arrays import manifolds_of_sessions
from cotrain.analysis._manifold_ball import ball_capacity
from cotrain.analysis._manifold_centers import CenterSubspace, center_subspace
from cotrain.analysis._manifold_controls import ManifoldControl, clip_dimension, randomise_manifolds, scale_radius
from cotrain.analysis._manifold_figures import manifold_layers_figure, manifold_training_figure
from cotrain.analysis._manifold_gaussian import GaussianGeometry, gaussian_geometry
from cotrain.analysis._manifold_geometry import manifold_geometry
from cotrain.analysis._manifold_joint import JointGeometry, joint_geometry
from cotrain.analysis._manifold_points import PointsSweep, capacity_by_points
from cotrain.analysis._manifold_result import ManifoldGeometry
from cotrain.analysis._manifold_spectrum import ManifoldSpectrum, manifold_spectrum
from cotrain.analysis._manifold_summary import ManifoldRuns, manifold_runs, manifold_summary
from cotrain.analysis._manifold_tuning_file import TuningSession, read_tuning
from cotrain.analysis._mds_figure import Arrangement, mds_figure, scaled_to_plane
from cotrain.analysis._mouse_trap import mouse_trap_scores
from cotrain.analysis._mse_decomposition import MseParts, mse_decomposition
from cotrain.analysis._network_figure import network_figure
from cotrain.analysis._network_table import NetworkSize, network_correlations, network_size, network_table
from cotrain.analysis._neuron_metrics import (
    Summary,
    VarianceCeiling,
    explainable_variance,
    explained_variance,
    fraction_explainable_variance,
    mean_squared_error,
    neuron_correlations,
    normalised,
    oracle_correlation,
    r2,
    split_half_reliability,
    summary,
    variance_ceiling,
)
from cotrain.analysis._noise_ceiling import Ceiling, noise_ceiling
from cotrain.analysis._noise_matching import RecordingNoise
from cotrain.analysis._noise_precision import noise_precision
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._rdm import rdm
from cotrain.analysis._rdm_figure import rdm_difference_figure, rdm_figure
from cotrain.analysis._reductions import AveragePool, GaussianProjection, Gram, Pca, SparseProjection
from cotrain.analysis._regress import Regression, regress
from cotrain.analysis._regression_components import PrincipalComponents
from cotrain.analysis._regression_figures import (
    regression_depth_figure,
    regression_map_figure,
    regression_neurons_figure,
    regression_pairs,
    regression_scatter_figure,
    regression_training_figure,
)
from cotrain.analysis._regression_methods import Ols, Pls, Ridge
from cotrain.analysis._regression_scores import RegressionScores, regression_scores, regression_summary
from cotrain.analysis._ridge import RidgeFit, ridge
from cotrain.analysis._robustness import (
    Robustness,
    condition_summary,
    label_summary,
    robustness,
    robustness_differences,
    run_summary,
)
from cotrain.analysis._robustness_figure import robustness_figure
from cotrain.analysis._rsa_bootstrap import RsaBootstrap, rsa_bootstrap
from cotrain.analysis._rsa_figures import ceiling_bars_figure, pair_scatter_figure, similarity_curves_figure
from cotrain.analysis._rsa_table import rsa_table, second_order_rdm
from cotrain.analysis._rsa_tests import PermutationTest, permutation_test, rsa_tests
from cotrain.analysis._rsatoolbox import from_rsatoolbox, to_rsatoolbox
from cotrain.analysis._save_figure import check_picture_path, save_figure
from cotrain.analysis._score_tables import aggregate_scores, score_table
from cotrain.analysis._second_order_figure import second_order_figure
from cotrain.analysis._severity_curves import draw_severity_curves
from cotrain.analysis._severity_heat_map import draw_heat_maps
from cotrain.analysis._simulated_capacity import SimulatedCapacity, simulated_capacity
from cotrain.analysis._sit import SitScore, sit_score
from cotrain.analysis._smooth_manifolds_figure import smooth_manifolds_figure
from cotrain.analysis._style import Look, looks
from cotrain.analysis._tagged_rdm import Rdm
from cotrain.analysis._zoo import zoo_features

__all__ = [
    "AffineFamily",
    "AffineManifolds",
    "Arrangement",
    "AveragePool",
    "Ceiling",
    "CenterSubspace",
    "Copies",
    "EncodingRsa",
    "Folds",
    "GaussianGeometry",
    "GaussianProjection",
    "Gram",
    "Inspection",
    "JointGeometry",
    "LayerSelection",
    "Look",
    "ManifoldControl",
    "ManifoldGeometry",
    "ManifoldRuns",
    "ManifoldSpectrum",
    "MseParts",
    "NetworkSize",
    "Ols",
    "Pca",
    "PermutationTest",
    "Pls",
    "PointsSweep",
    "PrincipalComponents",
    "Rdm",
    "RecordingNoise",
    "Regression",
    "RegressionScores",
    "Ridge",
    "RidgeFit",
    "Robustness",
    "RsaBootstrap",
    "SimulatedCapacity",
    "SitScore",
    "SparseProjection",
    "Summary",
    "SvmScore",
    "TuningSession",
    "VarianceCeiling",
    "affine_geometry",
    "affine_manifolds",
    "aggregate_scores",
    "ball_capacity",
    "brain_score_splits",
    "capacity_by_points",
    "ceiling_bars_figure",
    "center_subspace",
    "check_picture_path",
    "chosen_layers",
    "clip_dimension",
    "compare_rdms",
    "condition_summary",
    "contact_sheet",
    "corruption_errors",
    "crossvalidated_rdm",
    "deltas_as_text",
    "deltas_figure",
    "draw_differences",
    "draw_heat_maps",
    "draw_rdm",
    "draw_severity_curves",
    "encoding_rsa",
    "explainable_variance",
    "explained_variance",
    "extract",
    "find_copies",
    "finetuning_deltas",
    "fraction_explainable_variance",
    "from_rsatoolbox",
    "gaussian_geometry",
    "given_folds",
    "group_k_fold",
    "inspect_data",
    "inspection_figure",
    "joint_geometry",
    "k_fold",
    "label_summary",
    "layer_depths",
    "layer_scores",
    "linear_svm_score",
    "looks",
    "manifold_geometry",
    "manifold_layers_figure",
    "manifold_runs",
    "manifold_spectrum",
    "manifold_summary",
    "manifold_training_figure",
    "manifolds_of_sessions",
    "mds_figure",
    "mean_squared_error",
    "mouse_trap_scores",
    "mse_decomposition",
    "network_correlations",
    "network_figure",
    "network_scores",
    "network_size",
    "network_table",
    "neuron_correlations",
    "noise_ceiling",
    "noise_precision",
    "normalised",
    "oracle_correlation",
    "overview_figure",
    "pair_scatter_figure",
    "paired_differences",
    "permutation_test",
    "r2",
    "randomise_manifolds",
    "rdm",
    "rdm_difference_figure",
    "rdm_figure",
    "read_tuning",
    "regress",
    "regression_depth_figure",
    "regression_map_figure",
    "regression_neurons_figure",
    "regression_pairs",
    "regression_scatter_figure",
    "regression_scores",
    "regression_summary",
    "regression_training_figure",
    "ridge",
    "robustness",
    "robustness_differences",
    "robustness_figure",
    "rsa_bootstrap",
    "rsa_table",
    "rsa_tests",
    "run_summary",
    "save_figure",
    "scale_radius",
    "scaled_to_plane",
    "score_table",
    "second_order_figure",
    "second_order_rdm",
    "select_layers",
    "similarity_curves_figure",
    "simulated_capacity",
    "sit_score",
    "smooth_manifolds_figure",
    "split_half_reliability",
    "stratified_k_fold",
    "summary",
    "to_rsatoolbox",
    "variance_ceiling",
    "zoo_features",
]
