"""How alike a run's layers and a recording order objects: the SIT score."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis import sit_score
from cotrain.config import Config, NotIdentity
from cotrain.data import Data, Images
from cotrain.errors import DataError
from cotrain.evaluations._labels import classification_of, labels_of
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features, task_shown
from cotrain.evaluations._recording_noise import RecordingNoiseConfig, recording_noise
from cotrain.evaluations._stimulus_file import StimulusFileConfig, read_stimuli, require_own_names
from cotrain.models import MultiTaskModel

log = logging.getLogger(__name__)

FEWEST_OBJECTS = {"published": 3, "all_images": 6}


class SitScoresConfig(Config):
    """SIT score of layers: the RDMs among objects of features and of responses, correlated (Spearman).

    Responses are those of neural tasks whose images a classification labels, and of files with responses and labels.
    """

    kind: ClassVar[str] = "cotrain.evaluations.sit_scores"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    variant: Literal["all_images", "published"] = "all_images"
    """all_images: every image is used, and there is an interval over objects; published: the mean over draws of a share
    of each object's images (8 of 40), without an interval."""
    noise: RecordingNoiseConfig | None = None
    """Given to features, in the units of the responses; none: features as they are. Published scores have it."""
    draws: Annotated[int, Ge(1)] = 100  # of images and noise; of "all_images" without noise one is enough, and taken
    share: Annotated[float, Gt(0), Lt(1)] = 0.2  # of each object's images, of "published"
    tasks: tuple[str, ...] = ()  # neural tasks, by name; none: all
    objects: str = ""  # the classification that labels the images; "": the only one
    split: Literal["validation", "test"] = "test"
    files: tuple[StimulusFileConfig, ...] = ()  # with responses and labels
    shown_as: str = ""  # of files: the model's task whose image size and normalisation are used; "": its first
    reduce: Reduce = ""  # what is kept of each layer's features; "": all
    seed: Annotated[int, Ge(0)] = 0  # of images, noise, bootstrap and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # images at once


@dataclass(frozen=True)
class LayerSit:
    """The SIT score of a layer; NaN where it is undefined.

    Args:
        target: A neural task, or a file's name.
        session: "" of tasks without any, and of files.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        sit: Mean over draws, -1 to 1.
        sit_spread: Standard deviation over draws, which share images: no standard error.
        sit_low, sit_high: Interval of 95 % over objects; NaN of "published".
        objects, images: How many; images of each object that went into one RDM, the fewest.
        neurons: How many.
    """

    target: str
    session: str
    layer_place: int
    layer: str
    sit: float
    sit_spread: float
    sit_low: float
    sit_high: float
    objects: int
    images: int
    neurons: int


@dataclass(frozen=True)
class _Recorded:
    name: str
    session: str
    images: Images
    shown_as: str
    responses: Tensor  # (images, neurons), without NaN
    labels: NDArray[np.str_]


def sit_scores(
    model: MultiTaskModel,
    data: Data,
    config: SitScoresConfig,
    *,
    device: torch.device,  # noqa: ARG001 features are computed where the model is
    seed: int = 0,  # noqa: ARG001 what is random is the same for all runs
) -> list[LayerSit]:
    """Score each layer against each recording; empty for data without responses to labelled images.

    Images without a label are left out, and neurons that lack one of the others. So is, which is logged, a session with
    fewer than 6 objects (of "published" 3).

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is computed.
        device: Where features are computed, in float32.
        seed: Not used.

    Raises:
        ModelError: There is no such layer.
        DataError: A file is not as the config says, an object has too few images, or responses are not in the units of
            the noise.
    """
    noise = recording_noise(config.noise)
    draws = 1 if noise is None and config.variant == "all_images" else config.draws
    found = []
    for held in _recordings(model, data, config):
        objects = len(np.unique(held.labels))
        if objects < FEWEST_OBJECTS[config.variant]:
            where = f"{held.name}/{held.session}" if held.session else held.name
            log.warning("%s has no SIT score: %d objects are too few.", where, objects)
            continue
        with layer_features(
            model, held.images, config.layers,
            shown_as=held.shown_as, reduce=config.reduce, seed=config.seed, batch=config.batch_size,
        ) as features:  # fmt: skip
            for place, (layer, values) in enumerate(features):
                score = sit_score(
                    values, held.responses, objects=held.labels, variant=config.variant, draws=draws,
                    share=config.share, noise=noise, seed=config.seed,
                )  # fmt: skip
                found.append(
                    LayerSit(
                        held.name, held.session, place, layer, score.mean, score.spread, score.low, score.high,
                        objects, score.images, held.responses.shape[1],
                    )
                )  # fmt: skip
    return found


def _recordings(model: MultiTaskModel, data: Data, config: SitScoresConfig) -> Iterator[_Recorded]:
    require_own_names(config.files, data, "recordings")
    held = data.splits[config.split]
    neural = [
        task for task in held if data.info.tasks[task].kind == "neural" and (not config.tasks or task in config.tasks)
    ]
    labelled = classification_of(data, config.objects) if neural else None
    for task in neural if labelled is not None else ():
        for session, source in held[task].items():
            labels = labels_of(source.images, held[labelled or ""])
            rows = torch.from_numpy(np.flatnonzero(labels != ""))
            if len(rows):
                chosen = source.subset(rows)
                yield _recorded(
                    task, session, chosen.images, task_shown(model, task, config.shown_as),
                    chosen.targets.cpu(), labels[rows.numpy()],
                )  # fmt: skip
    for file in config.files:
        if not (file.responses and file.labels):
            raise DataError(f"The file {file.name!r}: SIT scores need its arrays `responses` and `labels`.")
        shown = task_shown(model, "", config.shown_as)
        read = read_stimuli(file, data.info.tasks[shown].image_shape)
        assert read.responses is not None
        assert read.labels is not None
        yield _recorded(file.name, "", read.images, shown, read.responses.nanmean(1), read.labels)


def _recorded(
    name: str, session: str, images: Images, shown_as: str, responses: Tensor, labels: NDArray[np.str_]
) -> _Recorded:
    missing = responses.isnan().any(0)
    if bool(missing.any()):
        log.warning("%s: %d of %d neurons lack stimuli and are left out.", name, int(missing.sum()), len(missing))
    if bool(missing.all()):
        raise DataError(f"{name}{f'/{session}' * bool(session)}: no neuron has responses to all images of the objects.")
    return _Recorded(name, session, images, shown_as, responses[:, ~missing], labels)
