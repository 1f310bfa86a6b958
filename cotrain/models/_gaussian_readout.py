"""The Gaussian readout: each neuron looks at one place of the feature maps, whose uncertainty is learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor, nn

from cotrain.config import AddedLater, Config
from cotrain.models._cortical_places import CorticalPlaces, groups
from cotrain.models._readout import Output, Readout, SessionPart, first_bias, inside, looked_up, mean_l1, places_shape
from cotrain.tasks import SessionInfo, TaskInfo, require_kind

Columns = Annotated[tuple[str, ...], MinLen(1)]
Units = tuple[Annotated[int, Ge(1)], ...]


class GaussianReadoutConfig(Config):
    """Gaussian readout (Lurz et al. 2021, ICLR): a place and a vector of feature weights for each neuron."""

    kind: ClassVar[str] = "cotrain.models.gaussian_readout"
    covariance: Literal["isotropic", "uncorrelated", "full"] = "isotropic"
    start_range: Annotated[float, Ge(0), Le(1)] = 0.3  # places start uniformly in +- this; the image spans -1..1
    start_sigma: Annotated[float, Gt(0)] = 0.3  # standard deviation of the place, same unit
    feature_l1: Annotated[float, Ge(0)] = 0.0  # penalty: this times the mean over neurons of summed absolute weights
    output: Output = "identity"  # "elu" adds 1: positive, for spike counts; "identity" for standardised responses
    location: Annotated[Literal["free", "predicted", "shared"], AddedLater(neutral="free")] = "free"
    """A place for each neuron, or one predicted from cortical coordinates, or one for all neurons of a session."""
    coordinates: Annotated[Columns, AddedLater(neutral=("x", "y"))] = ("x", "y")
    """For "predicted": columns of the neurons' metadata; `start_range` has no effect then."""
    hidden: Annotated[Units, AddedLater(neutral=(30,))] = (30,)  # for "predicted": units of each hidden layer
    features: Annotated[Literal["own", "shared"], AddedLater(neutral="own")] = "own"
    """Feature weights for each neuron, or those of its group, of all sessions, times a scale for each neuron."""
    share_by: Annotated[str, AddedLater(neutral="")] = ""  # for "shared": neurons with equal metadata of this name

    @model_validator(mode="after")
    def _fits(self) -> GaussianReadoutConfig:
        if (self.features == "shared") != bool(self.share_by):
            raise ValueError(
                "features='shared' needs share_by, the name of a column of the neurons' metadata, and features='own' "
                f"none; found features={self.features!r}, share_by={self.share_by!r}"
            )
        return self


class GaussianReadout(Readout):
    """One readout a session."""

    def __init__(self, task: TaskInfo, config: GaussianReadoutConfig, channels: int) -> None:
        super().__init__(
            {name: SessionReadout(session, config, channels, name) for name, session in task.sessions.items()},
            config.output,
        )
        self.feature_l1 = config.feature_l1
        self.vectors: nn.Parameter | None = None
        if config.features == "shared":
            members, number = groups(task.sessions, config.share_by)
            self.vectors = nn.Parameter(_first_weights(number, channels))
            for name in task.sessions:
                self._session(name).join(members[name])

    def common(self, features: Float[Tensor, "images channels height width"]) -> Tensor | None:
        """The feature vectors that neurons of all sessions share."""
        return self.vectors

    def penalty(self, session: str) -> Tensor | None:
        """L1 norm of the feature weights, mean over neurons, times `feature_l1`."""
        weights = self._session(session).weights(self.vectors)
        return self.feature_l1 * mean_l1(weights) if self.feature_l1 else None

    def _session(self, session: str) -> SessionReadout:
        part = self.part(session)
        assert isinstance(part, SessionReadout)
        return part


class SessionReadout(SessionPart):
    """The neurons of one session.

    In training a place is drawn for each neuron and image from its Gaussian, so that gradients reach pixels around;
    in evaluation the mean is used. Initial outputs are the neurons' mean responses, but for what small random feature
    weights add.
    """

    def __init__(self, session: SessionInfo, config: GaussianReadoutConfig, channels: int, name: str = "") -> None:
        super().__init__()
        self.neurons = session.neurons
        self.output = config.output
        rows = 1 if config.location == "shared" else self.neurons
        self.cortical: CorticalPlaces | None = None
        if config.location == "predicted":
            self.cortical = CorticalPlaces(name, session, config.coordinates, config.hidden)
        else:
            self.mu = nn.Parameter(torch.empty(rows, 2).uniform_(-config.start_range, config.start_range))
        shape = {"isotropic": (rows, 1), "uncorrelated": (rows, 2), "full": (rows, 2, 2)}[config.covariance]
        sigma = torch.full(shape, config.start_sigma)
        if config.covariance == "full":
            sigma = config.start_sigma * torch.eye(2).repeat(rows, 1, 1)
        self.sigma = nn.Parameter(sigma)
        if config.features == "own":
            self.weight = nn.Parameter(_first_weights(self.neurons, channels))
        else:
            self.scale = nn.Parameter(torch.ones(self.neurons, 1))
        self.bias = first_bias(session, config.output)

    def join(self, members: Sequence[int]) -> None:
        """Say which of the shared feature vectors is each neuron's."""
        self.register_buffer("members", torch.tensor(members))

    def weights(self, vectors: Tensor | None) -> Float[Tensor, "neurons channels"]:
        """The feature weights of each neuron: its own, or its scale times the shared vector of its group."""
        return self.weight if vectors is None else self.scale * vectors[self.get_buffer("members")]

    def places(self, images: int) -> Float[Tensor, "images neurons 2"]:
        """(x, y) in -1..1 for each image and neuron."""
        mu = inside(self.mu if self.cortical is None else self.cortical()).expand(self.neurons, -1)
        if not self.training:
            return mu.expand(images, -1, -1)
        noise = torch.randn(images, *mu.shape, device=mu.device, dtype=mu.dtype)
        if self.sigma.ndim == 3:
            offset = torch.einsum("nij,bnj->bni", self.sigma.expand(self.neurons, -1, -1), noise)
        else:
            offset = self.sigma * noise
        return (mu + offset).clamp(-1, 1)

    def drive(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None
    ) -> Float[Tensor, "images neurons"]:
        """The features at each neuron's place times its weights."""
        sampled = looked_up(features, self.places(len(features)))
        return torch.einsum("bcn,nc->bn", sampled, self.weights(common))


def gaussian_readout(task: TaskInfo, config: GaussianReadoutConfig, *, features: Sequence[int]) -> GaussianReadout:
    """Head of a neural task, for feature maps (channels, height, width) or tokens (tokens, channels) of a square grid.

    Raises:
        ModelError: The task is of another kind, the features are neither, or the neurons' metadata lack what places
            are predicted from or feature vectors are shared by.
    """
    require_kind(task, "neural", config)
    return GaussianReadout(task, config, places_shape(config.kind, features)[0])


def _first_weights(rows: int, channels: int) -> Tensor:
    return torch.randn(rows, channels) / math.sqrt(channels) * 0.1
