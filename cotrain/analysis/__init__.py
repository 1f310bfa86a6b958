"""Analyses and pictures of data and of what was trained."""

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

__all__ = [
    "AveragePool",
    "Copies",
    "Folds",
    "GaussianProjection",
    "Gram",
    "Inspection",
    "Ols",
    "Pca",
    "Pls",
    "Regression",
    "Ridge",
    "RidgeFit",
    "SparseProjection",
    "Summary",
    "VarianceCeiling",
    "brain_score_splits",
    "draw_rdm",
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
    "mean_squared_error",
    "neuron_correlations",
    "normalised",
    "oracle_correlation",
    "overview_figure",
    "paired_differences",
    "r2",
    "regress",
    "ridge",
    "split_half_reliability",
    "stratified_k_fold",
    "summary",
    "variance_ceiling",
]
