"""Backbones with taps, heads, and the model that joins them."""

from cotrain.models._backbone import (
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    small_cnn,
    tapped,
    torchvision_backbone,
)
from cotrain.models._gaussian_readout import GaussianReadout, GaussianReadoutConfig, gaussian_readout
from cotrain.models._heads import Head, LinearHeadConfig, RdmHeadConfig, linear_head, rdm_head
from cotrain.models._shared_backbone import MultiTaskModel, SharedBackboneConfig, shared_backbone

__all__ = [
    "GaussianReadout",
    "GaussianReadoutConfig",
    "Head",
    "LinearHeadConfig",
    "MultiTaskModel",
    "RdmHeadConfig",
    "SharedBackboneConfig",
    "SmallCnnConfig",
    "TorchvisionBackboneConfig",
    "gaussian_readout",
    "linear_head",
    "rdm_head",
    "shared_backbone",
    "small_cnn",
    "tapped",
    "torchvision_backbone",
]
