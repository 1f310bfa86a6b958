"""The queue: recipes go in, workers take runs out, one at a time and each once."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cotrain.errors import CotrainError, DatabaseError
from cotrain.recipe import Experiment
from cotrain.recipe import Recipe as RecipeClass
from cotrain.settings import home_folder
from cotrain.tables.configs import schema
from cotrain.tables.runs import Recipe, RecipeRun, Run, TrainedModel

log = logging.getLogger(__name__)

LOWEST_PRIORITY = 127  # the largest number that MySQL's column of priorities holds


@dataclass(frozen=True)
class Enqueued:
    """What putting a recipe into the database came to: counts of runs."""

    queued: int
    finished: int
    waiting: int


def enqueue(recipe: type[RecipeClass], name: str, *, priority: int = 5) -> Enqueued:
    """Put all runs of a recipe into the database and those that were never begun into the queue.

    Args:
        recipe: Its class.
        name: What the recipe is called in the database.
        priority: 0 to 127; smaller ones are taken first.

    Raises:
        RecipeError: Anything wrong with any of its experiments; nothing is stored then.
        DatabaseError: The priority is out of range.
    """
    if not 0 <= priority <= LOWEST_PRIORITY:
        raise DatabaseError(f"A priority is a whole number from 0 to {LOWEST_PRIORITY}, found {priority}.")
    experiments = recipe().expand()
    with schema.connection.transaction:
        question = recipe.question()[:1024]
        Recipe.insert1({"recipe": name, "question": question}, skip_duplicates=True)
        if (Recipe() & {"recipe": name}).fetch1("question") != question:
            Recipe.update1({"recipe": name, "question": question})
        keys = [_add(name, place, experiment) for place, experiment in enumerate(experiments)]
    finished = len(TrainedModel() & keys)
    held = {job["run_key"] for job in TrainedModel.jobs.keys()}
    done = {row["run_key"] for row in (TrainedModel() & keys).keys()}
    fresh = [key for key in keys if key["run_key"] not in held | done]
    TrainedModel.jobs.insert(
        [{**key, "status": "pending", "priority": priority} for key in fresh], skip_duplicates=True
    )
    return Enqueued(len(fresh), finished, len(keys) - finished - len(fresh))


def _add(recipe: str, place: int, experiment: Experiment) -> dict[str, str]:
    key = Run.add(experiment)
    row = {"recipe": recipe, **key, "label": experiment.label, "place": place}
    RecipeRun.insert1(row, skip_duplicates=True)
    if not (RecipeRun() & row):
        RecipeRun.update1(row)  # the recipe calls it otherwise now
    return key


def work(
    *,
    recipe: str | None = None,
    max_runs: int | None = None,
    home: Path | None = None,
    progress: bool = False,
    on_start: Callable[[dict[str, Any]], None] = lambda _: None,
) -> tuple[int, int]:
    """Take runs out of the queue and train them until it is empty.

    Args:
        recipe: Take only runs of this one.
        max_runs: Stop after so many.
        home: Where runs and checkpoints go; default: the setting.
        progress: Show a progress bar for each run.
        on_start: Is told the key of each run that is begun.

    Returns:
        How many runs were finished and how many failed. A failed one keeps its curve and its traceback.

    Raises:
        SystemExit: The process was told to stop (SIGTERM 143, Ctrl-C 130); the run is back in the queue.
    """
    folder = str((home or home_folder()).resolve())
    finished = failed = 0
    with _stop_signals():
        while max_runs is None or finished + failed < max_runs:
            # one key a call: populate() would not see what is enqueued later, and would collide with other workers
            keys = _pending(recipe)
            for key in keys:
                on_start(key)
                outcome = _one(key, folder, progress)
                finished, failed = finished + (outcome == "done"), failed + (outcome == "failed")
                if outcome != "taken":
                    break
            if not keys:
                break
    return finished, failed


def _pending(recipe: str | None) -> list[dict[str, Any]]:
    queue = TrainedModel.jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    queue = queue.restrict(Run().proj(), semantic_check=False)  # jobs of deleted runs stay behind
    if recipe is not None:
        queue = queue.restrict((RecipeRun() & {"recipe": recipe}).proj(), semantic_check=False)
    keys: list[dict[str, Any]] = queue.keys(order_by="priority ASC, scheduled_time ASC", limit=20)
    return keys


def _one(key: dict[str, Any], home: str, progress: bool) -> str:
    try:
        result = TrainedModel.populate(
            key,
            reserve_jobs=True,
            refresh=False,
            suppress_errors=True,
            return_exception_objects=True,
            make_kwargs={"home": home, "progress": progress},
        )
    except (SystemExit, KeyboardInterrupt) as stop:
        _put_back(key)
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None
    error = result["error_list"][0][1] if result["error_list"] else None
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        # populate() records these as failures of the run and would go on with the next one
        _put_back(key)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 143)
    if error is not None:
        text = str(error) if isinstance(error, CotrainError) else f"{type(error).__name__}: {error}"
        log.error("Run %s failed: %s", key["run_key"], text)
        return "failed"
    return "done" if result["success_count"] else "taken"


def _put_back(key: dict[str, Any]) -> None:
    """The run is pending again, with its priority, unless it is another worker's."""
    jobs = TrainedModel.jobs
    own = jobs & key & {"host": platform.node(), "pid": os.getpid()} & "status in ('error', 'reserved')"
    if own:
        none = dict.fromkeys(("reserved_time", "completed_time", "error_stack"))
        jobs.update1({**key, **none, "status": "pending", "error_message": "", "host": "", "pid": 0})


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Between two runs, too, SIGTERM ends the worker in order; populate() has a handler of its own."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
