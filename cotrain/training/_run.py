"""Run an experiment in a folder, and load what was run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cotrain.config import Config
from cotrain.errors import RunFolderError, TrainingError
from cotrain.models import MultiTaskModel
from cotrain.recipe import Experiment
from cotrain.resolve import build
from cotrain.tasks import DataInfo
from cotrain.training._checkpoint import RunFolder, load_state
from cotrain.training._needed import looking_beside, read_experiment, require_needed_runs
from cotrain.training._ranks import ALONE, Ranks, ranks_here
from cotrain.training._sinks import (
    JournalSink,
    ScoreSink,
    TensorBoardSink,
    journal_scores,
    read_journal,
    write_atomically,
)
from cotrain.training._spawned import run_on_ranks
from cotrain.training._start_from import StartFromConfig
from cotrain.training._trainer import Fit

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

COLUMNS = ("epoch", "task", "session", "split", "metric", "value")
CHECKPOINTS_AT_ONCE = 3  # two that are kept, and one being written
MOMENTS = 2  # of the optimiser, each as large as the parameters


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
    ranks: int | None = None,
) -> RunResult:
    """Build everything, train, choose by validation, test.

    Runs that the experiment needs are looked for beside `out`, and in `runs` of the home folder.

    Args:
        experiment: What to run.
        out: The run's folder (see `RunFolder`); made if need be.
        resume: Go on where an earlier call stopped; a finished run is loaded, not trained again. False starts anew.
        sinks: Are told every score, besides the journal and TensorBoard, which always are.
        progress: Show a progress bar.
        ranks: So many processes on this machine share each batch, each on a GPU of its own where there are any; this
            one starts them, and tells the sinks. None: one process, or those that torchrun started.

    Raises:
        CotrainError: Anything that can be known to be wrong before training, and what went wrong in it.
    """
    if ranks is not None and ranks < 1:
        raise TrainingError(f"ranks must be 1 or more, found {ranks}.")
    if ranks is not None and ranks > 1:
        run_on_ranks(experiment, ranks, Path(out), resume=resume, sinks=sinks, progress=progress)
        return load(out)
    with nullcontext(ALONE) if ranks == 1 else ranks_here() as here:
        run_as(here, experiment, Path(out), resume=resume, sinks=sinks, progress=progress)
        return _stored(RunFolder(Path(out)), here)


def run_as(
    ranks: Ranks, experiment: Experiment, out: Path, *, resume: bool, sinks: Sequence[ScoreSink], progress: bool
) -> None:
    """Run an experiment to its end, as one of several ranks or alone; the arguments are those of `run`."""
    folder = RunFolder(out)

    def is_finished() -> bool:
        _require_same_experiment(folder, experiment)
        return resume and folder.result.is_file()

    if ranks.agreed(is_finished):
        log.info("%s is finished; nothing is trained.", folder.path)
        return
    started = time.time()
    # before the folder is made: what cannot begin leaves nothing behind
    with looking_beside(folder.path.parent):
        require_needed_runs(experiment)
        data = build(experiment.data, seed=experiment.seed)
        model = build(experiment.model, data.info, seed=experiment.seed)
    trainer = build(experiment.trainer)
    _require_equal_data(data.info, ranks)
    with ExitStack() as ends:

        def prepare() -> bool:
            """Whether another process has finished it meanwhile."""
            ends.enter_context(folder.locked())
            if is_finished():
                return True
            _prepare(folder, experiment, data.info, model, resume=resume)
            return False

        if ranks.agreed(prepare):
            return
        fit: Fit = trainer.fit(
            model,
            data,
            seed=experiment.seed,
            folder=folder,
            sinks=[JournalSink(folder.journal), TensorBoardSink(folder.tensorboard), *sinks],
            resume=resume,
            progress=progress,
            **({"ranks": ranks} if ranks.several else {}),  # a lab's own trainer may know of none
        )
        result = {"best_epoch": fit.best_epoch, "seconds_since_last_start": round(time.time() - started, 1)}
        if ranks.first:
            write_atomically(folder.result, json.dumps(result).encode())


def _prepare(folder: RunFolder, experiment: Experiment, info: DataInfo, model: MultiTaskModel, *, resume: bool) -> None:
    """Check and fill the folder of a run that is about to be trained."""
    if not resume:
        folder.clear()
    trainer: Any = experiment.trainer
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    wanted = {epoch for epoch in getattr(trainer, "keep_epochs", ()) if epoch <= trainer.epochs}  # a lab's own has none
    # a checkpoint holds present and best weights; best.pt holds these once more
    checkpoints = CHECKPOINTS_AT_ONCE * (2 * weights + MOMENTS * parameters)
    folder.require_space(checkpoints + weights * (1 + len(wanted - folder.kept_epochs().keys())))
    _require_same_data(folder, info)
    write_atomically(folder.experiment, experiment.to_yaml().encode())
    write_atomically(folder.info, json.dumps(info.record()).encode())


def load(path: str | Path) -> RunResult:
    """A finished run from its folder, without its data.

    Raises:
        RunFolderError: There is no finished run, or a file is damaged.
    """
    return _stored(RunFolder(Path(path)), ALONE)


def _stored(folder: RunFolder, ranks: Ranks) -> RunResult:
    """A finished run; the first rank alone reads its folder, which others may not see."""

    def read() -> tuple[Experiment, DataInfo, dict[str, Any], int, pd.DataFrame]:
        if not folder.result.is_file():
            state = "was not finished; start it again and it goes on" if folder.experiment.is_file() else "holds no run"
            raise RunFolderError(f"{folder.path} {state}.")
        info, weights = DataInfo.from_record(_json(folder.info)), load_state(folder.best)
        return read_experiment(folder), info, weights, _json(folder.result)["best_epoch"], _frame(folder.journal)

    experiment, info, weights, best_epoch, scores = ranks.agreed(read)
    return RunResult(experiment, info, _model(experiment, info, weights), best_epoch, scores, folder.path)


def load_model(experiment: Experiment, info: DataInfo, weights: Path | IO[bytes]) -> MultiTaskModel:
    """The model of an experiment with stored weights: on the CPU, in evaluation mode; the data are not needed."""
    return _model(experiment, info, load_state(weights))


def initial_model(experiment: Experiment, info: DataInfo) -> MultiTaskModel:
    """The model that an experiment's training starts from, bit for bit: on the CPU, in evaluation mode.

    It is built anew from config and seed, so that a file or a run whose weights it starts from must be there.

    Args:
        experiment: What was, or is to be, trained.
        info: Of its data, which are not needed.

    Raises:
        CotrainError: What the model starts from is not there.
    """
    model: MultiTaskModel = build(experiment.model, info, seed=experiment.seed)
    return model.eval()


def _model(experiment: Experiment, info: DataInfo, state: dict[str, Any]) -> MultiTaskModel:
    model: MultiTaskModel = build(without_weights(experiment.model), info, seed=experiment.seed)
    model.load_state_dict(state["model"])
    return model.eval()


def without_weights(config: Config) -> Config:
    """The config of a model whose backbone starts at random: what it was loaded from may be gone by now."""
    if isinstance(config, StartFromConfig):
        return without_weights(config.model)
    backbone = getattr(config, "backbone", None)
    if not isinstance(backbone, Config) or "weights" not in type(backbone).model_fields:
        return config
    neutral: dict[str, Any] = {"weights": "", "reset": ()}
    fields = {name: value for name, value in neutral.items() if name in type(backbone).model_fields}
    return config.replace(backbone=backbone.replace(**fields))


def _frame(journal: Path) -> pd.DataFrame:
    import pandas as pd

    if not any(line.get("finished") for line in read_journal(journal)[-1:]):
        raise RunFolderError(f"{journal} is missing or damaged: it does not end with the test scores.")
    return pd.DataFrame(journal_scores(journal), columns=list(COLUMNS))


def _require_same_experiment(folder: RunFolder, experiment: Experiment) -> None:
    """Refuse a folder in which something else was trained; what never came to its first checkpoint does not count."""
    if folder.has_checkpoint():
        held = read_experiment(folder)
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


def _require_equal_data(info: DataInfo, ranks: Ranks) -> None:
    """Refuse ranks whose data files differ: each would learn from its own."""
    found = ranks.told(info.fingerprint)
    for rank, fingerprint in enumerate(found):
        if fingerprint != found[0]:
            raise TrainingError(
                f"Rank {rank} has other data (fingerprint {fingerprint}) than rank 0 ({found[0]}). Give all machines "
                "the same data files."
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is missing or damaged: {error}") from None
    return content
