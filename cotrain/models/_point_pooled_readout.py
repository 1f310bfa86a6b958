"""The point-pooled readout: each neuron looks at one learnt place, sharply and through ever larger windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le, MinLen
from jaxtyping import Float
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from cotrain.config import Config
from cotrain.models._readout import Output, Readout, SessionPart, first_bias, inside, looked_up, mean_l1, places_shape
from cotrain.tasks import SessionInfo, TaskInfo, require_kind


class PointPooledReadoutConfig(Config):
    """Point-pooled readout (the spatial transformer readout of Sinz et al. 2018, NeurIPS): a place a neuron, and
    features around it averaged over several windows, whose gradients lead the place from afar."""

    kind: ClassVar[str] = "cotrain.models.point_pooled_readout"
    windows: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1, 3, 7)  # sides in pixels of the maps, odd
    start_range: Annotated[float, Ge(0), Le(1)] = 0.1  # places start uniformly in +- this; the image spans -1..1
    feature_l1: Annotated[float, Ge(0)] = 0.0  # penalty: this times the mean over neurons of summed absolute weights
    output: Output = "identity"  # "elu" adds 1: positive, for spike counts; "identity" for standardised responses

    @field_validator("windows")
    @classmethod
    def _centred(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if any(window % 2 == 0 for window in windows) or len(set(windows)) < len(windows):
            raise ValueError("expected odd sides, each once: an even window has no middle pixel")
        return windows


class PointPooledSession(SessionPart):
    """The neurons of one session. Feature weights start at 0: initial outputs are the neurons' mean responses."""

    def __init__(self, session: SessionInfo, config: PointPooledReadoutConfig, channels: int) -> None:
        super().__init__()
        self.output = config.output
        self.windows, self.feature_l1 = config.windows, config.feature_l1
        self.mu = nn.Parameter(torch.empty(session.neurons, 2).uniform_(-config.start_range, config.start_range))
        self.weight = nn.Parameter(torch.zeros(session.neurons, channels * len(config.windows)))
        self.bias = first_bias(session, config.output)

    def drive(
        self, features: Float[Tensor, "images channels height width"], common: Tensor | None
    ) -> Float[Tensor, "images neurons"]:
        """The features of all windows at each neuron's place times its weights."""
        places = inside(self.mu).expand(len(features), -1, -1)
        # steps of 1 pixel keep the size of the maps: a place means the same for each window
        seen = [looked_up(_averaged(features, window), places) for window in self.windows]
        return torch.einsum("bcn,nc->bn", torch.cat(seen, 1), self.weight)

    def penalty(self) -> Tensor | None:
        """L1 norm of the feature weights of all windows, mean over neurons, times `feature_l1`."""
        return self.feature_l1 * mean_l1(self.weight) if self.feature_l1 else None


def point_pooled_readout(task: TaskInfo, config: PointPooledReadoutConfig, *, features: Sequence[int]) -> Readout:
    """Head of a neural task, for feature maps (channels, height, width) or tokens (tokens, channels) of a square grid.

    Raises:
        ModelError: The task is of another kind, or the features are neither, or of a single place.
    """
    require_kind(task, "neural", config)
    channels = places_shape(config.kind, features)[0]
    parts = {name: PointPooledSession(session, config, channels) for name, session in task.sessions.items()}
    return Readout(parts, config.output)


def _averaged(features: Tensor, window: int) -> Tensor:
    """Means over a window around each pixel, of what lies within the map."""
    return features if window == 1 else avg_pool2d(features, window, 1, window // 2, count_include_pad=False)
