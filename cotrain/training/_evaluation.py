"""Scores of a model on one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from cotrain.data import Source
from cotrain.metrics import classification_scores, manifold_scores, neural_scores, neuron_correlations, rdm_scores
from cotrain.models import MultiTaskModel
from cotrain.training._sinks import Score

BATCH = 256


@torch.no_grad()
def predict(model: MultiTaskModel, source: Source, task: str, session: str, device: torch.device) -> Tensor:
    """The outputs for all stimuli of a source, in evaluation mode, on the CPU."""
    was_training = model.training
    model.eval()
    outputs = [model(images.to(device), task, session).float().cpu() for images in source.images.split(BATCH)]
    model.train(was_training)
    return torch.cat(outputs)


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
        For each task its unweighted loss and its metrics. A neural task has them for each session, and under the
        session "" over the neurons of all sessions (the loss there is the mean over sessions).
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
    losses, correlations = [], []
    for session, source in sessions.items():
        output, targets = predict(model, source, task, session, device), source.targets.cpu()
        losses.append(float(objective.loss(output, targets, session)))  # type: ignore[operator]
        if source.kind == "classification":
            yield from (("", name, value) for name, value in classification_scores(output, targets))
        elif source.kind == "rdm":
            yield from (("", name, value) for name, value in rdm_scores(output, targets))
        elif source.kind == "manifolds":
            yield from (("", name, value) for name, value in manifold_scores(output, targets))
        else:
            correlations.append(neuron_correlations(output, targets))
            if session:
                yield session, "loss", losses[-1]
                yield from ((session, name, value) for name, value in neural_scores(correlations[-1]))
    yield "", "loss", sum(losses) / len(losses)
    if correlations:
        yield from (("", name, value) for name, value in neural_scores(torch.cat(correlations)))
