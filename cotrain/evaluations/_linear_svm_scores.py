"""How well classes can be read out of a run's layers by a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge

from cotrain.analysis import linear_svm_score
from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import Data
from cotrain.errors import DataError
from cotrain.evaluations._labelled_images import LabelledImages, labelled_images
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features
from cotrain.evaluations._recording_noise import RecordingNoiseConfig, recording_noise
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig


class LinearSvmScoresConfig(Config):
    """Accuracy of linear support vector machines on features of layers, trained and tested with held-out images."""

    kind: ClassVar[str] = "cotrain.evaluations.linear_svm_scores"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    variant: Literal["nested", "published", "grid_search"] = "nested"
    """nested: each image is tested once, C is chosen within the training images; published, grid_search: as in the
    tables of neural finetuning, see `cotrain.analysis.linear_svm_score`."""
    splits: Annotated[int, Ge(1)] | None = None  # none: 10, of "nested" 5 folds
    subsets: Annotated[int, Ge(1)] = 10  # of features, of "published"
    subset_features: Annotated[int, Ge(1)] | None = 168  # in each; none: all features, once
    tasks: tuple[str, ...] = ()  # classifications, by name; none: all
    split: Literal["validation", "test"] = "test"  # whose images, both to train and to test the machines
    of_class: Annotated[int, Ge(2)] | None = 40  # the first so many images of each class; none: all
    files: tuple[StimulusFileConfig, ...] = ()  # with labels; with responses too, where there is noise
    noise: RecordingNoiseConfig | None = None  # of files: given to features, in the units of their responses
    shown_as: str = ""  # of files and `labelled`: the model's task as whose images theirs are normalised; "": its first
    reduce: Reduce = "average_pool"  # what is kept of each layer's features; "": all, which may take very long
    seed: Annotated[int, Ge(0)] = 0  # of splits, subsets, noise and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # images at once
    labelled: Annotated[AnyConfig | None, AddedLater(neutral=None)] = None
    """Data whose classifications are taken in place of those of the run's own, which a run that was finetuned on an RDM
    alone lacks; split with the seed of the run. None: the run's own data."""


@dataclass(frozen=True)
class LayerSvm:
    """Accuracy of a linear readout of a layer; NaN where it is undefined.

    Args:
        target: A classification, or a file's name.
        session: "" of tasks without any, and of files.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        svm: Accuracy, 0 to 1.
        svm_spread: Standard deviation over splits, which share images: no standard error.
        svm_low, svm_high: Interval of 95 % over images, of "nested"; NaN of the others.
        chance: Of the most frequent class.
        objects, images: How many classes, and images of all.
        unfinished: Share of fits that had not converged when their rounds were over.
    """

    target: str
    session: str
    layer_place: int
    layer: str
    svm: float
    svm_spread: float
    svm_low: float
    svm_high: float
    chance: float
    objects: int
    images: int
    unfinished: float


def linear_svm_scores(
    model: MultiTaskModel,
    data: Data,
    config: LinearSvmScoresConfig,
    *,
    device: torch.device,  # noqa: ARG001 features are computed where the model is
    seed: int = 0,
) -> list[LayerSvm]:
    """Score each layer with the images of each classification and file; empty for data of the run without any.

    With `labelled`, runs of one seed are asked with the same images and folds whatever they learnt: a run and what was
    finetuned from it can be compared in pairs. Images of which the run's own data hold the same pixels in another split
    than `split` are refused.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where features are computed, in float32; machines are trained on the CPU.
        seed: The run's, with which `labelled` data are split; all else that is random is the same for all runs.

    Raises:
        ModelError: There is no such layer.
        DataError: A class has too few images, a layer fewer features than a subset, a file is not as the config
            says, or `labelled` data have no such classification, images of another shape, or images of another split
            of the run.
    """
    found = []
    for held in _labelled(model, data, config, seed):
        with layer_features(
            model, held.images, config.layers,
            shown_as=held.shown_as, reduce=config.reduce, seed=config.seed, batch=config.batch_size,
        ) as features:  # fmt: skip
            for place, (layer, values) in enumerate(features):
                score = linear_svm_score(
                    values, held.labels, variant=config.variant, splits=config.splits, subsets=config.subsets,
                    subset_features=config.subset_features, responses=None if config.noise is None else held.responses,
                    noise=recording_noise(config.noise), seed=config.seed,
                )  # fmt: skip
                found.append(
                    LayerSvm(
                        held.name, held.session, place, layer, score.mean, score.spread, score.low, score.high,
                        score.chance, len(np.unique(held.labels)), len(held.labels), score.unfinished / score.fits,
                    )
                )  # fmt: skip
    return found


def _labelled(model: MultiTaskModel, data: Data, config: LinearSvmScoresConfig, seed: int) -> Iterator[LabelledImages]:
    if config.noise is not None and not config.files:
        raise DataError("noise: it is matched to the responses of files, and no file is given. Leave it out.")
    for file in config.files:
        if config.noise is not None and not (file.labels and file.responses):
            raise DataError(
                f"The file {file.name!r}: linear SVM scores need its array `labels` and, for noise, `responses`."
            )
    found = labelled_images(
        model, data, tasks=config.tasks, split=config.split, files=config.files, shown_as=config.shown_as,
        of_class=config.of_class, what="linear SVM scores", labelled=config.labelled, seed=seed,
    )  # fmt: skip
    for held in found:
        if config.noise is None or held.responses is not None:  # noise is matched to responses, which tasks lack
            yield held
