"""Heads: a task's own parameters, from features at a tap to what its objective compares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.tasks import TaskInfo, require_kind


class Head(nn.Module, ABC):
    """Base of all heads."""

    positive_output: bool = False

    @abstractmethod
    def forward(self, features: Tensor, session: str) -> Tensor:
        """The output for a batch of features of a session ("" where the task has none)."""

    def penalty(self, session: str) -> Tensor | None:
        """A regulariser that is added once an optimiser step in which the session was seen; None for none."""
        return None


class LinearHeadConfig(Config):
    """One linear layer from features to class scores."""

    kind: ClassVar[str] = "cotrain.models.linear_head"
    pool: Literal["average", "flatten"] = "average"  # of the feature maps


class LinearHead(Head):
    """Class scores from pooled features."""

    def __init__(self, features: Sequence[int], classes: int, pool: str) -> None:
        super().__init__()
        self.average = pool == "average"
        self.linear = nn.Linear(features[0] if self.average else _size(features), classes)

    def forward(self, features: Float[Tensor, "images ..."], session: str) -> Float[Tensor, "images classes"]:
        """Class scores (logits)."""
        return self.linear(_pooled(features) if self.average else features.flatten(1))  # type: ignore[no-any-return]


class RdmHeadConfig(Config):
    """Features as they are, one vector a stimulus: the objective makes their RDM."""

    kind: ClassVar[str] = "cotrain.models.rdm_head"
    pool: Literal["average", "flatten"] = "flatten"  # of the feature maps


class ManifoldHeadConfig(Config):
    """Features as they are, one vector an image: the objective looks at the manifolds of the classes."""

    kind: ClassVar[str] = "cotrain.models.manifold_head"
    pool: Literal["average", "flatten"] = "average"  # of the feature maps


class FeatureHead(Head):
    """The representation itself, whose geometry is learnt; it has no parameters."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.average = pool == "average"

    def forward(self, features: Float[Tensor, "stimuli ..."], session: str) -> Float[Tensor, "stimuli features"]:
        """One vector a stimulus."""
        return _pooled(features) if self.average else features.flatten(1)


class LayerHeads(Head):
    """A head for each layer of a task with several taps, in the order of the taps."""

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(heads)

    def forward(self, features: tuple[Tensor, ...], session: str) -> tuple[Tensor, ...]:  # type: ignore[override]
        """One output a layer."""
        return tuple(head(held, session) for head, held in zip(self.layers, features, strict=True))

    def penalty(self, session: str) -> Tensor | None:
        """The sum over layers; None where no head has a regulariser."""
        found = [head.penalty(session) for head in self.layers]  # type: ignore[operator]
        known = [penalty for penalty in found if penalty is not None]
        return torch.stack(known).sum() if known else None


def linear_head(task: TaskInfo, config: LinearHeadConfig, *, features: Sequence[int]) -> LinearHead:
    """Head of a classification task, for features of a shape (channels, ...)."""
    require_kind(task, "classification", config)
    return LinearHead(features, len(task.class_names), config.pool)


def rdm_head(task: TaskInfo, config: RdmHeadConfig, *, features: Sequence[int]) -> FeatureHead:
    """Head of an RDM task, for features of a shape (channels, ...)."""
    require_kind(task, "rdm", config)
    if config.pool == "average" and features[0] < 3:
        raise ModelError(f"{config.kind}: a correlation over {features[0]} channels says nothing; use pool='flatten'.")
    return FeatureHead(config.pool)


def manifold_head(task: TaskInfo, config: ManifoldHeadConfig, *, features: Sequence[int]) -> FeatureHead:  # noqa: ARG001
    """Head of a manifolds task, for features of any shape."""
    require_kind(task, "manifolds", config)
    return FeatureHead(config.pool)


def _pooled(features: Tensor) -> Tensor:
    """Mean over positions."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def _size(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
