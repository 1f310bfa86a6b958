"""Questions to the database: which runs there are, how far they are, what they scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotrain.tables._frames import frame
from cotrain.tables.overview import labels_of, overview
from cotrain.tables.runs import Attempt, EpochScore, Provenance, RecipeRun, Run, TrainedModel
from cotrain.tables.selection import find_recipe_name, find_run, find_runs, runs
from cotrain.tables.states import states

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "attempts_of",
    "curves",
    "epoch_scores",
    "find_recipe_name",
    "find_run",
    "find_runs",
    "held_out_scores",
    "labels",
    "overview",
    "runs",
    "scores",
    "states",
]

SCORE_COLUMNS = ("epoch", "task", "session", "split", "metric", "value")
ORDER = list(SCORE_COLUMNS[:-1])


def labels(recipe: str) -> list[str]:
    """The labels of a recipe's experiments, in its order."""
    rows = (RecipeRun() & {"recipe": recipe}).to_dicts()
    return list(dict.fromkeys(row["label"] for row in sorted(rows, key=lambda row: row["place"])))


def curves(key: dict[str, str]) -> pd.DataFrame:
    """All epoch scores of a run so far: epoch, task, session, split, metric, value."""
    query = (EpochScore() & key).proj("value", epoch="epoch_number")
    return frame(query, *SCORE_COLUMNS).sort_values(ORDER, ignore_index=True)


def epoch_scores(
    selection: Any,
    *,
    split: str | None = "validation",
    task: str | None = None,
    session: str | None = "",
    metric: str | None = None,
    wide: bool = False,
) -> pd.DataFrame:
    """Learning curves of many runs.

    Args:
        selection: Runs, as a DataJoint query.
        split: `train` or `validation`; None: both.
        task: None: every one.
        session: "" is all together, None is every one.
        metric: None: every one.
        wide: One row an epoch, one column a run, task, session, split and metric that there is more than one of.

    Returns:
        Columns run_key, label, seed, epoch, task, session, split, metric, value; or the wide table.
    """
    query = (EpochScore() & selection.proj() & _named(split, task, session, metric)).proj("value", epoch="epoch_number")
    found = _labelled(frame(query, "run_key", *SCORE_COLUMNS), selection, None)
    found = found.sort_values(["run_key", *ORDER], ignore_index=True)
    return _wide(found, "epoch") if wide else found


def scores(
    selection: Any,
    *,
    split: str | None = "test",
    task: str | None = None,
    session: str | None = "",
    metric: str | None = None,
    recipe: str | None = None,
    wide: bool = False,
) -> pd.DataFrame:
    """Scores of the best epoch of finished runs.

    Args:
        selection: Runs, as a DataJoint query.
        split: `train`, `validation` or `test`; None: all.
        task: None: every one.
        session: "" is all together, None is every one.
        metric: None: every one.
        recipe: Labels are those of this recipe; None: of all.
        wide: One row a run, one column a task, session, split and metric that there is more than one of.

    Returns:
        Columns run_key, label, seed, task, session, split, metric, value; or the wide table.
    """
    query = TrainedModel.Score() & selection.proj() & _named(split, task, session, metric)
    found = _labelled(frame(query, "run_key", *SCORE_COLUMNS[1:]), selection, recipe)
    found = found.sort_values(["label", "seed", "run_key", *ORDER[1:]], ignore_index=True)
    return _wide(found, "run_key", "label", "seed") if wide else found


def held_out_scores(selection: Any, *, recipe: str | None = None) -> pd.DataFrame:
    """Test scores of the best epochs: run_key, label, seed, task, session, metric, value.

    The query: `TrainedModel.Score & {"split": "test"} & selection`. Labels are those of the recipe, or of all.
    """
    return scores(selection, session=None, recipe=recipe).drop(columns="split")


def _named(split: str | None, task: str | None, session: str | None, metric: str | None) -> dict[str, str]:
    named = {"split": split, "task": task, "session": session, "metric": metric}
    return {column: text for column, text in named.items() if text is not None}


def _labelled(found: pd.DataFrame, selection: Any, recipe: str | None) -> pd.DataFrame:
    seeds = frame(Run() & selection.proj(), "run_key", "seed").set_index("run_key").seed
    found.insert(1, "label", found.run_key.map(labels_of(selection, recipe)))
    found.insert(2, "seed", found.run_key.map(seeds))
    return found


def _wide(found: pd.DataFrame, *index: str) -> pd.DataFrame:
    """The long table with a column for each combination; what all rows share is left out of the columns' names."""
    names = [name for name in ("run_key", "task", "session", "split", "metric") if name not in index]
    varying = [name for name in names if found[name].nunique() > 1] or ["metric"]
    wide = found.pivot(index=list(index), columns=varying, values="value")
    if len(varying) > 1:
        wide.columns = [" ".join(filter(None, map(str, held))) for held in wide.columns]
    return wide.rename_axis(columns=None)


def attempts_of(key: dict[str, str]) -> list[dict[str, Any]]:
    """Every attempt at a run with the code it ran, oldest first."""
    rows: list[dict[str, Any]] = ((Attempt() * Provenance()) & key).to_dicts(order_by="attempt")
    return rows
