"""Finished runs evaluated from what is stored of them: numbers against SciPy, sharing, failures."""

import dataclasses
import platform
import re
import sys

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from cotrain import build
from cotrain.errors import DatabaseError, DataError
from cotrain.evaluations import NeuronScoresConfig, NoiseAccuracyConfig, neuron_scores
from cotrain.metrics import fraction_explained, split_half_reliability
from cotrain.tables import evaluate, queries
from cotrain.tables.evaluations import Evaluation, NeuronScores, NoiseAccuracy, table_of
from cotrain.tables.runs import RecipeRun, Run, TrainedModel
from cotrain.tables.worker import work
from cotrain.training import load, predict

CPU = torch.device("cpu")
NEURONS = NeuronScoresConfig()


@pytest.fixture
def key(trained):
    return {"run_key": (RecipeRun() & {"label": "together"}).fetch1("run_key")}


def test_correlations_are_those_of_the_stored_model(fresh, key):
    found = evaluate.evaluate(NEURONS, queries.runs() & key)
    assert (found.done, found.known, found.failed) == (1, 0, {})
    rows = (NeuronScores.Neuron() & key).to_dicts(order_by="neuron")
    run = load(fresh.home / "runs" / key["run_key"])
    source = build(run.experiment.data, seed=run.experiment.seed).splits["test"]["cells"]["first"]
    output = predict(run.model, source, "cells", "first", CPU).double().numpy()
    responses = source.targets.double().numpy()
    expected = [pearsonr(a, b).statistic for a, b in zip(output.T, responses.T, strict=True)]
    assert [row["neuron"] for row in rows] == list(range(responses.shape[1]))
    assert [row["correlation"] for row in rows] == pytest.approx(expected, abs=1e-9)
    assert [row["mean_response"] for row in rows] == pytest.approx(responses.mean(0).tolist(), abs=1e-9)
    assert {(row["task"], row["session"], row["explained"], row["reliability"]) for row in rows} == {
        ("cells", "first", None, None)
    }
    score = {"task": "cells", "session": "", "split": "test", "metric": "correlation"}
    stored = (TrainedModel.Score() & key & score).fetch1("value")
    assert np.median([row["correlation"] for row in rows]) == pytest.approx(stored, abs=1e-6)
    master = (NeuronScores() & key).fetch1()
    assert (master["neuron_count"], master["neuron_device"]) == (len(rows), "cpu")


def test_scores_of_repeats(fresh, key):
    run = load(fresh.home / "runs" / key["run_key"])
    data = build(run.experiment.data, seed=run.experiment.seed)
    held = data.splits["test"]["cells"]["first"]
    trials = held.targets[:, None] + torch.randn(len(held), 6, held.targets.shape[1]) / 2
    source = dataclasses.replace(held, targets=trials.mean(1), repeats=trials)
    test = {**data.splits["test"], "cells": {"first": source}}
    changed = dataclasses.replace(data, splits={**data.splits, "test": test})
    found = neuron_scores(run.model, changed, NeuronScoresConfig(halvings=3), device=CPU, seed=1)
    explainable, explained = fraction_explained(predict(run.model, source, "cells", "first", CPU), trials)
    assert [row.explained for row in found] == explained.tolist()
    assert [row.explainable for row in found] == explainable.tolist()
    assert [row.reliability for row in found] == split_half_reliability(trials, halvings=3, seed=1).tolist()


def test_accuracy_under_noise_begins_with_the_stored_one(fresh, key):
    config = NoiseAccuracyConfig(std=(0.0, 0.1, 5.0))
    evaluate.evaluate(config, queries.runs())
    rows = evaluate.frame(config, queries.runs() & key)
    assert list(rows["std"]) == [0.0, 0.1, 5.0]
    score = {"task": "stripes", "session": "", "split": "test", "metric": "accuracy"}
    assert rows["accuracy"][0] == (TrainedModel.Score() & key & score).fetch1("value")
    assert len(NoiseAccuracy()) == 2


def test_the_command_evaluates_what_is_not_evaluated(fresh, command, tmp_path):
    status, out, err = command("evaluate", "--suite", "neuron_scores", "together")
    assert (status, err) == (0, "")
    assert re.search(r"^together +0 +\w{8} +cells +first +5 +-?0\.\d{4} +NaN +NaN$", out, re.MULTILINE)
    assert out.endswith("\n1 runs evaluated, 0 were before, 0 failed.\n")
    status, out, _ = command("evaluate", "--suite", "neuron_scores", "--recipe", "Tiny")
    assert out.endswith("\n1 runs evaluated, 1 were before, 0 failed.\n")
    assert len(NeuronScores()) == 2, "also of the run without neurons, which has no rows"
    levels = tmp_path / "levels.yaml"
    levels.write_text("std: [0.0, 0.5]\n")
    status, out, _ = command("evaluate", "--suite", "noise_accuracy", "--config", str(levels))
    assert len(re.findall(r"^ *(?:together|stripes only) .* stripes ", out, re.MULTILINE)) == 4
    stored = (Evaluation() & {"evaluation_kind": NoiseAccuracy.kinds[0]}).proj().fetch1()
    assert Evaluation.load(stored) == NoiseAccuracyConfig(std=(0.0, 0.5))


