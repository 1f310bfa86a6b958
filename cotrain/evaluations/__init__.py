"""What finished runs are asked beside the scores of training; each evaluation is a config and a function."""

from cotrain.evaluations._corrupted_folders import CorruptedFoldersConfig, corrupted_folders
from cotrain.evaluations._corruptions import CorruptionsConfig, corruptions
from cotrain.evaluations._epochs import Epochs
from cotrain.evaluations._linear_svm_scores import LayerSvm, LinearSvmScoresConfig, linear_svm_scores
from cotrain.evaluations._manifold_rows import ClassManifold, LayerManifolds
from cotrain.evaluations._manifolds import ManifoldsConfig, manifolds
from cotrain.evaluations._neural_regression import NeuralRegressionConfig, neural_regression
from cotrain.evaluations._neuron_scores import NeuronScore, NeuronScoresConfig, neuron_scores
from cotrain.evaluations._noise_accuracy import NoiseAccuracy, NoiseAccuracyConfig, noise_accuracy
from cotrain.evaluations._noise_mixture import NoiseMixture, NoiseMixtureConfig, noise_mixture
from cotrain.evaluations._recording_noise import RecordingNoiseConfig
from cotrain.evaluations._regression_methods import OlsConfig, PlsConfig, RidgeConfig
from cotrain.evaluations._regression_rows import LayerRegression, NeuronRegression
from cotrain.evaluations._robustness import RobustnessScore, conditions_of
from cotrain.evaluations._rsa import RsaConfig, RsaScore, rsa
from cotrain.evaluations._rsa_pictures import RsaPicture, rsa_picture
from cotrain.evaluations._sit_scores import LayerSit, SitScoresConfig, sit_scores
from cotrain.evaluations._smooth_manifolds import LayerSmoothManifolds, SmoothManifoldsConfig, smooth_manifolds
from cotrain.evaluations._stimulus_file import StimulusFileConfig

__all__ = [
    "ClassManifold",
    "CorruptedFoldersConfig",
    "CorruptionsConfig",
    "Epochs",
    "LayerManifolds",
    "LayerRegression",
    "LayerSit",
    "LayerSmoothManifolds",
    "LayerSvm",
    "LinearSvmScoresConfig",
    "ManifoldsConfig",
    "NeuralRegressionConfig",
    "NeuronRegression",
    "NeuronScore",
    "NeuronScoresConfig",
    "NoiseAccuracy",
    "NoiseAccuracyConfig",
    "NoiseMixture",
    "NoiseMixtureConfig",
    "OlsConfig",
    "PlsConfig",
    "RecordingNoiseConfig",
    "RidgeConfig",
    "RobustnessScore",
    "RsaConfig",
    "RsaPicture",
    "RsaScore",
    "SitScoresConfig",
    "SmoothManifoldsConfig",
    "StimulusFileConfig",
    "conditions_of",
    "corrupted_folders",
    "corruptions",
    "linear_svm_scores",
    "manifolds",
    "neural_regression",
    "neuron_scores",
    "noise_accuracy",
    "noise_mixture",
    "rsa",
    "rsa_picture",
    "sit_scores",
    "smooth_manifolds",
]
