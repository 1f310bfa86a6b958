"""Folders of finished runs, written from the database: a worker may need a run that another machine trained."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from cotrain.chains import needed_runs
from cotrain.recipe import Experiment
from cotrain.tables.runs import EpochScore, RecipeRun, Run, TrainedModel
from cotrain.training import RunFolder, Score, find_run, looking_beside, write_finished

log = logging.getLogger(__name__)

ORDER = "key_order"


def fetch_needed(experiment: Experiment, runs: Path) -> None:
    """Write the folders of the runs that an experiment needs and that are in the database alone.

    Args:
        experiment: What is about to be trained.
        runs: Folder of the runs of this machine.

    Raises:
        StoreError: The weights of such a run cannot be read.
    """
    for needed in needed_runs(experiment):
        with looking_beside(runs):
            here = find_run(needed.key) is not None
        if not here and TrainedModel() & {"run_key": needed.key}:
            log.info("The run %s is fetched from the database, since %r needs it.", needed, experiment.label)
            restore({"run_key": needed.key}, RunFolder(runs / needed.key))


def restore(key: dict[str, str], folder: RunFolder) -> None:
    """Write the folder of a finished run: all that `cotrain.load` reads.

    Raises:
        StoreError: Its weights cannot be read.
    """
    row = (TrainedModel() & key).fetch1()
    label = next((held["label"] for held in (RecipeRun() & key).to_dicts(order_by="recipe")), key["run_key"])
    epochs = [_score(held, held["epoch_number"]) for held in (EpochScore() & key).to_dicts()]
    tested = [_score(held, row["best_epoch"]) for held in (TrainedModel.Score() & key & {"split": "test"}).to_dicts()]
    write_finished(
        folder,
        replace(Run.load(key), label=label),
        info=in_order(row["data_info"]),
        weights=row["state"].open().getvalue(),
        best_epoch=row["best_epoch"],
        epochs=sorted(epochs, key=lambda score: score[:5]),
        tested=sorted(tested, key=lambda score: score[:5]),
        seconds=row["seconds"],
    )


def with_order(record: dict[str, Any]) -> dict[str, Any]:
    """A record that also holds the order of its keys: databases sort those of JSON, and the first task is special."""
    return {**record, ORDER: _order(record)}


def in_order(record: dict[str, Any]) -> dict[str, Any]:
    """What was given to `with_order`; a record that was stored without is as the database has it."""
    rest = {name: value for name, value in record.items() if name != ORDER}
    ordered: dict[str, Any] = _ordered(rest, record.get(ORDER))
    return ordered


def _order(value: Any) -> Any:
    return [[name, _order(held)] for name, held in value.items()] if isinstance(value, dict) else None


def _ordered(value: Any, order: Any) -> Any:
    return value if order is None else {name: _ordered(value[name], inner) for name, inner in order}


def _score(row: dict[str, Any], epoch: int) -> Score:
    value = math.nan if row["value"] is None else row["value"]
    return Score(epoch, row["task"], row["session"], row["split"], row["metric"], value)
