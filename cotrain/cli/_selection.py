"""Options that say which runs are meant, for all commands that take several."""

from __future__ import annotations

import argparse
from typing import Any

from cotrain.errors import DatabaseError


def add_conditions(added: argparse.ArgumentParser) -> None:
    """Conditions, which must all hold."""
    added.add_argument("--recipe", help="only runs of this recipe")
    where = "only runs with this config value, also !=, <, <=, > and >=; PATH is as in `show`, or its end; repeatable"
    added.add_argument("--where", action="append", default=[], metavar="PATH=VALUE", help=where)
    score = "only runs with such a test score (validation: for that split), e.g. 'v4 correlation > 0.4'; repeatable"
    added.add_argument("--score", action="append", default=[], metavar="SCORE", help=score)
    status = (
        "only runs in this state: queued, waiting, running, done, failed, interrupted, lost, not queued; repeatable"
    )
    added.add_argument("--status", action="append", default=[], metavar="STATE", help=status)
    added.add_argument("--tag", action="append", default=[], metavar="TAG", help="only runs with this tag; repeatable")
    added.add_argument("--since", metavar="DATE", help="only runs that were put in on this date or later: 2026-11-30")
    added.add_argument("--until", metavar="DATE", help="only runs that were put in on this date or earlier")


def add_runs(added: argparse.ArgumentParser, *, nargs: str = "*") -> None:
    """Runs by name."""
    added.add_argument("run", nargs=nargs, metavar="RUN", help="key (or its beginning) or label of a run")


def conditions_of(options: argparse.Namespace) -> dict[str, Any]:
    """The conditions as `queries.runs` takes them, but for the recipe; no database is needed to refuse wrong ones."""
    if not (options.where or options.score):
        conditions, scores = [], []
    else:
        from cotrain.tables.conditions import parse_condition, parse_score

        conditions = [parse_condition(text) for text in options.where]
        scores = [parse_score(text) for text in options.score]
    return {
        "where": conditions,
        "scores": scores,
        "status": options.status,
        "tags": options.tag,
        "since": options.since,
        "until": options.until,
    }


def selected(options: argparse.Namespace, conditions: dict[str, Any]) -> Any:
    """The runs that are meant, as a DataJoint query."""
    from cotrain.tables import queries

    recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
    found = queries.runs(recipe=recipe, **conditions)
    if named := [queries.find_run(text) for text in getattr(options, "run", [])]:
        found = found & named
    return found


def require_selection(options: argparse.Namespace) -> None:
    """Refuse to act on all runs because nothing was said.

    Raises:
        DatabaseError: No run is named, and no condition.
    """
    if not (options.run or options.recipe or any(conditions_of(options).values())):
        raise DatabaseError("Say which runs: RUN, --recipe, --where, --score, --status, --tag, --since or --until.")
