"""What finished runs are asked beside the scores of training; each evaluation is a config and a function."""

from cotrain.evaluations._corrupted_folders import CorruptedFoldersConfig, corrupted_folders
from cotrain.evaluations._corruptions import CorruptionsConfig, corruptions
from cotrain.evaluations._neuron_scores import NeuronScore, NeuronScoresConfig, neuron_scores
from cotrain.evaluations._noise_accuracy import NoiseAccuracy, NoiseAccuracyConfig, noise_accuracy
from cotrain.evaluations._noise_mixture import NoiseMixture, NoiseMixtureConfig, noise_mixture
from cotrain.evaluations._object_readout import object_readout
from cotrain.evaluations._robustness import RobustnessScore, conditions_of

__all__ = [
    "CorruptedFoldersConfig",
    "CorruptionsConfig",
    "NeuronScore",
    "NeuronScoresConfig",
    "NoiseAccuracy",
    "NoiseAccuracyConfig",
    "NoiseMixture",
    "NoiseMixtureConfig",
    "RobustnessScore",
    "conditions_of",
    "corrupted_folders",
    "corruptions",
    "neuron_scores",
    "noise_accuracy",
    "noise_mixture",
    "object_readout",
]
