"""What people are told of scores under corruptions: each run's, and each corruption's over runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from cotrain.cli._text import as_text
from cotrain.metrics import classification_errors, mean_corruption_error, relative_mean_corruption_error
from cotrain.tasks import PRIMARY_METRIC

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (*dict.fromkeys(PRIMARY_METRIC.values()), "top5")
RUN = ["label", "seed", "run", "task", "metric"]


def robustness_text(rows: pd.DataFrame, baseline: Collection[str] = ()) -> str:
    """Tables of the columns run_key, label, seed, task, session, corruption, severity, metric, value.

    Args:
        rows: Of any number of runs.
        baseline: Keys of the runs whose errors, their mean, others are measured by; none: no corruption errors.
    """
    rows = rows[(rows["session"] == "") & rows["metric"].isin(SHOWN)]
    rows = rows.assign(run=rows["run_key"].str[:8])
    is_clean = rows["corruption"] == "clean"
    under = rows[~is_clean].groupby([*RUN, "corruption"], sort=False)["value"].agg(_mean)
    table = rows[is_clean].set_index(RUN)["value"].rename("clean").to_frame()
    table["corrupted"] = under.groupby(level=RUN, sort=False).agg(_mean)
    parts = []
    if baseline:
        table, reasons = _with_errors(table, rows, baseline)
        parts.append("mCE, relative mCE: errors as shares of the baseline's, 1 is as bad as it.")
        parts += [f"No {reason}." for reason in reasons]
    told = as_text(table.reset_index(), missing="-")
    parts.insert(0, f"Clean images, and the mean over all corruptions and severities:\n{told}")
    for (task, metric), held in under.groupby(level=["task", "metric"], sort=False):
        wide = held.groupby(level=["corruption", "label"], sort=False).agg(_median).unstack("label")
        runs = held.reset_index()["run"].nunique()
        wide = wide.reindex(list(dict.fromkeys(held.index.get_level_values("corruption")))).rename_axis(columns=None)
        parts.append(
            f"{task} {metric}: mean over severities, median over {runs} runs by label:\n"
            + as_text(wide.reset_index(), missing="-")
        )
    return "\n\n".join(parts)


def _mean(values: pd.Series[float]) -> float:
    """NaN where one of them is: a mean of the others would not be comparable."""
    return float(values.to_numpy().mean())


def _median(values: pd.Series[float]) -> float:
    """Likewise."""
    return float(np.median(values.to_numpy()))


def _with_errors(table: pd.DataFrame, rows: pd.DataFrame, baseline: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table with both corruption errors of each classification, and why some have none."""
    table, reasons = table.assign(mCE=float("nan"), relative_mCE=float("nan")), dict[str, None]()
    for task, held in rows[rows["metric"] == "accuracy"].groupby("task", sort=False):
        of_runs = {key: classification_errors(own) for key, own in held.groupby("run_key", sort=False)}
        theirs = [of_runs[key] for key in baseline if key in of_runs]
        if not theirs:
            reasons[f"corruption errors of {task}: the baseline has no such task, or is not evaluated"] = None
            continue
        mean = {condition: sum(errors[condition] for errors in theirs) / len(theirs) for condition in theirs[0]}
        for key, errors in of_runs.items():
            first = held[held["run_key"] == key].iloc[0]
            at = tuple(first[name] for name in RUN)
            for name, measure in (("mCE", mean_corruption_error), ("relative_mCE", relative_mean_corruption_error)):
                found = measure(errors, mean)
                table.loc[at, name] = found.value
                if found.reason:
                    reasons[f"{name} of {task}: {found.reason}"] = None
    return table, list(reasons)
