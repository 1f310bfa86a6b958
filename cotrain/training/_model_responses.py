"""Data whose "neurons" are a trained network: units of a layer (oracle control), or its predicted responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from tqdm import tqdm

from cotrain.chains import RunOfConfig, RunReference
from cotrain.config import Config
from cotrain.data import Data, Source, assemble, neural_targets, prepared
from cotrain.errors import DataError, did_you_mean
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig, build
from cotrain.seeds import derive_seed
from cotrain.tasks import SPLITS, TaskInfo
from cotrain.training._device import pick_device
from cotrain.training._needed import finished_folder
from cotrain.training._run import RunResult, load

BATCH = 256
CANDIDATES = 4  # units looked at for each that is wanted, since some never vary


class TeacherResponsesConfig(Config):
    """Data with a further neural task, whose "neurons" are units of a layer of a trained network.

    With a teacher that is good at what the student is to learn this is the oracle control: the gain that perfect
    neural data could bring.
    """

    kind: ClassVar[str] = "cotrain.training.teacher_responses"
    data: AnyConfig
    shown: str  # the task of these data whose images the teacher sees
    run: RunReference  # the teacher's finished run: `run_of(its experiment)`, or its key; it lies in COTRAIN_HOME
    layer: str  # module path in the teacher's backbone
    seen_as: str = ""  # the teacher's task whose image and batch norm statistics are used; empty: its first
    task: str = "teacher"  # name of the new task
    neurons: Annotated[int, Ge(1)] = 100  # units drawn at random from those that vary over the training images
    noise: Literal["none", "gaussian", "poisson"] = "none"
    noise_level: Annotated[float, Gt(0)] = 1.0
    """gaussian: the noise's standard deviation in units of each neuron's own over training images; poisson: the mean
    count of each neuron over training images, after its smallest activity was subtracted."""
    repeats: Annotated[int, Ge(1)] = 1  # noisy responses to each image
    standardise: bool = True  # z-score each neuron with mean and standard deviation of the training images


class PredictedResponsesConfig(Config):
    """Data with a further neural task: what a trained neural model predicts for their images.

    So pictures without recordings, for example a large labelled set, get responses of every neuron.
    """

    kind: ClassVar[str] = "cotrain.training.predicted_responses"
    data: AnyConfig
    shown: str  # the task of these data whose images the model sees
    run: RunReference  # the model's finished run: `run_of(its experiment)`, or its key; it lies in COTRAIN_HOME
    predicted: str  # the model's neural task
    sessions: tuple[str, ...] = ()  # of that task; none: all
    task: str = "predicted"  # name of the new task


def teacher_responses(config: TeacherResponsesConfig, *, seed: int) -> Data:
    """Build `config.data`, show the images of a task to the teacher, and add its units' responses as a task.

    Which units, and the noise, come from the seed's `noise` child.

    Raises:
        DataError: The run is not there, a task is unknown, or too few units of the layer vary.
    """
    data = build(config.data, seed=seed)
    shown = shown_sources(data, config.shown, config.task)
    teacher = _finished_run(config.run, seed)
    seen_as = config.seen_as or next(iter(teacher.info.tasks))
    info, model = teacher.info.task(seen_as), teacher.model
    device = _device(model)

    def features(images: Tensor) -> Tensor:
        return model.features(_as_seen(images, info).to(device), seen_as, [config.layer])[config.layer].flatten(1)

    units = features(shown["train"].images[torch.arange(1)]).shape[1]
    tried = torch.randperm(units, generator=_generator(seed, "units"))[: CANDIDATES * config.neurons]
    activity = {
        split: _over_images(source, lambda images: features(images)[:, tried.to(device)], f"teacher, {split}")
        for split, source in shown.items()
    }
    train = activity["train"].double()
    spread = train.std(0, correction=0)
    varying = (spread > 1e-6 * train.abs().amax(0)).nonzero().flatten()[: config.neurons]
    if len(varying) < config.neurons:
        raise DataError(
            f"teacher_responses: {len(varying)} of {len(tried)} tried units of {config.layer!r} (it has {units}) vary "
            f"over the training images, fewer than the {config.neurons} that are wanted. Ask for fewer."
        )
    lowest, mean, spread = train.amin(0)[varying], train.mean(0)[varying], spread[varying]

    def responses(split: str) -> Tensor:
        generator = _generator(seed, "responses", split)
        clean = activity[split][:, None, varying].double().expand(-1, config.repeats, -1)
        if config.noise == "gaussian":
            noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
            return clean + noise * spread * config.noise_level
        if config.noise == "poisson":
            rates = (clean - lowest).clamp_min(0) / (mean - lowest) * config.noise_level
            return torch.poisson(rates, generator=generator)
        return clean

    parts = {split: responses(split).float() for split in SPLITS}
    together = torch.cat(list(parts.values())).numpy()  # training comes first
    targets, trials = neural_targets(
        together if config.repeats > 1 else together[:, 0],
        torch.arange(len(parts["train"])),
        standardise=config.standardise,
        where=f"task {config.task}",
    )
    unit = {"none": "activity", "gaussian": "activity with noise", "poisson": "counts"}[config.noise]
    whole = Source(
        "neural",
        torch.empty(len(targets), 1, 0, 0, dtype=torch.uint8),  # each split keeps its own
        targets,
        repeats=trials,
        unit=unit + ", z-scored" * config.standardise,
        neuron_metadata={"unit": tuple(tried[varying].double().tolist())},
    )
    rows = dict(zip(SPLITS, torch.arange(len(targets)).split([len(part) for part in parts.values()]), strict=True))
    return with_task(
        data,
        config.task,
        {split: {"": replace(whole.subset(row), images=shown[split].images)} for split, row in rows.items()},
    )


def predicted_responses(config: PredictedResponsesConfig, *, seed: int) -> Data:
    """Build `config.data`, show the images of a task to the model, and add what it predicts as a task.

    Raises:
        DataError: The run is not there, its task is not neural, or a task or session is unknown.
    """
    data = build(config.data, seed=seed)
    shown = shown_sources(data, config.shown, config.task)
    run = _finished_run(config.run, seed)
    info = run.info.task(config.predicted)
    if info.kind != "neural":
        raise DataError(f"predicted_responses: {config.predicted!r} is of kind {info.kind}; name a neural task.")
    for name in config.sessions:
        if name not in info.sessions:
            raise DataError(f"The run has no session {name!r}.{did_you_mean(name, list(info.sessions))}")
    sessions = list(config.sessions) or list(info.sessions)
    device = _device(run.model)

    def answers(images: Tensor) -> Tensor:
        found = run.model.together(_as_seen(images, info).to(device), [(config.predicted, name) for name in sessions])
        return torch.cat([found[config.predicted, name] for name in sessions], 1)

    added: dict[str, dict[str, Source]] = {}
    for split, source in shown.items():
        together = _over_images(source, answers, f"predicting, {split}")
        parts = together.split([info.sessions[name].neurons for name in sessions], 1)
        added[split] = {
            name: Source(
                "neural",
                source.images,
                part.clone(),
                unit=f"{info.sessions[name].unit}, predicted",
                neuron_metadata=info.sessions[name].neuron_metadata,
            )
            for name, part in zip(sessions, parts, strict=True)
        }
    return with_task(data, config.task, added)


def shown_sources(data: Data, task: str, new: str) -> dict[str, Source]:
    """The sources of a task without sessions, one a split; a new task that is there already is refused."""
    if new in data.info.tasks:
        raise DataError(f"The data have a task {new!r} already. Give the new one another name.")
    if task not in data.info.tasks:
        raise DataError(f"The data have no task {task!r} to be shown.{did_you_mean(task, list(data.info.tasks))}")
    sessions = list(data.info.tasks[task].sessions)
    if len(sessions) > 1:
        raise DataError(f"The task {task!r} has {len(sessions)} sessions; the images shown must be of one set.")
    return {split: data.splits[split][task][sessions[0]] for split in SPLITS}


def _finished_run(reference: str | RunOfConfig, seed: int) -> RunResult:
    return load(finished_folder(reference, seed=seed).path)


def _device(model: MultiTaskModel) -> torch.device:
    device = pick_device("auto")
    model.to(device)
    return device


def _as_seen(images: Tensor, info: TaskInfo) -> Tensor:
    """Images in the size and colours of those that a model was trained on."""
    channels, height, width = info.image_shape
    return prepared(images, channels, (height, width))


@torch.no_grad()
def _over_images(source: Source, answer: Callable[[Tensor], Tensor], text: str) -> Tensor:
    """float32 (images, values) of all images, on the CPU."""
    pieces = -(-len(source) // BATCH)
    bar = tqdm(source.images.split(BATCH), total=pieces, desc=text, disable=None, delay=2, leave=False)
    return torch.cat([answer(images).float().cpu() for images in bar])


def with_task(data: Data, task: str, added: Mapping[str, Mapping[str, Source]]) -> Data:
    return assemble({split: {**held, task: added[split]} for split, held in data.splits.items()})


def _generator(seed: int, *path: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "noise", "teacher", *path))
