"""Scores of predictions; each function yields (name, value). And how well responses are known."""

from cotrain.metrics._corruption_error import (
    CorruptionError,
    classification_errors,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from cotrain.metrics._explained import fraction_explained
from cotrain.metrics._manifolds import manifold_scores
from cotrain.metrics._reliability import split_half_reliability
from cotrain.metrics._scores import classification_scores, neural_scores, neuron_correlations, rdm_scores

__all__ = [
    "CorruptionError",
    "classification_errors",
    "classification_scores",
    "fraction_explained",
    "manifold_scores",
    "mean_corruption_error",
    "neural_scores",
    "neuron_correlations",
    "rdm_scores",
    "relative_mean_corruption_error",
    "split_half_reliability",
]
