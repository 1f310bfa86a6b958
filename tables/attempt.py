"""One attempt at a run: its training, its log file, its scores while it goes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cotrain.recipe import Experiment
from cotrain.tables.masking import masked
from cotrain.tables.reconnect import persistently
from cotrain.tables.reporter import Reporter
from cotrain.tables.restore import fetch_needed, with_order
from cotrain.tables.store import store_weights
from cotrain.training import RunFolder, Score, ScoreSink, run

log = logging.getLogger(__name__)


class DatabaseSink(ScoreSink):
    """Has the reporter tell each epoch as it ends; training does not wait for it."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """What earlier attempts told of epochs that are now done again goes, and what they did not tell comes."""
        self.reporter.restart([row(score) for score in history], -1 if resumed_epoch is None else resumed_epoch)

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """The rows of an epoch.

        Raises:
            LostClaimError: The run is no longer this worker's; training ends.
        """
        self.reporter.epoch(epoch, [row(score) for score in scores])
        log.info("epoch %d, %.1f s: %s", epoch, seconds, ", ".join(_shown(scores)))


def _shown(scores: Sequence[Score]) -> list[str]:
    """Scores of whole tasks on the validation split, for people who read a log."""
    return [f"{s.task} {s.metric} {s.value:.4g}".strip() for s in scores if s.split == "validation" and not s.session]


def row(score: Score) -> dict[str, Any]:
    """A score as columns; MySQL stores neither NaN nor infinity, and their maximum would be NaN elsewhere."""
    columns = score._asdict()
    value = score.value if math.isfinite(score.value) else None
    return {"epoch_number": columns.pop("epoch"), **columns, "value": value}


def train(
    attempt: dict[str, Any],
    experiment: Experiment,
    home: Path,
    reporter: Reporter,
    *,
    progress: bool,
    ranks: int | None,
) -> dict[str, Any]:
    """Train a run in its folder under `home`, or go on there; what `finish` stores of it.

    Raises:
        CotrainError: Whatever `cotrain.run` raises.
        LostClaimError: The run was taken from this worker.
    """
    started = time.monotonic()
    folder = RunFolder(home / "runs" / attempt["run_key"])
    persistently(lambda: fetch_needed(experiment, folder.path.parent))
    sink = DatabaseSink(reporter)
    result = run(experiment, out=folder.path, sinks=[sink], progress=progress, ranks=ranks or 1)
    # of a run that was finished before, without the database, no epoch was told
    told = result.scores[result.scores.split != "test"]
    sink.start([Score(*values) for values in told.itertuples(index=False)], int(told.epoch.max()))
    reporter.flush()
    # not when the row is inserted: a transaction would wait for the store
    key = {"run_key": attempt["run_key"]}
    weights = store_weights(key, folder.best)
    kept = {epoch: store_weights({**key, "epoch": epoch}, file) for epoch, file in folder.kept_epochs().items()}
    best = result.scores[result.scores.epoch == result.best_epoch]
    scores = [Score(*values) for values in best.itertuples(index=False)]
    monitored = next(s.value for s in scores if s.metric == "monitored")
    columns = [row(score) for score in scores]
    for values in columns:
        del values["epoch_number"]
    return {
        "best_epoch": result.best_epoch,
        "monitored": monitored if math.isfinite(monitored) else None,
        "seconds": time.monotonic() - started,
        "data_info": with_order(result.info.record()),
        "state": weights,
        "kept": kept,
        "scores": columns,
    }


class _Masked(logging.Formatter):
    """No password of an error's text or traceback gets into a file."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


@contextmanager
def log_file(attempt: dict[str, Any], home: Path) -> Iterator[Path]:
    """Within, what cotrain logs goes into the attempt's file as well, from INFO on."""
    path = home / "logs" / attempt["run_key"] / f"attempt_{attempt['attempt']}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(_Masked("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    ours = logging.getLogger("cotrain")
    before = ours.level
    ours.addHandler(handler)
    if ours.getEffectiveLevel() > logging.INFO:
        ours.setLevel(logging.INFO)
    try:
        yield path
    finally:
        ours.setLevel(before)
        ours.removeHandler(handler)
        handler.close()