def test_what_another_process_holds_is_left_to_it(fresh, key, command):
    added = Evaluation.add(NEURONS)
    NeuronScores.jobs.insert1({**key, **added, "status": "pending", "priority": 5})
    assert NeuronScores.jobs.reserve({**key, **added})
    NeuronScores.jobs.update1({**key, **added, "host": "another", "pid": 1})
    status, out, _ = command("evaluate", "--suite", "neuron_scores")
    assert (status, len(NeuronScores())) == (0, 1)
    assert out.endswith("1 runs evaluated, 0 were before, 0 failed, 1 are held by other processes.\n")
    assert command("evaluate", "--suite", "neuron_scores", "--take-over")[1].endswith(
        "1 runs evaluated, 1 were before, 0 failed.\n"
    )
    assert len(NeuronScores()) == 2


def test_what_a_process_held_that_died_here_is_taken(fresh, key):
    added = Evaluation.add(NEURONS)
    NeuronScores.jobs.insert1({**key, **added, "status": "pending", "priority": 5})
    NeuronScores.jobs.reserve({**key, **added})
    dead = fresh.start_python("pass")
    dead.communicate()
    NeuronScores.jobs.update1({**key, **added, "host": platform.node(), "pid": dead.pid})
    assert evaluate.evaluate(NEURONS, queries.runs() & key).done == 1


def test_a_failure_is_recorded_named_and_tried_again(fresh, key, command):
    added = Evaluation.add(NEURONS)
    right = (Evaluation() & added).fetch1("evaluation_config")
    wrong = {**right, "halvings": "postgresql://ann:hunter2@db"}
    Evaluation.update1({**added, "evaluation_config": wrong})  # edited by hand
    status, out, err = command("evaluate", "--suite", "neuron_scores", "together")
    assert (status, len(NeuronScores())) == (1, 0)
    assert out == "0 runs evaluated, 0 were before, 1 failed.\n"
    assert re.match(rf"{key['run_key']}: .*halvings", err)
    job = NeuronScores.jobs.errors.fetch1()
    assert "ConfigError" in job["error_stack"]
    assert "hunter2" not in job["error_stack"] + job["error_message"] + err
    Evaluation.update1({**added, "evaluation_config": right})
    assert command("evaluate", "--suite", "neuron_scores", "together")[0] == 0
    assert len(NeuronScores.jobs) == 0


def test_missing_data_are_told_before_anything_is_computed(fresh, command, tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    status, out, err = command("evaluate", "--suite", "neuron_scores")
    assert (status, out) == (1, "")
    assert err.startswith("cotrain: The data of these runs cannot be had here, and nothing was evaluated:\n")
    assert err.count("There is no data file") == 2
    assert (len(NeuronScores()), len(NeuronScores.jobs)) == (0, 0)


def test_other_data_than_those_of_training_are_refused(fresh, key, tmp_path, monkeypatch):
    sys.modules[fresh.recipe("Tiny").__module__].write_data(tmp_path)
    with np.load(tmp_path / "tiny.npz") as arrays:
        changed = dict(arrays)
    changed["responses"][0, 0] += 1
    np.savez(tmp_path / "tiny.npz", **changed)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match="was trained on other data"):
        evaluate.evaluate(NEURONS, queries.runs() & key)


def test_unknown_kinds(trained, command):
    assert command("evaluate", "--suite", "neuron_score")[::2] == (
        1,
        "cotrain: 'cotrain.evaluations.neuron_score' does not exist in 'cotrain.evaluations'. "
        "Did you mean 'neuron_scores'?\n",
    )
    with pytest.raises(DatabaseError, match="No table holds evaluations of kind"):
        table_of("cotrain.data.digits")


def test_deleting_a_run_deletes_its_evaluations_and_no_others(fresh):
    fresh.enqueue("Again")
    assert work(recipe="tiny.Again") == (1, 0)
    longer = {"run_key": (RecipeRun() & {"label": "longer"}).fetch1("run_key")}
    evaluate.evaluate(NEURONS, queries.runs())
    assert (len(NeuronScores()), len(NeuronScores.Neuron())) == (3, 10)
    (Run() & longer).delete()
    assert (len(NeuronScores()), len(NeuronScores.Neuron())) == (2, 5)
    assert len(TrainedModel()) == 2


@pytest.mark.slow
def test_two_processes_share_the_runs(fresh):
    processes = [fresh.start("evaluate", "--suite", "neuron_scores") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum(int(re.search(r"(\d+) runs evaluated", out)[1]) for out, _ in said) == 2
    assert (len(NeuronScores()), len(NeuronScores.jobs)) == (2, 0)
