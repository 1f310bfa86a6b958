"""The loss of a representation whose classes are to be told apart by planes: inverse mean-field capacity."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.losses._objective import Objective, Weight
from cotrain.manifolds import LARGEST_SAMPLE, inverse_capacity, split_by_class
from cotrain.tasks import TaskInfo, require_kind

SEED = 0  # of the directions in evaluation


class CapacityConfig(Config):
    """Mean over classes of 1 / alpha, the inverse mean-field capacity of their manifolds (see `cotrain.manifolds`).

    A class with one image in a batch is a point, whose 1 / alpha no features change: draw batches with several images
    of each class (`MixingConfig.balanced`). More images a class raise the loss, so values of batches compare only at
    equal numbers of them.
    """

    kind: ClassVar[str] = "cotrain.losses.capacity"
    weight: Weight = 1.0  # bounded and without a unit, so a fixed weight says what it means
    draws: Annotated[int, Ge(1)] = 100  # random directions for each class and batch
    kappa: float = 0.0  # margin, in lengths of a class centre / sqrt(features)


class Capacity(Objective):
    """Mean 1 / alpha as the objective of a manifolds task.

    In training directions are drawn anew for each batch, from torch's generator of the CPU, which checkpoints hold; in
    evaluation they are the same each time, and of each class 50 images at most are looked at, the same each time. It is
    computed in float64 on the CPU: one copy of the features there, and one of their gradient back, for each batch.
    """

    of_whole_batch: ClassVar[bool] = True

    def __init__(self, weight: Weight, draws: int, kappa: float) -> None:
        super().__init__(weight)
        self.draws, self.kappa = draws, kappa

    def loss(
        self, output: Float[Tensor, "images features"], target: Int[Tensor, " images"], session: str = ""
    ) -> Float[Tensor, ""]:
        """At least 0, 1/2 for points at kappa 0, below the number of images a class; NaN where features are not finite.

        Raises:
            ModelError: The batch holds one class only.
        """
        features, labels = output.cpu(), target.cpu()
        generator = None if self.training else torch.Generator().manual_seed(SEED)
        clouds = split_by_class(features, labels, at_most=None if self.training else LARGEST_SAMPLE, seed=SEED)
        require_two_classes(len(clouds))
        if not bool(features.detach().isfinite().all()):
            return output.sum() * torch.nan  # training must stop, and not take these for bad but sound manifolds
        found = inverse_capacity(clouds, draws=self.draws, kappa=self.kappa, generator=generator).mean()
        return found.to(output.device)


def capacity(task: TaskInfo, config: CapacityConfig) -> Capacity:
    """The objective of a manifolds task.

    Raises:
        ModelError: The task is of another kind.
    """
    require_kind(task, "manifolds", config)
    return Capacity(config.weight, config.draws, config.kappa)


def require_two_classes(found: int) -> None:
    """Refuse a batch of one class.

    Raises:
        ModelError: It is one.
    """
    if found < 2:
        raise ModelError(
            f"Class manifolds need images of two classes or more in a batch, found {found}. Use larger batches, or "
            "balanced ones."
        )
