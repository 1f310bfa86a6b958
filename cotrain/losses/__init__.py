"""Objectives: what each task minimises, and its weight."""

from cotrain.losses._likelihood import (
    CrossEntropyConfig,
    GaussianConfig,
    QuasiPoissonConfig,
    cross_entropy,
    gaussian,
    quasi_poisson,
)
from cotrain.losses._objective import Objective
from cotrain.losses._rdm import RdmMatchConfig, rdm_loss, rdm_match

__all__ = [
    "CrossEntropyConfig",
    "GaussianConfig",
    "Objective",
    "QuasiPoissonConfig",
    "RdmMatchConfig",
    "cross_entropy",
    "gaussian",
    "quasi_poisson",
    "rdm_loss",
    "rdm_match",
]
