"""Maximum manifold capacity representations: the nuclear norm of class means as a stand-in for capacity."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.config import Config
from cotrain.dissimilarity import directions, full_precision
from cotrain.losses._capacity import require_two_classes
from cotrain.losses._objective import Objective, Weight
from cotrain.manifolds import split_by_class
from cotrain.tasks import TaskInfo, require_kind


class MmcrConfig(Config):
    """1 - (|C|* - compactness * mean over classes of |Z_b|*) / sqrt(B min(B, d)), |.|* being nuclear norms.

    Yerxa, Kuang, Simoncelli & Chung 2023 (NeurIPS, Learning efficient coding of natural images with maximum manifold
    capacity representations), with images of a class in place of views of an image, and scaled: Z_b has one row of
    length 1 an image of class b, C the mean row of each of the B classes in the batch; d is the number of features.
    No rows reach a larger |C|* than the divisor. |Z_b|* grows with the number of images, from its root (all alike) up.
    """

    kind: ClassVar[str] = "cotrain.losses.mmcr"
    weight: Weight = 1.0  # bounded and without a unit, so a fixed weight says what it means
    compactness: Annotated[float, Ge(0)] = 0.0
    """Pull on each class to have few dimensions; |C|* alone pulls its images together: long means need alike rows."""


class Mmcr(Objective):
    """The nuclear norm of class means, as the objective of a manifolds task."""

    of_whole_batch: ClassVar[bool] = True

    def __init__(self, weight: Weight, compactness: float) -> None:
        super().__init__(weight)
        self.compactness = compactness

    def loss(
        self, output: Float[Tensor, "images features"], target: Int[Tensor, " images"], session: str = ""
    ) -> Float[Tensor, ""]:
        """0 (classes are points, at right angles) to 1, without compactness; NaN where features are not finite.

        Raises:
            ModelError: The batch holds one class only.
        """
        with torch.autocast(output.device.type, enabled=False):
            rows = full_precision(output)
            rows = directions(rows, rows)
            clouds = split_by_class(rows, target)
            classes = len(clouds)
            require_two_classes(classes)
            if not bool(output.detach().isfinite().all()):  # of which there is no singular value decomposition
                return output.sum() * torch.nan
            norm = nuclear_norm(torch.stack([cloud.mean(0) for cloud in clouds]))
            if self.compactness:
                norm = norm - self.compactness * torch.stack([nuclear_norm(cloud) for cloud in clouds]).mean()
            return 1 - norm / math.sqrt(classes * min(classes, output.shape[1]))


def mmcr(task: TaskInfo, config: MmcrConfig) -> Mmcr:
    """The objective of a manifolds task.

    Raises:
        ModelError: The task is of another kind.
    """
    require_kind(task, "manifolds", config)
    return Mmcr(config.weight, config.compactness)


def nuclear_norm(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, ""]:
    """Sum of singular values. Where some are 0, the gradient is one of those that are possible there, and finite."""
    norm: Tensor = torch.linalg.svdvals(matrix).sum()
    return norm
