"""The trainer: a config, and `fit`, which trains a model on data in a folder and goes on where it was stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from cotrain.config import AddedLater, Config, NotIdentity
from cotrain.data import Data, MixingConfig
from cotrain.errors import LostRankError
from cotrain.models import MultiTaskModel
from cotrain.resolve import AnyConfig
from cotrain.seeds import derive_seed
from cotrain.training._checkpoint import RunFolder
from cotrain.training._device import own_randomness, pick_device
from cotrain.training._environment import algorithms, environment
from cotrain.training._loop import TrainingLoop
from cotrain.training._monitor import MonitorConfig
from cotrain.training._optimisers import AdamWConfig
from cotrain.training._precision import PrecisionName
from cotrain.training._ranks import ALONE, Ranks
from cotrain.training._schedules import CosineConfig
from cotrain.training._sinks import Score, ScoreSink, write_atomically
from cotrain.training._state import TrainingState
from cotrain.training._stopping import stop_requests
from cotrain.training._writer import copied

log = logging.getLogger(__name__)


class TrainerConfig(Config):
    """How a model is trained."""

    kind: ClassVar[str] = "cotrain.training.trainer"
    mixing: MixingConfig
    epochs: Annotated[int, Ge(1)] = 30  # passes over the main task
    optimiser: AnyConfig = AdamWConfig()
    schedule: AnyConfig = CosineConfig()
    monitor: MonitorConfig = MonitorConfig()
    augmentation: tuple[tuple[str, AnyConfig], ...] = ()  # (task, config) for tasks whose training images are varied
    clip_norm: Annotated[float, Gt(0)] | None = None  # largest norm of the summed gradient of a group; None: any
    weighting: Annotated[AnyConfig | None, AddedLater(neutral=None)] = None
    """Of the tasks' gradients in the backbone, on top of the objectives' weights; None: each counts 1."""
    gradient_scores: Annotated[bool, AddedLater(neutral=False)] = False
    """Whether norms of the tasks' gradients, and cosine and norm ratio of each pair, are among the scores."""
    hooks: Annotated[tuple[AnyConfig, ...], AddedLater(neutral=())] = ()
    """What is added to the loop (`cotrain.training.Hook`), in the order in which it acts."""
    precision: Annotated[PrecisionName, AddedLater(neutral="float32")] = "float32"
    """Of the forward and backward pass; weights, losses, validation and test are float32."""
    device: Annotated[str, NotIdentity()] = "auto"  # "auto" is a GPU where there is one; or "cpu", "cuda:1" ...
    checkpoint_steps: Annotated[int, Ge(0), NotIdentity()] = 0
    """Besides each epoch's end, a checkpoint is written every so many optimiser steps; 0: not."""
    keep_epochs: Annotated[tuple[Annotated[int, Ge(1)], ...], NotIdentity()] = ()
    """After these epochs, such as (1, 2, 5, 10) or tuple(range(5, 31, 5)), the weights are kept in a file of their own
    (docs/checkpoints.md); those that training does not reach are not there. The best epoch's are always kept."""
    workers: Annotated[Annotated[int, Ge(0)] | None, NotIdentity()] = None
    """Threads that read batches ahead, the same batches for any number; None: as many as the data gain from."""
    compile: Annotated[bool, NotIdentity()] = False
    """Whether training passes through the backbone are compiled: minutes at the start, faster steps on a GPU."""
    channels_last: Annotated[bool, NotIdentity()] = False
    """Whether the backbone's memory has the order height, width, channels: faster on GPUs with half precision."""
    deterministic: Annotated[bool, NotIdentity()] = False
    """Whether a GPU, too, is to repeat a run bit for bit; slower. A CPU does so with equal numbers of threads."""


@dataclass(frozen=True)
class Fit:
    """What training came to.

    Args:
        best_epoch: The epoch whose weights the model now has.
        scores: All of them; those of the test split are of the best epoch.
    """

    best_epoch: int
    scores: list[Score]


class Trainer:
    """Trains a model by a `TrainerConfig`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def fit(
        self,
        model: MultiTaskModel,
        data: Data,
        *,
        seed: int,
        folder: RunFolder,
        sinks: Sequence[ScoreSink] = (),
        resume: bool = True,
        progress: bool = False,
        ranks: Ranks = ALONE,
    ) -> Fit:
        """Train, choose the best epoch by validation, restore and test it.

        Args:
            model: Trained in place.
            data: Its training split is learnt from, its validation split chooses, its test split is read once at
                the end.
            seed: The experiment's seed.
            folder: Where checkpoints go; its lock must be held.
            sinks: Are told every score, in another thread than this; `start`, `finish` and `close` in this one, when
                that has nothing to do.
            resume: Go on from the folder's last checkpoint where there is one.
            progress: Show a progress bar.
            ranks: The processes that share each batch, of which the first alone has a folder, sinks and a bar. With
                as many ranks training goes on exactly; with others, if these share batches of the same sizes, what is
                drawn for each stimulus differs from then on.

        Raises:
            TrainingError: The loss is no longer finite, the data do not fit the mixing, or another rank ended.
            RunFolderError: A checkpoint cannot be written.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; a checkpoint holds all up to the step before.
        """
        device = pick_device(self.config.device, ranks)
        noise = derive_seed(seed, "noise", *(("rank", ranks.rank) if ranks.several else ()))
        with (
            algorithms(device, deterministic=self.config.deterministic),
            own_randomness(noise, device),
            ExitStack() as ends,
        ):
            if ranks.several:
                model.load_state_dict(ranks.agreed(lambda: copied(model.state_dict())))
            run = TrainingState(self.config, model.to(device), data, seed, device, folder, ranks)
            if ranks.first:
                where = environment(device) | ({"ranks": ranks.world_size} if ranks.several else {})
                write_atomically(folder.environment, json.dumps(where, indent=1).encode())
            checkpoint = ranks.agreed(folder.last_checkpoint) if resume else None
            sinks = sinks if ranks.first else ()
            for sink in sinks:
                ends.callback(sink.close)  # each of them, whatever another does
            if checkpoint is not None:
                run.load_state_dict(checkpoint)
            resumed = None if checkpoint is None else max((s.epoch for s in run.history), default=None)
            if ranks.first:
                folder.forget_kept(after=resumed or 0)
            for sink in sinks:
                sink.start(run.history, resumed)
            with stop_requests(several=ranks.several) as stop:
                loop = TrainingLoop(run, sinks, stop, progress=progress and ranks.first)
                try:
                    return Fit(*loop.run())
                except LostRankError as error:
                    if not ranks.first or loop.saved is None:
                        raise
                    step = f"the checkpoint of step {loop.saved}"
                    raise LostRankError(str(error).replace("the last checkpoint", step)) from error


def trainer(config: TrainerConfig) -> Trainer:
    """The trainer of a config."""
    return Trainer(config)
