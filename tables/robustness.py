"""What the database holds of runs under corruptions, of one evaluation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotrain.tables.evaluations import Robustness
from cotrain.tables.one_evaluation import EvaluatedRuns, Sort, one_evaluation


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
    return one_evaluation(
        CORRUPTIONS, names, recipe=recipe, evaluation=evaluation,
        fits=lambda row: preset in (None, row["robustness_preset"]),
    )  # fmt: skip


def _described(config: Any, row: dict[str, Any]) -> str:
    if config.kind == Robustness.FILES:
        return f"files in {config.path}"
    first = "" if config.images is None else f", the first {config.images}"
    return f"{row['robustness_preset']}, {config.split} images{first}"


def _told(config: Any, row: dict[str, Any]) -> str:
    """An evaluation as people choose it."""
    held: dict[str, Any] = config.record()
    what = [f"{len(held['corruptions'])} corruptions: {', '.join(held['corruptions'][:4])}"]
    what += [
        f"{name} {held[name]}" for name in ("images", "seed", "version", "frost") if held.get(name) not in (None, "")
    ]
    return "; ".join([_described(config, row), *what])


CORRUPTIONS = Sort(
    Robustness, "evaluation under corruptions", "evaluated under corruptions", "corruptions",
    "--preset or --evaluation", lambda _, row: str(row["robustness_preset"]), _described, _told,
)  # fmt: skip
