"""What the database holds of neurons predicted from layers of runs, of one evaluation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cotrain.tables.neural_regression import NeuralRegression
from cotrain.tables.one_evaluation import EvaluatedRuns, Sort, one_evaluation
from cotrain.tables.runs import TrainedModel


def scores_of_neurons(
    names: Sequence[str] = (), *, recipe: str | None = None, evaluation: str | None = None
) -> EvaluatedRuns:
    """The scores of neurons, of the one evaluation of neural regression that runs have, or that is chosen.

    Rows are as `cotrain.analysis.regression_scores` takes them, with two more columns: `best`, whether the weights are
    those of the run's best epoch, and `folds`, how stimuli were held out.

    Args:
        names: Labels, whose runs of all seeds are meant, or keys or their beginnings; none: all runs.
        recipe: Only runs of this recipe, by its labels.
        evaluation: Its key, or the beginning of it.

    Raises:
        DatabaseError: There are no such runs, none of them is evaluated so, or there are several evaluations.
    """
    found = one_evaluation(REGRESSION, names, recipe=recipe, evaluation=evaluation, part="Neuron")
    rows = found.rows
    best = {row["run_key"]: row["best_epoch"] for row in TrainedModel().proj("best_epoch").to_dicts()}
    held = {row["target"]: row["folds"] for row in (NeuralRegression.Layer() & found.stored).proj("folds").to_dicts()}
    named = rows.label.where(rows.label != "", rows.run_key.str[:8])
    best_rows = rows.epoch == rows.run_key.map(best)
    return replace(found, rows=rows.assign(label=named, best=best_rows, folds=rows.target.map(held)))


def _described(config: Any, _: dict[str, Any]) -> str:
    method = config.method.kind.rpartition(".")[2].removesuffix("Config").lower()
    return method if config.components is None else f"{method} on {config.components} principal components"


def _told(config: Any, row: dict[str, Any]) -> str:
    """An evaluation as people choose it."""
    what = [_described(config, row), f"{config.folds}, {config.split} images"]
    what += [f"layers {', '.join(config.layers[:4])}", f"epochs {', '.join(config.epochs)}"]
    if config.files:
        what.append(f"files {', '.join(file.name for file in config.files[:4])}")
    if config.reduce:
        what.append(config.reduce)
    return "; ".join([*what, f"seed {config.seed}"])


REGRESSION = Sort(
    NeuralRegression, "evaluation of neural regression", "evaluated so", "neural_regression", "--evaluation",
    _described, _described, _told,
)  # fmt: skip
