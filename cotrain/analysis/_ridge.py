"""Ridge regression of many neurons on the same features, each with an alpha of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cotrain.analysis._arrays import Array, like, matrix
from cotrain.analysis._folds import Folds, FoldsLike, as_folds
from cotrain.analysis._held_out_scores import Metric, require_metric
from cotrain.analysis._known_rows import known_groups, require_pair
from cotrain.analysis._ridge_training import Group
from cotrain.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RidgeFit:
    """What `ridge` found; tensors or arrays, as its input was. NaN for targets that have no fit.

    Args:
        alphas: float64 (targets,), the chosen ones.
        scores: float64 (targets,), of the held-out predictions with these, by `metric` ("mse" is negated). As the
            alphas were chosen for it, it is a little too good; `regress` scores stimuli that chose nothing.
        predictions: As the targets were given: (stimuli, targets), each made without the stimulus that it is for.
        metric: By which alphas were chosen.
        folds: How stimuli were held out; None: one by one.
        at_smallest, at_largest: How many targets chose the ends of the grid.
    """

    alphas: Any
    scores: Any
    predictions: Any
    metric: str
    folds: Folds | None
    at_smallest: int
    at_largest: int
    _refit: Callable[[], tuple[Tensor, Tensor]] = field(repr=False, compare=False)
    _given: Array = field(repr=False, compare=False)

    @cached_property
    def _whole(self) -> tuple[Tensor, Tensor]:
        return self._refit()

    @property
    def coefficients(self) -> Any:
        """(features, targets), of the fit to all stimuli; computed when first asked for."""
        return like(self._whole[0], self._given)

    @property
    def intercept(self) -> Any:
        """(targets,): predictions are `features @ coefficients + intercept`."""
        return like(self._whole[1], self._given)

    def predict(self, x: Array) -> Any:
        """(stimuli, targets) for the features of other stimuli, by the fit to all stimuli.

        Raises:
            DataError: There are not as many features.
        """
        features = matrix(x, "predict, features").to(self._whole[0])
        if features.shape[1] != len(self._whole[0]):
            raise DataError(f"The fit is of {len(self._whole[0])} features, found {features.shape[1]}.")
        return like(features @ self._whole[0] + self._whole[1], x)


def ridge(
    x: Array,
    y: Array,
    alphas: float | Iterable[float],
    *,
    folds: FoldsLike | None = None,
    metric: Metric = "r2",
    standardise: bool = False,
    seed: int = 0,
) -> RidgeFit:
    """Predict each column of y from x with the alpha at which held-out predictions are best for that column.

    Minimises |y - x w - b|^2 + alpha |w|^2 over w and b. With `folds=None` every stimulus is held out by itself, which
    takes one decomposition of the smaller of the two product matrices of x, and is exact: mean and coefficients are
    those of all other stimuli (Rifkin & Lippert 2007). With folds there is one decomposition a fold.

    Score leave-one-out predictions by R2, not by their correlation: of a neuron that nothing predicts, each prediction
    is the mean of all other responses, and the two correlate by -1. Predictions of a few folds hardly suffer from this.

    Args:
        x: (stimuli, features), finite; more features than stimuli are no matter.
        y: (stimuli, targets), or (stimuli,) for one. NaN where a response is not known: such a stimulus is left out for
            that target, and its prediction is made from all those that are known. Targets that are known for different
            stimuli need a decomposition each. Constant targets, and those known for fewer than three stimuli, have no
            fit: NaN, with a warning that counts them.
        alphas: Above 0, in squared units of x. Ends of the grid that targets choose are counted in a warning.
        folds: How stimuli are held out; a number K is K seeded folds. See `cotrain.analysis.Folds`.
        metric: What is to be best, over all held-out predictions of a target together: "r2", "explained_variance",
            "pearson" or "mse" (the same alphas as "r2").
        standardise: Divide each feature by its standard deviation over the stimuli that a fit sees; constant features
            stay 0. Coefficients are of x as it was given. Where stimuli are held out one by one, the deviation is that
            over all of them.
        seed: Of the folds, where a number is given.

    Returns:
        See `RidgeFit`. Computed on the device and in the precision of x, or in float64 where float32 would lose the
        smallest alpha beside the features' largest variance.

    Raises:
        DataError: Rows do not fit, features are not finite, an alpha is not above 0, or there is no such metric.

    >>> x, w = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)).double(), torch.ones(8, 1).double()
    >>> fit = ridge(x, x @ w, [1e-6, 1e3])
    >>> fit.alphas, bool(torch.allclose(fit.predictions, x @ w, atol=1e-5))
    (tensor([1.0000e-06], dtype=torch.float64), True)
    """
    fit = fitted(x, y, alphas, folds=folds, metric=metric, standardise=standardise, seed=seed)
    warn_of_ends(fit.at_smallest, fit.at_largest, len(fit.alphas), "ridge, targets")
    return fit


def warn_of_ends(smallest: int, largest: int, of: int, what: str) -> None:
    """Say how many chose the ends of the grid of alphas, where any did."""
    if smallest or largest:
        log.warning(
            "%s: %d of %d chose the smallest alpha and %d the largest; a wider grid may do better.",
            what, smallest, of, largest,
        )  # fmt: skip


def fitted(
    x: Array,
    y: Array,
    alphas: float | Iterable[float],
    *,
    folds: FoldsLike | None = None,
    metric: Metric = "r2",
    standardise: bool = False,
    seed: int = 0,
) -> RidgeFit:
    """What `ridge` gives, without a word on the ends of the grid."""
    features, targets = matrix(x, "ridge, features"), matrix(y, "ridge, targets")
    require_pair(features, targets, "ridge")
    require_metric(metric, "ridge")
    grid = _grid(alphas)
    held = None if folds is None else as_folds(folds, len(features), seed=seed)
    device = features.device
    truth = targets.to(device)
    predictions = torch.full(truth.shape, torch.nan, dtype=truth.dtype, device=device)
    chosen, scores = (torch.full((truth.shape[1],), torch.nan, dtype=torch.float64, device=device) for _ in range(2))
    groups: list[tuple[Tensor, Group]] = []
    for rows, columns in known_groups(truth, "ridge"):
        whole = len(rows) == len(features)
        group = Group(features if whole else features[rows], truth[rows][:, columns], grid, metric, standardise)
        guesses = group.leave_one_out() if held is None else group.by_folds(held.within(rows.cpu().numpy()))
        predictions[rows[:, None], columns] = guesses.to(truth.dtype)
        if not whole:
            unknown = torch.ones(len(features), dtype=torch.bool, device=device).index_fill_(0, rows, False)
            weights, offset = group.solution().coefficients(group.x)
            others = unknown.nonzero()
            predictions[others, columns] = (features[others[:, 0]].to(weights) @ weights + offset).to(truth.dtype)
        chosen[columns], scores[columns] = group.alphas, group.scores
        groups.append((columns, group))

    def refit() -> tuple[Tensor, Tensor]:
        coefficients = features.new_full((features.shape[1], truth.shape[1]), torch.nan)
        intercept = features.new_full((truth.shape[1],), torch.nan)
        for columns, group in groups:
            found, offset = group.solution().coefficients(group.x)
            coefficients[:, columns], intercept[columns] = found.to(features.dtype), offset.to(features.dtype)
        return coefficients, intercept

    ends = [int((chosen == end).sum()) if len(grid) > 1 else 0 for end in (grid.min(), grid.max())]
    shaped = predictions.to(targets.device).reshape(tuple(y.shape))
    return RidgeFit(like(chosen, y), like(scores, y), like(shaped, y), metric, held, ends[0], ends[1], refit, x)


def _grid(alphas: float | Iterable[float]) -> Tensor:
    values = alphas if isinstance(alphas, Iterable) else [alphas]
    grid = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if not len(grid) or not bool(((grid > 0) & grid.isfinite()).all()):
        raise DataError(f"ridge: alphas must be above 0 and finite, found {[f'{value:g}' for value in grid.tolist()]}.")
    return grid
