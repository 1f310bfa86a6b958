"""The attention readout: each neuron attends to places by what is seen there and by where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from cotrain.config import Config
from cotrain.models._readout import Output, Readout, SessionPart, first_bias, mean_l1, places_shape
from cotrain.tasks import SessionInfo, TaskInfo, require_kind

Positive = Annotated[int, Ge(1)]


class AttentionReadoutConfig(Config):
    """Attention readout (Pierzchlewicz et al. 2023, NeurIPS): a neuron's place may move with what the image shows.

    It holds images x neurons x heads x pixels of the maps in memory: tap small maps.
    """

    kind: ClassVar[str] = "cotrain.models.attention_readout"
    heads: Positive = 1  # places that a neuron attends to at once, each with a query and feature weights of its own
    width: Positive = 32  # of queries and keys
    frequencies: Positive = 4  # of the positional encoding: sines of 1, 2, 4 ... half periods an image along each axis
    feature_l1: Annotated[float, Ge(0)] = 0.0  # penalty: this times the mean over neurons of summed absolute weights
    output: Output = "identity"  # "elu" adds 1: positive, for spike counts; "identity" for standardised responses


class AttentionReadout(Readout):
    """One part a session; all share the keys, which say what can be attended to.

    A key is a linear function of the features of a place, normalised over channels, plus one of the place's
    positional encoding. The values are the features themselves, which the neurons weight one by one: a projection
    before their weights would add none that these lack.
    """

    def __init__(self, task: TaskInfo, config: AttentionReadoutConfig, channels: int) -> None:
        super().__init__(
            {name: AttentionSession(session, config, channels) for name, session in task.sessions.items()},
            config.output,
        )
        self.frequencies = config.frequencies
        self.what = nn.Linear(channels, config.width, bias=False)  # a bias would move all scores of a query alike
        self.where = nn.Linear(4 * config.frequencies, config.width, bias=False)

    def common(self, features: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images pixels key"]:
        """The keys of all places, row by row."""
        places = features.flatten(2).transpose(1, 2)
        where = encoding(features.shape[2], features.shape[3], self.frequencies, features.device)
        return self.what(layer_norm(places, places.shape[2:])) + self.where(where.to(self.where.weight.dtype))  # type: ignore[no-any-return]


class AttentionSession(SessionPart):
    """The neurons of one session. Feature weights start at 0: initial outputs are the neurons' mean responses."""

    def __init__(self, session: SessionInfo, config: AttentionReadoutConfig, channels: int) -> None:
        super().__init__()
        self.output = config.output
        self.feature_l1 = config.feature_l1
        self.query = nn.Parameter(torch.randn(session.neurons, config.heads, config.width))
        self.weight = nn.Parameter(torch.zeros(session.neurons, config.heads, channels))
        self.bias = first_bias(session, config.output)

    def attention(self, keys: Float[Tensor, "images pixels key"]) -> Float[Tensor, "images neurons heads pixels"]:
        """How much each head of each neuron attends to each place: positive, of sum 1 over places."""
        scores = torch.einsum("bpk,nmk->bnmp", keys, self.query) / math.sqrt(self.query.shape[2])
        return scores.softmax(3)

    def drive(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None
    ) -> Float[Tensor, "images neurons"]:
        """The attended features of all heads times the neuron's weights."""
        assert common is not None
        # weighted before the sum over places, so that no (images, neurons, heads, channels) are held
        values = torch.einsum("bcp,nmc->bnmp", features.flatten(2), self.weight)
        return (self.attention(common) * values).sum((2, 3))

    def penalty(self) -> Tensor | None:
        """L1 norm of the feature weights of all heads, mean over neurons, times `feature_l1`."""
        return self.feature_l1 * mean_l1(self.weight) if self.feature_l1 else None


def attention_readout(task: TaskInfo, config: AttentionReadoutConfig, *, features: Sequence[int]) -> AttentionReadout:
    """Head of a neural task, for feature maps (channels, height, width) or tokens (tokens, channels) of a square grid.

    Raises:
        ModelError: The task is of another kind, or the features are neither, or of a single place.
    """
    require_kind(task, "neural", config)
    return AttentionReadout(task, config, places_shape(config.kind, features)[0])


def encoding(
    height: int, width: int, frequencies: int, device: torch.device | None = None
) -> Float[Tensor, "pixels encoding"]:
    """Sine and cosine of pi * 2**k * x and of pi * 2**k * y, k = 0 .. frequencies - 1, at the centres of pixels.

    x and y run from -1/2 to 1/2 between the centres of the outermost pixels, so that the lowest sine is monotonous
    over the image; the maps may have any size.
    """
    y, x = torch.meshgrid(_axis(height, device), _axis(width, device), indexing="ij")
    rates = math.pi * 2.0 ** torch.arange(frequencies, device=device)
    angles = torch.stack((x.flatten(), y.flatten()), 1)[:, :, None] * rates
    return torch.cat((angles.sin(), angles.cos()), 2).flatten(1)


def _axis(size: int, device: torch.device | None) -> Tensor:
    return torch.linspace(-0.5, 0.5, size, device=device) if size > 1 else torch.zeros(1, device=device)
