"""What the database holds of the geometry of manifolds of runs, of one evaluation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cotrain.tables.evaluations import Manifolds, SmoothManifolds
from cotrain.tables.one_evaluation import EvaluatedRuns, Sort, one_evaluation
from cotrain.tables.runs import TrainedModel


def measured_manifolds(
    names: Sequence[str] = (), *, recipe: str | None = None, evaluation: str | None = None
) -> EvaluatedRuns:
    """The geometry of layers of runs, of the one evaluation that they have, or that is chosen.

    Args:
        names: Labels, whose runs of all seeds are meant, or keys or their beginnings; none: all runs.
        recipe: Only runs of this recipe, by its labels.
        evaluation: Its key, or the beginning of it.

    Returns:
        Rows with the column `best`: whether the epoch is the run's best one.

    Raises:
        DatabaseError: There are no such runs, none of them is evaluated so, or there are several evaluations.
    """
    return _with_best(one_evaluation(MANIFOLDS, names, recipe=recipe, evaluation=evaluation))


def measured_smooth_manifolds(
    names: Sequence[str] = (), *, recipe: str | None = None, evaluation: str | None = None
) -> EvaluatedRuns:
    """The same of smooth manifolds; arguments and errors as of `measured_manifolds`."""
    return _with_best(one_evaluation(SMOOTH_MANIFOLDS, names, recipe=recipe, evaluation=evaluation))


def _with_best(found: EvaluatedRuns) -> EvaluatedRuns:
    best = {
        row["run_key"]: row["best_epoch"] for row in (TrainedModel() & list(found.stored)).proj("best_epoch").to_dicts()
    }
    return replace(found, rows=found.rows.assign(best=found.rows.epoch == found.rows.run_key.map(best)))


def _described(config: Any, _row: dict[str, Any]) -> str:
    most = "all" if config.of_class is None else f"at most {config.of_class}"
    margin = f", margin {config.kappa:g}" if config.kappa else ""
    other = f", {config.variant}" if config.variant != "default" else ""
    return f"{config.split} images, {most} a class{margin}{other}"


def _told(config: Any, row: dict[str, Any]) -> str:
    """An evaluation as people choose it."""
    what = [
        _described(config, row),
        f"layers {', '.join(config.layers)}",
        f"epochs {', '.join(config.epochs)}",
        f"features {config.reduce or 'all'}",
        f"seed {config.seed}",
    ]
    return "; ".join([*what, *([f"controls {', '.join(config.controls)}"] if config.controls else [])])


MANIFOLDS = Sort(
    Manifolds, "evaluation of manifolds", "measured as manifolds", "manifolds", "--evaluation",
    lambda config, _: ", ".join(config.layers), _described, _told,
)  # fmt: skip


def _smooth_described(config: Any, _row: dict[str, Any]) -> str:
    return f"{config.images} {config.split} images, {config.points} points"


def _smooth_told(config: Any, row: dict[str, Any]) -> str:
    what = [
        _smooth_described(config, row),
        f"families {', '.join(config.families)}",
        f"displacements {', '.join(f'{pixels:g}' for pixels in config.displacements)}",
        f"layers {', '.join(config.layers)}",
        f"epochs {', '.join(config.epochs)}",
        f"fill {config.fill}",
        f"features {config.reduce or 'all'}",
        f"seed {config.seed}",
    ]
    return "; ".join([*what, *([f"size {config.size}"] if config.size else [])])


SMOOTH_MANIFOLDS = Sort(
    SmoothManifolds, "evaluation of smooth manifolds", "measured as smooth manifolds", "smooth_manifolds",
    "--evaluation", lambda config, _: ", ".join(config.families), _smooth_described, _smooth_told,
)  # fmt: skip
