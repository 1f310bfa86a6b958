"""How well each single neuron is predicted, and how well it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge

from cotrain.config import Config
from cotrain.data import Data
from cotrain.metrics import fraction_explained, neuron_correlations, split_half_reliability
from cotrain.models import MultiTaskModel
from cotrain.training import predict


class NeuronScoresConfig(Config):
    """Scores of each neuron of all neural tasks on the test split."""

    kind: ClassVar[str] = "cotrain.evaluations.neuron_scores"
    halvings: Annotated[int, Ge(1)] = 20  # random halvings of the repeats that the reliability is averaged over


@dataclass(frozen=True)
class NeuronScore:
    """Scores of one neuron; NaN where one is undefined, as those of repeats where there are none.

    Args:
        task, session: Whose neuron.
        neuron: Its place in the session, counted from 0.
        correlation: Pearson r of prediction and response (mean over repeats) over stimuli, -1 to 1.
        reliability: Of the mean over repeats, at most 1; `correlation` is bounded by its square root.
        explainable: Share of the variance of single responses that stimuli explain.
        explained: Share of that share which the prediction explains; 1 at best, 0 of the mean, negative of worse.
        mean_response: Over stimuli, in the units of the session's targets.
    """

    task: str
    session: str
    neuron: int
    correlation: float
    reliability: float
    explainable: float
    explained: float
    mean_response: float


def neuron_scores(
    model: MultiTaskModel, data: Data, config: NeuronScoresConfig, *, device: torch.device, seed: int
) -> list[NeuronScore]:
    """Score each neuron of each session; empty for data without a neural task.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        device: Where predictions are computed, in float32.
        seed: Of the halvings.
    """
    found = []
    for task, sessions in data.splits["test"].items():
        for session, source in sessions.items():
            if source.kind != "neural" or task not in model.objectives:
                continue
            output, targets = predict(model, source, task, session, device), source.targets.cpu()
            unknown = torch.full((targets.shape[1],), torch.nan, dtype=torch.float64)
            reliability, explainable, explained = unknown, unknown, unknown
            if source.repeats is not None:
                trials = source.repeats.cpu()
                reliability = split_half_reliability(trials, halvings=config.halvings, seed=seed)
                explainable, explained = fraction_explained(output, trials)
            columns = (
                neuron_correlations(output, targets),
                reliability,
                explainable,
                explained,
                targets.double().nanmean(0),
            )
            rows = zip(*(column.tolist() for column in columns), strict=True)
            found += [NeuronScore(task, session, neuron, *values) for neuron, values in enumerate(rows)]
    return found
