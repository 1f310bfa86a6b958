"""How well single neurons are predicted from each layer of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, MinLen
from numpy.typing import NDArray
from pydantic import AfterValidator
from torch import Tensor

from cotrain.analysis import layer_depths, normalised, regress, split_half_reliability
from cotrain.config import Config, NotIdentity
from cotrain.data import Data
from cotrain.evaluations._epochs import Epochs
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features
from cotrain.evaluations._recorded_neurons import FoldKind, Recorded, recorded_neurons
from cotrain.evaluations._regression_methods import MethodConfig, RidgeConfig, method_of
from cotrain.evaluations._regression_rows import Held, LayerRegression, NeuronRegression, layer_rows
from cotrain.evaluations._robustness import each_once
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel

Metric = Literal["pearson", "explained_variance", "r2"]
Correlations = Literal["r/sqrt(ceiling)", "r|r|/ceiling"]


class NeuralRegressionConfig(Config):
    """Prediction of each neuron from each layer: of neural tasks fitted on training images, of files in folds."""

    kind: ClassVar[str] = "cotrain.evaluations.neural_regression"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    method: MethodConfig = RidgeConfig()
    components: Annotated[int, Ge(1)] | None = None
    """Principal components that are regressed on, of the fitted images alone; none: all features."""
    reduce: Reduce = ""  # what is kept of each layer's features as images pass; "": all
    epochs: Epochs = ("best",)  # whose weights: also "initial", before training, and "kept" during it
    tasks: tuple[str, ...] = ()  # neural tasks, by name; none: all
    split: Literal["validation", "test"] = "test"  # whose images are scored; validation: to choose layers by
    folds: Literal["splits", "k_fold", "group", "stratified", "brain_score"] = "splits"
    """splits: fitted on the run's training images; the others: within the images of `split`, by folds that never part
    copies of an image (k_fold) or images of one object (group), or hold objects in equal shares."""
    fit_images: Annotated[int, Ge(3)] | None = None  # of "splits": the first so many of each session; none: all
    parts: Annotated[int, Ge(2)] = 5  # folds, or splits of "brain_score", which has 10
    objects: str = ""  # the classification that labels the images of tasks for folds; "": the only one
    files: tuple[StimulusFileConfig, ...] = ()  # with responses
    file_folds: FoldKind = "k_fold"  # those other than k_fold need labels
    shown_as: str = ""  # of files: the model's task whose image size and normalisation are used; "": its first
    metrics: Annotated[tuple[Metric, ...], MinLen(1), AfterValidator(each_once)] = ("pearson", "explained_variance")
    normalise: Correlations = "r/sqrt(ceiling)"  # of correlations; the other metrics are divided by the ceiling
    least_ceiling: Annotated[float, Gt(0)] = 0.1  # neurons with a smaller one have no normalised score
    halvings: Annotated[int, Ge(1)] = 20  # of repeats, for the ceiling
    draws: Annotated[int, Ge(2)] = 1000  # of the bootstrap over neurons
    seed: Annotated[int, Ge(0)] = 0  # of folds, halvings, bootstrap and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # images at once
    workers: Annotated[int, Ge(1), NotIdentity()] = 1  # layers that are fitted at once, each of which is in memory


def neural_regression(
    model: MultiTaskModel,
    data: Data,
    config: NeuralRegressionConfig,
    *,
    device: torch.device,  # noqa: ARG001 features are computed where the model is
    seed: int = 0,  # noqa: ARG001 what is random is the same for all runs
) -> list[LayerRegression | NeuronRegression]:
    """Predict each neuron of each session from each layer; empty for data without neurons.

    Images pass once; a layer's features lie in a temporary file until it is its turn. The test split enters no fit
    unless `folds` says that folds are made within it.

    Args:
        model: On `device`; it is left as it was.
        data: Those that it was trained on.
        config: What is fitted and scored.
        device: Where features are computed, in float32; fits are made on the CPU.
        seed: Not used.

    Returns:
        The rows of layers, by target, session, area, metric and layer; then those of neurons.

    Raises:
        ModelError: There is no such layer.
        DataError: A file is not as the config says, or there are too few stimuli or labels for the folds.
    """
    sessions = recorded_neurons(
        model, data, tasks=config.tasks, split=config.split, fit_images=config.fit_images, folds=config.folds,
        files=config.files, file_folds=config.file_folds, parts=config.parts, objects=config.objects,
        shown_as=config.shown_as, seed=config.seed,
    )  # fmt: skip
    formulas: dict[str, str] = {
        metric: config.normalise if metric == "pearson" else "ev/ceiling" for metric in config.metrics
    }
    neurons: list[NeuronRegression] = []
    known: dict[tuple[str, str], Held] = {}
    for recorded in sessions:
        rows, known[recorded.target, recorded.session] = _of_session(model, recorded, config, formulas)
        neurons += rows
    layers = layer_rows(neurons, known, formulas, draws=config.draws, seed=config.seed)
    return [*layers, *neurons]


@dataclass(frozen=True)
class _Fit:
    """What a layer came to: {metric: (neurons,)}, {metric: (folds, neurons)}, and an alpha a neuron."""

    scores: dict[str, Tensor]
    by_fold: dict[str, NDArray[np.float64]]
    alphas: Tensor


def _of_session(
    model: MultiTaskModel, recorded: Recorded, config: NeuralRegressionConfig, formulas: dict[str, str]
) -> tuple[list[NeuronRegression], Held]:
    depths = layer_depths(model, recorded.images, list(config.layers), task=recorded.shown_as)
    ceiling = torch.full((recorded.responses.shape[1],), torch.nan, dtype=torch.float64)
    if recorded.trials is not None:
        ceiling = split_half_reliability(recorded.trials, halvings=config.halvings, seed=config.seed)
    counts = recorded.responses[torch.from_numpy(recorded.scored)].isfinite().sum(0).tolist()
    rows: list[NeuronRegression] = []
    by_fold: dict[tuple[str, int], NDArray[np.float64]] = {}
    with layer_features(
        model, recorded.images, config.layers,
        shown_as=recorded.shown_as, reduce=config.reduce, seed=config.seed, batch=config.batch_size,
    ) as features:  # fmt: skip
        fits = _each(features, lambda held: _fit(held, recorded, config), config.workers)
        for place, (layer, fit) in enumerate(fits):
            for metric, formula in formulas.items():
                by_fold[metric, place] = fit.by_fold[metric]
                scores = fit.scores[metric]
                divided = normalised(scores, ceiling, formula, least=config.least_ceiling)
                rows += [
                    NeuronRegression(
                        recorded.target, recorded.session, metric, place, neuron, layer, depths[layer],
                        recorded.areas[neuron], recorded.subjects[neuron], float(scores[neuron]),
                        float(ceiling[neuron]), float(divided[neuron]), float(fit.alphas[neuron]), counts[neuron],
                    )
                    for neuron in range(len(scores))
                ]  # fmt: skip
    fewest = min(len(train) for train, _ in recorded.folds.pairs)
    return rows, Held(fewest, len(recorded.scored), recorded.folds.name, by_fold)


def _fit(features: Tensor, recorded: Recorded, config: NeuralRegressionConfig) -> _Fit:
    method = method_of(config.method, config.components)
    neurons = recorded.responses.shape[1]
    columns = torch.arange(neurons)
    if not method.each_alone:  # what is not known of one neuron would be missing for all
        columns = (~recorded.responses.isnan().any(0)).nonzero().flatten()
    by_fold: dict[str, NDArray[np.float64]] = {}
    scores: dict[str, Tensor] = {}
    for metric in config.metrics:
        by_fold[metric] = np.full((len(recorded.folds), neurons), np.nan)
        scores[metric] = torch.full((neurons,), torch.nan, dtype=torch.float64)
    alphas = torch.full((neurons,), torch.nan, dtype=torch.float64)
    if len(columns):
        found = regress(features, recorded.responses[:, columns], method, recorded.folds)
        for metric in config.metrics:
            scores[metric][columns] = found.scores(metric)
            by_fold[metric][:, columns.numpy()] = found.fold_scores(metric).numpy()
        if found.alphas is not None:
            alphas[columns] = found.alphas.nanquantile(0.5, 0)
    return _Fit(scores, by_fold, alphas)


def _each(
    features: Iterable[tuple[str, Tensor]], fit: Callable[[Tensor], _Fit], workers: int
) -> Iterator[tuple[str, _Fit]]:
    """Fits in the order of the layers, so many at once; each with as many threads as one alone would have."""
    if workers == 1:
        yield from ((layer, fit(held)) for layer, held in features)
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)) as pool:
        yield from pool.map(lambda named: (named[0], fit(named[1])), features)
