"""`cotrain deltas` from trained chains to the table: every difference recomputed from the stored rows."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_rel

from cotrain.errors import DatabaseError
from cotrain.evaluations import LinearSvmScoresConfig
from cotrain.tables import evaluate, queries
from cotrain.tables.deltas import finetuning_readouts, starts_of
from cotrain.tables.evaluations import Evaluation, LinearSvmScores
from cotrain.tables.runs import RecipeRun, Run
from cotrain.tables.selection import only
from cotrain.tables.worker import work

pytestmark = pytest.mark.slow  # eight runs are trained, and read out


@pytest.fixture(scope="module")
def finetuned(lab):
    """Two seeds of a student and of three finetunings, of which one learns from a network with random weights."""
    lab.enqueue("Finetuned")
    assert work() == (8, 0)
    return lab


@pytest.fixture(scope="module")
def config(finetuned):
    """All runs are read out on the images that the student's data hold for testing."""
    student = next(e for e in finetuned.recipe("Finetuned")().expand() if e.label == "student")
    config = LinearSvmScoresConfig(layers=("layer2",), splits=2, labelled=student.data)
    assert evaluate.evaluate(config, queries.runs()).done == 8
    return config


def accuracies(label):
    """By seed, as stored."""
    runs = (RecipeRun() & {"label": label}).proj() * Run().proj("seed")
    return {row["seed"]: (LinearSvmScores.Layer() & {"run_key": row["run_key"]}).fetch1("svm") for row in runs}


def test_runs_start_from_those_of_their_own_seed(finetuned):
    keys = {(e.label, e.seed): e.key() for e in finetuned.recipe("Finetuned")().expand()}
    expected = {keys[label, seed]: keys["student", seed] for label in ("cells", "network", "both") for seed in (0, 1)}
    assert starts_of(queries.runs()) == expected


def test_before_anything_is_read_out(finetuned, command):
    (Evaluation() & True).delete()
    status, out, err = command("deltas", "Finetuned")
    assert (status, out) == (1, "")
    assert "Nothing was read out of these 8 runs yet. `cotrain evaluate --suite linear_svm_scores --recipe" in err


def test_the_table_is_what_is_stored(config, command, tmp_path):
    picture = tmp_path / "deltas.png"
    status, out, err = command("deltas", "Finetuned", "--control", "cells", "--out", str(picture))
    assert (status, err) == (0, "")
    before, after, control = (
        100 * np.array([held[seed] for seed in (0, 1)]) for held in map(accuracies, ("student", "network", "cells"))
    )
    interval = ttest_rel(after, before).confidence_interval(0.95)
    assert (
        f"| network | stripes layer2 | {before.mean():.2f} | {after.mean():.2f} | {(after - before).mean():+.2f} | "
        f"[{interval.low:+.2f}, {interval.high:+.2f}], 2 |"
    ) in out
    assert "| control | after | difference |" in out
    assert f"| network | stripes layer2 | {control.mean():.2f} | {after.mean():.2f} |" in out
    assert "13 images a readout, chance 38.5; nested, test images, labelled by cotrain.data.select_tasks" in out
    assert "Left out" not in out
    with Image.open(picture) as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5


def test_a_readout_that_is_missing_is_told_and_one_seed_refused(config, command):
    gone = starts_of(queries.runs() & {"seed": 1})
    (LinearSvmScores() & only(set(gone.values()))).delete()
    try:
        status, out, err = command("deltas", "Finetuned")
        assert (status, out) == (1, "")
        assert "is of one seed (3 of 3 rows are)" in err
        status, out, _ = command("deltas", "Finetuned", "--single-seed")
        assert status == 0
        assert out.count("ONE SEED: no interval, not a result") == 3
        assert re.search(r"Left out are 3 of 6 finetuned runs: 3 without such a readout", out)
    finally:
        evaluate.evaluate(config, queries.runs())


def test_several_evaluations_are_told_apart(config, command):
    """Of their own data, runs without a classification have no readout."""
    own = LinearSvmScoresConfig(layers=("layer2",), splits=2)
    assert evaluate.evaluate(own, queries.runs()).done == 8
    with pytest.raises(DatabaseError, match=r"several evaluations .*(?s:.*)own data, .* 4 runs with a readout"):
        finetuning_readouts("Finetuned")
    chosen = finetuning_readouts("Finetuned", evaluation=config.key()[:8])
    assert {label: len(rows) for label, rows in chosen.scores.items()} == {"student": 8}
    with pytest.raises(
        DatabaseError, match=r"No run .* can be compared .* 4 without .*; 2 read out on images of their own"
    ):
        finetuning_readouts("Finetuned", evaluation=own.key())
    with pytest.raises(DatabaseError, match=r"no evaluation 'beef' of linear_svm_scores\. They have: "):
        finetuning_readouts("Finetuned", evaluation="beef")
    status, _, err = command("deltas", "Finetuned", "--evaluation", config.key()[:8], "--control", "cell")
    assert status == 1
    assert "There is no finetuned run 'cell' to compare with. Did you mean 'cells'?" in err


def test_a_recipe_without_starts(finetuned):
    finetuned.enqueue("Six")
    with pytest.raises(DatabaseError, match=r"No run of tiny\.Six starts from another"):
        finetuning_readouts("Six")
