"""Scores of a model on one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cotrain.data import Source
from cotrain.dissimilarity import group_means
from cotrain.metrics import classification_scores, manifold_scores, neural_scores, neuron_correlations, rdm_scores
from cotrain.models import MultiTaskModel
from cotrain.training._sinks import Score

BATCH = 256


@torch.no_grad()
def predict(model: MultiTaskModel, source: Source, task: str, session: str, device: torch.device) -> Any:
    """The outputs for all stimuli of a source, in evaluation mode, on the CPU.

    Returns:
        What the model gives, a tensor or, of a task with several taps, a tuple of tensors, as float32. Of a source
        whose stimuli are in groups, the mean of each group, as float64.
    """
    was_training = model.training
    model.eval()
    outputs = [_layers(model(images.to(device), task, session)) for images in source.images.split(BATCH)]
    model.train(was_training)
    layers = [torch.cat(batches) for batches in zip(*outputs, strict=True)]
    if source.groups is not None:
        layers = [group_means(layer, source.groups.cpu(), len(source.targets)) for layer in layers]
    return layers[0] if len(layers) == 1 else tuple(layers)


def _layers(output: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [layer.float().cpu() for layer in ([output] if isinstance(output, Tensor) else output)]


@torch.no_grad()
def evaluate(
    model: MultiTaskModel,
    split: str,
    tasks: Mapping[str, Mapping[str, Source]],
    *,
    epoch: int,
    device: torch.device,
) -> list[Score]:
    """All scores of one split.

    Args:
        model: Evaluated as it stands, in evaluation mode.
        split: Its name, for the scores.
        tasks: {task: {session: source}} of that split.
        epoch: For the scores.
        device: Where the model is.

    Returns:
        For each task its unweighted loss and its metrics. A neural or RDM task has them for each session with a name.
        Under the session "" the loss is the mean over sessions, and so are the metrics of an RDM task; those of a
        neural task are over the neurons of all sessions.
    """
    was_training = model.training
    model.eval()  # for the objectives: some draw random numbers in training
    scores = [
        Score(epoch, task, session, split, metric, value)
        for task, sessions in tasks.items()
        for session, metric, value in _task_scores(model, task, sessions, device)
    ]
    model.train(was_training)
    return scores


def _task_scores(
    model: MultiTaskModel, task: str, sessions: Mapping[str, Source], device: torch.device
) -> Iterator[tuple[str, str, float]]:
    objective = model.objectives[task]
    losses, correlations, geometry = [], [], dict[str, list[float]]()
    for session, source in sessions.items():
        output, targets = predict(model, source, task, session, device), source.targets.cpu()
        losses.append(float(objective.loss(output, targets, session)))  # type: ignore[operator]
        own: list[tuple[str, float]] = []
        if source.kind == "classification":
            yield from (("", name, value) for name, value in classification_scores(output, targets))
        elif source.kind == "manifolds":
            yield from (("", name, value) for name, value in manifold_scores(output, targets))
        elif source.kind == "neural":
            correlations.append(neuron_correlations(output, targets))
            own = list(neural_scores(correlations[-1]))
        elif source.kind == "rdm":
            own = list(rdm_scores(objective.rdm(output), targets))  # type: ignore[operator]
            for name, value in own:
                geometry.setdefault(name, []).append(value)
        if session and own:
            yield from ((session, name, value) for name, value in [("loss", losses[-1]), *own])
    yield "", "loss", sum(losses) / len(losses)
    yield from (("", name, sum(values) / len(values)) for name, values in geometry.items())
    if correlations:
        yield from (("", name, value) for name, value in neural_scores(torch.cat(correlations)))
