"""Objectives: what each task minimises, and its weight."""

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
from cotrain.losses._zero_inflated_gamma import ZeroInflatedGammaConfig, zero_inflated_gamma

__all__ = [
    "CapacityConfig",
    "CrossEntropyConfig",
    "GaussianConfig",
    "LaplaceConfig",
    "MmcrConfig",
    "NegativeBinomialConfig",
    "Objective",
    "PoissonConfig",
    "QuasiPoissonConfig",
    "RdmMatchConfig",
    "ZeroInflatedGammaConfig",
    "capacity",
    "cross_entropy",
    "gaussian",
    "laplace",
    "mmcr",
    "negative_binomial",
    "poisson",
    "quasi_poisson",
    "rdm_loss",
    "rdm_match",
    "soft_ranks",
    "zero_inflated_gamma",
]
