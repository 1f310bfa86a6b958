"""Images of classes that a run's layers are asked about: of its classifications, and of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.data import Data, Images
from cotrain.errors import DataError
from cotrain.evaluations._layer_features import task_shown
from cotrain.evaluations._stimulus_file import StimulusFileConfig, read_stimuli, require_own_names
from cotrain.models import MultiTaskModel


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Args:
        name: A classification, or a file's name.
        session: "" of tasks without any, and of files.
        images: uint8 (images, channels, height, width).
        shown_as: The task of the model whose normalisation they have.
        labels: (images,), whole numbers or text.
        class_names: What whole numbers stand for; empty where labels are names.
        responses: float64 (images, neurons) of a file with responses, the mean over repeats.
    """

    name: str
    session: str
    images: Images
    shown_as: str
    labels: NDArray[np.generic]
    class_names: tuple[str, ...] = ()
    responses: Tensor | None = None

    @property
    def where(self) -> str:
        """As people are told."""
        return f"{self.name}/{self.session}" if self.session else self.name

    def class_name(self, label: np.generic) -> str:
        """Of one of the labels."""
        return str(self.class_names[int(label)] if self.class_names else label)


def labelled_images(
    model: MultiTaskModel,
    data: Data,
    *,
    tasks: Sequence[str],
    split: Literal["validation", "test"],
    files: Sequence[StimulusFileConfig],
    shown_as: str,
    of_class: int | None,
    what: str,
) -> Iterator[LabelledImages]:
    """Those of each classification, then those of each file.

    Args:
        model: That is shown them.
        data: Of the run.
        tasks: Classifications, by name; none: all.
        split: Whose images.
        files: With labels.
        shown_as: Of files: the model's task whose image size and normalisation are used; "": its first.
        of_class: The first so many images of each class; None: all.
        what: What needs the labels of files, in words.

    Raises:
        DataError: A file is not as its config says, has no labels, or two have one name.
    """
    require_own_names(files, data, "sets of images")
    for task, sessions in data.splits[split].items():
        if data.info.tasks[task].kind != "classification" or (tasks and task not in tasks):
            continue
        for session, source in sessions.items():
            chosen = source.subset(torch.from_numpy(_first_of_each(source.targets.cpu().numpy(), of_class)))
            labels = chosen.targets.cpu().numpy()
            shown = task_shown(model, task, shown_as)
            yield LabelledImages(task, session, chosen.images, shown, labels, chosen.class_names)
    for file in files:
        if not file.labels:
            raise DataError(f"The file {file.name!r}: {what} need its array `labels`.")
        shown = task_shown(model, "", shown_as)
        read = read_stimuli(file, data.info.tasks[shown].image_shape)
        assert read.labels is not None
        rows = _first_of_each(read.labels, of_class)
        responses = None if read.responses is None else read.responses.nanmean(1)[rows]
        yield LabelledImages(file.name, "", read.images[rows], shown, read.labels[rows], (), responses)


def _first_of_each(labels: NDArray[np.generic], count: int | None) -> NDArray[np.int64]:
    """Rows of the first so many of each label, in order."""
    if count is None:
        return np.arange(len(labels))
    rows = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(rows))
