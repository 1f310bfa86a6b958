"""The layer that predicts a neuron or an area best, chosen with some stimuli and scored with others.

The best of many scores is too good by chance: of layers that know nothing about a neuron, the best one scores above 0.
What these functions give back holds no score of the stimuli, or of the split, that chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cotrain.analysis._arrays import Array, matrix
from cotrain.analysis._folds import Folds, FoldsLike, as_folds, given_folds
from cotrain.analysis._held_out_scores import Metric, require_metric
from cotrain.analysis._known_rows import require_pair
from cotrain.analysis._regress import cross_validated
from cotrain.analysis._regression_methods import Method
from cotrain.analysis._score_tables import require_columns, require_neurons_once
from cotrain.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

SMALLER_IS_BETTER = ("mse",)


@dataclass(frozen=True)
class LayerSelection:
    """Layers that `select_layers` chose, with their scores for stimuli that did not choose.

    Args:
        chosen: (folds, targets) names; "" where the training stimuli gave no score.
        fold_scores: float64 (folds, targets), of each fold's held-out stimuli, by the chosen layer; NaN without one.
        layers: All that could be chosen.
        folds: Whose training stimuli chose and whose held-out stimuli are scored.
        metric: Of choice and score.
    """

    chosen: NDArray[np.str_] = field(repr=False)
    fold_scores: NDArray[np.float64] = field(repr=False)
    layers: tuple[str, ...]
    folds: Folds
    metric: str

    @property
    def scores(self) -> NDArray[np.float64]:
        """(targets,): means over folds; NaN where a fold has none."""
        found: NDArray[np.float64] = self.fold_scores.mean(0)
        return found

    @property
    def shares(self) -> dict[str, float]:
        """{layer: share of targets and folds that chose it}."""
        return {layer: float((self.chosen == layer).mean()) for layer in self.layers}


def select_layers(
    features: Mapping[str, Array],
    y: Array,
    method: Method | object,
    folds: FoldsLike = 2,
    *,
    areas: ArrayLike | None = None,
    inner: FoldsLike = 5,
    metric: Metric = "pearson",
    seed: int = 0,
) -> LayerSelection:
    """Choose a layer with the training stimuli of each fold, and score it with those that the fold holds out.

    In each fold all layers are fitted and scored by cross-validation among its training stimuli; the best one is then
    fitted to all of these and predicts the held-out ones. Two folds are the halves of the stimuli, each in turn.

    It is not enough to choose by one half of the held-out predictions of a single cross-validation and to report the
    other half: each half's predictions were fitted to responses of the other, so that chance favours the same layer
    in both.

    Args:
        features: {layer: (stimuli, features)}, finite.
        y: (stimuli, targets); NaN as the method takes them.
        method: As of `regress`.
        folds: Halves, or other folds, of stimuli; a number is that of seeded folds.
        areas: (targets,), one value a target: all with the same value are given the same layer, that with the best
            median over them. None: each target its own.
        inner: Folds among training stimuli: a number, or folds of all stimuli, of which each is cut to these. Where
            stimuli come in groups, both `folds` and `inner` must keep them together.
        metric: By which layers are chosen and scored, of `regress`.
        seed: Of folds that are given as numbers.

    Raises:
        DataError: There are no layers, rows or targets do not fit, or as `regress`.
    """
    require_metric(metric, "select_layers")
    if not features:
        raise DataError("select_layers: there are no layers; give {layer: features}.")
    targets = matrix(y, "select_layers, targets").cpu()
    held = {name: matrix(one, f"select_layers, features of {name!r}").cpu() for name, one in features.items()}
    for name, one in held.items():
        require_pair(one, targets, f"select_layers, {name!r}")
    count = targets.shape[1]
    groups = np.arange(count) if areas is None else np.asarray(areas)
    if groups.shape != (count,):
        raise DataError(f"select_layers: areas have shape {groups.shape}; give one value a target, ({count},).")
    member = np.unique(groups, return_inverse=True)[1]
    outer, layers = as_folds(folds, len(targets), seed=seed), tuple(held)
    places = np.full((len(outer), count), -1)
    scores = np.full((len(outer), count), np.nan)
    for number, (train, test) in enumerate(outer.pairs):
        parts = _inner(inner, len(targets), train, seed)
        rows = torch.from_numpy(train)
        found = [cross_validated(one[rows], targets[rows], method, parts).scores(metric) for one in held.values()]
        places[number] = _best(torch.stack(found).numpy(), member, metric)
        split = given_folds([(train, test)], len(targets))
        for place in np.unique(places[number][places[number] >= 0]):
            of = np.flatnonzero(places[number] == place)
            fit = cross_validated(held[layers[place]], targets[:, torch.from_numpy(of)], method, split)
            scores[number, of] = fit.scores(metric).numpy()
    names = np.array([*layers, ""])  # the last one where no layer has a score
    return LayerSelection(names[places], scores, layers, outer, metric)


def chosen_layers(
    scores: pd.DataFrame,
    *,
    selection: str,
    report: str,
    per: Sequence[str] = ("area",),
    split: str = "split",
) -> pd.DataFrame:
    """Rows of a split, of those layers that another split chose: for `aggregate_scores`, in which neurons occur once.

    The layer of a group is that with the best median over neurons in the split of `selection`; of several equal ones
    the first in a pass. Splits must have been scored by fits that saw responses of neither, or of the selecting split
    alone (as those of validation and test stimuli are). For held-out scores of one cross-validation use
    `select_layers`, which says why.

    Args:
        scores: A table with the columns of `score_table`, and one that says of which split a score is.
        selection, report: Values of that column.
        per: Columns whose values make a group, beside the metric: ("area",), ("label", "area"), ("subject", "session",
            "neuron"), ...
        split: The column.

    Returns:
        The rows of `report` with the chosen layers, in the order of the table. Groups that no score chose for have
        none.

    Raises:
        DataError: Columns or splits are missing, both splits are the same by name or by their scores, a neuron occurs
            twice in a layer of a group, or a chosen layer is not scored in `report`.
    """
    per = [per] if isinstance(per, str) else list(per)
    require_columns(scores, "chosen_layers", others=[split, *per])
    if selection == report:
        raise DataError(f"chosen_layers: the split {selection!r} cannot both choose and be reported; name another.")
    known = list(dict.fromkeys(scores[split]))
    for name in (selection, report):
        if name not in known:
            raise DataError(
                f"chosen_layers: there is no split {name!r}.{did_you_mean(str(name), [str(one) for one in known])}"
            )
    keys = list(dict.fromkeys([*per, "metric"]))
    require_neurons_once(scores, list(dict.fromkeys([*keys, "layer", split])), "chosen_layers")
    choosing, reported = scores[scores[split] == selection], scores[scores[split] == report]
    _require_other_scores(choosing, reported, keys)
    medians = (
        choosing.groupby([*keys, "layer_place", "layer"], sort=True, dropna=False).score.median().dropna().reset_index()
    )
    smaller = medians.metric.isin(SMALLER_IS_BETTER)
    medians["merit"] = medians.score.where(~smaller, -medians.score)
    best = medians.loc[medians.groupby(keys, sort=False, dropna=False).merit.idxmax(), [*keys, "layer"]]
    found = reported.merge(best, on=[*keys, "layer"], how="inner")
    lost = best.merge(found[[*keys, "layer"]].drop_duplicates(), how="left", indicator=True)
    lost = lost[lost._merge == "left_only"].drop(columns="_merge")
    if len(lost):
        raise DataError(
            f"chosen_layers: split {report!r} has no scores of the chosen layer of {len(lost)} groups, first "
            f"{lost.iloc[0].to_dict()}."
        )
    return found[list(scores.columns)]


def _inner(inner: FoldsLike, stimuli: int, train: NDArray[np.int64], seed: int) -> Folds:
    """Among the training stimuli, by their place in these."""
    if isinstance(inner, int):
        return as_folds(inner, len(train), seed=seed)
    return as_folds(inner, stimuli, seed=seed).within(train)


def _best(scores: NDArray[np.float64], member: NDArray[np.intp], metric: str) -> NDArray[np.int64]:
    """(targets,): place of the layer with the best median over a target's group; -1 where there is no score.

    Args:
        scores: (layers, targets).
        member: (targets,), group of each.
        metric: What the scores are.
    """
    found = np.full(len(member), -1)
    for group in range(member.max() + 1):
        of = member == group
        known = scores[:, of][:, ~np.isnan(scores[:, of]).any(0)]  # targets that all layers can be compared by
        if known.shape[1]:
            merit = np.median(known, 1)
            found[of] = (merit.argmin if metric in SMALLER_IS_BETTER else merit.argmax)()
    return found


def _require_other_scores(choosing: pd.DataFrame, reported: pd.DataFrame, keys: list[str]) -> None:
    identity: list[Any] = list(dict.fromkeys([*keys, "layer", "subject", "session", "neuron"]))
    both = choosing[[*identity, "score"]].merge(reported[[*identity, "score"]], on=identity)
    both = both.dropna()
    if len(both) and bool((both.score_x == both.score_y).all()):
        raise DataError(
            "chosen_layers: both splits hold the same scores, so that the split which chose would be reported. Score "
            "other stimuli for one of them."
        )
