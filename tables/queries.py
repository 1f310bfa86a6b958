"""Questions to the database: which runs there are, how far they are, what they scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotrain.errors import DatabaseError
from cotrain.tables.configs import leaf_columns
from cotrain.tables.runs import (
    PARTS,
    Attempt,
    EpochScore,
    ParentRun,
    Provenance,
    Recipe,
    RecipeRun,
    Run,
    TrainedModel,
)
from cotrain.tasks import PRIMARY_METRIC

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = ("epoch", "task", "session", "split", "metric", "value")


def runs(*, recipe: str | None = None, where: dict[str, Any] | None = None) -> Any:
    """The runs of a recipe and with these config values, as a DataJoint query.

    Args:
        recipe: Its name in the database; None: all.
        where: {path: value}; a path begins with `data.`, `model.` or `trainer.`, or is looked for in all three.
    """
    found = Run()
    if recipe is not None:
        found = found & (RecipeRun() & {"recipe": recipe}).proj()
    for path, value in (where or {}).items():
        if path == "seed":
            number = leaf_columns(value)["num"]
            found = found & (False if number is None else {"seed": number})
            continue
        part, _, rest = path.partition(".")
        if part in PARTS and rest:
            found = found & PARTS[part].where(**{rest: value}).proj()
        else:
            found = found & [(Run() & table.where(**{path: value}).proj()).proj() for table in PARTS.values()]
    return found


def overview(selection: Any) -> pd.DataFrame:
    """One row a run: label, seed, state, epoch, best epoch, monitored and primary test scores."""
    import pandas as pd

    keys = selection.proj().to_dicts()
    table = pd.DataFrame({"run": [key["run_key"] for key in keys]}).set_index("run")
    if not keys:
        return table
    named = _labels(selection, None)
    named |= _needed_for([run for run in table.index if run not in named])
    place: dict[str, tuple[str, int]] = {}
    for row in (RecipeRun() & keys).to_dicts(order_by="recipe"):
        place.setdefault(row["run_key"], (row["recipe"], row["place"]))
    table = table.loc[sorted(table.index, key=lambda run: place.get(run, ("", 0)))]
    table["label"] = [named.get(run, "") for run in table.index]
    table["seed"] = pd.Series({row["run_key"]: row["seed"] for row in (Run() & keys).to_dicts()})
    attempts = {row["run_key"]: row for row in (Attempt() & keys).to_dicts(order_by="run_key, attempt")}
    trained = {row["run_key"]: row for row in (TrainedModel() & keys).proj("best_epoch", "monitored").to_dicts()}
    jobs = {row["run_key"]: row["status"] for row in TrainedModel.jobs.to_dicts() if row["run_key"] in table.index}
    waiting: dict[str, str] = {}
    for pair in (ParentRun.unfinished() & keys).to_dicts(order_by="run_key, parent_key"):
        waiting.setdefault(pair["run_key"], pair["parent_key"])
    table["state"] = [_state(run, trained, attempts, jobs, waiting) for run in table.index]
    table["epoch"] = [attempts[run]["epoch"] if run in attempts else None for run in table.index]
    table["best"] = [trained[run]["best_epoch"] if run in trained else None for run in table.index]
    table[["epoch", "best"]] = table[["epoch", "best"]].astype("Int64")
    table["monitored"] = pd.Series({run: row["monitored"] for run, row in trained.items()}, dtype=float)
    wanted = [{"split": "test", "session": "", "metric": metric} for metric in set(PRIMARY_METRIC.values())]
    for row in (TrainedModel.Score() & keys & wanted).to_dicts():
        table.loc[row["run_key"], f"{row['task']} {row['metric']}"] = row["value"]
    return table


def _state(
    run: str, trained: dict[str, Any], attempts: dict[str, Any], jobs: dict[str, str], waiting: dict[str, str]
) -> str:
    if run in trained:
        return "done"
    status = str(attempts[run]["status"]) if run in attempts else ""
    if jobs.get(run) == "pending" and run in waiting:
        return f"waiting for {waiting[run][:8]}"
    if jobs.get(run) == "pending":
        return "queued"  # also after an interruption: it will go on
    return status or jobs.get(run, "not queued")


def labels(recipe: str) -> list[str]:
    """The labels of a recipe's experiments, in its order."""
    rows = (RecipeRun() & {"recipe": recipe}).to_dicts()
    return list(dict.fromkeys(row["label"] for row in sorted(rows, key=lambda row: row["place"])))


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
    keys = [row["run_key"] for row in Run().proj().to_dicts()]
    found = [key for key in keys if key.startswith(text)] if len(text) >= 4 else []
    if not found:
        found = list(dict.fromkeys(row["run_key"] for row in (RecipeRun() & {"label": text}).to_dicts()))
    if len(found) != 1:
        raise DatabaseError(
            f"{len(found) or 'No'} runs have a key that begins with {text!r}, or that label"
            + (f": {', '.join(found[:5])}. Write more of the key." if found else ". `cotrain ls` lists all runs.")
        )
    return {"run_key": found[0]}


