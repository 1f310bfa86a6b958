"""The table of what finetuning changed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from cotrain.analysis import deltas_as_text, deltas_figure, finetuning_deltas
from cotrain.errors import CotrainError

BEFORE, AFTER = np.array([0.50, 0.52, 0.55, 0.47]), np.array([0.53, 0.56, 0.55, 0.53])


def scores(seeds=4):
    rows = [("student", seed, "linear SVM", BEFORE[seed]) for seed in range(seeds)]
    rows += [("V4", seed, "linear SVM", AFTER[seed]) for seed in range(seeds)]
    return pd.DataFrame(rows, columns=["label", "seed", "score", "value"])


def test_the_interval_is_that_of_paired_seeds():
    row = finetuning_deltas(scores(), "student").iloc[0]
    expected = ttest_1samp(AFTER - BEFORE, 0).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert (row.before, row.after) == pytest.approx((BEFORE.mean(), AFTER.mean()))
    assert row.difference == pytest.approx(row.after - row.before)
    assert row.seeds == 4
    text = deltas_as_text(finetuning_deltas(scores(), "student"))
    assert "| V4 | linear SVM | 51.00 | 54.25 | +3.25 | [" in text
    assert "], 4 |" in text


def test_means_are_of_the_seeds_that_both_have():
    table = finetuning_deltas(scores().drop(index=3), "student")  # the student's last seed
    assert table.iloc[0].after == pytest.approx(AFTER[:3].mean())
    assert table.iloc[0].seeds == 3


def test_a_difference_of_one_seed_is_not_printed_unless_it_says_so():
    table = finetuning_deltas(scores(seeds=1), "student")
    with pytest.raises(CotrainError, match=r"The difference of 'V4' is of one seed .*single_seed=True"):
        deltas_as_text(table)
    assert "ONE SEED: no interval, not a result" in deltas_as_text(table, single_seed=True)
    assert "ONE SEED" not in deltas_as_text(finetuning_deltas(scores(), "student"), single_seed=True)


def test_a_single_row_of_one_seed_is_enough_to_refuse():
    rows = pd.concat([scores(), pd.DataFrame([("IT", 0, "linear SVM", 0.5)], columns=scores().columns)])
    with pytest.raises(CotrainError, match=r"'IT' is of one seed \(1 of 2 rows"):
        deltas_as_text(finetuning_deltas(rows, "student"))


def test_shares_or_other_units():
    assert "| V4 | linear SVM | 0.510 | 0.542 | +0.03" in deltas_as_text(
        finetuning_deltas(scores(), "student"), percent=False
    )


def test_what_is_refused():
    with pytest.raises(CotrainError, match="no finished experiment 'studnt'"):
        finetuning_deltas(scores(), "studnt")
    with pytest.raises(CotrainError, match="There are several values of 'linear SVM' for 'student', seed 0"):
        finetuning_deltas(pd.concat([scores(), scores()]), "student")
    with pytest.raises(CotrainError, match="in common with 'student'"):
        finetuning_deltas(scores()[:4], "student")


def test_the_picture_holds_means_intervals_and_seeds():
    rows = pd.concat([scores(), pd.DataFrame([("IT", 0, "linear SVM", 0.45)], columns=scores().columns)])
    figure = deltas_figure({"student": rows})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["V4", "IT"]
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    seeds, mean, one, alone = (line.get_xdata() for line in lines)
    assert seeds == pytest.approx(100 * (AFTER - BEFORE))
    assert mean == pytest.approx([325 / 100])
    assert (one, alone) == (pytest.approx([-5]), pytest.approx([-5]))
    assert lines[3].get_markerfacecolor() == "w", "a mean of one seed is hollow"
    (interval,) = axes.collections  # that of one seed has none
    low, high = interval.get_segments()[0][:, 0]
    expected = ttest_1samp(AFTER - BEFORE, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_a_picture_of_two_starts_and_two_scores():
    more = scores().assign(score="layer3", value=scores().value / 2)
    figure = deltas_figure({"student": pd.concat([scores(), more]), "V4": scores()}, title="Of two starts")
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == ["linear SVM", "layer3", "linear SVM"]
    with pytest.raises(CotrainError, match="There are no scores to draw"):
        deltas_figure({})
