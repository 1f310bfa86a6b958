"""Heads of classification tasks with hidden layers: dense ones, and convolutions of single pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from cotrain.config import Config
from cotrain.models._heads import Head
from cotrain.models._readout import as_maps, map_shape
from cotrain.tasks import TaskInfo, require_kind

Positive = Annotated[int, Ge(1)]
Dropout = Annotated[float, Ge(0), Lt(1)]


class DenseHeadConfig(Config):
    """The classifier of VGG (Simonyan & Zisserman 2015, ICLR): linear layers with ReLU and dropout between them."""

    kind: ClassVar[str] = "cotrain.models.dense_head"
    hidden: tuple[Positive, ...] = (4096, 4096)  # units of each hidden layer
    dropout: Dropout = 0.5  # share of the hidden units that are left out of a training step
    grid: Positive | None = None  # maps are averaged to grid x grid first, 7 in VGG; None takes them as they are


class DenseHead(Head):
    """Class scores from flattened features."""

    def __init__(self, inputs: int, classes: int, config: DenseHeadConfig) -> None:
        super().__init__()
        self.grid = config.grid
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((inputs, *config.hidden)):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear((inputs, *config.hidden)[-1], classes))

    def forward(self, features: Float[Tensor, "images ..."], session: str) -> Float[Tensor, "images classes"]:
        """Class scores (logits)."""
        if self.grid is not None:
            features = adaptive_avg_pool2d(as_maps(features), self.grid)
        return self.layers(features.flatten(1))  # type: ignore[no-any-return]


class ConvolutionalHeadConfig(Config):
    """Class scores at each pixel of the maps, then their largest: an object counts wherever it stands."""

    kind: ClassVar[str] = "cotrain.models.convolutional_head"
    hidden: tuple[Positive, ...] = (4096, 4096)  # channels of each hidden layer
    dropout: Dropout = 0.5  # share of the hidden units that are left out of a training step


class ConvolutionalHead(Head):
    """Class scores from maps of any height and width."""

    def __init__(self, channels: int, classes: int, config: ConvolutionalHeadConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((channels, *config.hidden)):
            layers += [nn.Conv2d(before, after, 1), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Conv2d((channels, *config.hidden)[-1], classes, 1))

    def forward(self, features: Float[Tensor, "images ..."], session: str) -> Float[Tensor, "images classes"]:
        """Class scores (logits): of each class, the largest over pixels."""
        return self.layers(as_maps(features)).amax((2, 3))  # type: ignore[no-any-return]


def dense_head(task: TaskInfo, config: DenseHeadConfig, *, features: Sequence[int]) -> DenseHead:
    """Head of a classification task, for features of any shape; with `grid`, for maps, or tokens of a square grid.

    Raises:
        ModelError: The task is of another kind, or there is a `grid` and the features are neither.
    """
    require_kind(task, "classification", config)
    shape = features if config.grid is None else (map_shape(config.kind, features)[0], config.grid, config.grid)
    return DenseHead(math.prod(shape), len(task.class_names), config)


def convolutional_head(
    task: TaskInfo, config: ConvolutionalHeadConfig, *, features: Sequence[int]
) -> ConvolutionalHead:
    """Head of a classification task, for feature maps, or tokens (tokens, channels) of a square grid.

    Raises:
        ModelError: The task is of another kind, or the features are neither.
    """
    require_kind(task, "classification", config)
    return ConvolutionalHead(map_shape(config.kind, features)[0], len(task.class_names), config)
