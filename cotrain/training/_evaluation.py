"""Scores of a model on one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cotrain.data import Source
from cotrain.dissimilarity import group_means
from cotrain.metrics import classification_scores, manifold_scores, neural_scores, neuron_correlations, rdm_scores
from cotrain.models import MultiTaskModel
from cotrain.training._ranks import ALONE, Ranks
from cotrain.training._sinks import Score

BATCH = 256

Seen = Callable[[Tensor, Tensor], Tensor]
"""What a model is shown in place of images: (images on its device, their rows in the source: int64) -> images."""


def as_they_are(images: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG001
    """Show a model the images of its source."""
    return images


@torch.no_grad()
def predict(model: MultiTaskModel, source: Source, task: str, session: str, device: torch.device) -> Any:
    """The outputs for all stimuli of a source, in evaluation mode, on the CPU.

    Returns:
        What the model gives, a tensor or, of a task with several taps, a tuple of tensors, as float32. Of a source
        whose stimuli are in groups, the mean of each group, as float64.
    """
    return _predicted(model, source, task, session, device, ALONE, as_they_are, BATCH)


def _predicted(
    model: MultiTaskModel,
    source: Source,
    task: str,
    session: str,
    device: torch.device,
    ranks: Ranks,
    seen: Seen,
    batch_size: int,
) -> Any:
    """As `predict`, each rank for its share of the stimuli; None but on the first rank."""
    was_training = model.training
    model.eval()
    images, rows = source.images, torch.arange(len(source))
    shared = ranks.several and len(source) >= ranks.world_size  # a network is not asked about no image at all
    if shared:
        part = ranks.share(len(source))
        rows = rows[part]
        images = images[part] if isinstance(images, Tensor) else images.take(rows)
    batches = zip(images.split(batch_size), rows.split(batch_size), strict=True)
    outputs = [_layers(model(seen(batch.to(device), places), task, session)) for batch, places in batches]
    model.train(was_training)
    layers = [torch.cat(batches) for batches in zip(*outputs, strict=True)]
    if shared:
        joined = [ranks.joined(layer) for layer in layers]
        layers = [layer for layer in joined if layer is not None]
    if not ranks.first:
        return None
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
    ranks: Ranks = ALONE,
    seen: Seen = as_they_are,
    batch_size: int = BATCH,
) -> list[Score]:
    """All scores of one split.

    Args:
        model: Evaluated as it stands, in evaluation mode.
        split: Its name, for the scores.
        tasks: {task: {session: source}} of that split.
        epoch: For the scores.
        device: Where the model is.
        ranks: Who shares the work; all get the first rank's scores.
        seen: What the model is shown in place of a batch of images; by default the images.
        batch_size: Images that the model is shown at once.

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
        for session, metric, value in _task_scores(model, task, sessions, device, ranks, seen, batch_size)
    ]
    model.train(was_training)
    return ranks.agreed(lambda: scores)


def _task_scores(
    model: MultiTaskModel,
    task: str,
    sessions: Mapping[str, Source],
    device: torch.device,
    ranks: Ranks,
    seen: Seen,
    batch_size: int,
) -> Iterator[tuple[str, str, float]]:
    objective = model.objectives[task]
    losses, correlations, geometry = [], [], dict[str, list[float]]()
    for session, source in sessions.items():
        output = _predicted(model, source, task, session, device, ranks, seen, batch_size)
        targets = source.targets.cpu()
        if not ranks.first:
            continue
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
    if not ranks.first:
        return
    yield "", "loss", sum(losses) / len(losses)
    yield from (("", name, sum(values) / len(values)) for name, values in geometry.items())
    if correlations:
        yield from (("", name, value) for name, value in neural_scores(torch.cat(correlations)))
