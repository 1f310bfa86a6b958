"""What finished runs are asked beside the scores of training; each evaluation is a config and a function."""

from cotrain.evaluations._neuron_scores import NeuronScore, NeuronScoresConfig, neuron_scores
from cotrain.evaluations._noise_accuracy import NoiseAccuracy, NoiseAccuracyConfig, noise_accuracy

__all__ = [
    "NeuronScore",
    "NeuronScoresConfig",
    "NoiseAccuracy",
    "NoiseAccuracyConfig",
    "neuron_scores",
    "noise_accuracy",
]
