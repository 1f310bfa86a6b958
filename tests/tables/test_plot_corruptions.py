"""`cotrain plot corruptions` from trained runs to the picture: the numbers that it prints are the stored ones."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_1samp, ttest_rel

from cotrain.errors import DatabaseError
from cotrain.evaluations import CorruptionsConfig
from cotrain.tables import evaluate, queries, queue
from cotrain.tables.evaluations import Evaluation, Robustness
from cotrain.tables.robustness import scores_under_corruption
from cotrain.tables.runs import RecipeRun, Run
from cotrain.tables.worker import work

pytestmark = pytest.mark.slow  # four runs are trained, and evaluated three times

PIXELS = 32  # corruptions are defined from here on


@pytest.fixture(scope="module")
def runs(lab):
    """Two seeds of two experiments on images that can be corrupted."""
    tiny = lab.recipe("Tiny")
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules[tiny.__module__]
        patch.setattr(module, "SIZE", PIXELS)
        module.write_data(lab.home)

    class Seeds(tiny):
        """Do both experiments hold under noise?"""

        seeds = (0, 1)

    queue.enqueue(Seeds, "tiny.Seeds")
    assert work() == (4, 0)
    return lab


@pytest.fixture(scope="module")
def evaluated(runs):
    """All runs are evaluated under one corruption at two severities."""
    config = CorruptionsConfig(preset="cifar_c", corruptions=("gaussian_noise",), severities=(1, 5))
    assert evaluate.evaluate(config, queries.runs()).done == 4
    return runs


@pytest.fixture
def plot(command, tmp_path):
    """A function that runs `cotrain plot corruptions`: status, output, errors and whether there is a picture."""

    def run(*arguments):
        path = tmp_path / "picture.png"
        found = command("plot", "corruptions", *arguments, "--out", str(path))
        return *found, path.exists()

    return run


def test_before_anything_is_evaluated(runs, plot):
    (Evaluation() & True).delete()
    status, out, err, drawn = plot()
    assert (status, out, drawn) == (1, "", False)
    assert err == (
        "cotrain: None of these 4 runs is evaluated under corruptions yet. "
        "`cotrain evaluate --suite corruptions [RUN ...]` does it.\n"
    )


def test_no_such_runs(runs, plot):
    assert plot("nobody")[2].startswith("cotrain: No runs have a key that begins with 'nobody', or that label.")
    assert plot("--recipe", "nobody")[2].startswith("cotrain: No recipes in the database are called 'nobody'.")


def values(label, metric="accuracy"):
    """{condition: [value of each seed]} of the task that both experiments have, from the table itself."""
    rows = ((Robustness.Score() & {"task": "stripes", "metric": metric}) * (RecipeRun() & {"label": label})).to_dicts()
    seeds = {row["run_key"]: row["seed"] for row in Run().proj("seed").to_dicts()}
    found: dict[tuple[str, int], list[float]] = {}
    for row in sorted(rows, key=lambda row: seeds[row["run_key"]]):
        found.setdefault((row["corruption"], row["severity"]), []).append(row["value"])
    return found


def test_what_is_printed_is_what_is_stored(evaluated, plot, tmp_path):
    status, out, err, drawn = plot("--recipe", "tiny.Seeds", "--task", "stripes", "--baseline", "stripes only")
    assert (status, err, drawn) == (0, "", True)
    assert out.startswith("stripes: accuracy under corruption (cifar_c, test images)\n\n")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width > 1500
    corrupted = {}
    for label in ("together", "stripes only"):
        held = values(label)
        assert len(held) == 3
        clean = held["clean", 0]
        corrupted[label] = np.mean([held["gaussian_noise", 1], held["gaussian_noise", 5]], axis=0)
        cells = [f"{label}  2"]
        for seeds in (clean, corrupted[label]):
            interval = ttest_1samp(seeds, 0).confidence_interval(0.95)
            cells.append(f"{np.mean(seeds):.3f} [{interval.low:.3f}, {interval.high:.3f}]")
        line = next(line for line in out.splitlines() if line.strip().startswith(label))
        assert " ".join(line.split()).startswith(" ".join(" ".join(cells).split()))
    difference = corrupted["together"] - corrupted["stripes only"]
    interval = ttest_rel(corrupted["together"], corrupted["stripes only"]).confidence_interval(0.95)
    assert f"{difference.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]" in out
    mce = (1 - corrupted["together"]).mean() / (1 - corrupted["stripes only"]).mean()
    assert re.search(rf" {mce:.3f} ", out)
    assert re.search(r"^ +seeds +clean +corrupted +difference +mCE +relative mCE$|^ +seeds .*mCE", out, re.MULTILINE)
    rows = [line for line in out.splitlines() if re.match(r" *(together|stripes only) ", line)]
    assert [row.split()[0] for row in rows] == ["together", "stripes"], "in the order of the recipe"


def test_a_task_must_be_chosen_where_there_are_several(evaluated, plot):
    status, _, err, drawn = plot()
    assert (status, drawn) == (1, False)
    assert err.startswith("cotrain: There are several tasks: cell_rdm, cells, stripes. Say which task is meant.")


def test_neural_tasks_have_sessions(evaluated, plot):
    status, out, err, drawn = plot("together", "--task", "cells", "--session", "first", "--baseline", "together")
    assert (status, err, drawn) == (0, "", True)
    assert out.startswith("cells, session first: correlation under corruption (cifar_c, test images)\n")
    assert "mCE" not in out.split("difference:")[0]


def test_one_seed_is_told(evaluated, plot):
    key = (RecipeRun() & {"label": "together"}).to_dicts()[0]["run_key"]
    status, out, _, drawn = plot(key[:8], "--task", "stripes")
    assert (status, drawn) == (0, True)
    assert "One seed, and so no interval: together." in out
    assert "[" not in next(line for line in out.splitlines() if line.strip().startswith("together"))


def test_an_unknown_baseline_draws_nothing(evaluated, plot):
    status, _, err, drawn = plot("--task", "stripes", "--baseline", "stripes onyl")
    assert (status, drawn) == (1, False)
    assert err == "cotrain: No evaluated run has the label 'stripes onyl'. Did you mean 'stripes only'?\n"


def test_one_of_several_evaluations_is_chosen(evaluated, plot):
    (first,) = (row["evaluation_key"] for row in Evaluation().proj().to_dicts())
    together = queries.runs() & queries.find_runs("together")
    keys = {}
    for preset, seed in (("imagenet_c", 0), ("cifar_c", 9)):
        config = CorruptionsConfig(preset=preset, corruptions=("gaussian_noise",), severities=(2,), seed=seed, images=9)
        assert evaluate.evaluate(config, together).done == 2
        keys[preset] = config.key()
    status, _, err, drawn = plot("--task", "stripes")
    assert (status, drawn) == (1, False)
    assert err.startswith("cotrain: These runs have several evaluations under corruptions:\n")
    assert re.search(rf"^  {first[:8]}  cifar_c, test images; .*gaussian_noise; seed 0; version \d; 4 runs$", err, re.M)
    assert re.search(rf"^  {keys['cifar_c'][:8]}  cifar_c, test images, the first 9; .*seed 9; .*; 2 runs$", err, re.M)
    assert err.endswith("Choose one by --preset or --evaluation.\n")
    status, out, _, drawn = plot("--task", "stripes", "--preset", "imagenet_c")
    assert (status, drawn) == (0, True)
    assert "(imagenet_c, test images, the first 9)" in out
    assert "2 more of these runs are finished, but not evaluated so." in out
    status, _, err, _ = plot("--task", "stripes", "--preset", "cifar_c")
    assert (status, err.count("\n")) == (1, 4)
    assert plot("--task", "stripes", "--evaluation", first[:6])[0] == 0
    status, _, err, _ = plot("--preset", "tiny_imagenet_c")
    assert status == 1
    assert err.startswith("cotrain: These runs have no such evaluation under corruptions. They have: cifar_c (")
    with pytest.raises(DatabaseError, match="no such evaluation"):
        scores_under_corruption(evaluation="f" * 32)
    for key in keys.values():
        (Evaluation() & {"evaluation_key": key}).delete()
