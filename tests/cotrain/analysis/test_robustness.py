"""Summaries of robustness: against loops over the rows and SciPy's intervals, and what has no mean."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from corruption_frames import FEW, scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp, ttest_rel

from cotrain.analysis import (
    condition_summary,
    corruption_errors,
    label_summary,
    robustness,
    robustness_differences,
    run_summary,
)
from cotrain.errors import CotrainError


def by_hand(frame):
    """{label: {score: {seed: value}}}, by loops over the rows."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for (label, seed), own in frame.groupby(["label", "seed"]):
        of_run = {"clean": own.value[own.corruption == "clean"].item()}
        for name in dict.fromkeys(own.corruption):
            if name != "clean":
                values = [row.value for row in own.itertuples() if row.corruption == name]
                of_run[name] = statistics.fmean(values)
        of_run["corrupted"] = statistics.fmean(value for name, value in of_run.items() if name != "clean")
        for score, value in of_run.items():
            found.setdefault(label, {}).setdefault(score, {})[seed] = value
    return found


# --- means and intervals ---


@settings(max_examples=15, deadline=None)
@given(
    seeds=st.integers(1, 4),
    labels=st.integers(1, 3),
    corruptions=st.integers(1, 4),
    severities=st.sets(st.integers(1, 5), min_size=1),
    draw=st.integers(0, 99),
)
def test_means_are_those_of_loops_whatever_the_order_of_rows(seeds, labels, corruptions, severities, draw):
    names = tuple(f"label {number}" for number in range(labels))
    frame = scores(names, seeds, FEW[:corruptions], sorted(severities), draw=draw)
    held = robustness(frame.sample(frac=1, random_state=draw))
    expected = by_hand(frame)
    runs = run_summary(held)
    assert len(runs) == labels * seeds * (corruptions + 2)
    for row in runs.itertuples():
        assert row.value == pytest.approx(expected[row.label][row.score][row.seed], abs=1e-12)
    for row in label_summary(held, confidence=0.9).itertuples():
        values = list(expected[row.label][row.score].values())
        assert (row.mean, row.seeds) == (pytest.approx(statistics.fmean(values)), seeds)
        if seeds == 1:
            assert math.isnan(row.low) and math.isnan(row.high), "one seed has no interval"
        else:
            interval = ttest_1samp(values, 0).confidence_interval(0.9)
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))


def test_conditions_over_seeds():
    frame = scores(corruptions=FEW)
    found = condition_summary(robustness(frame))
    assert len(found) == 4 * (1 + 4 * 5)
    for row in found.itertuples():
        values = frame.value[
            (frame.label == row.label) & (frame.corruption == row.corruption) & (frame.severity == row.severity)
        ]
        half = t.ppf(0.975, 4) * values.std() / math.sqrt(5)
        assert (row.mean, row.seeds) == (pytest.approx(values.mean()), 5)
        assert (row.low, row.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_differences_are_paired_by_seed():
    frame = scores(("base", "other"), corruptions=FEW)
    found = robustness_differences(robustness(frame), "base").set_index("score")
    expected = by_hand(frame)
    assert list(found.index) == ["clean", "corrupted", *FEW]
    for score, row in found.iterrows():
        other, base = (np.array(list(expected[label][score].values())) for label in ("other", "base"))
        interval = ttest_rel(other, base).confidence_interval(0.95)
        assert (row.label, row.seeds) == ("other", 5)
        assert row.difference == pytest.approx((other - base).mean())
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high))


def test_differences_over_the_seeds_in_common():
    frame = scores(("base", "half", "apart"), seeds=4, corruptions=FEW)
    frame.loc[frame.label == "half", "seed"] += 3
    frame.loc[frame.label == "apart", "seed"] += 9
    found = robustness_differences(robustness(frame), "base")
    assert set(found.label) == {"half"}
    assert set(found.seeds) == {1}
    assert found[["low", "high"]].isna().all(axis=None)


def test_the_baseline_need_not_come_first():
    held = robustness(scores(("a", "b"), seeds=2, corruptions=FEW))
    there, back = (robustness_differences(held, label) for label in ("a", "b"))
    assert np.allclose(there.difference, -back.difference)


# --- what has no mean ---


def test_an_undefined_score_leaves_no_mean_over_what_is_left():
    frame = scores(("one", "two"), seeds=2, corruptions=FEW)
    hole = (frame.label == "one") & (frame.seed == 0) & (frame.corruption == "fog") & (frame.severity == 2)
    for changed in (frame.assign(value=frame.value.mask(hole)), frame[~hole]):
        runs = run_summary(robustness(changed)).set_index(["label", "seed", "score"]).value
        assert sorted(runs[runs.isna()].index) == [("one", 0, "corrupted"), ("one", 0, "fog")]
        summary = label_summary(robustness(changed)).set_index(["label", "score"])
        assert summary.seeds["one"][["corrupted", "fog"]].tolist() == [1, 1]
        assert summary.seeds["one"][["clean", "contrast"]].tolist() == [2, 2]
        assert summary["mean"]["one", "fog"] == runs["one", 1, "fog"]


def test_none_from_the_database_is_undefined():
    frame = scores(("one",), seeds=1, corruptions=FEW)
    frame["value"] = frame.value.astype(object).where(frame.corruption != "fog", None)
    runs = run_summary(robustness(frame)).set_index("score").value
    assert sorted(runs.index[runs.isna()]) == ["corrupted", "fog"]


def test_without_the_clean_condition():
    frame = scores(("one",), seeds=2, corruptions=FEW)
    held = robustness(frame[frame.corruption != "clean"])
    assert "clean" not in set(run_summary(held).score)
    errors = corruption_errors(held, "one")
    assert errors.mce.notna().all()
    assert errors.relative_mce.isna().all()


