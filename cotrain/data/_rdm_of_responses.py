"""RDM targets from the responses of any data: recordings, arrays, simulations, or a teacher's layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cotrain.config import Config
from cotrain.data._image_match import matching_rows
from cotrain.data._mean_rdm import mean_rdm, spread_of
from cotrain.data._source import Data, Source, assemble, require_tasks
from cotrain.dissimilarity import Dissimilarity, Whitening, stored_rdm
from cotrain.errors import DataError
from cotrain.resolve import AnyConfig, build
from cotrain.tasks import SPLITS

log = logging.getLogger(__name__)

MOST_ROWS = 10_000  # of an RDM: 0.4 GB, and some 5 GB while it is made in float64


class RdmOfResponsesConfig(Config):
    """Data with a further RDM task: the dissimilarities of the responses of one of their neural tasks."""

    kind: ClassVar[str] = "cotrain.data.rdm_of_responses"
    data: AnyConfig
    task: str  # a neural task of these data
    name: str  # of the new RDM task
    dissimilarity: Dissimilarity | Literal["crossnobis"] = "correlation"  # as in cotrain.dissimilarity
    whitening: Whitening = "diagonal"  # of crossnobis
    subjects: Literal["each", "mean", "joint"] = "each"
    """each: an RDM a session, and a session of the new task; mean: one, the mean over sessions, each RDM divided by
    its standard deviation over pairs first; joint: one, of the neurons of all sessions side by side."""
    groups_of: str = ""  # a classification of the same images: the RDM is among the mean responses of its classes
    keep: bool = True  # keep the neural task too


def rdm_of_responses(config: RdmOfResponsesConfig, *, seed: int) -> Data:
    """Build `config.data` and add the RDM of a neural task's responses, in each split that of its own stimuli.

    Responses count in the units that the data give them: standardised ones (z-scored with training images) give
    each neuron the same say. So "squared_euclidean" is in squared standard deviations, mean over neurons, and
    "crossnobis" in units of the noise variance of a single repeat (of groups: of their means in one). It takes the
    repeats of each split, as many as all its stimuli have; all others take the mean over repeats. Sessions share one
    RDM ("mean", "joint") only where they show the same images, in any order.

    With `groups_of` the rows of the RDM are classes, in the order of their labels, which are taken from the images
    with the same pixels; such a task needs balanced batches (`MixingConfig.balanced`).

    Raises:
        DataError: A task is unknown, of another kind, or there already; responses or repeats are missing; sessions do
            not show the same images; an image has no class or a class has no image in some split; an RDM is
            constant, or has more than 10,000 rows.
    """
    data: Data = build(config.data, seed=seed)
    _check_tasks(data, config)
    classes: dict[str, Tensor] = {}  # of each session, as training has them
    splits: dict[str, Mapping[str, Mapping[str, Source]]] = {}
    for split in SPLITS:  # training first
        held: dict[str, Mapping[str, Source]] = dict(data.splits[split])
        parts = _parts(held[config.task], config, f"{split}/{config.task}")
        if config.groups_of:
            labelled = next(iter(held[config.groups_of].values()))
            parts = [_grouped(part, labelled, classes, config.groups_of) for part in parts]
        if not config.keep:
            del held[config.task]
        splits[split] = {**held, config.name: _rdms(parts, config, f"{split}/{config.task}")}
    return assemble(splits)


@dataclass(frozen=True)
class _Part:
    """Responses that one RDM is made of.

    Args:
        session: Of the new task.
        where: Named in errors.
        shown: Whose images these are responses to.
        values: float64 (stimuli or groups, neurons), or (repeats, stimuli or groups, neurons) for "crossnobis".
        groups: Of the stimuli, where rows are groups.
    """

    session: str
    where: str
    shown: Source
    values: Tensor
    groups: Tensor | None = None


def _check_tasks(data: Data, config: RdmOfResponsesConfig) -> None:
    tasks = data.info.tasks
    for name, kind in ((config.task, "neural"), (config.groups_of, "classification")):
        if not name:
            continue
        require_tasks(data, (name,))
        if tasks[name].kind != kind:
            raise DataError(f"rdm_of_responses: {name!r} is of kind {tasks[name].kind}; name a {kind} task.")
    if config.name in tasks:
        raise DataError(f"The data have a task {config.name!r} already. Give the new one another name.")


def _parts(sessions: Mapping[str, Source], config: RdmOfResponsesConfig, where: str) -> list[_Part]:
    """One a session, or one of all; those that become one RDM have their stimuli in the order of the first."""
    parts = []
    for name, source in sessions.items():
        place = f"{where}/{name}" if name else where
        read = _repeats if config.dissimilarity == "crossnobis" else _means
        parts.append(_Part(name, place, source, read(source, place)))
    if config.subjects == "each":
        return parts
    first = parts[0]
    for number, part in enumerate(parts[1:], 1):
        if len(part.shown) != len(first.shown):
            raise DataError(
                f"{part.where} shows {len(part.shown)} images, {first.where} {len(first.shown)}. One RDM of several "
                "sessions needs the same images in all of them; use subjects='each'."
            )
        rows = matching_rows(first.shown, part.shown, f"Images of {first.where} in {part.where}")
        parts[number] = replace(part, shown=first.shown, values=part.values[..., rows, :])
    if config.subjects == "mean":
        return parts
    if config.dissimilarity == "crossnobis":
        fewest = min(len(part.values) for part in parts)
        parts = [replace(part, values=part.values[:fewest]) for part in parts]
    return [_Part("", where, first.shown, torch.cat([part.values for part in parts], -1))]


def _means(source: Source, where: str) -> Tensor:
    """(stimuli, neurons), the mean over repeats."""
    missing = torch.isnan(source.targets)
    if bool(missing.any()):
        raise DataError(
            f"{where}: an RDM needs the response of every neuron to every stimulus; {int(missing.sum())} of "
            f"{missing.numel()} are missing (NaN): of {int(missing.any(0).sum())} neurons and "
            f"{int(missing.any(1).sum())} stimuli. Leave these neurons, these stimuli or the session out."
        )
    return source.targets.double()


def _repeats(source: Source, where: str) -> Tensor:
    """(repeats, stimuli, neurons): as many as all stimuli have, the first ones of each."""
    _means(source, where)
    if source.repeats is None:
        raise DataError(
            f"{where}: crossnobis needs repeats of each stimulus, the data hold one response only. Use another "
            "dissimilarity."
        )
    known = ~torch.isnan(source.repeats).any(2)
    counts = known.sum(1)
    fewest = int(counts.min())
    if fewest < 2:
        raise DataError(
            f"{where}: crossnobis needs 2 repeats of each stimulus or more; {int((counts < 2).sum())} of "
            f"{len(counts)} stimuli have fewer in which all neurons were recorded. Leave them out, or use another "
            "dissimilarity."
        )
    if int(counts.max()) > fewest:
        log.info("%s: crossnobis takes %d repeats, which all stimuli have, of up to %d.", where, fewest, counts.max())
    order = known.byte().argsort(dim=1, descending=True, stable=True)[:, :fewest]  # known ones, in their order
    return source.repeats[torch.arange(len(order))[:, None], order].double().transpose(0, 1)


def _grouped(part: _Part, labelled: Source, classes: dict[str, Tensor], task: str) -> _Part:
    """Mean responses to the images of each class; the first call for a session says which classes it has."""
    rows = matching_rows(part.shown, labelled, f"Images of {part.where} among those of {task!r}")
    found, groups = labelled.targets[rows].unique(return_inverse=True)
    expected = classes.setdefault(part.session, found)
    if other := sorted(set(found.tolist()) ^ set(expected.tolist())):
        names = ", ".join(labelled.class_names[label] for label in other[:10])
        raise DataError(
            f"{part.where}: not the classes of {task!r} that training has; the difference: {names}. Each class needs "
            "images in every split: give this one a larger share, or leave classes out."
        )
    sums = part.values.new_zeros(*part.values.shape[:-2], len(found), part.values.shape[-1])
    means = sums.index_add(-2, groups, part.values) / groups.bincount()[:, None]
    return replace(part, values=means, groups=groups)


def _rdms(parts: list[_Part], config: RdmOfResponsesConfig, where: str) -> dict[str, Source]:
    """{session: source} of the new task."""
    made = {}
    for part in parts:
        if (count := part.values.shape[-2]) > MOST_ROWS:
            raise DataError(
                f"{part.where}: an RDM among {count} stimuli would take {count**2 * 4 / 1e9:.1f} GB, far more while it "
                f"is made; {MOST_ROWS} is the limit. Take fewer images, or the RDM among classes: `groups_of`."
            )
        matrix = stored_rdm(part.values, config.dissimilarity, whitening=config.whitening)
        if len(matrix) > 2:  # fewer are refused where all sources are checked
            spread_of(matrix, part.where)
        made[part.session] = Source("rdm", part.shown.images, matrix, groups=part.groups)
    if config.subjects != "mean":
        return made
    first = next(iter(made.values()))
    return {"": replace(first, targets=mean_rdm(torch.stack([source.targets for source in made.values()]), where))}
