"""The queue: recipes go in, and whichever of their runs may be trained comes out."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from cotrain.chains import chain
from cotrain.errors import DatabaseError
from cotrain.recipe import Experiment
from cotrain.recipe import Recipe as RecipeClass
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.provenance import enqueued_from
from cotrain.tables.runs import Attempt, ParentRun, Recipe, RecipeRun, Run, TrainedModel
from cotrain.tables.states import SILENT_SECONDS

log = logging.getLogger(__name__)

LOWEST_PRIORITY = 127  # the largest number that MySQL's column of priorities holds


@dataclass(frozen=True)
class Enqueued:
    """What putting a recipe into the database came to: counts of runs, and of those queued besides that they need."""

    queued: int
    finished: int
    waiting: int
    needed: int = 0
    failed: int = 0  # of those that are waiting: they wait for `cotrain retry`


def enqueue(recipe: type[RecipeClass], name: str, *, priority: int = 5) -> Enqueued:
    """Put all runs of a recipe into the database and those that were never begun into the queue.

    Runs that these need, and that are not finished, come with them, also where the recipe does not have them.

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
    code = enqueued_from(recipe)
    with schema.connection.transaction:
        question = recipe.question()[:1024]
        Recipe.insert1({"recipe": name, "question": question}, skip_duplicates=True)
        if (Recipe() & {"recipe": name}).fetch1("question") != question:
            Recipe.update1({"recipe": name, "question": question})
        keys = [_add(name, place, experiment, code) for place, experiment in enumerate(experiments)]
        needed = _add_needed(experiments)
    finished = len(TrainedModel() & keys)
    jobs = {job["run_key"]: job["status"] for job in TrainedModel.jobs.proj("status").to_dicts()}
    held = set(jobs)
    failed = sum(jobs.get(key["run_key"]) == "error" for key in keys)
    done = {row["run_key"] for row in (TrainedModel() & keys).keys()}
    fresh = [key for key in keys if key["run_key"] not in held | done]
    besides = [key for key in needed if key["run_key"] not in held and key not in keys]
    TrainedModel.jobs.insert(
        [{**key, "status": "pending", "priority": priority} for key in (*besides, *fresh)], skip_duplicates=True
    )
    return Enqueued(len(fresh), finished, len(keys) - finished - len(fresh), len(besides), failed)


def _add(recipe: str, place: int, experiment: Experiment, code: dict[str, str]) -> dict[str, str]:
    key = Run.add(experiment)
    row = {"recipe": recipe, **key, "label": experiment.label, "place": place, **code}
    RecipeRun.insert1(row, skip_duplicates=True)
    if not (RecipeRun() & row):
        RecipeRun.update1(row)  # the recipe calls it otherwise now
    return key


def _add_needed(experiments: Sequence[Experiment]) -> list[dict[str, str]]:
    """Store what must be trained before these, and who needs whom; the keys of what is not finished."""
    known = {experiment.key(): experiment for experiment in experiments}
    found: dict[str, Experiment] = {}
    named: dict[str, None] = {}
    for experiment in experiments:
        for needed in chain(experiment, known, finished=lambda key: bool(TrainedModel() & {"run_key": key})):
            if needed.experiment is not None:
                found.setdefault(needed.key, needed.experiment)
            elif Run() & {"run_key": needed.key}:  # else its folder alone can be there
                named[needed.key] = None
    for experiment in found.values():
        Run.add(experiment)
    for experiment in (*experiments, *found.values()):
        ParentRun.add(experiment)
    return [{"run_key": key} for key in (*found, *named)]


def pending(recipe: str | None) -> list[dict[str, Any]]:
    """Keys of runs that may be trained now, the first ones first; of a recipe, or all."""
    waiting = ParentRun.unfinished()
    queue = _jobs_of(recipe, waiting).restrict(dj.Not(waiting.proj()), semantic_check=False)
    queue = queue & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    keys: list[dict[str, Any]] = queue.keys(order_by="priority ASC, scheduled_time ASC", limit=20)
    return keys


def _jobs_of(recipe: str | None, waiting: Any) -> Any:
    """The pending jobs of a recipe's runs and of what they wait for; None: all."""
    # jobs of deleted runs stay behind
    queue = TrainedModel.jobs.pending.restrict(Run().proj(), semantic_check=False)
    if recipe is None:
        return queue
    members = (RecipeRun() & {"recipe": recipe}).proj()
    own = {row["run_key"] for row in members.to_dicts()}
    needed = [{"run_key": key} for key in _all_parents(own, waiting)]
    return queue.restrict([(Run() & members).proj(), *needed], semantic_check=False)


def _all_parents(runs: Set[str], waiting: Any) -> set[str]:
    """The unfinished runs that these wait for, directly or because of each other."""
    parents: dict[str, set[str]] = {}
    for pair in waiting.to_dicts():
        parents.setdefault(pair["run_key"], set()).add(pair["parent_key"])
    found: set[str] = set()
    new = set().union(*(parents.get(run, set()) for run in runs))
    while new:
        found |= new
        new = set().union(*(parents.get(run, set()) for run in new)) - found
    return found


def worth_waiting(recipe: str | None) -> bool:
    """Whether a run will be free when one ends that another worker trains now, and shows life."""
    waiting = ParentRun.unfinished()
    blocked = _jobs_of(recipe, waiting).restrict(waiting.proj(), semantic_check=False)
    parents = _all_parents({job["run_key"] for job in blocked.keys()}, waiting)
    if not parents:
        return False
    since = f"CURRENT_TIMESTAMP - INTERVAL '{SILENT_SECONDS}' SECOND"
    # a job is reserved for a moment before its attempt is there
    alive = (Attempt() & "status = 'running'" & f"heartbeat > {since}").proj().to_dicts()
    alive += (TrainedModel.jobs.reserved & f"reserved_time > {since}").keys()
    return any(row["run_key"] in parents for row in alive)
