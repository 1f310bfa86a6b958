"""The loss of a representation whose geometry is to match a target RDM."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from cotrain.config import Config
from cotrain.dissimilarity import pairs, pearson, rdm
from cotrain.errors import ModelError
from cotrain.losses._objective import Objective, Weight
from cotrain.tasks import TaskInfo, require_kind


def rdm_loss(
    features: Float[Tensor, "stimuli features"],
    target: Float[Tensor, "stimuli stimuli"],
    *,
    dissimilarity: str = "correlation",
    comparison: str = "pearson",
) -> Float[Tensor, ""]:
    """1 - Pearson correlation, over pairs of stimuli, of the features' RDM and the target: 0 to 2.

    The correlation leaves out level and scale, in which RDMs of noisy recordings differ for no reason of geometry.

    Args:
        features: One row a stimulus.
        target: Symmetric dissimilarities among the same stimuli.
        dissimilarity: Of the features' RDM; correlation distance.
        comparison: Of the two RDMs.
    """
    if dissimilarity != "correlation" or comparison != "pearson":
        raise ModelError(
            f"rdm_loss knows dissimilarity='correlation' and comparison='pearson', found {dissimilarity!r} and "
            f"{comparison!r}."
        )
    return 1 - pearson(pairs(rdm(features)), pairs(target))


class RdmMatchConfig(Config):
    """1 - Pearson between the RDM of the features (correlation distance) and the target, over pairs of stimuli."""

    kind: ClassVar[str] = "cotrain.losses.rdm_match"
    weight: Weight = 1.0  # bounded and without a unit, so a fixed weight says what it means


class RdmMatch(Objective):
    """`rdm_loss` as the objective of an RDM task."""

    def loss(
        self, output: Float[Tensor, "stimuli features"], target: Float[Tensor, "stimuli stimuli"]
    ) -> Float[Tensor, ""]:
        """0 (same geometry) to 2."""
        return rdm_loss(output, target)


def rdm_match(task: TaskInfo, config: RdmMatchConfig) -> RdmMatch:
    """The objective of an RDM task."""
    require_kind(task, "rdm", config)
    return RdmMatch(config.weight)
