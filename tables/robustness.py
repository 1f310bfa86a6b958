"""What the database holds of runs under corruptions, of one evaluation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotrain.config import Config
from cotrain.errors import DatabaseError
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Evaluation, Robustness
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
    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    described: str
    without: int


def scores_under_corruption(
    names: Sequence[str] = (),
    *,
    recipe: str | None = None,
    preset: str | None = None,
    evaluation: str | None = None,
) -> EvaluatedRuns:
    """The scores of runs under corruptions, of the one evaluation that they have, or that is chosen.

    Args:
        names: Labels, whose runs of all seeds are meant, or keys or their beginnings; none: all runs.
        recipe: Only runs of this recipe, by its labels.
        preset: Of the evaluation; "files" is that of published files.
        evaluation: Its key, or the beginning of it.

    Raises:
        DatabaseError: There are no such runs, none of them is evaluated so, or there are several evaluations.
    """
    recipe = None if recipe is None else queries.find_recipe_name(recipe)
    runs = queries.runs(recipe=recipe)
    if names:
        runs = runs & [key for name in names for key in queries.find_runs(name)]
    stored = (Robustness() & runs.proj()).to_dicts()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in stored:
        if preset in (None, row["robustness_preset"]) and row["evaluation_key"].startswith(evaluation or ""):
            found.setdefault(row["evaluation_key"], []).append(row)
    if len(found) != 1:
        raise DatabaseError(_wrong_count(found, stored, len(runs)))
    (key, rows), *_ = found.items()
    config = Evaluation.load({"evaluation_key": key})
    table = evaluate.frame(config, runs)
    if recipe is not None:  # a run may have other labels in other recipes
        own = (RecipeRun() & {"recipe": recipe}).to_dicts()
        table["label"] = table["run_key"].map({row["run_key"]: row["label"] for row in own})
    without = len(TrainedModel() & runs.proj()) - len(rows)
    return EvaluatedRuns(table, labels_in_order(table, recipe), _described(config, rows[0]), without)


def labels_in_order(table: pd.DataFrame, recipe: str | None) -> tuple[str, ...]:
    """Labels as recipes have them; runs of no recipe, which have none, are called by their keys.

    Args:
        table: Of `evaluate.frame`.
        recipe: Whose labels; None: of all recipes.
    """
    places = RecipeRun() if recipe is None else RecipeRun() & {"recipe": recipe}
    ordered = sorted(places.to_dicts(), key=lambda row: (row["recipe"], row["place"]))
    unnamed = table["run_key"][table["label"] == ""].str[:8]
    known = dict.fromkeys([*(row["label"] for row in ordered), *unnamed])
    held = {*table["label"], *unnamed}
    return tuple(label for label in known if label in held)


def _described(config: Any, row: dict[str, Any]) -> str:
    if config.kind == Robustness.FILES:
        return f"files in {config.path}"
    first = "" if config.images is None else f", the first {config.images}"
    return f"{row['robustness_preset']}, {config.split} images{first}"


def _wrong_count(found: dict[str, list[dict[str, Any]]], stored: list[dict[str, Any]], runs: int) -> str:
    if not runs:
        return "There are no such runs. `cotrain ls` lists all."
    if not stored:
        return (
            f"None of these {runs} runs is evaluated under corruptions yet. "
            "`cotrain evaluate --suite corruptions [RUN ...]` does it."
        )
    if not found:
        known = ", ".join(sorted({f"{row['robustness_preset']} ({row['evaluation_key'][:8]})" for row in stored}))
        return f"These runs have no such evaluation under corruptions. They have: {known}."
    lines = [_line(key, rows) for key, rows in found.items()]
    return (
        "These runs have several evaluations under corruptions:\n  {}\nChoose one by --preset or --evaluation.".format(
            "\n  ".join(lines)
        )
    )


def _line(key: str, rows: list[dict[str, Any]]) -> str:
    """An evaluation as people choose it."""
    config: Config = Evaluation.load({"evaluation_key": key})
    held: dict[str, Any] = config.record()
    what = [f"{len(held['corruptions'])} corruptions: {', '.join(held['corruptions'][:4])}"]
    what += [
        f"{name} {held[name]}" for name in ("images", "seed", "version", "frost") if held.get(name) not in (None, "")
    ]
    return f"{key[:8]}  {_described(config, rows[0])}; {'; '.join(what)}; {len(rows)} runs"
