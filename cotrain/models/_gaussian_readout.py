"""The Gaussian readout: each neuron looks at one place of the feature maps, whose uncertainty is learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, softplus

from cotrain.config import Config
from cotrain.errors import ModelError, did_you_mean
from cotrain.models._heads import Head
from cotrain.tasks import SessionInfo, TaskInfo, require_kind

Output = Literal["identity", "elu", "softplus"]


class GaussianReadoutConfig(Config):
    """Gaussian readout (Lurz et al. 2021, ICLR): a place and a vector of feature weights for each neuron."""

    kind: ClassVar[str] = "cotrain.models.gaussian_readout"
    covariance: Literal["isotropic", "uncorrelated", "full"] = "isotropic"
    start_range: Annotated[float, Ge(0), Le(1)] = 0.3  # places start uniformly in +- this; the image spans -1..1
    start_sigma: Annotated[float, Gt(0)] = 0.3  # standard deviation of the place, same unit
    feature_l1: Annotated[float, Ge(0)] = 0.0  # penalty: this times the mean over neurons of summed absolute weights
    output: Output = "identity"  # "elu" adds 1: positive, for spike counts; "identity" for standardised responses


class GaussianReadout(Head):
    """One readout a session."""

    def __init__(self, task: TaskInfo, config: GaussianReadoutConfig, channels: int) -> None:
        super().__init__()
        self.positive_output = config.output != "identity"
        self.readouts = nn.ModuleDict(
            {_key(name): SessionReadout(session, config, channels) for name, session in task.sessions.items()}
        )
        self.feature_l1 = config.feature_l1

    def forward(
        self, features: Float[Tensor, "images channels height width"], session: str
    ) -> Float[Tensor, "images neurons"]:
        """Predicted responses of a session's neurons, in the units of the training targets."""
        return self._readout(session)(features)  # type: ignore[no-any-return]

    def penalty(self, session: str) -> Tensor | None:
        """L1 norm of the feature weights, mean over neurons, times `feature_l1`."""
        if not self.feature_l1:
            return None
        return self.feature_l1 * self._readout(session).weight.abs().sum(1).mean()

    def _readout(self, session: str) -> SessionReadout:
        if _key(session) not in self.readouts:
            raise ModelError(f"The readout has no session {session!r}.{did_you_mean(session, list(self.readouts))}")
        readout = self.readouts[_key(session)]
        assert isinstance(readout, SessionReadout)
        return readout


class SessionReadout(nn.Module):
    """The neurons of one session.

    In training a place is drawn for each neuron and image from its Gaussian, so that gradients reach pixels around;
    in evaluation the mean is used. Initial outputs are the neurons' mean responses.
    """

    def __init__(self, session: SessionInfo, config: GaussianReadoutConfig, channels: int) -> None:
        super().__init__()
        neurons = session.neurons
        self.output: Output = config.output
        self.mu = nn.Parameter(torch.empty(neurons, 2).uniform_(-config.start_range, config.start_range))
        shape = {"isotropic": (neurons, 1), "uncorrelated": (neurons, 2), "full": (neurons, 2, 2)}[config.covariance]
        sigma = torch.full(shape, config.start_sigma)
        if config.covariance == "full":
            sigma = config.start_sigma * torch.eye(2).repeat(neurons, 1, 1)
        self.sigma = nn.Parameter(sigma)
        self.weight = nn.Parameter(torch.randn(neurons, channels) / math.sqrt(channels) * 0.1)
        self.bias = nn.Parameter(_inverse(torch.tensor(session.mean_response), config.output))

    def places(self, images: int) -> Float[Tensor, "images neurons 2"]:
        """(x, y) in -1..1 for each image and neuron."""
        # the gradient passes the clamp, or a place that a step led out of the image would stay there for ever
        mu = self.mu + (self.mu.clamp(-1, 1) - self.mu).detach()
        if not self.training:
            return mu.expand(images, -1, -1)
        noise = torch.randn(images, *mu.shape, device=mu.device, dtype=mu.dtype)
        offset = torch.einsum("nij,bnj->bni", self.sigma, noise) if self.sigma.ndim == 3 else self.sigma * noise
        return (mu + offset).clamp(-1, 1)

    def forward(self, features: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images neurons"]:
        """Predicted responses."""
        grid = self.places(len(features)).unsqueeze(2)
        sampled = grid_sample(features, grid.to(features.dtype), align_corners=True).squeeze(3)
        drive = torch.einsum("bcn,nc->bn", sampled, self.weight) + self.bias
        if self.output == "elu":  # elu(drive) + 1 would round to 0 from -17 on
            return torch.where(drive < 0, drive.clamp(-80, 0).exp(), drive + 1)
        return softplus(drive.clamp_min(-80)) if self.output == "softplus" else drive


def gaussian_readout(task: TaskInfo, config: GaussianReadoutConfig, *, features: Sequence[int]) -> GaussianReadout:
    """Head of a neural task, for feature maps of a shape (channels, height, width).

    Raises:
        ModelError: The task is of another kind, or the features are no maps.
    """
    require_kind(task, "neural", config)
    if len(features) != 3:
        raise ModelError(
            f"{config.kind} needs feature maps (channels, height, width), the tap gives {tuple(features)}: tap earlier."
        )
    return GaussianReadout(task, config, features[0])


def _key(session: str) -> str:
    """torch refuses an empty name."""
    return session or "only"


def _inverse(response: Tensor, output: Output) -> Tensor:
    """The drive whose output is the given response."""
    if output == "identity":
        return response
    response = response.clamp_min(1e-3)
    if output == "softplus":
        return response + torch.log(-torch.expm1(-response))
    return torch.where(response < 1, torch.log(response), response - 1)
