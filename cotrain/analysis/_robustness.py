"""What corruptions do to scores: means over the battery, over seeds, and differences between experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotrain.analysis._evaluated_rows import by_label, only_one, with_labels
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._style import grouped
from cotrain.errors import CotrainError, did_you_mean
from cotrain.tasks import PRIMARY_METRIC

if TYPE_CHECKING:
    import pandas as pd

CLEAN = "clean"  # the condition without a corruption, at severity 0
CORRUPTED = "corrupted"  # the mean over the battery
UNDER = " under corruption"
COLUMNS = ("run_key", "label", "seed", "task", "session", "corruption", "severity", "metric", "value")


@dataclass(frozen=True)
class Robustness:
    """One score of several runs under each condition (`robustness` makes one).

    Args:
        task, metric, session: Whose score; the session "" stands for all of a task.
        labels: Of the experiments, in the order in which they are shown.
        values: One row a run and condition: run_key, label, seed, corruption ("clean" at severity 0), severity, value;
            NaN where the score is undefined.
    """

    task: str
    metric: str
    session: str
    labels: tuple[str, ...]
    values: pd.DataFrame

    @property
    def corruptions(self) -> dict[str, list[str]]:
        """{category: corruptions}, in the order of the benchmark."""
        return grouped(name for name in self.values.corruption if name != CLEAN)

    @property
    def severities(self) -> list[int]:
        """Those of corruptions, ascending."""
        return sorted({int(severity) for severity in self.values.severity[self.values.corruption != CLEAN]})


def robustness(
    frame: pd.DataFrame,
    *,
    task: str | None = None,
    metric: str | None = None,
    session: str = "",
    labels: Sequence[str] | None = None,
) -> Robustness:
    """Choose one score of a table of many.

    Args:
        frame: One row a run, condition and score, with the columns run_key, label, seed, task, session, corruption,
            severity, metric, value. A run without a label is called by the beginning of its key.
        task: None: the only one.
        metric: None: the one that stands for the task (accuracy, correlation, spearman), or the only one.
        session: Of the task; "": all together.
        labels: Those to keep, in the order to show them; None: all, in the order of the table.

    Raises:
        CotrainError: There is no such task, metric, session or label, several would do, nothing is corrupted, or two
            runs share a label and a seed.
    """
    if missing := [name for name in COLUMNS if name not in frame]:
        raise CotrainError(f"A table of scores under corruption has the columns {', '.join(COLUMNS)}; no {missing}.")
    if not len(frame):
        raise CotrainError("The table of scores under corruption has no row: evaluate some runs first.")
    task = only_one("task", task, list(dict.fromkeys(frame.task)), UNDER)
    found = frame[frame.task == task]
    sessions = list(dict.fromkeys(found.session))
    if session not in sessions:
        raise CotrainError(f"Task {task!r} has no session {session!r}.{did_you_mean(session, sessions)}")
    found = found[found.session == session]
    metrics = list(dict.fromkeys(found.metric))
    primary = [name for name in PRIMARY_METRIC.values() if name in metrics]
    metric = only_one("metric", metric or (primary[0] if len(primary) == 1 else None), metrics, UNDER)
    found = found[found.metric == metric]
    named = found.label.where(found.label != "", found.run_key.str[:8])
    found = found.assign(label=named, value=found.value.astype(float))
    found, shown = with_labels(found, labels)
    if not (found.corruption != CLEAN).any():
        raise CotrainError(f"Of task {task!r} there is no {metric} under corruption, only the clean one.")
    _require_one_run(found)
    columns = ["run_key", "label", "seed", "corruption", "severity", "value"]
    return Robustness(task, metric, session, shown, found[columns].reset_index(drop=True))


def run_summary(held: Robustness) -> pd.DataFrame:
    """Means of each run over severities, and over the battery.

    The mean over the battery ("corrupted") is that over corruptions of the mean over severities, as in Hendrycks &
    Dietterich (2019), section 4. A run that lacks one of the conditions that others have, or whose score is undefined
    there, has no such mean: it would be one over easier or harder conditions than theirs.

    Returns:
        run_key, label, seed, score ("clean", "corrupted", or a corruption), value; NaN where there is none.
    """
    import pandas as pd

    runs = held.values[["run_key", "label", "seed"]].drop_duplicates().set_index("run_key")
    wide = held.values.pivot(index="run_key", columns=["corruption", "severity"], values="value").reindex(runs.index)
    summary = {CLEAN: wide[(CLEAN, 0)]} if (CLEAN, 0) in wide else {}
    conditions = held.values[["corruption", "severity"]].drop_duplicates()
    means = {}
    for names in held.corruptions.values():
        for name in names:
            severities = conditions.severity[conditions.corruption == name]
            means[name] = wide[[(name, severity) for severity in severities]].mean(axis=1, skipna=False)
    summary |= {CORRUPTED: pd.DataFrame(means).mean(axis=1, skipna=False), **means}
    table = pd.DataFrame(summary).rename_axis(index="run_key", columns="score")
    rows = table.reset_index().melt("run_key", var_name="score")
    return rows.join(runs, on="run_key")[["run_key", "label", "seed", "score", "value"]]


def label_summary(held: Robustness, *, confidence: float = 0.95) -> pd.DataFrame:
    """Means of each experiment over its seeds, with Student's interval.

    The interval says how the mean would vary with other seeds, not with other images.

    Args:
        held: Scores.
        confidence: Of the interval, between 0 and 1.

    Returns:
        label, score (as of `run_summary`), mean, low, high, seeds (those with the score). With one seed, low and high
        are NaN.
    """
    return _over_seeds(run_summary(held), ["label", "score"], held.labels, confidence)


def condition_summary(held: Robustness, *, confidence: float = 0.95) -> pd.DataFrame:
    """As `label_summary`, of each condition: label, corruption, severity, mean, low, high, seeds."""
    return _over_seeds(held.values, ["label", "corruption", "severity"], held.labels, confidence)


def robustness_differences(held: Robustness, baseline: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """How each experiment differs from a baseline, seed by seed: `paired_differences` of `run_summary`.

    Raises:
        CotrainError: No experiment has that label.
    """
    require_label(held, baseline)
    return paired_differences(by_label(run_summary(held), held.labels), baseline, confidence=confidence)


def require_label(held: Robustness, label: str) -> None:
    """Refuse a baseline that there is not.

    Raises:
        CotrainError: No experiment has that label.
    """
    if label not in held.labels:
        raise CotrainError(f"No evaluated run has the label {label!r}.{did_you_mean(label, held.labels)}")


def _require_one_run(found: pd.DataFrame) -> None:
    """Two runs of one label and seed are different experiments, of which a mean would mean nothing."""
    runs = found[["run_key", "label", "seed"]].drop_duplicates()
    twice = runs[runs.duplicated(["label", "seed"], keep=False)]
    if len(twice):
        label, seed = twice.label.iloc[0], twice.seed.iloc[0]
        keys = twice.run_key[(twice.label == label) & (twice.seed == seed)].str[:8]
        raise CotrainError(
            f"Label {label!r} is that of several runs with seed {seed}: {', '.join(keys)}. Name the runs that are "
            "meant, or their recipe."
        )
    if found.duplicated(["run_key", "corruption", "severity"]).any():
        raise CotrainError("The table of scores under corruption holds a run's condition twice: give one evaluation.")


def _over_seeds(rows: pd.DataFrame, by: list[str], labels: Sequence[str], confidence: float) -> pd.DataFrame:
    from scipy.stats import t

    found = rows.groupby(by, sort=False).value.agg(["mean", "std", "count"]).reset_index()
    # where one seed has no degree of freedom, SciPy's quantile is NaN, and so are the bounds
    half = t.ppf((1 + confidence) / 2, found["count"] - 1) * found["std"] / found["count"] ** 0.5
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half, seeds=found["count"])
    found = by_label(found, labels)
    return found[[*by, "mean", "low", "high", "seeds"]].reset_index(drop=True)
