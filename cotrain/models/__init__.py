"""Backbones with taps, heads, and the model that joins them."""

from cotrain.models._attention_readout import AttentionReadoutConfig, attention_readout
from cotrain.models._backbone import tapped
from cotrain.models._batch_norm import batch_norms, chosen_batch_norms, keeping_statistics
from cotrain.models._channels_last import channels_last
from cotrain.models._cifar_resnet import CifarResNetConfig, cifar_resnet
from cotrain.models._classifiers import ConvolutionalHeadConfig, DenseHeadConfig, convolutional_head, dense_head
from cotrain.models._factorized_readout import FactorizedReadoutConfig, factorized_readout
from cotrain.models._gaussian_readout import GaussianReadout, GaussianReadoutConfig, gaussian_readout
from cotrain.models._heads import (
    Head,
    LinearHeadConfig,
    ManifoldHeadConfig,
    RdmHeadConfig,
    linear_head,
    manifold_head,
    rdm_head,
)
from cotrain.models._norms_of_ranks import statistics_of_all
from cotrain.models._path_patterns import chosen_parameters, matching
from cotrain.models._penultimate import (
    LastFeatures,
    Penultimate,
    PenultimateConfig,
    normalised_as_imagenet,
    penultimate,
    penultimate_sizes,
)
from cotrain.models._point_pooled_readout import PointPooledReadoutConfig, point_pooled_readout
from cotrain.models._readout import Readout
from cotrain.models._se_core import SeCoreConfig, se_core
from cotrain.models._shared_backbone import MultiTaskModel, SharedBackboneConfig, shared_backbone
from cotrain.models._small_cnn import SmallCnnConfig, small_cnn
from cotrain.models._taps import at_depth, block_paths, is_depth, resolve_tap
from cotrain.models._torchvision_backbone import TorchvisionBackboneConfig, torchvision_backbone
from cotrain.models._weights import LoadReport, load_partial

__all__ = [
    "AttentionReadoutConfig",
    "CifarResNetConfig",
    "ConvolutionalHeadConfig",
    "DenseHeadConfig",
    "FactorizedReadoutConfig",
    "GaussianReadout",
    "GaussianReadoutConfig",
    "Head",
    "LastFeatures",
    "LinearHeadConfig",
    "LoadReport",
    "ManifoldHeadConfig",
    "MultiTaskModel",
    "Penultimate",
    "PenultimateConfig",
    "PointPooledReadoutConfig",
    "RdmHeadConfig",
    "Readout",
    "SeCoreConfig",
    "SharedBackboneConfig",
    "SmallCnnConfig",
    "TorchvisionBackboneConfig",
    "at_depth",
    "attention_readout",
    "batch_norms",
    "block_paths",
    "channels_last",
    "chosen_batch_norms",
    "chosen_parameters",
    "cifar_resnet",
    "convolutional_head",
    "dense_head",
    "factorized_readout",
    "gaussian_readout",
    "is_depth",
    "keeping_statistics",
    "linear_head",
    "load_partial",
    "manifold_head",
    "matching",
    "normalised_as_imagenet",
    "penultimate",
    "penultimate_sizes",
    "point_pooled_readout",
    "rdm_head",
    "resolve_tap",
    "se_core",
    "shared_backbone",
    "small_cnn",
    "statistics_of_all",
    "tapped",
    "torchvision_backbone",
]
