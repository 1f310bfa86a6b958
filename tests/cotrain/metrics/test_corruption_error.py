"""mCE and relative mCE: by hand, as the paper's formula with NumPy, and where they are not defined."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotrain.errors import DataError
from cotrain.metrics import classification_errors, mean_corruption_error, relative_mean_corruption_error

NAMES, SEVERITIES = ("fog", "snow", "frost"), (1, 2, 3, 4, 5)
CONDITIONS = [(name, severity) for name in NAMES for severity in SEVERITIES]


def errors(table, clean=0.1):
    """A table (corruptions, severities) as a dict."""
    return {("clean", 0): clean, **dict(zip(CONDITIONS, np.ravel(table).tolist(), strict=True))}


TABLES = st.lists(st.floats(0.11, 1.0), min_size=15, max_size=15).map(lambda values: np.reshape(values, (3, 5)))


@given(TABLES, TABLES)
def test_formulas_of_the_paper(ours, theirs):
    # CE_c = sum_s E_sc / sum_s E_sc of the baseline; relative: of E_sc - E_clean
    wanted = ours.sum(1) / theirs.sum(1)
    found = mean_corruption_error(errors(ours), errors(theirs))
    assert list(found.by_corruption) == list(NAMES)
    assert list(found.by_corruption.values()) == pytest.approx(wanted.tolist())
    assert found.value == pytest.approx(wanted.mean())
    relative = (ours - 0.05).sum(1) / (theirs - 0.1).sum(1)
    found = relative_mean_corruption_error(errors(ours, 0.05), errors(theirs))
    assert found.value == pytest.approx(relative.mean())
    assert found.reason == ""


@given(TABLES)
def test_a_model_is_its_own_baseline(table):
    assert mean_corruption_error(errors(table), errors(table)).value == pytest.approx(1)
    assert relative_mean_corruption_error(errors(table), errors(table)).value == pytest.approx(1)


def test_rows_of_an_evaluation_give_the_same():
    table = np.linspace(0.2, 0.9, 15).reshape(3, 5)
    rows = [("clean", 0, "accuracy", 0.9), ("clean", 0, "loss", 3.0)]
    rows += [(*condition, "accuracy", 1 - error) for condition, error in zip(CONDITIONS, table.ravel(), strict=True)]
    frame = pd.DataFrame(rows, columns=["corruption", "severity", "metric", "value"])
    assert classification_errors(frame) == pytest.approx(errors(table))
    other = errors(np.full((3, 5), 0.5))
    assert mean_corruption_error(frame, other).value == pytest.approx(mean_corruption_error(errors(table), other).value)
    with pytest.raises(DataError, match="several accuracies under clean 0: choose the rows of one run and one task"):
        classification_errors(pd.concat([frame, frame]))


def test_a_baseline_without_errors_has_no_share():
    table = np.full((3, 5), 0.5)
    perfect = table.copy()
    perfect[1] = 0
    found = mean_corruption_error(errors(table), errors(perfect))
    assert math.isnan(found.value)
    assert [math.isnan(value) for value in found.by_corruption.values()] == [False, True, False]
    assert found.reason == "the baseline makes no error under snow"


@pytest.mark.parametrize("level", [0.1, 0.05])
def test_a_baseline_that_corruptions_do_not_harm_has_no_relative_share(level):
    table = np.full((3, 5), 0.5)
    unharmed = table.copy()
    unharmed[0] = unharmed[2] = level
    found = relative_mean_corruption_error(errors(table), errors(unharmed))
    assert math.isnan(found.value)
    assert found.by_corruption["snow"] == pytest.approx(1)
    assert found.reason == "the baseline is not worse than on clean images under fog, frost"


def test_an_error_that_is_no_number_is_told():
    table = np.full((3, 5), 0.5)
    broken = table.copy()
    broken[2, 4] = np.nan
    found = mean_corruption_error(errors(broken), errors(table))
    assert math.isnan(found.value)
    assert found.reason == "there are errors that are no numbers under frost"


def test_other_conditions_are_refused():
    whole = errors(np.full((3, 5), 0.5))
    part = {condition: error for condition, error in whole.items() if condition[0] != "snow"}
    told = "under the same conditions; only one of them has snow 1, snow 2, snow 3, snow 4, snow 5"
    with pytest.raises(DataError, match=told):
        mean_corruption_error(whole, part)
    with pytest.raises(DataError, match="There are no errors under corruptions"):
        mean_corruption_error({("clean", 0): 0.5}, {("clean", 0): 0.5})
    with pytest.raises(DataError, match="needs the error on clean images"):
        relative_mean_corruption_error({("fog", 1): 0.5}, whole)
