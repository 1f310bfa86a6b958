"""The co-trained model: one backbone, and for each task a tap, a head and an objective."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import MinLen
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import ModelError, did_you_mean
from cotrain.models._backbone import Places, input_channels, pass_to, places, tapped
from cotrain.models._batch_norm import activate, freeze_norms, per_task, task_norms
from cotrain.models._compiled import CompiledPasses, require_compiler, write_pass
from cotrain.models._heads import Head, LayerHeads
from cotrain.models._small_cnn import SmallCnnConfig
from cotrain.models._taps import resolve_tap
from cotrain.resolve import AnyConfig, build, resolve
from cotrain.seeds import derive_seed
from cotrain.tasks import DataInfo, TaskConfig, TaskInfo


class SharedBackboneConfig(Config):
    """One backbone for all tasks; tasks of the data that are not named here are refused."""

    kind: ClassVar[str] = "cotrain.models.shared_backbone"
    tasks: Annotated[tuple[TaskConfig, ...], MinLen(1)]
    backbone: AnyConfig = SmallCnnConfig()
    batch_norm: Literal["per_task", "shared", "frozen"] = "per_task"
    """Whose statistics normalise; gains and biases are shared. `frozen`: loaded ones, with fixed gains and biases."""


class ImageInput(nn.Module):
    """uint8 pixels, or floats in 0..1, to what the backbone takes: zero mean and unit variance a channel of the image,
    then the backbone's number of channels.

    Mean and standard deviation are those of the task's training images; they belong to the model, so that it can be
    shown any image later without the data.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, task: TaskInfo, channels: int) -> None:
        super().__init__()
        self.image_channels, self.channels = task.image_shape[0], channels
        self.register_buffer("mean", torch.tensor(task.image_mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(task.image_std).view(-1, 1, 1))

    def forward(
        self, images: Float[Tensor, "images channels height width"] | Tensor
    ) -> Float[Tensor, "images backbone_channels height width"]:
        """Normalised images; grey ones are repeated for a colour backbone, the channels of colour ones averaged for a
        grey one."""
        if images.ndim != 4 or images.shape[1] != self.image_channels:
            raise ModelError(
                f"Expected images ({self.image_channels} channels) as (images, channels, height, width), found "
                f"{tuple(images.shape)}."
            )
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        elif not images.is_floating_point():
            raise ModelError(f"Expected images as uint8, or as floats in 0..1, found {images.dtype}.")
        images = (images - self.mean) / self.std
        if self.image_channels == self.channels:
            return images
        return images.mean(1, keepdim=True) if self.channels == 1 else images.expand(-1, self.channels, -1, -1)


class MultiTaskModel(nn.Module):
    """Answers for one task or for several; it holds parameters and nothing else.

    Args:
        backbone: The shared trunk.
        taps: {task: module paths in the backbone}; the head of a task with several takes a tuple of features.
        inputs, heads, objectives: {task: module}.
        heads_anew: {task: function that makes its head, with the first weights that torch's generator then gives}.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: dict[str, tuple[str, ...]],
        inputs: dict[str, ImageInput],
        heads: dict[str, Head],
        objectives: dict[str, nn.Module],
        heads_anew: Mapping[str, Callable[[], Head]] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.taps = backbone, taps
        self.inputs, self.heads = nn.ModuleDict(inputs), nn.ModuleDict(heads)
        self.objectives = nn.ModuleDict(objectives)
        self._heads_anew = dict(heads_anew or {})
        self._norms = task_norms(backbone)  # found once: a walk over all modules in each pass would cost
        self._passes: CompiledPasses | None = None
        self._images_channels_last = False
        self._places: dict[tuple[str, ...], Places] = {}  # of taps that were looked up

    def forward(self, images: Tensor, task: str, session: str = "") -> Tensor | tuple[Tensor, ...]:
        """The output of one task; no layer of the backbone after the task's last tap is computed.

        Args:
            images: uint8, or float in 0..1: (images, channels, height, width).
            task: Its name.
            session: Of a neural task.

        Returns:
            Class scores (images, classes), responses (images, neurons), or features (stimuli, features); of a task
            with several taps a tuple, one a tap.
        """
        self._check(task)
        return self._answer(self.features(images, task, self.taps[task]), task, session)

    def features(self, images: Tensor, task: str, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of layers of the backbone.

        Args:
            images: As in `forward`.
            task: Whose normalisation of images and batch norm statistics are used.
            layers: Module paths in the backbone.

        Returns:
            {layer: features}.
        """
        self._check(task)
        activate(self._norms, task)
        try:  # a context manager would cost in each pass
            images = self.inputs[task](images)
            if self._images_channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            taps = tuple(layers)
            training = self._passes is not None and self.backbone.training and torch.is_grad_enabled()
            if training and taps == self.taps[task]:
                assert self._passes is not None
                return self._passes(self.backbone, images, taps, task if self._norms else "")
            if (known := self._places.get(taps)) is None:
                known = self._places[taps] = places(self.backbone, taps)
            return pass_to(self.backbone, images, known)
        except ModelError as error:
            raise _named(f"Task {task!r}", error) from None

    def pass_backbone(self, images: Tensor, task: str) -> Any:
        """What the backbone gives at its end, every layer computed: for hooks that look at many.

        Args:
            images: As in `forward`.
            task: Whose normalisation of images and batch norm statistics are used.
        """
        self._check(task)
        activate(self._norms, task)
        with _naming(f"Task {task!r}"):
            images = self.inputs[task](images)
        return self.backbone(
            images.contiguous(memory_format=torch.channels_last) if self._images_channels_last else images
        )

    def compile_backbone(self, *, backend: str | Callable[..., Any] = "inductor") -> None:
        """From now on passes of training up to a task's taps are compiled, each when it is first needed.

        Evaluation, other layers and heads stay as they are, since a compiled function is for one shape of images. A
        pass is compiled for each choice of taps, and for each task where batch norm has statistics a task. A new shape
        of images, a new mode of a layer or a new hook is compiled anew, 8 times at most; what comes after that is
        warned of and runs uncompiled. Names of the state do not change. A copy of the model compiles for itself.
        Dropout draws other numbers than uncompiled.

        Args:
            backend: As `torch.compile` takes it.

        Raises:
            ModelError: The machine has no compiler, or the backbone cannot be compiled.
        """
        if backend == "inductor":
            require_compiler(next(self.backbone.parameters()).device)
        for task, taps in self.taps.items():
            with _naming(f"Task {task!r}"):
                write_pass(self.backbone, taps)
        self._passes = CompiledPasses(backend)

    def use_channels_last(self) -> None:
        """From now on convolutions of the backbone work on memory in the order height, width, channels, which GPUs and
        many CPUs are faster at; shapes stay, and results change by rounding alone.

        A state loads from and into models of either order.
        """
        self.backbone.to(memory_format=torch.channels_last)
        self._images_channels_last = True

    def together(self, images: Tensor, tasks: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        """The outputs of several tasks for the same images, with one pass through the backbone.

        Args:
            images: As in `forward`; normalised, throughout the backbone, as those of the first task.
            tasks: (task, session) pairs.

        Returns:
            {(task, session): output, as `forward` gives it}.
        """
        if not tasks:
            raise ModelError("Name at least one (task, session) to be answered.")
        for task, _ in tasks:
            self._check(task)
        features = self.features(images, tasks[0][0], [tap for task, _ in tasks for tap in self.taps[task]])
        return {(task, session): self._answer(features, task, session) for task, session in tasks}

    def fresh_head(self, task: str, *, seed: int) -> Head:
        """A head as the task's own was before training, with first weights drawn from `seed`, on the CPU.

        Raises:
            ModelError: There is no such task, or the model was not made by a builder that tells how.
        """
        self._check(task)
        if task not in self._heads_anew:
            raise ModelError(
                f"The model was not told how the head of task {task!r} is made, so it cannot make another."
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._heads_anew[task]()

    def _answer(self, features: dict[str, Tensor], task: str, session: str) -> Tensor | tuple[Tensor, ...]:
        layers = tuple(features[tap] for tap in self.taps[task])
        try:
            return self.heads[task](layers if len(layers) > 1 else layers[0], session)  # type: ignore[no-any-return]
        except ModelError as error:
            where = f"Task {task!r}, session {session!r}" if session else f"Task {task!r}"
            raise _named(where, error) from None

    def _check(self, task: str) -> None:
        if task not in self.taps:
            raise ModelError(f"The model has no task {task!r}.{did_you_mean(task, list(self.taps))}")


def shared_backbone(info: DataInfo, config: SharedBackboneConfig, *, seed: int) -> MultiTaskModel:
    """Build the model for the data that `info` describes.

    The backbone and each head get an initialisation of their own from the seed, so that a single-task baseline and
    the co-trained model start from the same backbone.

    Raises:
        ModelError: A task, tap, head or objective does not fit the data, or a task of the data is left out.
    """
    names = [task.name for task in config.tasks]
    if set(names) != set(info.tasks) or len(set(names)) < len(names):
        raise ModelError(
            f"The model's tasks must be those of the data, each once: the data have {', '.join(info.tasks)}; the model "
            f"names {', '.join(names)}."
        )
    with torch.random.fork_rng(devices=[]):
        generator = torch.default_generator  # torch.manual_seed would also seed the caller's GPUs
        generator.manual_seed(derive_seed(seed, "initialisation", "backbone"))
        backbone: nn.Module = build(config.backbone)
        for module in backbone.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010 - it would overwrite the features of a tap just before it
        if config.batch_norm == "per_task":
            per_task(backbone, names)
        elif config.batch_norm == "frozen":
            freeze_norms(backbone)
        channels = input_channels(backbone)
        inputs = {name: ImageInput(info.tasks[name], channels) for name in names}
        heads, objectives, taps = {}, {}, dict[str, tuple[str, ...]]()
        anew = dict[str, Callable[[], Head]]()
        for task in config.tasks:
            known = info.task(task.name)
            _require_builders(task)
            with _naming(f"Task {task.name!r}"):
                taps[task.name] = _layers(backbone, (channels, *known.image_shape[1:]), task)
            shapes = [_feature_shape(backbone, inputs[task.name], known, task.name, tap) for tap in taps[task.name]]
            generator.manual_seed(derive_seed(seed, "initialisation", "head", task.name))
            with _naming(f"Task {task.name!r}, tap {', '.join(map(repr, taps[task.name]))}"):
                anew[task.name] = functools.partial(_head, task, known, shapes)
                heads[task.name] = head = anew[task.name]()
            layers = {"layers": len(shapes)} if _combines_layers(task) else {}
            with _naming(f"Task {task.name!r}"):
                objectives[task.name] = objective = build(task.objective, known, **layers)
            if objective.needs_positive_output and not head.positive_output:
                raise ModelError(
                    f"Task {task.name!r}: {task.objective.kind} needs positive predictions; give the head "
                    "output='elu' or 'softplus'."
                )
    return MultiTaskModel(backbone, taps, inputs, heads, objectives, anew)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say in errors where they arose; what raises them knows its own part only."""
    try:
        yield
    except ModelError as error:
        raise _named(where, error) from None


def _named(where: str, error: ModelError) -> ModelError:
    return ModelError(f"{where}: {error}")


def _head(task: TaskConfig, known: TaskInfo, shapes: Sequence[tuple[int, ...]]) -> Head:
    """A task's head, one for each of the shapes of features at its taps."""
    built: list[Head] = [build(task.head, known, features=shape) for shape in shapes]
    return built[0] if len(built) == 1 else LayerHeads(built)


def _require_builders(task: TaskConfig) -> None:
    """Head and objective are both configs of any builder; exchanged, they would fail far from here."""
    for config, is_head in ((task.head, True), (task.objective, False)):
        if ("features" in inspect.signature(resolve(config.kind)).parameters) != is_head:
            field = "head" if is_head else "objective"
            raise ModelError(f"Task {task.name!r}: {config.kind} is no {field}; look at the field {field!r} again.")


def _combines_layers(task: TaskConfig) -> bool:
    """Whether the objective takes the output of several layers, and so is told of how many."""
    return "layers" in inspect.signature(resolve(task.objective.kind)).parameters


def _layers(backbone: nn.Module, image_shape: tuple[int, ...], task: TaskConfig) -> tuple[str, ...]:
    """The module paths of a task's taps."""
    if len(task.taps) > 1 and not _combines_layers(task):
        raise ModelError(
            f"{task.objective.kind} takes the output of one layer, found the taps "
            f"{', '.join(task.taps)}. Give the task one, or an objective that combines layers, as "
            "cotrain.losses.rdm_match does."
        )
    found = tuple(resolve_tap(backbone, tap, image_shape) for tap in task.taps)
    if len(set(found)) < len(found):
        named = ", ".join(f"{tap} is {path}" for tap, path in zip(task.taps, found, strict=True))
        raise ModelError(f"two taps lead to one layer ({named}). Name each layer once.")
    return found


def _feature_shape(backbone: nn.Module, entry: ImageInput, info: TaskInfo, task: str, tap: str) -> tuple[int, ...]:
    """Shape of one image's features at the tap, tried out on an empty image."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad(), _naming(f"Task {task!r}"):
            features = tapped(backbone, entry(torch.zeros(1, *info.image_shape)), [tap])[tap]
    except (RuntimeError, AssertionError, ValueError) as error:  # a ViT asserts the size of its images
        raise ModelError(
            f"Task {task!r}: images of {info.image_shape} do not pass through the backbone up to {tap!r}: "
            f"{error}{' Set the image_size of the backbone.' if isinstance(error, AssertionError) else ''}"
        ) from None
    finally:
        backbone.train(was_training)
    if features.ndim < 2:
        raise ModelError(f"Task {task!r}: the tap {tap!r} gives no features (images, channels, ...).")
    return tuple(features.shape[1:])
