"""Representation matching: what the network makes of a noisy image is to be what it makes of the clean one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from annotated_types import Gt, MinLen
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.utils.hooks import RemovableHandle

from cotrain.config import Config
from cotrain.data import Batch
from cotrain.errors import ModelError, TrainingError, did_you_mean
from cotrain.models import batch_norms, keeping_statistics
from cotrain.training._hooks import Hook, Training
from cotrain.training._precision import half_precision
from cotrain.training._sinks import Score
from cotrain.training.hooks._noise import Mixture, known_tasks, levels, noise_of

Positive = Annotated[float, Gt(0)]


class MatchRepresentationsConfig(Config):
    """The features of a batch and of a noisy view of it are pulled together, in some layers of the backbone.

    To a task's term is added `weight` times the weighted mean over layers of the distance between both views. The
    noisy view takes a second forward pass, as far as the last of the layers; it moves no batch norm statistics.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.match_representations"
    layers: Annotated[tuple[str, ...], MinLen(1)]  # module paths in the backbone, none after the tasks' last taps
    weight: Positive = 1.0
    distance: Literal["mse", "cosine"] = "mse"
    """Mean squared difference of features, or 1 - cosine of each image's flattened features, mean over images."""
    layer_weights: Literal["equal", "linear", "exponential", "learned"] | tuple[Positive, ...] = "equal"
    """Relative ones: all alike, 1, 2, 3 ..., 1, 2, 4 ..., or given ones. "learned": a softmax, equal at first; it
    leans to the layers that match most easily."""
    std: Mixture = ()  # levels of noise, as of cotrain.training.hooks.noise
    snr: Mixture = ()
    tasks: tuple[str, ...] = ()  # empty: all
    detach_clean: bool = False  # whether only the noisy view is pulled

    @model_validator(mode="after")
    def _fits(self) -> Self:
        levels(self.std, self.snr)
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("layers names one twice")
        if isinstance(self.layer_weights, tuple) and len(self.layer_weights) != len(self.layers):
            raise ValueError(f"{len(self.layer_weights)} layer_weights for {len(self.layers)} layers; give one a layer")
        return self


