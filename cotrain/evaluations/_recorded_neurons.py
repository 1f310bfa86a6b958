"""Neurons that are predicted from layers: their responses, the images, and which images are held out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis import Folds, brain_score_splits, given_folds, group_k_fold, k_fold, stratified_k_fold
from cotrain.data import Data, Images, Source, image_facts, joined_images
from cotrain.errors import DataError
from cotrain.evaluations._labels import classification_of, labels_of
from cotrain.evaluations._layer_features import task_shown
from cotrain.evaluations._robustness import first_images
from cotrain.evaluations._stimulus_file import StimulusFileConfig, read_stimuli, require_own_names
from cotrain.models import MultiTaskModel

log = logging.getLogger(__name__)

FoldKind = Literal["k_fold", "group", "stratified", "brain_score"]
SUBJECT = ("subject", "animal")  # names by which recordings have it


@dataclass(frozen=True)
class Recorded:
    """The neurons of one session.

    Args:
        target: A task, or a file's name.
        session: "" of tasks without any, and of files.
        shown_as: The model's task whose normalisation images have.
        images: What is shown: of "splits" those that are fitted, then those that are scored.
        responses: float64 (stimuli, neurons), means over repeats; NaN where one is not known.
        trials: (stimuli, repeats, neurons) of the scored stimuli; NaN where a repeat is missing; None: not known.
        areas, subjects: Of each neuron; "" where they are not known.
        folds: Which stimuli are fitted, and which scored.
    """

    target: str
    session: str
    shown_as: str
    images: Images
    responses: Tensor
    trials: Tensor | None
    areas: tuple[str, ...]
    subjects: tuple[str, ...]
    folds: Folds

    @property
    def scored(self) -> NDArray[np.int64]:
        """Positions of the stimuli that some fold scores."""
        return np.unique(np.concatenate([test for _, test in self.folds.pairs]))


def recorded_neurons(
    model: MultiTaskModel,
    data: Data,
    *,
    tasks: Sequence[str],
    split: Literal["validation", "test"],
    fit_images: int | None,
    folds: Literal["splits"] | FoldKind,
    files: Sequence[StimulusFileConfig],
    file_folds: FoldKind,
    parts: int,
    objects: str,
    shown_as: str,
    seed: int,
) -> Iterator[Recorded]:
    """The sessions of neural tasks, in the order of the data, then those of files.

    Args:
        model: Whose tasks normalise images.
        data: The run's.
        tasks: Names of neural tasks; none: all.
        split: Whose images are scored.
        fit_images: Of the training images, the first so many of each session; None: all.
        folds: Of tasks; "splits": one, fitted on the training images.
        files: Further responses, with their images.
        file_folds: Of files.
        parts: How many folds, or splits of "brain_score".
        objects: The classification that labels the images of tasks; "": the only one.
        shown_as: As for `task_shown`.
        seed: Of folds.

    Raises:
        DataError: Labels that folds need are missing, or there are too few stimuli; a file is not as it says, or has
            the name of a task.
    """
    require_own_names(files, data, "recordings")
    for task, sessions in data.splits[split].items():
        if data.info.tasks[task].kind != "neural" or (tasks and task not in tasks):
            continue
        shown = task_shown(model, task, shown_as)
        for session, source in sessions.items():
            where = f"{task}/{session}" if session else task
            if folds == "splits":
                fitted = first_images(data.splits["train"][task][session], fit_images)
                yield _of_splits(task, session, shown, fitted, source, split)
                continue
            labels = None
            if folds != "k_fold":
                labels = _task_labels(source.images, data, split, objects, where, folds)
            held = _folds(folds, source.images, labels, parts, where, seed)
            yield _of_source(task, session, shown, source, held)
    for file in files:
        if not file.responses:
            raise DataError(f"The file {file.name!r}: neural regression needs its array `responses`.")
        shown = task_shown(model, "", shown_as)
        read = read_stimuli(file, data.info.tasks[shown].image_shape)
        assert read.responses is not None
        if file_folds != "k_fold" and read.labels is None:
            raise DataError(f"The file {file.name!r}: folds of kind {file_folds!r} need its array `labels`.")
        held = _folds(file_folds, read.images, read.labels, parts, file.name, seed)
        neurons = read.responses.shape[2]
        nameless = ("",) * neurons
        yield Recorded(
            file.name, "", shown, read.images, read.responses.nanmean(1), _trials(read.responses, held),
            nameless if read.areas is None else tuple(read.areas.tolist()),
            nameless if read.subjects is None else tuple(read.subjects.tolist()),
            held,
        )  # fmt: skip


def _of_splits(task: str, session: str, shown_as: str, fitted: Source, scored: Source, split: str) -> Recorded:
    count, more = len(fitted), len(scored)
    folds = given_folds(
        [(np.arange(count), np.arange(count, count + more))], count + more, name=f"fitted on train, scored on {split}"
    )
    responses = torch.cat([fitted.targets.cpu(), scored.targets.cpu()]).double()
    return Recorded(
        task, session, shown_as, joined_images([fitted.images, scored.images]), responses,
        None if scored.repeats is None else scored.repeats.cpu(), *_metadata(scored), folds,
    )  # fmt: skip


def _of_source(task: str, session: str, shown_as: str, source: Source, folds: Folds) -> Recorded:
    trials = None if source.repeats is None else _trials(source.repeats.cpu(), folds)
    return Recorded(
        task, session, shown_as, source.images, source.targets.cpu().double(), trials, *_metadata(source), folds
    )


def _trials(trials: Tensor, folds: Folds) -> Tensor | None:
    """Those of stimuli that some fold scores; None where no neuron has a second response to a stimulus."""
    scored = np.unique(np.concatenate([test for _, test in folds.pairs]))
    held = trials[torch.from_numpy(scored)]
    return held if int((~held.isnan()).sum(1).max()) > 1 else None


def _metadata(source: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Area and subject of each neuron."""
    held = source.neuron_metadata
    nameless = ("",) * source.targets.shape[1]
    subject = next((held[name] for name in SUBJECT if name in held), nameless)
    return tuple(map(str, held.get("area", nameless))), tuple(map(str, subject))