# --- what is chosen ---


def test_the_score_that_stands_for_a_task_is_chosen():
    parts = [scores(("one",), 1, FEW, metric=metric) for metric in ("loss", "accuracy", "top5")]
    parts[0]["value"] += 3
    frame = pd.concat(parts)
    assert robustness(frame).metric == "accuracy"
    assert robustness(frame, metric="loss").values.value.min() > 2


def test_sessions_are_kept_apart():
    both = [scores(("one",), 1, FEW, metric="correlation", task="v4").assign(session=name) for name in ("", "first")]
    both[1]["value"] -= 1
    frame = pd.concat([*both, scores(("one",), 1, FEW)])
    together, first = (robustness(frame, task="v4", session=name) for name in ("", "first"))
    assert (together.task, together.metric, together.session) == ("v4", "correlation", "")
    assert np.allclose(first.values.value, together.values.value - 1)


def test_labels_are_chosen_and_ordered():
    held = robustness(scores(seeds=2, corruptions=FEW), labels=["oracle", "baseline"])
    assert held.labels == ("oracle", "baseline")
    assert list(dict.fromkeys(label_summary(held).label)) == ["oracle", "baseline"]
    assert set(held.values.label) == {"oracle", "baseline"}


def test_a_run_without_a_label_is_called_by_its_key():
    frame = scores(("",), seeds=1, corruptions=FEW)
    assert robustness(frame).labels == ("00000000",)


def test_corruptions_come_in_the_order_of_the_benchmark():
    held = robustness(scores(("one",), 1, ("mine", "fog", "contrast", "gaussian_noise", "shot_noise"), (3, 1)))
    assert held.corruptions == {
        "noise": ["gaussian_noise", "shot_noise"],
        "weather": ["fog"],
        "digital": ["contrast"],
        "other": ["mine"],
    }
    assert held.severities == [1, 3]


# --- corruption errors ---


def test_corruption_errors_against_the_baselines_mean():
    frame = scores(("base", "other"), seeds=3, corruptions=FEW)
    found = corruption_errors(robustness(frame), "base")
    assert list(found.label) == ["base"] * 3 + ["other"] * 3
    base = 1 - frame[frame.label == "base"].groupby(["corruption", "severity"]).value.mean()
    for row in found.itertuples():
        own = 1 - frame[frame.run_key == row.run_key].set_index(["corruption", "severity"]).value
        plain = [own[name].sum() / base[name].sum() for name in FEW]
        above = [
            (own[name] - own["clean", 0]).sum() / (base[name] - base["clean", 0]).sum() for name in FEW
        ]  # equations of section 4
        assert row.mce == pytest.approx(statistics.fmean(plain))
        assert row.relative_mce == pytest.approx(statistics.fmean(above))
    assert found.mce[found.label == "base"].mean() == pytest.approx(1)


def test_a_run_that_lacks_a_condition_has_no_corruption_error():
    frame = scores(("base", "other"), seeds=2, corruptions=FEW)
    frame = frame[~((frame.label == "other") & (frame.seed == 1) & (frame.severity == 4) & (frame.corruption == "fog"))]
    found = corruption_errors(robustness(frame), "base")
    assert found.mce.isna().tolist() == [False, False, False, True]


def test_correlations_have_no_corruption_error():
    held = robustness(scores(("one",), 1, FEW, metric="correlation"))
    with pytest.raises(CotrainError, match="mCE is defined for accuracy and top5, not for correlation"):
        corruption_errors(held, "one")


# --- refusals ---


@pytest.mark.parametrize("summary", [robustness_differences, corruption_errors])
def test_an_unknown_baseline(summary):
    held = robustness(scores(seeds=1, corruptions=FEW))
    with pytest.raises(CotrainError, match="No evaluated run has the label 'bsaeline'. Did you mean 'baseline'?"):
        summary(held, "bsaeline")


def changed(**columns):
    return scores(("one", "two"), 2, FEW).assign(**columns)


TWO_TASKS = pd.concat([changed(), changed(task="v4")])
TWO_METRICS = pd.concat([changed(metric="accuracy"), changed(metric="spearman")])


@pytest.mark.parametrize(
    ("frame", "chosen", "text"),
    [
        (changed().drop(columns="seed"), {}, r"has the columns run_key, label, .*; no \['seed'\]"),
        (changed()[:0], {}, "has no row: evaluate some runs first"),
        (TWO_TASKS, {}, "There are several tasks: objects, v4. Say which task is meant."),
        (TWO_TASKS, {"task": "objets"}, "There is no task 'objets' under corruption. Did you mean 'objects'?"),
        (TWO_METRICS, {}, "There are several metrics: accuracy, spearman. Say which"),
        (changed(), {"metric": "acuracy"}, "There is no metric 'acuracy' under corruption. Did you mean 'accuracy'?"),
        (changed(session="a"), {"session": "b"}, "Task 'objects' has no session 'b'. Known: a."),
        (changed(), {"labels": ["on"]}, "No evaluated run has the label 'on'. Did you mean 'one'?"),
        (changed(corruption="clean", severity=0)[:1], {}, "there is no accuracy under corruption, only the clean one"),
        (changed(label="same"), {}, "Label 'same' is that of several runs with seed 0: 00000000, 00010000. Name"),
        (pd.concat([changed(), changed()]), {}, "holds a run's condition twice: give one evaluation"),
    ],
)
def test_what_cannot_be_summarised(frame, chosen, text):
    with pytest.raises(CotrainError, match=text):
        robustness(frame, **chosen)