class MatchRepresentations(Hook):
    """The features of the first view are taken in the task's own pass, which costs nothing more."""

    def __init__(self, config: MatchRepresentationsConfig) -> None:
        self.config = config
        self.add = noise_of(config.std, config.snr, "matching")
        self.logits: nn.Parameter | None = None
        self.listening, self.seen = False, dict[str, Tensor]()
        self._handles: list[RemovableHandle] = []

    def start(self, training: Training) -> None:
        """Try the layers out, and have learned weights trained.

        Raises:
            ModelError: There is no such layer.
            TrainingError: There is no such task, or a layer lies after its last tap.
        """
        self.model = training.model
        self.tasks = known_tasks(self.config.tasks, self.model, "match_representations")
        for layer in dict.fromkeys(self.config.layers):
            module = self._layer(layer)
            self._handles.append(module.register_forward_hook(lambda _m, _i, out, layer=layer: self._keep(layer, out)))
        for task in sorted(self.tasks):
            self._require_reached(task, training.info.tasks[task].image_shape, training.device)
        self.norms = list(batch_norms(self.model.backbone).values())
        half = half_precision(training.precision, training.device)
        self.autocast: Callable[[], Any] = nullcontext if half is None else half.autocast
        size = len(self.config.layers)
        self.weights = _first_weights(self.config.layer_weights, size).to(training.device)
        if self.config.layer_weights == "learned":
            self.logits = nn.Parameter(torch.zeros(size, device=training.device))
            training.optimiser.add_param_group({"params": [self.logits], "weight_decay": 0.0})
        self.sums = {task: torch.zeros(2, dtype=torch.float64, device=training.device) for task in sorted(self.tasks)}

    def images(self, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """Listen to the pass that comes."""
        if batch.task in self.tasks:
            self._listen()
        return images

    def term(self, term: Tensor, images: Tensor, batch: Batch, seed: int) -> Tensor:
        """Add the distance between both views."""
        if batch.task not in self.tasks:
            return term
        clean = self._heard()
        self._require(clean, batch.task)
        self._listen()
        with keeping_statistics(self.norms), self.autocast():
            self.model.features(self.add(images, seed), batch.task, self.config.layers)
        noisy = self._heard()
        distances = torch.stack([self._distance(clean[layer], noisy[layer]) for layer in self.config.layers])
        weights = self.weights if self.logits is None else self.logits.softmax(0)
        found = (weights * distances).sum()
        with torch.no_grad():
            self.sums[batch.task][0] += found
            self.sums[batch.task][1] += 1
        return term + self.config.weight * found

    def epoch_end(self, epoch: int) -> Sequence[Score]:
        """The mean distance of the epoch's batches, before `weight`; and the learned weights."""
        told = []
        for task, sums in self.sums.items():
            total, count = sums.tolist()
            if count:
                told.append(Score(epoch, task, "", "train", "matching", total / count))
            sums.zero_()
        if self.logits is not None:
            weights = self.logits.detach().softmax(0).tolist()
            told += [Score(epoch, "", "", "train", f"matching_weight_{n}", w) for n, w in enumerate(weights, start=1)]
        return told

    def close(self) -> None:
        """Listen to nothing more."""
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """The epoch's sums, and learned weights."""
        return {"sums": self.sums, "logits": None if self.logits is None else self.logits.detach()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        for task, sums in self.sums.items():
            sums.copy_(state["sums"][task])
        if self.logits is not None:
            self.logits.copy_(state["logits"])

    def _layer(self, path: str) -> nn.Module:
        try:
            return self.model.backbone.get_submodule(path)
        except AttributeError:
            paths = [name for name, _ in self.model.backbone.named_modules() if name]
            raise ModelError(
                f"match_representations: the backbone has no layer {path!r}.{did_you_mean(path, paths)}"
            ) from None

    def _keep(self, layer: str, output: Any) -> None:
        if self.listening and layer not in self.seen and isinstance(output, Tensor):
            self.seen[layer] = output.clone()  # ResNets go on by adding to some outputs in place

    def _listen(self) -> None:
        self.listening, self.seen = True, {}

    def _heard(self) -> dict[str, Tensor]:
        heard, self.seen, self.listening = self.seen, {}, False
        return heard

    @torch.no_grad()
    def _require_reached(self, task: str, image_shape: Sequence[int], device: torch.device) -> None:
        training, taps = self.model.training, self.model.taps[task]
        try:
            self.model.eval()
            empty = torch.zeros(1, *image_shape, device=device)
            self._listen()
            self.model.features(empty, task, taps)
        finally:
            heard = self._heard()
            self.model.train(training)
        self._require(heard, task)

    def _require(self, heard: Mapping[str, Tensor], task: str) -> None:
        if late := [layer for layer in self.config.layers if layer not in heard]:
            raise TrainingError(
                f"match_representations: {', '.join(late)} comes after the last tap of task {task!r} "
                f"({', '.join(self.model.taps[task])}), whose pass ends there, or gives no tensor. Name earlier ones, "
                "or leave the task out of `tasks`."
            )

    def _distance(self, clean: Tensor, noisy: Tensor) -> Tensor:
        clean, noisy = clean.flatten(1).float(), noisy.flatten(1).float()
        if self.config.detach_clean:
            clean = clean.detach()
        if self.config.distance == "mse":
            return (clean - noisy).square().mean()
        return (1 - cosine_similarity(clean, noisy)).mean()


def _first_weights(kind: str | tuple[float, ...], layers: int) -> Tensor:
    """Of each layer, of sum 1."""
    if isinstance(kind, tuple):
        found = torch.tensor(kind, dtype=torch.float64)
    elif kind == "linear":
        found = torch.arange(1, layers + 1, dtype=torch.float64)
    elif kind == "exponential":
        found = 2.0 ** torch.arange(layers, dtype=torch.float64)
    else:
        found = torch.ones(layers, dtype=torch.float64)
    return (found / found.sum()).float()


def match_representations(config: MatchRepresentationsConfig) -> Hook:
    """The hook of a config."""
    return MatchRepresentations(config)
