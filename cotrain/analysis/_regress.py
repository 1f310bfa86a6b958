"""Cross-validated regression of neurons on features: every part of a fit is made anew in every fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotrain.analysis._arrays import Array, like, matrix
from cotrain.analysis._folds import Folds, FoldsLike, as_folds
from cotrain.analysis._held_out_scores import Metric, require_metric
from cotrain.analysis._known_rows import known_groups, require_pair
from cotrain.analysis._regression_methods import Method, Ridge, as_float, as_method
from cotrain.analysis._ridge import warn_of_ends
from cotrain.errors import DataError
from cotrain.metrics import explained_variance, mean_squared_error, neuron_correlations, r2

SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "r2": r2,
    "explained_variance": explained_variance,
    "pearson": neuron_correlations,
    "mse": mean_squared_error,
}


@dataclass(frozen=True)
class Regression:
    """Held-out predictions of `regress`; tensors or arrays, as the targets were given.

    Args:
        predictions: As the targets: the mean over the folds that held a stimulus out; NaN where none did, and for
            targets that have no fit.
        alphas: float64 (folds, targets), of ridge; else None.
        folds: That were used, with their seed.
        method: That was used.
    """

    predictions: Any = field(repr=False)
    alphas: Any = field(repr=False)
    folds: Folds
    method: Method
    _by_fold: tuple[Tensor, ...] = field(repr=False, compare=False)
    _targets: Tensor = field(repr=False, compare=False)
    _given: Array = field(repr=False, compare=False)

    @property
    def fold_predictions(self) -> tuple[Any, ...]:
        """(held-out stimuli, targets) of each fold, in the order of `folds.pairs`; NaN for targets without a fit."""
        return tuple(like(guesses, self._given) for guesses in self._by_fold)

    def scores(self, metric: Metric = "r2") -> Any:
        """float64 (targets,), of the predictions of all held-out stimuli together.

        With "mse", smaller is better. NaN for targets without a fit.
        """
        require_metric(metric, "scores")
        guesses = matrix(self.predictions, "predictions").cpu()
        tested = torch.zeros(len(guesses), dtype=torch.bool)
        for _, test in self.folds.pairs:
            tested[torch.from_numpy(test)] = True
        return like(self._scored(metric, guesses[tested], self._targets[tested]), self._given)

    def fold_scores(self, metric: Metric = "r2") -> Any:
        """float64 (folds, targets), of each fold's held-out stimuli by themselves."""
        require_metric(metric, "fold_scores")
        parts = [
            self._scored(metric, guesses, self._targets[torch.from_numpy(test)])
            for guesses, (_, test) in zip(self._by_fold, self.folds.pairs, strict=True)
        ]
        return like(torch.stack(parts), self._given)

    def median_over_targets(self, metric: Metric = "pearson") -> tuple[float, float]:
        """As Brain-Score reports: the median over targets in each fold, then mean and standard error over folds.

        Returns:
            NaN for the error with one fold; NaN for both where a fold has no target with a score.
        """
        values = np.asarray(self.fold_scores(metric))
        medians = np.array([np.median(known) if len(known := row[~np.isnan(row)]) else np.nan for row in values])
        error = medians.std(ddof=1) / len(medians) ** 0.5 if len(medians) > 1 else np.nan
        return float(medians.mean()), float(error)

    def _scored(self, metric: str, guesses: Tensor, truth: Tensor) -> Tensor:
        without = guesses.isnan().all(0)
        return SCORES[metric](guesses, truth).masked_fill(without, torch.nan)


def regress(x: Array, y: Array, method: Method | object, folds: FoldsLike = 5, *, seed: int = 0) -> Regression:
    """Predict y from x for stimuli that no part of the fit has seen.

    Args:
        x: (stimuli, features), finite.
        y: (stimuli, targets), or (stimuli,) for one. NaN where a response is not known: `Ridge` and `Ols` leave such
            stimuli out for that target alone; methods whose targets depend on each other refuse them. Targets that are
            constant over all stimuli have no fit, with a warning that counts them.
        method: `Ridge()`, `Pls()`, `Ols()`, or any regressor or pipeline of scikit-learn. Whatever it scales, selects
            or chooses, it does so in each fold with the training stimuli alone.
        folds: A number of K folds, `Folds` (by group, stratified, Brain-Score's), or pairs (train, test). Stimuli that
            are nearly alike (views of one object, frames of a film) belong into one group, or scores are too good.
        seed: Of the folds, where a number is given. Estimators have a seed of their own.

    Returns:
        See `Regression`.

    Raises:
        DataError: Rows do not fit, features are not finite, targets are unknown to a method that needs them, or the
            method is none.
    """
    fit = cross_validated(x, y, method, folds, seed=seed)
    if isinstance(fit.method, Ridge) and len(fit.method.alphas) > 1 and fit.alphas is not None:
        alphas = np.asarray(fit.alphas)
        smallest, largest = (int((alphas == end).sum()) for end in (min(fit.method.alphas), max(fit.method.alphas)))
        warn_of_ends(smallest, largest, alphas.size, "regress, targets times folds")
    return fit


def cross_validated(x: Array, y: Array, method: Method | object, folds: FoldsLike, *, seed: int = 0) -> Regression:
    """What `regress` gives, without a word on the ends of the grid of alphas."""
    features, targets = matrix(x, "regress, features"), matrix(y, "regress, targets")
    require_pair(features, targets, "regress")
    used, split = as_method(method), as_folds(folds, len(features), seed=seed)
    if not used.each_alone and bool(targets.isnan().any()):
        raise DataError(
            f"regress: {int(targets.isnan().any(0).sum())} targets are not known for all stimuli, and {used!r} fits "
            "all targets together. Leave them out, or take Ridge() or Ols()."
        )
    inputs, outputs = as_float(features), as_float(targets)
    by_fold = [np.full((len(test), outputs.shape[1]), np.nan, inputs.dtype) for _, test in split.pairs]
    alphas = np.full((len(split), outputs.shape[1]), np.nan)
    for rows, columns in known_groups(targets.cpu(), "regress"):
        known, group = rows.numpy(), columns.numpy()
        split.within(known)  # refuses folds that leave too little
        for number, (train, test) in enumerate(split.pairs):
            fit_to = np.intersect1d(train, known, assume_unique=True)
            wanted = outputs[np.ix_(fit_to, group)]
            found, chosen = used.fit_predict(inputs[fit_to], wanted, inputs[test])
            by_fold[number][:, group] = found
            if chosen is not None:
                alphas[number, group] = chosen
    total = np.zeros(outputs.shape)
    times = np.zeros((len(outputs), 1))
    for guesses, (_, test) in zip(by_fold, split.pairs, strict=True):
        total[test] += guesses
        times[test] += 1
    mean = torch.from_numpy(np.divide(total, times, out=np.full(total.shape, np.nan), where=times > 0))
    mean = mean.to(targets.dtype).reshape(tuple(y.shape)).to(targets.device)
    return Regression(
        like(mean, y),
        like(torch.from_numpy(alphas), y) if np.isfinite(alphas).any() else None,
        split,
        used,
        tuple(torch.from_numpy(guesses) for guesses in by_fold),
        targets.cpu(),
        y,
    )
