"""How well held-out predictions do, by sums that are gathered fold by fold."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from cotrain.errors import DataError, did_you_mean

Metric = Literal["r2", "explained_variance", "pearson", "mse"]
METRICS: tuple[str, ...] = get_args(Metric)


def require_metric(metric: str, what: str) -> None:
    """Refuse what is no metric.

    Raises:
        DataError: It is none of `METRICS`.
    """
    if metric not in METRICS:
        raise DataError(f"{what}: there is no metric {metric!r}.{did_you_mean(metric, METRICS)}")


class HeldOutSums:
    """Scores (alphas, targets) of predictions over all stimuli that were held out, joined.

    Args:
        metric: One of `METRICS`; "mse" is negated, so that more is better.
        alphas: How many.
        truth: (stimuli, targets) all targets of the stimuli that are ever held out, as often as they are.
    """

    def __init__(self, metric: str, alphas: int, truth: Tensor) -> None:
        self.metric, self.count = metric, len(truth)
        self.middle = truth.mean(0)
        self.total = (truth - self.middle).square().sum(0).double()
        shape = (alphas, truth.shape[1])
        self.square, self.first, self.cross = (
            torch.zeros(shape, dtype=torch.float64, device=truth.device) for _ in range(3)
        )

    def add(self, number: int | slice, truth: Tensor, error: Tensor) -> None:
        """Errors of one alpha (stimuli, targets), or of several (stimuli, alphas, targets): target - prediction.

        `truth` is as the errors, or has 1 in the place of alphas.
        """
        if self.metric == "pearson":
            predicted = truth - self.middle - error
            self.square[number] += predicted.square().sum(0)
            self.first[number] += predicted.sum(0)
            self.cross[number] += (predicted * (truth - self.middle)).sum(0)
            return
        self.square[number] += error.square().sum(0)
        if self.metric == "explained_variance":
            self.first[number] += error.sum(0)

    def scores(self) -> Tensor:
        """float64 (alphas, targets); a prediction without variance correlates by 0."""
        if self.metric == "mse":
            return -self.square / self.count
        if self.metric == "r2":
            return 1 - self.square / self.total
        varying = self.square - self.first.square() / self.count
        if self.metric == "explained_variance":
            return 1 - varying / self.total
        floor = 1e-12 * self.square
        r = self.cross / (varying.clamp_min(0) * self.total).sqrt().clamp_min(1e-300)
        return torch.where(varying <= floor, 0.0, r)
