"""What all readouts share: one part a session, maps from taps, output nonlinearity, first bias, scale of penalties."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, softplus

from cotrain.errors import ModelError, did_you_mean
from cotrain.models._heads import Head
from cotrain.tasks import SessionInfo

Output = Literal["identity", "elu", "softplus", "exp"]
"""From a neuron's drive to its response. "elu" adds 1; all but "identity" are positive, for spike counts."""

LOWEST = -80.0  # drive below which a positive output would be 0 in float32, and its logarithm minus infinity
HIGHEST = 80.0  # drive above which exp would be infinite in float32


class SessionPart(nn.Module, ABC):
    """The neurons of one session: what a kind of readout implements.

    An implementation sets `output` and, last of its parameters, `bias`.
    """

    output: Output
    bias: nn.Parameter

    @abstractmethod
    def drive(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None
    ) -> Float[Tensor, "images neurons"]:
        """What the neurons get from feature maps, before bias and nonlinearity.

        Args:
            features: Maps.
            common: What `Readout.common` gives of them.
        """

    def penalty(self) -> Tensor | None:
        """The session's regulariser; None for none."""
        return None

    def forward(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None = None
    ) -> Float[Tensor, "images neurons"]:
        """Predicted responses, in the units of the training targets."""
        return respond(self.drive(features, common) + self.bias, self.output)


class Readout(Head):
    """One part a session, of maps or of tokens."""

    def __init__(self, parts: Mapping[str, SessionPart], output: Output) -> None:
        super().__init__()
        self.positive_output = output != "identity"
        self.readouts = nn.ModuleDict({_key(name): part for name, part in parts.items()})

    def forward(self, features: Float[Tensor, "images ..."], session: str) -> Float[Tensor, "images neurons"]:
        """Predicted responses of a session's neurons, in the units of the training targets.

        Args:
            features: Maps (images, channels, height, width), or tokens as `as_maps` takes them.
            session: Its name; "" where the task has one without a name.

        Raises:
            ModelError: There is no such session, or the features are of another shape than at the tap.
        """
        part, maps = self.part(session), as_maps(features)
        return part(maps, self.common(maps))  # type: ignore[no-any-return]

    def common(self, features: Float[Tensor, "images channels height width"]) -> Tensor | None:
        """What the parts of all sessions share, for these maps; None for nothing."""
        return None

    def penalty(self, session: str) -> Tensor | None:
        """The session's regulariser: coefficients times means over its neurons, so that neither the number of neurons
        nor that of images changes its weight against the loss."""
        return self.part(session).penalty()

    def part(self, session: str) -> SessionPart:
        """The part of a session; an unknown name is an error that names those there are."""
        if _key(session) not in self.readouts:
            raise ModelError(f"The readout has no session {session!r}.{did_you_mean(session, list(self.readouts))}")
        part = self.readouts[_key(session)]
        assert isinstance(part, SessionPart)
        return part


def as_maps(features: Float[Tensor, "images ..."]) -> Float[Tensor, "images channels height width"]:
    """Feature maps, whatever the tap gives.

    Args:
        features: Maps (images, channels, height, width), which are returned as they are, or tokens (images, tokens,
            channels) of a square grid, row by row. Where the number of tokens is a square plus 1, the first is a
            class token, which has no place: it is left out.

    Raises:
        ModelError: They are neither.
    """
    if features.ndim == 4:
        return features
    side = _token_side(features.shape[1]) if features.ndim == 3 else None
    if side is None:
        raise ModelError(_no_maps("A readout", features.shape[1:]))
    patches = features[:, features.shape[1] - side**2 :]
    return patches.transpose(1, 2).reshape(len(features), -1, side, side)


def map_shape(kind: str, features: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of what `as_maps` makes of a tap of the shape `features`, without images.

    Raises:
        ModelError: The tap gives neither maps nor tokens of a square grid.
    """
    if len(features) == 3:
        channels, height, width = features
        return channels, height, width
    side = _token_side(features[0]) if len(features) == 2 else None
    if side is None:
        raise ModelError(_no_maps(kind, features))
    return features[1], side, side


def places_shape(kind: str, features: Sequence[int]) -> tuple[int, int, int]:
    """As `map_shape`, for readouts that learn where to look: refuses maps of one pixel, where there is no where.

    Raises:
        ModelError: As said.
    """
    channels, height, width = map_shape(kind, features)
    if height * width == 1:
        raise ModelError(
            f"{kind} learns where neurons look, but the tap gives {tuple(features)}, one place: tap before the global "
            "pooling."
        )
    return channels, height, width


def respond(drive: Tensor, output: Output) -> Tensor:
    """The response to a drive; positive ones stay above 0 for any drive that is a number."""
    if output == "elu":  # elu(drive) + 1 would round to 0 from -17 on
        return torch.where(drive < 0, drive.clamp(LOWEST, 0).exp(), drive + 1)
    if output == "exp":
        return drive.clamp(LOWEST, HIGHEST).exp()
    return softplus(drive.clamp_min(LOWEST)) if output == "softplus" else drive


def first_bias(session: SessionInfo, output: Output) -> nn.Parameter:
    """The bias with which a neuron without other drive responds with its mean over the training stimuli, or with 0.001
    where that is lower and the output positive."""
    response = torch.tensor(session.mean_response)
    if output != "identity":
        response = response.clamp_min(1e-3)
        if output == "softplus":
            response = response + torch.log(-torch.expm1(-response))
        elif output == "exp":
            response = torch.log(response)
        else:
            response = torch.where(response < 1, torch.log(response), response - 1)
    return nn.Parameter(response)


def mean_l1(weights: Float[Tensor, "neurons ..."]) -> Float[Tensor, ""]:
    """The scale of all L1 penalties: absolute weights, summed for each neuron, then the mean over neurons."""
    return weights.abs().flatten(1).sum(1).mean()


def inside(places: Tensor) -> Tensor:
    """Places clamped to the image, -1..1."""
    # the gradient passes the clamp, or a place that a step led out of the image would stay there for ever
    return places + (places.clamp(-1, 1) - places).detach()


def looked_up(
    features: Float[Tensor, "images channels height width"], places: Float[Tensor, "images neurons 2"]
) -> Float[Tensor, "images channels neurons"]:
    """Features at places (x, y), bilinear: -1 is the centre of the first column or row, 1 that of the last."""
    return grid_sample(features, places.unsqueeze(2).to(features.dtype), align_corners=True).squeeze(3)


def _key(session: str) -> str:
    """torch refuses an empty name."""
    return session or "only"


def _token_side(tokens: int) -> int | None:
    """Side of the square grid that tokens make, with or without a class token; None where they make none."""
    return next((math.isqrt(n) for n in (tokens, tokens - 1) if n > 0 and math.isqrt(n) ** 2 == n), None)


def _no_maps(kind: str, features: Sequence[int]) -> str:
    return (
        f"{kind} needs feature maps (channels, height, width), or tokens (tokens, channels) that make a square grid "
        f"with or without one class token; the tap gives {tuple(features)}: tap earlier, or another layer."
    )
