"""What the database holds of some runs, of one evaluation at a time: two configs are never mixed in a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotrain.config import Config
from cotrain.errors import DatabaseError
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Evaluation
from cotrain.tables.runs import RecipeRun, TrainedModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EvaluatedRuns:
    """The scores of one evaluation.

    Args:
        rows: As `evaluate.frame` gives them.
        labels: Of these runs, in the order of their recipe.
        described: What images they saw, in a few words.
        without: How many of the finished runs that were asked for are not evaluated so.
        stored: Primary keys of the evaluation's rows, one a run.
    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    described: str
    without: int
    stored: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Sort:
    """Evaluations of a table, for people.

    Args:
        table: Where they are.
        name: "evaluation under corruptions".
        done: "evaluated under corruptions".
        suite: That makes them.
        options: Of the command, by which one of several is chosen.
        short: Of a config and a row of the table: which it is, in brackets.
        described: Of the same: what was evaluated, in a few words.
        told: Of the same: the line by which one of several is chosen.
    """

    table: Any
    name: str
    done: str
    suite: str
    options: str
    short: Callable[[Any, dict[str, Any]], str]
    described: Callable[[Any, dict[str, Any]], str]
    told: Callable[[Any, dict[str, Any]], str]


def one_evaluation(
    sort: Sort,
    names: Sequence[str],
    *,
    recipe: str | None,
    evaluation: str | None,
    fits: Callable[[dict[str, Any]], bool] = lambda _: True,
    part: str = "",
) -> EvaluatedRuns:
    """The rows of runs, of the one evaluation of a sort that they have, or that is chosen.

    Args:
        sort: Of evaluations.
        names: Labels, whose runs of all seeds are meant, or keys or their beginnings; none: all runs.
        recipe: Only runs of this recipe, by its labels.
        evaluation: Its key, or the beginning of it.
        fits: Whether a row of the table is of an evaluation that is meant.
        part: As for `evaluate.frame`.

    Raises:
        DatabaseError: There are no such runs, none of them is evaluated so, or there are several evaluations.
    """
    recipe = None if recipe is None else queries.find_recipe_name(recipe)
    runs = queries.runs(recipe=recipe)
    if names:
        runs = runs & [key for name in names for key in queries.find_runs(name)]
    stored = (sort.table() & runs.proj()).to_dicts()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in stored:
        if fits(row) and row["evaluation_key"].startswith(evaluation or ""):
            found.setdefault(row["evaluation_key"], []).append(row)
    if len(found) > 1:  # what had nothing to ask of a run is no other evaluation of the same
        filled = {key: rows for key, rows in found.items() if any(row[f"{sort.table.prefix}_count"] for row in rows)}
        found = filled or found
    if len(found) != 1:
        raise DatabaseError(_wrong_count(sort, found, stored, len(runs)))
    (key, rows), *_ = found.items()
    config = Evaluation.load({"evaluation_key": key})
    table = evaluate.frame(config, runs, part)
    if recipe is not None:  # a run may have other labels in other recipes
        own = (RecipeRun() & {"recipe": recipe}).to_dicts()
        table["label"] = table["run_key"].map({row["run_key"]: row["label"] for row in own})
    without = len(TrainedModel() & runs.proj()) - len(rows)
    keys = tuple({name: row[name] for name in ("run_key", "evaluation_key")} for row in rows)
    return EvaluatedRuns(table, _in_order(table, recipe), sort.described(config, rows[0]), without, keys)


def _in_order(table: pd.DataFrame, recipe: str | None) -> tuple[str, ...]:
    """Labels as recipes have them; runs of no recipe, which have none, are called by their keys."""
    places = RecipeRun() if recipe is None else RecipeRun() & {"recipe": recipe}
    ordered = sorted(places.to_dicts(), key=lambda row: (row["recipe"], row["place"]))
    unnamed = table["run_key"][table["label"] == ""].str[:8]
    known = dict.fromkeys([*(row["label"] for row in ordered), *unnamed])
    held = {*table["label"], *unnamed}
    return tuple(label for label in known if label in held)


def _wrong_count(sort: Sort, found: dict[str, list[dict[str, Any]]], stored: list[dict[str, Any]], runs: int) -> str:
    if not runs:
        return "There are no such runs. `cotrain ls` lists all."
    if not stored:
        return (
            f"None of these {runs} runs is {sort.done} yet. `cotrain evaluate --suite {sort.suite} [RUN ...]` does it."
        )
    if not found:
        known = sorted({f"{sort.short(_config(row), row)} ({row['evaluation_key'][:8]})" for row in stored})
        return f"These runs have no such {sort.name}. They have: {', '.join(known)}."
    lines = [f"{key[:8]}  {sort.told(_config(rows[0]), rows[0])}; {len(rows)} runs" for key, rows in found.items()]
    return "These runs have several {}:\n  {}\nChoose one by {}.".format(
        sort.name.replace("evaluation", "evaluations", 1), "\n  ".join(lines), sort.options
    )


def _config(row: dict[str, Any]) -> Config:
    return Evaluation.load({"evaluation_key": row["evaluation_key"]})
