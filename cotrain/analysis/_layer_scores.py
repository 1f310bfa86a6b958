"""How well the layers of any network predict recorded neurons, in one tidy table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cotrain.analysis._arrays import Array
from cotrain.analysis._extract import extract
from cotrain.analysis._folds import Folds, FoldsLike, as_folds
from cotrain.analysis._held_out_scores import Metric
from cotrain.analysis._layer_depths import layer_depths
from cotrain.analysis._layers import Layers
from cotrain.analysis._reductions import Reduction
from cotrain.analysis._regress import regress
from cotrain.analysis._regression_methods import Method, Ridge
from cotrain.analysis._score_tables import score_table
from cotrain.analysis._shown_images import Prepare
from cotrain.errors import DataError
from cotrain.metrics import split_half_reliability

if TYPE_CHECKING:
    import pandas as pd


def layer_scores(
    features: Mapping[str, Array],
    responses: Array,
    *,
    method: Method | object | None = None,
    folds: FoldsLike = 5,
    selection: FoldsLike | None = None,
    metrics: Sequence[Metric] = ("pearson",),
    session: str = "",
    area: str | Sequence[str] = "",
    subject: str = "",
    depths: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """The score of each neuron from each layer, on stimuli that no part of the fit has seen.

    Pixels are features, too: `{"pixels": images.reshape(len(images), -1)}`.

    Args:
        features: {layer: (stimuli, features)} in the order of a pass, as `extract` gives them.
        responses: (stimuli, neurons), or (stimuli, repeats, neurons) with NaN where a repeat is missing: then the mean
            over repeats is predicted, and `ceiling` is the split-half reliability over the stimuli that are scored.
        method: As for `regress`; None: `Ridge()`. `PrincipalComponents(1000)` regresses on components of the fitted
            stimuli.
        folds: As for `regress`. A split that was published is one pair: `[(train, test)]`.
        selection: Scores by which layers may be chosen, before those of `folds`, which must be one pair then, are
            reported: folds among the fitted stimuli, a number or `Folds` of all stimuli, of which each is cut to these.
        metrics: That are in the table: "pearson", "explained_variance", "r2" or "mse", over all scored stimuli.
        session, subject: Of all neurons.
        area: Of all neurons, or one a neuron.
        depths: {layer: share of the network that is done}, as `layer_depths` has it; None: the share of these layers.
        seed: Of the folds, where a number is given, and of halvings.
        progress: Whether a bar over layers is shown.

    Returns:
        A row a layer, neuron and metric, with the columns of `score_table`, and `alpha`: the median over folds of
        those that ridge chose, NaN of other methods. With `selection` there are two of each, with the column `split`,
        "selection" or "report", as `chosen_layers` and `network_table` take them.

    Raises:
        DataError: Rows do not fit, there are no layers or metrics, `selection` is beside several folds, or what
            `regress` finds wrong.

    >>> x = np.random.default_rng(0).normal(size=(60, 5))
    >>> table = layer_scores({"one": x, "two": x[:, :1]}, x @ np.ones((5, 3)), metrics=["r2"])
    >>> table[["layer", "neuron", "score"]].round(2).values.tolist()[:2]
    [['one', 0, 1.0], ['one', 1, 1.0]]
    """
    import pandas as pd

    if not features or not metrics:
        raise DataError("layer_scores: give one layer and one metric or more.")
    means, trials = _responses(responses)
    split = as_folds(folds, len(means), seed=seed)
    named: dict[str, Any] = {
        "method": method, "metrics": metrics, "session": session, "area": area, "subject": subject, "depths": depths,
        "seed": seed, "progress": progress,
    }  # fmt: skip
    if selection is not None:
        if len(split) != 1:
            raise DataError(
                f"layer_scores: layers are chosen among the stimuli that one pair (train, test) fits; there are "
                f"{len(split)} folds. Give one pair, or leave selection out."
            )
        train = split.pairs[0][0]
        inner = selection if isinstance(selection, int) else as_folds(selection, len(means), seed=seed).within(train)
        choosing = layer_scores(
            {layer: values[train] for layer, values in features.items()}, responses[train], folds=inner, **named
        )
        reported = layer_scores(features, responses, folds=split, **named)
        return pd.concat([choosing.assign(split="selection"), reported.assign(split="report")], ignore_index=True)
    bound = None if trials is None else _ceiling(trials, split, seed)
    scores: dict[str, dict[str, Any]] = {metric: {} for metric in metrics}
    alphas: dict[str, Any] = {}
    for layer, values in tqdm(features.items(), desc="layers", unit="layer", disable=not progress, leave=False):
        fit = regress(torch.as_tensor(values), means, Ridge() if method is None else method, split)
        alphas[layer] = np.full(means.shape[1], np.nan) if fit.alphas is None else np.median(fit.alphas, 0)
        for metric in metrics:
            scores[metric][layer] = fit.scores(metric)
    parts = []
    for metric in metrics:
        part = score_table(scores[metric], metric=metric, session=session, area=area, subject=subject, ceiling=bound)
        parts.append(part.assign(alpha=np.concatenate(list(alphas.values()))))
    table = pd.concat(parts, ignore_index=True)
    return table if depths is None else table.assign(depth=table.layer.map(dict(depths)))


def network_scores(
    model: nn.Module,
    images: Any,
    responses: Array,
    layers: Layers = "blocks",
    *,
    reduce: Reduction | str | None = None,
    prepare: Prepare | None = None,
    task: str = "",
    batch: int = 32,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    **fit: Any,
) -> pd.DataFrame:
    """`layer_scores` of a network's layers: images pass once, and memory holds one layer's features at a time.

    Args:
        model: Any module that takes images, or a co-trained model; it is left as it was.
        images: As for `extract`, one a stimulus.
        responses: As for `layer_scores`.
        layers: As for `extract`: names, patterns, "blocks", depths.
        reduce, prepare, task, batch, device: As for `extract`. Features lie in a temporary folder, unreduced ones
            whole: `SparseProjection()` keeps it small.
        seed: Of projections, folds and halvings.
        progress: Whether bars are shown.
        fit: Other arguments of `layer_scores`.

    Returns:
        As `layer_scores`, with the depth of `layer_depths`.
    """
    with tempfile.TemporaryDirectory(prefix="cotrain-") as folder:
        found = extract(
            model, images, layers, reduce=reduce, prepare=prepare, task=task, batch=batch, device=device, seed=seed,
            spill=folder, progress=progress,
        )  # fmt: skip
        depths = layer_depths(model, images, list(found), task=task, prepare=prepare)
        return layer_scores(found, responses, depths=depths, seed=seed, progress=progress, **fit)


def _responses(responses: Array) -> tuple[Tensor, Tensor | None]:
    """float64 means over repeats (stimuli, neurons), and the repeats."""
    held = torch.as_tensor(responses).double().cpu()
    if held.ndim == 1:
        held = held[:, None]
    if held.ndim not in (2, 3):
        raise DataError(
            f"Responses must be (stimuli, neurons) or (stimuli, repeats, neurons), found {tuple(held.shape)}."
        )
    return (held, None) if held.ndim == 2 else (held.nanmean(1), held)


def _ceiling(trials: Tensor, folds: Folds, seed: int) -> Tensor:
    """Reliability of the means of the stimuli that are scored, one a neuron."""
    scored = np.unique(np.concatenate([test for _, test in folds.pairs]))
    reliability: Tensor = split_half_reliability(trials[torch.from_numpy(scored)], seed=seed)
    return reliability
