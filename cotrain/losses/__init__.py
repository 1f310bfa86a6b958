"""Objectives: what each task minimises, and its weight."""

from cotrain.losses._aggregation import (
    GradientAggregationConfig,
    NashBargainingConfig,
    gradient_aggregation,
    nash_bargaining,
)
from cotrain.losses._capacity import CapacityConfig, capacity
from cotrain.losses._counts import (
    NegativeBinomialConfig,
    PoissonConfig,
    QuasiPoissonConfig,
    negative_binomial,
    poisson,
    quasi_poisson,
)
from cotrain.losses._cross_entropy import CrossEntropyConfig, cross_entropy
from cotrain.losses._likelihood import GaussianConfig, LaplaceConfig, gaussian, laplace
from cotrain.losses._mmcr import MmcrConfig, mmcr
from cotrain.losses._objective import Objective
from cotrain.losses._rdm import RdmMatchConfig, rdm_loss, rdm_match
from cotrain.losses._soft_rank import soft_ranks
from cotrain.losses._weighting import (
    DynamicWeightAverageConfig,
    GeometricMeanConfig,
    GradNormConfig,
    RandomWeightsConfig,
    Weighting,
    dynamic_weight_average,
    geometric_mean,
    gradnorm,
    random_weights,
    require_comparable_losses,
)
from cotrain.losses._zero_inflated_gamma import ZeroInflatedGammaConfig, zero_inflated_gamma

__all__ = [
    "CapacityConfig",
    "CrossEntropyConfig",
    "DynamicWeightAverageConfig",
    "GaussianConfig",
    "GeometricMeanConfig",
    "GradNormConfig",
    "GradientAggregationConfig",
    "LaplaceConfig",
    "MmcrConfig",
    "NashBargainingConfig",
    "NegativeBinomialConfig",
    "Objective",
    "PoissonConfig",
    "QuasiPoissonConfig",
    "RandomWeightsConfig",
    "RdmMatchConfig",
    "Weighting",
    "ZeroInflatedGammaConfig",
    "capacity",
    "cross_entropy",
    "dynamic_weight_average",
    "gaussian",
    "geometric_mean",
    "gradient_aggregation",
    "gradnorm",
    "laplace",
    "mmcr",
    "nash_bargaining",
    "negative_binomial",
    "poisson",
    "quasi_poisson",
    "random_weights",
    "rdm_loss",
    "rdm_match",
    "require_comparable_losses",
    "soft_ranks",
    "zero_inflated_gamma",
]
