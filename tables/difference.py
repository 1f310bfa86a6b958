"""What differs between runs: configs, code, and test scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cotrain.tables.configs import leaves
from cotrain.tables.queries import attempts_of, scores
from cotrain.tables.runs import Run
from cotrain.tables.selection import only

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "-"  # where a config has no such value


def config_differences(runs: Sequence[str]) -> pd.DataFrame:
    """The config values (and seed) that are not the same in all runs: one row a path, one column a run.

    Fields that are younger than a stored config have their neutral value.

    Args:
        runs: Keys, two or more.
    """
    import pandas as pd

    values: dict[str, dict[str, str]] = {}
    for run in runs:
        experiment = Run.load({"run_key": run})
        parts = {"data": experiment.data, "model": experiment.model, "trainer": experiment.trainer}
        values[run] = {
            path: text or "''" for part, held in parts.items() for path, _, text in leaves(held.record(), part)
        }
        values[run]["seed"] = str(experiment.seed)
    table = pd.DataFrame(values, dtype=object).fillna(NOTHING)
    return table[table.nunique(axis=1) > 1]


def score_differences(runs: Sequence[str]) -> pd.DataFrame:
    """Test scores side by side: one row a task, session and metric, one column a run; NaN where a run has none.

    With two runs, the column `difference` is the second minus the first.
    """
    found = scores(Run() & only(runs), session=None)
    found["score"] = (found.task + " " + found.session).str.strip() + " " + found.metric
    table = found.pivot(index="score", columns="run_key", values="value").reindex(columns=list(runs))
    if len(runs) == 2:
        table["difference"] = table[runs[1]] - table[runs[0]]
    return table.rename_axis(index=None, columns=None)


def code_differences(runs: Sequence[str], *, packages: bool = False) -> pd.DataFrame:
    """Commits and versions with which the last attempts ran, where they differ: one row each, one column a run.

    Args:
        runs: Keys, two or more.
        packages: Whether to compare the versions of all packages.
    """
    import pandas as pd

    values: dict[str, dict[str, Any]] = {}
    for run in runs:
        last = attempts_of({"run_key": run})[-1:]
        values[run] = {}
        for attempt in last:
            for place, held in attempt["repositories"].items():
                changed = " with uncommitted changes" if held["dirty"] else ""
                values[run][place] = (held["commit"] or "no commit") + changed
            values[run] |= {"cotrain": attempt["cotrain_version"], "python": attempt["python_version"]}
            values[run] |= {"image": attempt["image"], "device": attempt["device"]}
            values[run] |= attempt["packages"] if packages else {}
    table = pd.DataFrame(values, dtype=object).fillna(NOTHING)
    return table[table.nunique(axis=1) > 1]
