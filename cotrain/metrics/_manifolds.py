"""What is reported of class manifolds."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotrain.manifolds import LARGEST_SAMPLE, inverse_capacity, split_by_class
from cotrain.metrics._scores import Scores

DRAWS = 200


def manifold_scores(
    output: Float[Tensor, "images features"], labels: Int[Tensor, " images"], *, seed: int = 0
) -> Scores:
    """`capacity`: mean-field capacity alpha of the classes, 1 / mean over classes of 1 / alpha; about 2 at best.

    See `cotrain.manifolds.inverse_capacity`, with 200 random directions a class. Of each class 50 images at most are
    looked at, as alpha depends on their number: splits with fewer images a class have larger values. 2 / images a class
    says that the class means carry nothing. A class whose output is not finite has the worst alpha; NaN with one class.

    Args:
        output: On the CPU.
        labels: Those that occur are the classes.
        seed: Of the directions and of the choice of images.
    """
    clouds = split_by_class(output.detach(), labels, at_most=LARGEST_SAMPLE, seed=seed)
    if len(clouds) < 2:
        yield "capacity", float("nan")
        return
    generator = torch.Generator().manual_seed(seed)
    yield "capacity", 1 / float(inverse_capacity(clouds, draws=DRAWS, generator=generator).mean())
