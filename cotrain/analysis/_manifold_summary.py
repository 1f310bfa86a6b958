"""What the geometry of manifolds comes to over seeds, or over classes where there is one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._evaluated_rows import by_label, with_labels
from cotrain.errors import CotrainError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

CLASS_ERRORS = {
    "mean_capacity": "mean_capacity_class_error",
    "mean_radius": "mean_radius_class_error",
    "mean_dimension": "mean_dimension_class_error",
    "center_correlation": "",
}
"""Measures, each with its standard error over classes, "" where it has none."""
COLUMNS = ("label", "seed", "target", "session", "layer_place", "layer", "depth", "manifolds", "mean_floor")


@dataclass(frozen=True)
class ManifoldRuns:
    """The geometry of one set of images in layers of several runs (`manifold_runs` makes one).

    Args:
        target, session: Whose images.
        labels: Of the experiments, in the order in which they are shown.
        rows: One row a run, epoch, control (of smooth manifolds, family and displacement) and layer, with the columns
            of `cotrain.evaluations.LayerManifolds` or `LayerSmoothManifolds` and label, seed, epoch, and `stage`:
            "trained" of the epoch that stands for the run (the best one, where a column `best` says which that is, else
            the last), "initial" of epoch 0, "" of others.
    """

    target: str
    session: str
    labels: tuple[str, ...]
    rows: pd.DataFrame


def manifold_runs(
    frame: pd.DataFrame, *, target: str | None = None, session: str = "", labels: Sequence[str] | None = None
) -> ManifoldRuns:
    """Choose one set of images of a table of many.

    Args:
        frame: Rows of `cotrain.evaluations.LayerManifolds`, or of `LayerSmoothManifolds`, with `label` and `seed` of
            the run; with `epoch` where there are several, 0 as initialised, and then with `best`, whether it is the
            run's best one; with `run_key`, by whose beginning runs without a label are called.
        target: A classification or file; None: the only one.
        session: Of the target.
        labels: Those to keep, in the order to show them; None: all, in the order of the table.

    Raises:
        CotrainError: A column is missing, there is no such target, session or label, several would do, or two runs
            share a label and a seed.
    """
    if missing := [name for name in (*COLUMNS, *CLASS_ERRORS) if name not in frame]:
        raise CotrainError(
            f"A table of manifolds lacks {', '.join(missing)}. Give rows of cotrain.evaluations.LayerManifolds or "
            "LayerSmoothManifolds, with label and seed of the run."
        )
    if not len(frame):
        raise CotrainError("The table of manifolds has no row: evaluate some runs first.")
    targets = list(dict.fromkeys(frame.target))
    if target is None and len(targets) > 1:
        raise CotrainError(f"There are manifolds of {', '.join(targets)}. Say which target is meant.")
    target = targets[0] if target is None else target
    found = frame[(frame.target == target) & (frame.session == session)]
    if not len(found):
        sessions = list(dict.fromkeys(frame[frame.target == target].session))
        more = f" Its sessions are {', '.join(map(repr, sessions))}." if sessions else did_you_mean(target, targets)
        raise CotrainError(f"There are no manifolds of {target!r}, session {session!r}.{more}")
    keys = found["run_key"] if "run_key" in found else found.label + found.seed.astype(str)
    found = found.assign(
        run_key=keys,
        label=found.label.where(found.label != "", keys.str[:8]),
        epoch=found.get("epoch", 0),
        control=found.get("control", ""),
    )
    found, shown = with_labels(found, labels)
    found = by_label(found, shown)
    _require_one_run(found)
    last = found.groupby("run_key").epoch.transform("max")
    stands = found["best"].astype(bool) if "best" in found else found.epoch == last
    stands = stands | (~stands.groupby(found.run_key).transform("any") & (found.epoch == last))
    stage = np.where(stands, "trained", np.where(found.epoch == 0, "initial", ""))
    return ManifoldRuns(target, session, shown, found.assign(stage=stage).reset_index(drop=True))


def manifold_summary(held: ManifoldRuns, by: Sequence[str], *, confidence: float = 0.95) -> pd.DataFrame:
    """Means of each experiment over its seeds, with intervals by Student's t.

    Over two seeds or more the interval says how the mean would vary with other seeds. Of one seed it says how it would
    with other classes, as if these were drawn from many; of centre correlation there is none then. Neither says how
    values would change with more images of each class.

    Args:
        held: Geometry.
        by: Columns of its rows, beside the label, that make a point: ("stage", "layer_place", "layer"), or "epoch".
        confidence: Of the intervals, between 0 and 1.

    Returns:
        label, the columns `by`, measure ("mean_capacity", "mean_radius", "mean_dimension", "center_correlation"), mean,
        low, high, seeds (with a value), floor (of capacity).
    """
    import pandas as pd
    from scipy.stats import t

    rows = []
    for at, part in held.rows.groupby(["label", *by], sort=False):
        for measure, column in CLASS_ERRORS.items():
            values = part[measure].to_numpy(dtype=float)
            known = np.isfinite(values)
            seeds = int(known.sum())
            mean = float(values[known].mean()) if seeds else float("nan")
            if seeds > 1:
                error, free = values[known].std(ddof=1) / seeds**0.5, seeds - 1
            elif seeds and column:
                one = part[known].iloc[0]
                error, free = float(one[column]), round(one.manifolds * (1 - one.get("unknown", 0.0))) - 1
            else:
                error, free = float("nan"), 1
            half = float(t.ppf((1 + confidence) / 2, max(1, free))) * error
            floor = float(part.mean_floor.mean()) if measure == "mean_capacity" else float("nan")
            rows.append((*at, measure, mean, mean - half, mean + half, seeds, floor))
    return pd.DataFrame(rows, columns=["label", *by, "measure", "mean", "low", "high", "seeds", "floor"])


def _require_one_run(found: pd.DataFrame) -> None:
    """Two runs of one label and seed are different experiments, of which a mean would mean nothing."""
    runs = found[["run_key", "label", "seed"]].drop_duplicates()
    twice = runs[runs.duplicated(["label", "seed"], keep=False)]
    if len(twice):
        label, seed = twice.label.iloc[0], twice.seed.iloc[0]
        keys = ", ".join(twice.run_key[(twice.label == label) & (twice.seed == seed)].str[:8])
        raise CotrainError(
            f"Label {label!r} is that of several runs with seed {seed}: {keys}. Name the runs that are meant, or their "
            "recipe."
        )
    smooth = [name for name in ("family", "displacement") if name in found]
    if found.duplicated(["run_key", "epoch", "control", *smooth, "layer_place"]).any():
        raise CotrainError("The table of manifolds holds a layer of a run twice: give one evaluation.")
