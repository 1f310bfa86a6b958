"""Hooks for the training loop: freezing, noise, matching, pruning, averaged weights and more."""

from cotrain.training.hooks._average_weights import AverageWeightsConfig, average_weights
from cotrain.training.hooks._clip_gradients import ClipGradientsConfig, clip_gradients
from cotrain.training.hooks._freeze import FreezeConfig, freeze
from cotrain.training.hooks._freeze_batch_norm import FreezeBatchNormConfig, freeze_batch_norm
from cotrain.training.hooks._lottery_ticket import LotteryTicketConfig, lottery_ticket
from cotrain.training.hooks._match_representations import MatchRepresentationsConfig, match_representations
from cotrain.training.hooks._noise import NoiseConfig, noise
from cotrain.training.hooks._profile import ProfileConfig, profile
from cotrain.training.hooks._reset_readouts import ResetReadoutsConfig, reset_readouts
from cotrain.training.hooks._stop_on_nan import StopOnNanConfig, stop_on_nan

__all__ = [
    "AverageWeightsConfig",
    "ClipGradientsConfig",
    "FreezeBatchNormConfig",
    "FreezeConfig",
    "LotteryTicketConfig",
    "MatchRepresentationsConfig",
    "NoiseConfig",
    "ProfileConfig",
    "ResetReadoutsConfig",
    "StopOnNanConfig",
    "average_weights",
    "clip_gradients",
    "freeze",
    "freeze_batch_norm",
    "lottery_ticket",
    "match_representations",
    "noise",
    "profile",
    "reset_readouts",
    "stop_on_nan",
]