def _task_labels(images: Images, data: Data, split: str, objects: str, where: str, kind: str) -> NDArray[np.str_]:
    labelled = classification_of(data, objects)
    if labelled is None:
        raise DataError(
            f"{where}: folds of kind {kind!r} need labels of the images, and the data have no classification."
        )
    labels = labels_of(images, data.splits[split][labelled])
    if without := int((labels == "").sum()):
        raise DataError(
            f"{where}: {without} of {len(labels)} {split} images have no label in {labelled!r}, which folds of kind "
            f"{kind!r} need. Take folds: k_fold."
        )
    return labels


def _folds(kind: FoldKind, images: Images, labels: NDArray[np.str_] | None, parts: int, where: str, seed: int) -> Folds:
    """Copies of an image are never on both sides, but for "stratified" and "brain_score", which know only labels."""
    copies = np.unique(image_facts(images).digests, axis=0, return_inverse=True)[1].ravel()
    doubles = len(copies) - int(copies.max(initial=-1)) - 1
    try:
        if kind == "k_fold":
            return k_fold(len(copies), parts, seed=seed) if not doubles else group_k_fold(copies, parts, seed=seed)
        assert labels is not None
        if kind == "group":
            return group_k_fold(labels, parts, seed=seed)
        if doubles:
            log.warning(
                "%s: %d images are exact copies of others, and folds of kind %r may fit one and score the other.",
                where, doubles, kind,
            )  # fmt: skip
        if kind == "stratified":
            return stratified_k_fold(labels, parts, seed=seed)
        return brain_score_splits(labels, splits=parts)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
