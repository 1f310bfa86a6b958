"""Scores a neuron, which analyses and training share: they stand in `cotrain.metrics`."""

from cotrain.metrics import (
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

__all__ = [
    "Summary",
    "VarianceCeiling",
    "explainable_variance",
    "explained_variance",
    "fraction_explainable_variance",
    "mean_squared_error",
    "neuron_correlations",
    "normalised",
    "oracle_correlation",
    "r2",
    "split_half_reliability",
    "summary",
    "variance_ceiling",
]
