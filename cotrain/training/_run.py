"""Run an experiment in a folder, and load what was run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.config import Config
from cotrain.errors import CotrainError, RunFolderError
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.tasks import DataInfo
from cotrain.training._checkpoint import RunFolder, load_state
from cotrain.training._sinks import (
    JournalSink,
    ScoreSink,
    TensorBoardSink,
    journal_scores,
    read_journal,
    write_atomically,
)
from cotrain.training._trainer import Fit

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

COLUMNS = ("epoch", "task", "session", "split", "metric", "value")
CHECKPOINTS_AT_ONCE = 4  # two that are kept, one being written, and the best weights
BYTES_A_PARAMETER = 12  # float32 weight and two moments of the optimiser


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        experiment: What was run.
        info: What the model was told of the data.
        model: With the weights of the best epoch, on the CPU, in evaluation mode.
        best_epoch: The epoch that validation chose.
        scores: DataFrame with the columns epoch, task, session, split, metric, value (see
            `cotrain.training.Score`).
        folder: Where it lies.
    """

    experiment: Experiment
    info: DataInfo
    model: MultiTaskModel
    best_epoch: int
    scores: pd.DataFrame
    folder: Path


def run(
    experiment: Experiment,
    *,
    out: str | Path,
    resume: bool = True,
    sinks: Sequence[ScoreSink] = (),
    progress: bool = False,
) -> RunResult:
    """Build everything, train, choose by validation, test.

    Args:
        experiment: What to run.
        out: The run's folder (see `RunFolder`); made if need be.
        resume: Go on where an earlier call stopped; a finished run is loaded, not trained again. False starts anew.
        sinks: Are told every score, besides the journal and TensorBoard, which always are.
        progress: Show a progress bar.

    Raises:
        CotrainError: Anything that can be known to be wrong before training, and what went wrong in it.
    """
    folder = RunFolder(Path(out))
    _require_same_experiment(folder, experiment)
    if resume and folder.result.is_file():
        log.info("%s is finished; nothing is trained.", folder.path)
        return load(folder.path)
    started = time.time()
    # before the folder is made: what cannot begin leaves nothing behind
    data = build(experiment.data, seed=experiment.seed)
    model = build(experiment.model, data.info, seed=experiment.seed)
    trainer = build(experiment.trainer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with folder.locked():
        _require_same_experiment(folder, experiment)  # another process may have come first
        if resume and folder.result.is_file():
            return load(folder.path)
        if not resume:
            folder.clear()
        folder.require_space(parameters * BYTES_A_PARAMETER * CHECKPOINTS_AT_ONCE)
        _require_same_data(folder, data.info)
        write_atomically(folder.experiment, experiment.to_yaml().encode())
        write_atomically(folder.info, json.dumps(data.info.record()).encode())
        fit: Fit = trainer.fit(
            model,
            data,
            seed=experiment.seed,
            folder=folder,
            sinks=[JournalSink(folder.journal), TensorBoardSink(folder.tensorboard), *sinks],
            resume=resume,
            progress=progress,
        )
        result = {"best_epoch": fit.best_epoch, "seconds_since_last_start": round(time.time() - started, 1)}
        write_atomically(folder.result, json.dumps(result).encode())
    return load(folder.path)


def load(path: str | Path) -> RunResult:
    """A finished run from its folder, without its data.

    Raises:
        RunFolderError: There is no finished run, or a file is damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.result.is_file():
        state = "was not finished; start it again and it goes on" if folder.experiment.is_file() else "holds no run"
        raise RunFolderError(f"{folder.path} {state}.")
    experiment = _experiment(folder)
    info = DataInfo.from_record(_json(folder.info))
    return RunResult(
        experiment,
        info,
        load_model(experiment, info, folder.best),
        _json(folder.result)["best_epoch"],
        _frame(folder.journal),
        folder.path,
    )


def load_model(experiment: Experiment, info: DataInfo, weights: Path) -> MultiTaskModel:
    """The model of an experiment with stored weights: on the CPU, in evaluation mode; the data are not needed."""
    model: MultiTaskModel = build(without_weights(experiment.model), info, seed=experiment.seed)
    model.load_state_dict(load_state(weights)["model"])
    return model.eval()


def without_weights(config: Config) -> Config:
    """The config of a model whose backbone starts at random: what it was loaded from may be gone by now."""
    backbone = getattr(config, "backbone", None)
    fields = {"weights": "", "reset": ()}
    if not isinstance(backbone, Config) or not set(fields) <= set(type(backbone).model_fields):
        return config
    return config.replace(backbone=backbone.replace(**fields))


def _frame(journal: Path) -> pd.DataFrame:
    import pandas as pd

    if not any(line.get("finished") for line in read_journal(journal)[-1:]):
        raise RunFolderError(f"{journal} is missing or damaged: it does not end with the test scores.")
    return pd.DataFrame(journal_scores(journal), columns=list(COLUMNS))


def _require_same_experiment(folder: RunFolder, experiment: Experiment) -> None:
    """Refuse a folder in which something else was trained; what never came to its first checkpoint does not count."""
    if folder.has_checkpoint():
        held = _experiment(folder)
        if held.key() != experiment.key():
            raise RunFolderError(
                f"{folder.path} holds another experiment ({held.label!r}, key {held.key()}), not {experiment.label!r} "
                f"(key {experiment.key()}). Name another folder."
            )


def _require_same_data(folder: RunFolder, info: DataInfo) -> None:
    """A run that goes on must see what it saw before: a file may have been exchanged under the same name."""
    if (
        folder.info.is_file()
        and folder.has_checkpoint()
        and (held := _json(folder.info)["fingerprint"]) != info.fingerprint
    ):
        raise RunFolderError(
            f"{folder.path} was begun with other data (fingerprint {held}, now {info.fingerprint}): a data file has "
            "changed. Restore it, or start anew with resume=False or in another folder."
        )


def _experiment(folder: RunFolder) -> Experiment:
    try:
        text = folder.experiment.read_text(encoding="utf-8")
        return Experiment.from_yaml(text)
    except (OSError, UnicodeDecodeError, CotrainError) as error:
        raise RunFolderError(f"{folder.experiment} cannot be read: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is missing or damaged: {error}") from None
    return content
