"""Images of classes that a run's layers are asked about: of its classifications, and of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.config import Config
from cotrain.data import Data, Images, image_facts
from cotrain.errors import DataError, did_you_mean
from cotrain.evaluations._layer_features import task_shown
from cotrain.evaluations._stimulus_file import StimulusFileConfig, read_stimuli, require_own_names
from cotrain.models import MultiTaskModel
from cotrain.resolve import build


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
    labelled: Config | None = None,
    seed: int = 0,
) -> Iterator[LabelledImages]:
    """Those of each classification, then those of each file.

    Args:
        model: That is shown them.
        data: Of the run.
        tasks: Classifications, by name; none: all.
        split: Whose images.
        files: With labels.
        shown_as: Of files and `labelled`: the model's task whose image size and normalisation are used; "": its first.
        of_class: The first so many images of each class; None: all.
        what: What needs the labels of files, in words.
        labelled: Data whose classifications are taken in place of those of the run's own. Images of which the run's
            own data hold the same pixels in another split are refused.
        seed: With which they are split.

    Raises:
        DataError: A file is not as its config says, has no labels, or two have one name; or `labelled` data have no
            such classification, images of another shape, or images of another split of the run.
    """
    asked = data if labelled is None else _other_data(labelled, data, tasks, split, seed)
    require_own_names(files, asked, "sets of images")
    for task, sessions in asked.splits[split].items():
        if asked.info.tasks[task].kind != "classification" or (tasks and task not in tasks):
            continue
        shown = task_shown(model, task, shown_as)
        shapes = asked.info.tasks[task].image_shape, data.info.tasks[shown].image_shape
        if labelled is not None and shapes[0] != shapes[1]:
            raise DataError(
                f"labelled: images of {task!r} are {shapes[0]}, those that the run saw {shapes[1]} (channels, height, "
                "width). Give the data the same size and colours."
            )
        for session, source in sessions.items():
            chosen = source.subset(torch.from_numpy(_first_of_each(source.targets.cpu().numpy(), of_class)))
            labels = chosen.targets.cpu().numpy()
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


def _other_data(config: Config, own: Data, tasks: Sequence[str], split: str, seed: int) -> Data:
    """Data all of whose classifications that are asked for are there, on images that are held out."""
    found: Data = build(config, seed=seed)
    known = [name for name, task in found.info.tasks.items() if task.kind == "classification"]
    if not known:
        raise DataError("labelled: these data have no classification. Name data with one, or leave `labelled` out.")
    for task in tasks:
        if task not in known:
            raise DataError(f"labelled: these data have no classification {task!r}.{did_you_mean(task, known)}")
    seen = _digests(own, [name for name in own.splits if name != split], own.info.tasks)
    if twice := len(seen & _digests(found, [split], tasks or known)):
        raise DataError(
            f"labelled: {twice} of the {split} images are in another split of the data that the run was trained on, so "
            "that it may have learnt them. Split both data alike."
        )
    return found


def _digests(data: Data, splits: Iterable[str], tasks: Iterable[str]) -> set[bytes]:
    """What tells the pixels of all images of these splits and tasks."""
    sources = [source for split in splits for task in tasks for source in data.splits[split].get(task, {}).values()]
    return {digest.tobytes() for source in sources for digest in image_facts(source.images).digests}


def _first_of_each(labels: NDArray[np.generic], count: int | None) -> NDArray[np.int64]:
    """Rows of the first so many of each label, in order."""
    if count is None:
        return np.arange(len(labels))
    rows = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(rows))
