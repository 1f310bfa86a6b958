"""Scores of predictions; each function yields (name, value). And how well responses are known."""

from cotrain.metrics._ceilings import VarianceCeiling, variance_ceiling
from cotrain.metrics._corruption_error import (
    CorruptionError,
    classification_errors,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from cotrain.metrics._explained import (
    explainable_variance,
    explained_variance,
    fraction_explainable_variance,
    fraction_explained,
    mean_squared_error,
    r2,
)
from cotrain.metrics._manifolds import manifold_scores
from cotrain.metrics._normalised import Summary, normalised, summary
from cotrain.metrics._reliability import oracle_correlation, split_half_reliability
from cotrain.metrics._scores import classification_scores, neural_scores, neuron_correlations, rdm_scores

__all__ = [
    "CorruptionError",
    "Summary",
    "VarianceCeiling",
    "classification_errors",
    "classification_scores",
    "explainable_variance",
    "explained_variance",
    "fraction_explainable_variance",
    "fraction_explained",
    "manifold_scores",
    "mean_corruption_error",
    "mean_squared_error",
    "neural_scores",
    "neuron_correlations",
    "normalised",
    "oracle_correlation",
    "r2",
    "rdm_scores",
    "relative_mean_corruption_error",
    "split_half_reliability",
    "summary",
    "variance_ceiling",
]
