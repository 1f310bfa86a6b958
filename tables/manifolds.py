"""What the database holds of the geometry of manifolds of runs, of one evaluation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotrain.errors import DatabaseError
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Evaluation, Manifolds
from cotrain.tables.robustness import labels_in_order
from cotrain.tables.runs import RecipeRun, TrainedModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MeasuredRuns:
    """The geometry of one evaluation.

    Args:
        rows: As `evaluate.frame` gives them of layers, and `best`: whether the epoch is the run's best one.
        labels: Of these runs, in the order of their recipe.
        described: What images they saw, in a few words.
        without: How many of the finished runs that were asked for are not evaluated so.
    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    described: str
    without: int


def measured_manifolds(
    names: Sequence[str] = (), *, recipe: str | None = None, evaluation: str | None = None
) -> MeasuredRuns:
    """The geometry of runs, of the one evaluation that they have, or that is chosen.

    Args:
        names: Labels, whose runs of all seeds are meant, or keys or their beginnings; none: all runs.
        recipe: Only runs of this recipe, by its labels.
        evaluation: Its key, or the beginning of it.

    Raises:
        DatabaseError: There are no such runs, none of them is evaluated so, or there are several evaluations.
    """
    recipe = None if recipe is None else queries.find_recipe_name(recipe)
    runs = queries.runs(recipe=recipe)
    if names:
        runs = runs & [key for name in names for key in queries.find_runs(name)]
    stored = [row["evaluation_key"] for row in (Manifolds() & runs.proj()).proj().to_dicts()]
    keys = sorted({key for key in stored if key.startswith(evaluation or "")})
    if len(keys) != 1:
        raise DatabaseError(_wrong_count(keys, stored, len(runs)))
    config = Evaluation.load({"evaluation_key": keys[0]})
    table = evaluate.frame(config, runs)
    if recipe is not None:  # a run may have other labels in other recipes
        own = (RecipeRun() & {"recipe": recipe}).to_dicts()
        table["label"] = table["run_key"].map({row["run_key"]: row["label"] for row in own})
    best = {row["run_key"]: row["best_epoch"] for row in (TrainedModel() & runs.proj()).proj("best_epoch").to_dicts()}
    table["best"] = table["epoch"] == table["run_key"].map(best)
    without = len(TrainedModel() & runs.proj()) - stored.count(keys[0])
    return MeasuredRuns(table, labels_in_order(table, recipe), _described(config), without)


def _described(config: Any) -> str:
    most = "all" if config.of_class is None else f"at most {config.of_class}"
    margin = f", margin {config.kappa:g}" if config.kappa else ""
    other = f", {config.variant}" if config.variant != "default" else ""
    return f"{config.split} images, {most} a class{margin}{other}"


def _wrong_count(keys: list[str], stored: list[str], runs: int) -> str:
    if not runs:
        return "There are no such runs. `cotrain ls` lists all."
    if not stored:
        return (
            f"None of these {runs} runs has its manifolds measured yet. `cotrain evaluate --suite manifolds [RUN ...]` "
            "does it."
        )
    if not keys:
        known = ", ".join(sorted({key[:8] for key in stored}))
        return f"These runs have no such evaluation of manifolds. They have: {known}."
    lines = [f"{key[:8]}  {_line(key)}; {stored.count(key)} runs" for key in keys]
    return "These runs have several evaluations of manifolds:\n  {}\nChoose one by --evaluation.".format(
        "\n  ".join(lines)
    )


def _line(key: str) -> str:
    """An evaluation as people choose it."""
    config: Any = Evaluation.load({"evaluation_key": key})
    what = [
        _described(config),
        f"layers {', '.join(config.layers)}",
        f"epochs {', '.join(config.epochs)}",
        f"features {config.reduce or 'all'}",
        f"seed {config.seed}",
    ]
    return "; ".join([*what, *([f"controls {', '.join(config.controls)}"] if config.controls else [])])