def curves(key: dict[str, str]) -> pd.DataFrame:
    """All epoch scores of a run so far: epoch, task, session, split, metric, value."""
    found = _frame((EpochScore() & key).proj("value", epoch="epoch_number"), *SCORE_COLUMNS)
    return found.sort_values(list(SCORE_COLUMNS[:-1]), ignore_index=True)


def held_out_scores(selection: Any, *, recipe: str | None = None) -> pd.DataFrame:
    """Test scores of the best epochs: label, seed, task, session, metric, value.

    The query: `TrainedModel.Score & {"split": "test"} & selection`. Labels are those of the recipe, or of all.
    """
    query = (TrainedModel.Score() & {"split": "test"} & selection.proj()) * Run().proj("seed")
    found = _frame(query, "run_key", "seed", "task", "session", "metric", "value")
    found["label"] = found["run_key"].map(_labels(selection, recipe))
    return found[["run_key", "label", "seed", "task", "session", "metric", "value"]]


def _labels(selection: Any, recipe: str | None) -> dict[str, str]:
    """{key of a run: what the recipe calls it, or all recipes do}."""
    held = RecipeRun() & selection.proj()
    named: dict[str, dict[str, None]] = {}
    for row in (held if recipe is None else held & {"recipe": recipe}).to_dicts(order_by="recipe"):
        named.setdefault(row["run_key"], {})[row["label"]] = None
    return {run: " / ".join(found) for run, found in named.items()}


def _needed_for(runs: list[str]) -> dict[str, str]:
    """What to call runs that no recipe has: by a run that needs them, or that needs what needs them."""
    found: dict[str, str] = {}
    asked = {run: {run} for run in runs}  # {a run: those of `runs` on which it rests}
    while asked:
        needing: dict[str, set[str]] = {}
        for pair in (ParentRun() & [{"parent_key": run} for run in asked]).to_dicts(order_by="run_key, parent_key"):
            needing.setdefault(pair["run_key"], set()).update(asked[pair["parent_key"]])
        for run, label in _labels(Run() & [{"run_key": run} for run in needing], None).items():
            for first in needing[run]:
                found.setdefault(first, f"for {label}")
        asked = {run: left for run, firsts in needing.items() if (left := firsts - found.keys())}
    return found


def _frame(query: Any, *columns: str) -> pd.DataFrame:
    """Columns of a query; unlike `to_pandas` it has them without a row, too."""
    import pandas as pd

    return pd.DataFrame(query.to_dicts(), columns=list(columns)).astype({"value": float})


def attempts_of(key: dict[str, str]) -> list[dict[str, Any]]:
    """Every attempt at a run with the code it ran, oldest first."""
    rows: list[dict[str, Any]] = ((Attempt() * Provenance()) & key).to_dicts(order_by="attempt")
    return rows
