"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._contact_sheet import contact_sheet
from cotrain.analysis._corruption_errors import corruption_errors
from cotrain.analysis._difference_figure import draw_differences
from cotrain.analysis._extract import extract
from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._folds import (
    Folds,
    brain_score_splits,
    given_folds,
    group_k_fold,
    k_fold,
    stratified_k_fold,
)
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
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
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._reductions import AveragePool, GaussianProjection, Gram, Pca, SparseProjection
from cotrain.analysis._regress import Regression, regress
from cotrain.analysis._regression_methods import Ols, Pls, Ridge
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
from cotrain.analysis._save_figure import check_picture_path, save_figure
from cotrain.analysis._severity_curves import draw_severity_curves
from cotrain.analysis._severity_heat_map import draw_heat_maps
from cotrain.analysis._style import Look, looks

__all__ = [
    "AveragePool",
    "Copies",
    "Folds",
    "GaussianProjection",
    "Gram",
    "Inspection",
    "Look",
    "Ols",
    "Pca",
    "Pls",
    "Regression",
    "Ridge",
    "RidgeFit",
    "Robustness",
    "SparseProjection",
    "Summary",
    "VarianceCeiling",
    "brain_score_splits",
    "check_picture_path",
    "condition_summary",
    "contact_sheet",
    "corruption_errors",
    "draw_differences",
    "draw_heat_maps",
    "draw_rdm",
    "draw_severity_curves",
    "explainable_variance",
    "explained_variance",
    "extract",
    "find_copies",
    "fraction_explainable_variance",
    "given_folds",
    "group_k_fold",
    "inspect_data",
    "inspection_figure",
    "k_fold",
    "label_summary",
    "looks",
    "mean_squared_error",
    "neuron_correlations",
    "normalised",
    "oracle_correlation",
    "overview_figure",
    "paired_differences",
    "r2",
    "regress",
    "ridge",
    "robustness",
    "robustness_differences",
    "robustness_figure",
    "run_summary",
    "save_figure",
    "split_half_reliability",
    "stratified_k_fold",
    "summary",
    "variance_ceiling",
]
