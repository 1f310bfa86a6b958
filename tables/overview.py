"""One row a run: what it is, how far it is, what it scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cotrain.errors import DatabaseError
from cotrain.tables._frames import frame
from cotrain.tables.conditions import parse_score
from cotrain.tables.paths import meant_paths, values_at
from cotrain.tables.runs import Attempt, ParentRun, Provenance, RecipeRun, Run, TrainedModel
from cotrain.tables.selection import only, places_of
from cotrain.tables.states import states
from cotrain.tables.tags import Tag
from cotrain.tasks import PRIMARY_METRIC

if TYPE_CHECKING:
    import pandas as pd

USUAL = ("label", "seed", "state", "epoch", "best", "monitored")
BESIDES = ("recipe", "tags", "added", "attempt", "worker", "host", "device", "started", "finished", "seconds", "commit")
COLUMNS = (*USUAL, *BESIDES, "error")


def overview(selection: Any, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a run, by its key, in the order of recipes.

    Args:
        selection: Runs, as a DataJoint query.
        columns: Any of `COLUMNS`, paths of config values (`lr`), and scores of the best epoch as conditions name them
            (`v4 correlation`, `validation: accuracy`); None: the usual ones, tags where there are any, and the primary
            test scores.

    Raises:
        DatabaseError: There is no such column.
    """
    keys = selection.proj()
    table = frame(Run() & keys, "run_key", "seed", "run_ts").set_index("run_key")
    table.index.name = "run"
    table = table.rename(columns={"run_ts": "added"})
    if not len(table):
        return table[[]]
    table = table.join(_members(keys)).sort_values(["recipe", "place"], na_position="first", kind="stable")
    table["label"] = table.label.fillna(_needed_for(table.index[table.label.isna()])).fillna("")
    table = table.join(states(keys).drop(columns="status"))
    trained = frame(TrainedModel() & keys, "run_key", "best_epoch", "monitored", "seconds").set_index("run_key")
    table = table.join(trained.rename(columns={"best_epoch": "best"}))
    counts = ["epoch", "best", "attempt"]
    table[counts] = table[counts].astype("Int64")
    table["monitored"] = table.monitored.astype(float)
    table["tags"] = frame(Tag() & keys, "run_key", "tag").sort_values("tag").groupby("run_key").tag.agg(" ".join)
    if columns is None:
        tags = ["tags"] if table.tags.notna().any() else []
        return table[[*USUAL, *tags]].join(_primary_scores(keys))
    return _chosen(table, keys, columns)


def _members(keys: Any) -> pd.DataFrame:
    """Labels of runs, and the first recipe that has each, with its place there."""
    found = frame(RecipeRun() & keys, "run_key", "recipe", "label", "place").sort_values("recipe").set_index("run_key")
    first = found[~found.index.duplicated()][["recipe", "place"]]
    return first.join(_joined_labels(found.label))


def _joined_labels(held: pd.Series) -> pd.Series:
    """What recipes call runs, by their keys, each name once."""
    once = held[held.index.duplicated(keep=False)].groupby(level=0).agg(lambda names: " / ".join(dict.fromkeys(names)))
    found = held[~held.index.duplicated()].copy()
    found.loc[once.index] = once
    return found


def labels_of(selection: Any, recipe: str | None) -> dict[str, str]:
    """{key of a run: what the recipe calls it, or all recipes do}."""
    held = RecipeRun() & selection.proj()
    held = held if recipe is None else held & {"recipe": recipe}
    names = frame(held, "run_key", "recipe", "label").sort_values("recipe").set_index("run_key").label
    return dict(_joined_labels(names))


def _needed_for(runs: Iterable[str]) -> dict[str, str]:
    """What to call runs that no recipe has: by a run that needs them, or that needs what needs them."""
    found: dict[str, str] = {}
    asked = {run: {run} for run in runs}  # {a run: those of `runs` on which it rests}
    while asked:
        needing: dict[str, set[str]] = {}
        for pair in (ParentRun() & only(asked, "parent_key")).to_dicts(order_by="run_key, parent_key"):
            needing.setdefault(pair["run_key"], set()).update(asked[pair["parent_key"]])
        for run, label in labels_of(Run() & only(needing), None).items():
            for first in needing[run]:
                found.setdefault(first, f"for {label}")
        asked = {run: left for run, firsts in needing.items() if (left := firsts - found.keys())}
    return found


def _primary_scores(keys: Any) -> pd.DataFrame:
    wanted = [{"split": "test", "session": "", "metric": metric} for metric in set(PRIMARY_METRIC.values())]
    found = frame(TrainedModel.Score() & keys & wanted, "run_key", "task", "metric", "value")
    found["column"] = found.task + " " + found.metric
    return found.pivot(index="run_key", columns="column", values="value").rename_axis(columns=None)


def _chosen(table: pd.DataFrame, keys: Any, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    found: dict[str, pd.Series] = {}
    for column in columns:
        if column == "commit":
            found[column] = pd.Series(_commits(keys), dtype=object)
        elif column in COLUMNS:
            found[column] = table[column]
        elif places := meant_paths(places_of(column)):
            parts = frame(Run() & keys, "run_key", *{place.primary_key[0] for place, _ in places}).set_index("run_key")
            for place, path in places:
                name = column if len(places) == 1 else f"{place.part}.{path}".replace("dataset.", "data.", 1)
                found[name] = parts[place.primary_key[0]].map(values_at(place, path))
        elif TrainedModel.Score() & (named := parse_score(f"{column} > 0").columns()):
            scores = frame(TrainedModel.Score() & keys & named, "run_key", "value")
            found[column] = scores.groupby("run_key").value.mean()  # over tasks, where none is named
        else:
            raise DatabaseError(
                f"There is no column {column!r}: no config has such a value, and no run such a score. Known besides: "
                f"{', '.join(COLUMNS)}."
            )
    return pd.DataFrame(found, index=table.index)


def _commits(keys: Any) -> dict[str, str]:
    """{key of a run: the commits of its last attempt; with a `+` what was changed since}."""
    attempts = frame(Attempt() & keys, "run_key", "attempt", "provenance_key").sort_values("attempt")
    used = Provenance() & only(attempts.provenance_key.unique(), "provenance_key")
    texts = {row["provenance_key"]: commits_of(row["repositories"]) for row in used.proj("repositories").to_dicts()}
    return {run: texts[key] for run, key in zip(attempts.run_key, attempts.provenance_key, strict=True)}


def commits_of(repositories: dict[str, dict[str, Any]]) -> str:
    """`a2493a0021` or `a2493a0021+`, of each repository; the plus stands for uncommitted changes."""
    commits = [f"{held['commit'][:10] or 'no commit'}{'+' * bool(held['dirty'])}" for held in repositories.values()]
    return " ".join(dict.fromkeys(commits))
