"""Scores of predictions; each function yields (name, value)."""

from cotrain.metrics._scores import classification_scores, neural_scores, neuron_correlations, rdm_scores

__all__ = ["classification_scores", "neural_scores", "neuron_correlations", "rdm_scores"]
