"""The corruption errors of Hendrycks & Dietterich (2019): errors under corruptions as shares of a baseline's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Errors = Mapping[tuple[str, int], float]
"""{(corruption, severity): share of images that are classified wrongly, 0 to 1}; ("clean", 0) are clean images."""

CLEAN = ("clean", 0)
SHOWN = 5  # conditions in an error text
ROUNDING = 1e-12  # of sums of errors


@dataclass(frozen=True)
class CorruptionError:
    """A mean corruption error.

    Args:
        value: Mean over corruptions; 1 is as bad as the baseline, and papers print it in percent. NaN where one of
            them has none: a mean of others would not be comparable.
        by_corruption: {corruption: its error}, NaN where the baseline's stands for nothing.
        reason: Why the value is NaN; "" otherwise.
    """

    value: float
    by_corruption: Mapping[str, float]
    reason: str = ""


def classification_errors(rows: pd.DataFrame) -> dict[tuple[str, int], float]:
    """The errors, 1 - accuracy, of one classification of one run.

    Args:
        rows: Columns corruption, severity, metric, value; only those of the metric accuracy count.

    Raises:
        DataError: A condition has several rows, as those of several runs or tasks; names it.
    """
    held = rows[rows["metric"] == "accuracy"]
    found: dict[tuple[str, int], float] = {}
    for name, severity, value in zip(held["corruption"], held["severity"], held["value"], strict=True):
        condition = (str(name), int(severity))
        if condition in found:
            raise DataError(
                f"There are several accuracies under {name} {severity}: choose the rows of one run and one task."
            )
        found[condition] = 1 - float(value)
    return found


def mean_corruption_error(errors: Errors | pd.DataFrame, baseline: Errors | pd.DataFrame) -> CorruptionError:
    """mCE: the mean over corruptions of the sum of errors over severities, divided by the baseline's sum.

    Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, ICLR 2019,
    section 4, on the metrics of ImageNet-C. A corruption under which the baseline makes no error has none: NaN.

    Args:
        errors: Of the model, or the rows that `classification_errors` takes.
        baseline: Likewise, under the same conditions.

    Raises:
        DataError: The conditions of the two differ, or there are none.

    >>> mean_corruption_error({("fog", 1): 0.2, ("fog", 2): 0.4}, {("fog", 1): 0.4, ("fog", 2): 0.8}).value
    0.5
    """
    return _ratio(_errors(errors), _errors(baseline), lambda _: 0.0, "the baseline makes no error under")


def relative_mean_corruption_error(errors: Errors | pd.DataFrame, baseline: Errors | pd.DataFrame) -> CorruptionError:
    """Relative mCE: as mCE, but of the errors that a corruption adds to those on clean images.

    The same paper and section. A corruption that adds nothing to the baseline's errors, or even takes some away, has
    none: NaN, since the quotient would say nothing of the model.

    Args:
        errors: Of the model, with those on clean images; or the rows that `classification_errors` takes.
        baseline: Likewise, under the same conditions.

    Raises:
        DataError: The conditions of the two differ, there are none, or the errors on clean images are missing.
    """
    found, other = _errors(errors), _errors(baseline)
    for held in (found, other):
        if CLEAN not in held:
            raise DataError("A relative corruption error needs the error on clean images, ('clean', 0).")
    return _ratio(found, other, lambda held: held[CLEAN], "the baseline is not worse than on clean images under")


def _errors(given: Errors | pd.DataFrame) -> Errors:
    return given if isinstance(given, Mapping) else classification_errors(given)


def _ratio(errors: Errors, baseline: Errors, clean: Callable[[Errors], float], reason: str) -> CorruptionError:
    wanted, held = errors.keys() - {CLEAN}, baseline.keys() - {CLEAN}
    if wanted != held:
        differing = sorted(f"{name} {severity}" for name, severity in wanted ^ held)
        raise DataError(
            "Model and baseline need errors under the same conditions; only one of them has "
            f"{', '.join(differing[:SHOWN])}{f' and {len(differing) - SHOWN} more' * (len(differing) > SHOWN)}."
        )
    if not wanted:
        raise DataError("There are no errors under corruptions.")
    by_corruption: dict[str, float] = {}
    unknown, undefined = [], []
    for corruption in dict.fromkeys(name for name, severity in errors if (name, severity) != CLEAN):
        conditions = sorted(condition for condition in wanted if condition[0] == corruption)
        above = math.fsum(errors[condition] - clean(errors) for condition in conditions)
        below = math.fsum(baseline[condition] - clean(baseline) for condition in conditions)
        if math.isnan(above) or math.isnan(below):
            unknown.append(corruption)
        elif below <= ROUNDING:
            undefined.append(corruption)
        is_known = corruption not in (*unknown, *undefined)
        by_corruption[corruption] = above / below if is_known else math.nan
    told = [f"{reason} {', '.join(undefined)}"] * bool(undefined)
    told += [f"there are errors that are no numbers under {', '.join(unknown)}"] * bool(unknown)
    return CorruptionError(math.fsum(by_corruption.values()) / len(by_corruption), by_corruption, "; ".join(told))
