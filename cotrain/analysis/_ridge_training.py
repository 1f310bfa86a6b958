"""One group of neurons, known for the same stimuli: their alphas, held-out predictions and the fit to all stimuli."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from cotrain.analysis._folds import Folds
from cotrain.analysis._held_out_scores import HeldOutSums
from cotrain.analysis._ridge_forms import Form, KernelForm, decompose

log = logging.getLogger(__name__)

NUMBERS = 2**26  # that one step over targets holds at once
TOGETHER = 2**22  # predictions (stimuli x targets x alphas) of one product
ROUNDING = 10  # times the rounding of the largest eigenvalue: an alpha below is lost in it


@dataclass(frozen=True)
class Training:
    """Stimuli that a fit sees, decomposed.

    Args:
        form: Of the features (n, p), centred and divided by `scale`.
        mean, scale: (p,), of the features.
    """

    form: Form
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor, smallest_alpha: float, standardise: bool) -> Training:
        """Decompose; in float64 where float32 would not see the smallest alpha beside the largest eigenvalue."""
        mean = features.mean(0)
        centred = features - mean
        scale = torch.ones_like(mean)
        if standardise:
            deviation = centred.square().mean(0).sqrt()
            # a constant feature differs from its mean by rounding only
            varies = deviation > 1e-6 * features.abs().amax(0)
            scale = torch.where(varies, deviation, 1.0)
            centred = torch.where(varies, centred / scale, 0.0)
        form = decompose(centred)
        lost = ROUNDING * torch.finfo(features.dtype).eps * float(form.eigenvalues.max())
        if features.dtype == torch.float32 and smallest_alpha < lost:
            log.info("ridge: alpha %.2g is below float32's rounding (%.2g) here: float64.", smallest_alpha, lost)
            return cls.of(features.double(), smallest_alpha, standardise)
        return cls(form, mean, scale)

    @property
    def dtype(self) -> torch.dtype:
        """That of the computation."""
        return self.mean.dtype

    def seen(self, features: Tensor) -> Tensor:
        """Features of other stimuli as those of the fit."""
        return (features.to(self.dtype) - self.mean) / self.scale

    def targets(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Centred targets, and their means."""
        middle = y.double().mean(0)
        return (y.double() - middle).to(self.dtype), middle.to(self.dtype)


