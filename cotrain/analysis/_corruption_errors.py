"""mCE of several runs against one baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotrain.analysis._evaluated_rows import by_label
from cotrain.analysis._robustness import CLEAN, Robustness, require_label
from cotrain.errors import CotrainError
from cotrain.metrics import mean_corruption_error, relative_mean_corruption_error

if TYPE_CHECKING:
    import pandas as pd

SHARES = ("accuracy", "top5")  # of images: what is missing to 1 is an error


def corruption_errors(held: Robustness, baseline: str) -> pd.DataFrame:
    """mCE and relative mCE of each run, against a baseline's mean errors over its seeds.

    One reference for all runs, as in Hendrycks & Dietterich (2019), section 4, whose baseline is a single network. So
    the baseline's own runs have an mCE of about 1, not exactly 1.

    Args:
        held: Accuracies (`accuracy` or `top5`).
        baseline: Its label.

    Returns:
        run_key, label, seed, mce, relative_mce, as shares: 1 is as bad as the baseline. NaN for a run that lacks a
        condition, and where the baseline's errors are no divisor (`cotrain.metrics.mean_corruption_error`).

    Raises:
        CotrainError: No experiment has that label, or the score is no share of images.
    """
    require_label(held, baseline)
    if held.metric not in SHARES:
        raise CotrainError(f"mCE is defined for {' and '.join(SHARES)}, not for {held.metric}.")
    wide = 1 - held.values.pivot(index=["run_key", "label", "seed"], columns=["corruption", "severity"], values="value")
    if (CLEAN, 0) not in wide:
        wide[(CLEAN, 0)] = float("nan")
    reference: dict[Any, float] = wide[wide.index.get_level_values("label") == baseline].mean().to_dict()
    errors: list[dict[Any, float]] = wide.to_dict("records")
    found = wide.index.to_frame(index=False)
    found["mce"] = [mean_corruption_error(own, reference).value for own in errors]
    found["relative_mce"] = [relative_mean_corruption_error(own, reference).value for own in errors]
    found = by_label(found.sort_values("seed", kind="stable"), held.labels).reset_index(drop=True)
    return found[["run_key", "label", "seed", "mce", "relative_mce"]]
