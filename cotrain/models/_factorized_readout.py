"""The factorized readout: each neuron has a mask over space and a vector of feature weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.models._readout import Output, Readout, SessionPart, first_bias, mean_l1, places_shape
from cotrain.tasks import SessionInfo, TaskInfo, require_kind


class FactorizedReadoutConfig(Config):
    """Factorized readout (Klindt et al. 2017, NeurIPS): where and what a neuron sees are separate weights."""

    kind: ClassVar[str] = "cotrain.models.factorized_readout"
    mask_l1: Annotated[float, Ge(0)] = 0.0  # times the mean over neurons of summed absolute values of the unit mask
    feature_l1: Annotated[float, Ge(0)] = 0.0  # times the mean over neurons of summed absolute feature weights
    output: Output = "identity"  # "elu" adds 1: positive, for spike counts; "identity" for standardised responses


class FactorizedSession(SessionPart):
    """The neurons of one session.

    Masks have unit L2 norm, so that only the feature weights hold the size of a response: the L1 norm of a mask then
    measures its spread alone, from 1 (one pixel) to the square root of the number of pixels (all alike). Masks start
    nearly flat and feature weights at 0: initial outputs are the neurons' mean responses.
    """

    def __init__(self, session: SessionInfo, config: FactorizedReadoutConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.output = config.output
        self.mask_l1, self.feature_l1 = config.mask_l1, config.feature_l1
        # flat: a neuron may look anywhere; the noise tells neurons with equal responses apart
        self.mask = nn.Parameter(1 + 0.1 * torch.randn(session.neurons, height, width))
        self.weight = nn.Parameter(torch.zeros(session.neurons, channels))
        self.bias = first_bias(session, config.output)

    def masks(self) -> Float[Tensor, "neurons height width"]:
        """One a neuron, of unit L2 norm."""
        squares = self.mask.square().sum((1, 2), keepdim=True)
        return self.mask / squares.clamp_min(1e-12).sqrt()  # clamped before the root, whose slope at 0 is infinite

    def drive(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None
    ) -> Float[Tensor, "images neurons"]:
        """The features in each neuron's mask times its weights."""
        if features.shape[2:] != self.mask.shape[1:]:
            raise ModelError(
                f"The masks were made for maps of {tuple(self.mask.shape[1:])} (height, width), these are of "
                f"{tuple(features.shape[2:])}: show images of the size of the training images."
            )
        seen = torch.einsum("bchw,nhw->bcn", features, self.masks())
        return torch.einsum("bcn,nc->bn", seen, self.weight)

    def penalty(self) -> Tensor | None:
        """Both L1 norms, each the mean over neurons times its coefficient."""
        terms = [
            coefficient * mean_l1(weights())
            for coefficient, weights in ((self.mask_l1, self.masks), (self.feature_l1, lambda: self.weight))
            if coefficient
        ]
        return torch.stack(terms).sum() if terms else None


def factorized_readout(task: TaskInfo, config: FactorizedReadoutConfig, *, features: Sequence[int]) -> Readout:
    """Head of a neural task, for feature maps (channels, height, width) or tokens (tokens, channels) of a square grid.

    Raises:
        ModelError: The task is of another kind, or the features are neither, or of a single place.
    """
    require_kind(task, "neural", config)
    shape = places_shape(config.kind, features)
    parts = {name: FactorizedSession(session, config, shape) for name, session in task.sessions.items()}
    return Readout(parts, config.output)
