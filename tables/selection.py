"""Which runs are meant: by recipe, config values, scores, state, tags, dates, keys and labels."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from cotrain.errors import DatabaseError, did_you_mean
from cotrain.tables.conditions import SIGNS, Condition, ScoreCondition
from cotrain.tables.configs import leaf_columns
from cotrain.tables.paths import meant_paths, rows_where, stored_paths
from cotrain.tables.runs import PARTS, Recipe, RecipeRun, Run, TrainedModel
from cotrain.tables.states import STATES, states
from cotrain.tables.tags import Tag


def runs(
    *,
    recipe: str | None = None,
    where: Mapping[str, Any] | Iterable[Condition] = (),
    scores: Iterable[ScoreCondition] = (),
    status: Iterable[str] = (),
    tags: Iterable[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> Any:
    """The runs that fulfil all of these, as a DataJoint query.

    Args:
        recipe: Its name in the database; None: all.
        where: {path: value}, or conditions. A path begins with `data.`, `model.` or `trainer.`, or is looked for in
            all three; the end of a path will do (`lr`). `seed` is the run's.
        scores: Of the best epoch of finished runs.
        status: States, as `overview` shows them; a run is in one of these. `waiting` is with whatever it waits for.
        tags: A run has all of these.
        since: ISO date, or date and time, of the database's clock; runs that were put in then or later.
        until: Likewise; a date is meant with the whole day.

    Raises:
        DatabaseError: There is no such state, or a date is none.
    """
    found = Run()
    if recipe is not None:
        found = found & (RecipeRun() & {"recipe": recipe}).proj()
    if isinstance(where, Mapping):
        where = [Condition(path, "=", value) for path, value in where.items()]
    for condition in where:
        found = found & _having(condition)
    for score in scores:
        found = found & (TrainedModel.Score() & score.restriction()).proj()
    for tag in tags:
        found = found & (Tag() & {"tag": tag}).proj()
    if since is not None:
        found = found & f"run_ts >= '{_moment(since)}'"
    if until is not None:
        found = found & f"run_ts <= '{_moment(until, end=True)}'"
    if wanted := set(status):
        for word in wanted - set(STATES):
            raise DatabaseError(f"There is no state {word!r}.{did_you_mean(word, STATES)}")
        table = states(found)
        words = zip(table.index, table.state, strict=True)
        held = [run for run, state in words if state in wanted or state.partition(" ")[0] in wanted]
        found = Run() & only(held)
    return found


def only(keys: Iterable[str], column: str = "run_key") -> str | bool:
    """The restriction to these keys of runs: one list, which servers read faster than thousands of conditions."""
    return f"{column} IN ({', '.join(map(repr, found))})" if (found := list(keys)) else False


def unknown_paths(conditions: Iterable[Condition]) -> list[str]:
    """A sentence for each condition on a value that no config in the database has."""
    found = []
    for condition in conditions:
        if condition.path != "seed" and not meant_paths(places_of(condition.path)):
            known = {path for table, _ in places_of(condition.path) for path in stored_paths(table)}
            known |= {path.rpartition(".")[2] for path in known}
            near = did_you_mean(condition.path, sorted(known))
            found.append(f"No config has {condition.path!r}.{near if near.startswith(' Did') else ''}")
    return found


def find_recipe_name(text: str) -> str:
    """The name of the recipe that is called `text`, or whose module or class is.

    Raises:
        DatabaseError: None or several are.
    """
    names = sorted(row["recipe"] for row in Recipe().proj().to_dicts())
    wanted = text.rpartition("/")[2].removeprefix("cotrain.recipes.").removesuffix(".py")
    wanted = wanted.replace(".py:", ".").replace(":", ".")
    found: list[str] = [name for name in names if wanted == name or wanted in name.split(".")]
    if len(found) != 1:
        known = ", ".join(names) or "none; `cotrain enqueue RECIPE` puts one in"
        raise DatabaseError(f"{len(found) or 'No'} recipes in the database are called {text!r}. It has: {known}.")
    return found[0]


def find_run(text: str) -> dict[str, str]:
    """The run whose key begins with `text`, or whose label is `text`.

    Raises:
        DatabaseError: None or several do.
    """
    found: list[str] = []
    if 4 <= len(text) <= 32 and set(text) <= set("0123456789abcdef"):
        # not LIKE, which uses no index where the server sorts text by a language
        found = [row["run_key"] for row in (Run() & f"run_key BETWEEN '{text}' AND '{text:f<32}'").proj().to_dicts()]
    if not found:
        found = sorted({row["run_key"] for row in (RecipeRun() & {"label": text}).proj().to_dicts()})
    if len(found) != 1:
        raise DatabaseError(
            f"{len(found) or 'No'} runs have a key that begins with {text!r}, or that label"
            + (f": {', '.join(found[:5])}. Write more of the key." if found else ". `cotrain ls` lists all runs.")
        )
    return {"run_key": found[0]}


def find_runs(text: str) -> list[dict[str, str]]:
    """The runs, of all seeds, whose label is `text`, else the one that `find_run` finds.

    Raises:
        DatabaseError: None do, or several have such a key.
    """
    labelled = sorted({row["run_key"] for row in (RecipeRun() & {"label": text}).proj().to_dicts()})
    return [{"run_key": key} for key in labelled] or [find_run(text)]


def _having(condition: Condition) -> Any:
    if condition.path == "seed":
        number = leaf_columns(condition.value)["num"]
        return False if number is None else f"seed {SIGNS[condition.sign]} {number!r}"
    places = meant_paths(places_of(condition.path))
    return [query for table, path in places for query in rows_where(table, path, condition)]


def places_of(path: str) -> list[tuple[Any, str]]:
    """The tables in which a path is looked for, with what it is called there."""
    part, _, rest = path.partition(".")
    return [(PARTS[part], rest)] if part in PARTS and rest else [(table, path) for table in PARTS.values()]


def _moment(text: str, *, end: bool = False) -> str:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise DatabaseError(f"A date is written 2026-11-30 or 2026-11-30T18:00, found {text!r}.") from None
    if end and len(text) <= len("2026-11-30"):
        found = found.replace(hour=23, minute=59, second=59)
    return found.isoformat(sep=" ", timespec="seconds")
