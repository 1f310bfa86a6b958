"""The report of a recipe: its table recomputed by hand, its query run as printed, its picture looked at."""

import re

import numpy as np
import pytest
from PIL import Image

from cotrain.dissimilarity import pairs, rdm
from cotrain.errors import CotrainError, DatabaseError
from cotrain.resolve import build
from cotrain.tables import queries, queue, report
from cotrain.tables.runs import Run
from cotrain.tables.store import load_model
from cotrain.tables.worker import work
from cotrain.training import load, predict

METRICS = {"stripes": "accuracy", "cells": "correlation", "cell_rdm": "spearman"}


@pytest.fixture(scope="module")
def reported(lab):
    """Two seeds of `Tiny`, trained, under the name `tiny.Two`; another recipe knows one of its runs by a new name."""
    tiny = lab.recipe("Tiny")

    class Two(tiny):
        """Do two layers learn with two seeds?"""

        seeds = (0, 1)

    queue.enqueue(Two, "tiny.Two")
    assert work() == (4, 0)
    lab.enqueue("Again")
    return Two


@pytest.fixture(scope="module")
def said(reported):
    return report.text("tiny.Two")


def test_scores(lab, reported):
    """Of every run, from its folder: {label: {column: [value of each seed]}}."""
    expected: dict[str, dict[str, list[float]]] = {}
    for experiment in reported().expand():
        scores = load(lab.home / "runs" / experiment.key()).scores
        test = scores[(scores.split == "test") & (scores.session == "")]
        for task in set(test.task):
            value = test[(test.task == task) & (test.metric == METRICS[task])].value.item()
            expected.setdefault(experiment.label, {}).setdefault(f"{task} {METRICS[task]}", []).append(value)
    text = report.text("tiny.Two")
    header, *rows = text.split("mean over seeds:\n")[1].split("\n\n")[0].splitlines()
    columns = re.findall(r"seeds|\w+ (?:accuracy|correlation|spearman)", header)
    assert sorted(columns) == sorted(["seeds", *expected["together"]])
    assert [row.split("  ")[0] for row in rows] == ["together", "stripes only"]
    for row in rows:
        label, *cells = re.split(r"\s{2,}", row)
        found = dict(zip(columns, cells, strict=True))
        assert found.pop("seeds") == "2"
        assert found == {
            column: f"{np.mean(expected[label][column]):.3f}" if column in expected[label] else "-" for column in found
        }


def test_differences_from_a_baseline_are_paired_by_seed(lab, reported):
    scores = {}
    for experiment in reported().expand():
        held = load(lab.home / "runs" / experiment.key()).scores
        row = held[(held.split == "test") & (held.task == "stripes") & (held.metric == "accuracy")]
        scores[experiment.label, experiment.seed] = row.value.item()
    differences = [scores["together", seed] - scores["stripes only", seed] for seed in (0, 1)]
    text = report.text("tiny.Two", baseline="stripes only")
    (row,) = [line for line in text.split("Student's t):")[1].splitlines() if line.startswith("together")]
    label, seeds, found = re.split(r"\s{2,}", row)
    half = 12.706 * np.std(differences, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    low, high = np.mean(differences) - half, np.mean(differences) + half
    assert (label, seeds) == ("together", "2")
    mean, *interval = (float(number) for number in re.findall(r"[-+]\d+\.\d+", found))
    assert [mean, *interval] == pytest.approx([np.mean(differences), low, high], abs=2e-3)
    with pytest.raises(CotrainError, match="no finished experiment 'Stripes only'"):
        report.text("tiny.Two", baseline="Stripes only")


def test_the_question_stands_first(said):
    assert said.startswith("Do two layers learn with two seeds?\n")


def test_the_printed_query_gives_the_scores(said, reported):
    code = said.split("The query:\n")[1].replace("    ", "")
    *statements, query = code.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join([*statements, f"found = {query}"]), names)
    frame = names["found"].to_pandas().reset_index()
    frame = frame[frame.metric.isin(METRICS.values())]
    assert len(frame) == 2 * (3 + 1)
    mean = frame[(frame.label == "together") & (frame.task == "cells")].value.mean()
    assert f"{mean:.3f}" in said


def test_each_recipe_has_its_own_labels(reported):
    lines = report.text("tiny.Again").splitlines()
    assert any(re.match(r"once more\s+1\s", line) for line in lines)
    assert not any("together" in line or "longer" in line for line in lines)


def test_nothing_finished(lab, reported, tmp_path):
    lab.enqueue("Six")
    with pytest.raises(DatabaseError, match=r"^No run of tiny\.Six is finished yet\. `cotrain work` trains them"):
        report.text("tiny.Six")
    with pytest.raises(DatabaseError, match=r"^No run of tiny\.Six is finished yet"):
        report.draw("tiny.Six", tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_the_picture_shows_curves_scores_and_rdms(lab, reported, tmp_path, monkeypatch):
    drawn = {}

    def figure(curves, metrics, test, rdms, *, title):
        drawn.update(curves=curves, metrics=metrics, test=test, rdms=rdms, title=title)
        return overview_figure(curves, metrics, test, rdms, title=title)

    overview_figure = report.overview_figure
    monkeypatch.setattr(report, "overview_figure", figure)
    report.draw("tiny.Two", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.format == "PNG"
        width, height = image.size
        assert width == pytest.approx(3 * 4.2 * 150, abs=2)  # three tasks
        assert 2 * 3.8 * 150 < height < (2 * 3.8 + 1) * 150  # curves and RDMs
        assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 50
    assert drawn["title"] == "Do two layers learn with two seeds?"
    assert drawn["metrics"] == METRICS
    assert list(drawn["curves"]) == ["together", "stripes only"]
    together, _ = [experiment for experiment in reported().expand() if experiment.label == "together"]
    held = load(lab.home / "runs" / together.key())
    test = held.scores[(held.scores.split == "test") & (held.scores.session == "")]
    for task, metric in METRICS.items():
        assert drawn["test"]["together"][task] == test[(test.task == task) & (test.metric == metric)].value.item()
    assert set(drawn["test"]["stripes only"]) == {"stripes"}
    validation = drawn["curves"]["together"]
    assert set(validation.split) == {"validation"}
    assert set(validation.epoch) == {0, 1, 2}


def test_rdms_are_those_of_the_test_stimuli(lab, reported):
    together, _ = [experiment for experiment in reported().expand() if experiment.label == "together"]
    source = build(together.data, seed=0).splits["test"]["cell_rdm"][""]
    found = report._rdms({"together": {"run_key": together.key()}})
    target, name = found
    assert target == "cell_rdm: target"
    assert np.array_equal(found[target], source.targets.double().numpy())
    model = load(lab.home / "runs" / together.key()).model
    expected = rdm(predict(model, source, "cell_rdm", "", next(model.parameters()).device).double())
    assert np.array_equal(found[name], expected.numpy())
    r = np.corrcoef(pairs(expected).numpy(), pairs(source.targets).numpy())[0, 1]
    assert name == f"together (r = {r:.2f})"


def test_runs_without_an_rdm_have_none(lab, reported):
    alone = next(experiment for experiment in reported().expand() if experiment.label == "stripes only")
    assert report._rdms({"stripes only": {"run_key": alone.key()}}) == {}


def test_a_stored_model_needs_no_data(lab, reported, monkeypatch, tmp_path):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))  # nothing there
    key = queries.find_run("once more")
    model = load_model(key)
    assert not model.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert len(Run() & key) == 1
