"""Responses as targets: averaged over repeats, in units that training images define."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)


def neural_targets(
    recorded: NDArray[np.float32], train: Tensor, *, standardise: bool, where: str
) -> tuple[Tensor, Tensor | None]:
    """Mean over repeats, and the repeats, in common units.

    Args:
        recorded: (images, neurons), or (images, repeats, neurons) with NaN where a repeat is missing.
        train: Positions of the training images: the only ones that statistics are taken from.
        standardise: Subtract each neuron's training mean and divide by its standard deviation (those of the mean
            over repeats). A neuron that is constant in training is only centred.
        where: Named in the warning that neurons are constant.

    Returns:
        float32 (images, neurons), and float32 (images, repeats, neurons) or None.
    """
    trials = torch.from_numpy(recorded).float()
    # in float64, so that equal responses have one mean, however many they are
    mean = trials.double().nanmean(1).float() if trials.ndim == 3 else trials
    known = mean[train].double()
    centre = known.nanmean(0)
    spread = (known - centre).square().nanmean(0).sqrt()
    is_constant = spread <= 1e-7 * centre.abs()  # the rounding of float32
    if constant := is_constant.nonzero().flatten().tolist():
        log.warning(
            "%s: %d of %d neurons respond to all training images alike (%s): they teach nothing and get no score.",
            where, len(constant), len(spread), ", ".join(map(str, constant[:10])),
        )  # fmt: skip
    if standardise:
        spread = torch.where(is_constant, 1.0, spread)
        mean = ((mean - centre) / spread).float()
        trials = ((trials - centre) / spread).float()
    return mean, trials if trials.ndim == 3 else None