@dataclass(frozen=True)
class Solution:
    """The fit to all stimuli of a group.

    Args:
        rows: Which these are.
        weights: (n, targets): coefficients are X' of these, for centred X; or None.
        direct: (p, targets), the coefficients of centred and scaled features; or None.
        mean, scale: (p,), of the features.
        middle: (targets,), of the targets.
    """

    weights: Tensor | None
    direct: Tensor | None
    mean: Tensor
    scale: Tensor
    middle: Tensor

    @classmethod
    def of(cls, training: Training, shrunk: Tensor, middle: Tensor) -> Solution:
        """Of targets as `Form` has them, each shrunk by its own alpha, and their means."""
        form = training.form
        if isinstance(form, KernelForm):  # kept small: coefficients of many features are made when asked for
            return cls(form.vectors @ shrunk, None, training.mean, training.scale, middle)
        return cls(None, form.coefficients(shrunk), training.mean, training.scale, middle)

    def coefficients(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(p, targets) and (targets,) for features as they were given, of which those of the fit are needed."""
        if self.direct is not None:
            found = self.direct / self.scale[:, None]
        else:
            assert self.weights is not None
            varies = ((features.to(self.mean.dtype) - self.mean) / self.scale).T
            found = varies @ self.weights / self.scale[:, None]
        return found, self.middle - self.mean @ found


class Group:
    """Targets without gaps.

    Args:
        x: (n, p) features.
        y: (n, targets).
        grid: Alphas, float64.
        metric: By which an alpha is chosen.
        standardise: Whether features are divided by their standard deviation.
    """

    def __init__(self, x: Tensor, y: Tensor, grid: Tensor, metric: str, standardise: bool) -> None:
        self.x, self.y, self.grid, self.metric, self.standardise = x, y, grid.to(x.device), metric, standardise
        self.alphas = torch.empty(y.shape[1], dtype=torch.float64, device=x.device)
        self.scores = torch.empty_like(self.alphas)
        self._solution: Solution | None = None

    def _training(self, rows: Tensor | slice) -> Training:
        return Training.of(self.x[rows], float(self.grid.min()), self.standardise)

    def _blocks(self) -> list[slice]:
        size = max(1, NUMBERS // len(self.x))
        return [slice(start, start + size) for start in range(0, self.y.shape[1], size)]

    def _choose(self, block: slice, sums: HeldOutSums) -> Tensor:
        """Places of the chosen alphas in the grid."""
        scores = sums.scores()
        best = scores.nan_to_num(nan=-torch.inf).argmax(0)
        self.alphas[block] = self.grid[best]
        self.scores[block] = scores.gather(0, best[None])[0]
        return best

    def leave_one_out(self) -> Tensor:
        """Choose alphas; (n, targets), each prediction by the fit to all other stimuli."""
        training = self._training(slice(None))
        form, grid = training.form, self.grid.to(training.dtype)
        targets, middle = training.targets(self.y)
        projected, freedom = form.projected(targets), form.freedom(grid)
        found, solved = torch.empty_like(targets), torch.empty_like(projected)
        for block in self._blocks():
            wanted, truth = projected[:, block], targets[:, block]
            sums = HeldOutSums(self.metric, len(grid), truth)
            best = torch.full(self.alphas[block].shape, -torch.inf, dtype=torch.float64, device=truth.device)
            kept = torch.empty_like(truth)  # errors with the best alpha up to now
            for some in _at_once(len(grid), truth.numel()):
                shrunk = wanted[:, None] / (form.eigenvalues[:, None, None] + grid[some, None])
                errors = form.left_out(truth[:, None], shrunk, freedom[:, some, None])
                sums.add(some, truth[:, None], errors)
                score, place = sums.scores()[some].nan_to_num(nan=-torch.inf).max(0)
                chosen = errors.gather(1, place.expand(len(truth), 1, -1))[:, 0]
                kept = chosen if some.start == 0 else torch.where(score > best, chosen, kept)
                best = torch.maximum(score, best)
            solved[:, block] = wanted / (form.eigenvalues[:, None] + grid[self._choose(block, sums)])
            found[:, block] = truth + middle[block] - kept
        self._solution = Solution.of(training, solved, middle)
        return found

    def by_folds(self, folds: Folds) -> Tensor:
        """Choose alphas; (n, targets), the mean over the folds that held a stimulus out, NaN where none did."""
        parts = [(self._training(train), train, test) for train, test in folds.tensors(self.x.device)]
        total = torch.zeros(self.y.shape, dtype=torch.float64, device=self.x.device)
        times = torch.zeros(len(self.y), 1, dtype=torch.float64, device=self.x.device)
        seen = [training.form.predictor(training.seen(self.x[test])) for training, _, test in parts]
        for _, _, test in parts:
            times[test] += 1
        for block in self._blocks():
            y = self.y[:, block]
            held = torch.cat([test for _, _, test in parts])
            sums = HeldOutSums(self.metric, len(self.grid), y[held].double())
            answers = []
            for (training, train, test), rows in zip(parts, seen, strict=True):
                targets, middle = training.targets(y[train])
                projected, values = training.form.projected(targets), training.form.eigenvalues[:, None]
                answers.append((rows, projected, values, middle, test))
                truth = y[test].double()
                for number, alpha in enumerate(self.grid.to(training.dtype)):
                    guess = rows @ (projected / (values + alpha)) + middle
                    sums.add(number, truth, truth - guess.double())
            best = self._choose(block, sums)
            for rows, projected, values, middle, test in answers:
                total[test, block] += rows @ (projected / (values + self.grid[best].to(values.dtype))) + middle
        return total / times

    def solution(self) -> Solution:
        """The fit to all stimuli; after alphas were chosen."""
        if self._solution is None:
            training = self._training(slice(None))
            targets, middle = training.targets(self.y)
            values = training.form.eigenvalues[:, None] + self.alphas.to(training.dtype)
            self._solution = Solution.of(training, training.form.projected(targets) / values, middle)
        return self._solution


def _at_once(alphas: int, numbers: int) -> list[slice]:
    """Alphas whose predictions are one product: a wide one is faster, up to where it leaves the processor's cache."""
    step = max(1, TOGETHER // max(1, numbers))
    return [slice(start, start + step) for start in range(0, alphas, step)]
