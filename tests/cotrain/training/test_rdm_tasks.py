"""RDM tasks in training and evaluation: several layers, several subjects, groups, and scores as the objective sees."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr

from cotrain import build, load, run
from cotrain.data import Data
from cotrain.training import MonitorConfig, RunFolder, evaluate, load_state, predict
from cotrain.training._monitor import Monitor

CPU = torch.device("cpu")
TASK = "simulated_rdm"


@pytest.fixture(scope="module")
def layered(tiny):
    """A function of the objective's fields that gives the tiny experiment with an RDM task of two layers."""

    def make(tap=("layer1", "layer2"), *, trainer=None, **objective):
        *others, task = tiny().model.tasks
        tasks = (*others, task.replace(tap=tap, objective=objective))
        return tiny(model={"tasks": tasks}, epochs=3, **(trainer or {}))

    return make


@pytest.fixture(scope="module")
def data(tiny) -> Data:
    return build(tiny().data, seed=0)


@pytest.fixture(scope="module")
def learnt(layered, tmp_path_factory):
    """A run with learnt weights of layers, uninterrupted."""
    return run(layered(layer_weights="learned"), out=tmp_path_factory.mktemp("learnt"))


def last_state(folder):
    return load_state(max((folder / "checkpoints").iterdir()))


def test_weights_of_layers_are_learnt_and_told_with_the_scores(learnt):
    logits = last_state(learnt.folder)["model"][f"objectives.{TASK}.layer_logits"]
    assert logits.shape == (2,) and logits.abs().min() > 1e-3
    told = learnt.scores[(learnt.scores.task == TASK) & learnt.scores.metric.str.startswith("layer_weight")]
    last = told[told.epoch == told.epoch.max()].set_index("metric").value
    torch.testing.assert_close(torch.tensor(last.to_numpy()).float(), logits.softmax(0))
    assert list(last.index) == ["layer_weight_1", "layer_weight_2"] and set(told.split) == {"train"}
    best = load(learnt.folder).model.objectives[TASK].layer_logits
    torch.testing.assert_close(
        best, load_state(RunFolder(learnt.folder).best)["model"][f"objectives.{TASK}.layer_logits"]
    )


def test_interrupted_training_of_layer_weights_goes_on_exactly(layered, learnt, tmp_path, pull_plug, assert_same_run):
    for after in (9, 14):
        pull_plug(layered(layer_weights="learned"), tmp_path, after=after)
        assert f"objectives.{TASK}.layer_logits" in last_state(tmp_path)["model"]
    run(layered(layer_weights="learned"), out=tmp_path)
    assert_same_run(tmp_path, learnt.folder)


def test_scores_are_of_the_rdm_that_the_objective_compares(layered, data):
    held = layered(dissimilarity="squared_euclidean", comparison="cosine", layer_weights=(1.0, 3.0)).model
    model, source = build(held, data.info, seed=0), data.splits["test"][TASK][""]
    outputs = predict(model, source, TASK, "", CPU)
    distances = [pdist(output.double().numpy(), "sqeuclidean") / output.shape[1] for output in outputs]
    mixed = 0.25 * distances[0] + 0.75 * distances[1]
    wanted = source.targets.double().numpy()[np.triu_indices(len(source), 1)]
    found = {score.metric: score.value for score in evaluate(model, "test", {TASK: {"": source}}, epoch=1, device=CPU)}
    assert set(found) == {"loss", "spearman", "pearson", "cka"}
    assert found["spearman"] == pytest.approx(spearmanr(mixed, wanted).statistic, abs=1e-6)
    assert found["pearson"] == pytest.approx(pearsonr(mixed, wanted).statistic, abs=1e-6)
    cosine = mixed @ wanted / np.linalg.norm(mixed) / np.linalg.norm(wanted)
    assert found["loss"] == pytest.approx(1 - cosine, abs=1e-5)


def subjects(data: Data) -> Data:
    """The RDM task with three subjects: as it was, with noise, and another one altogether."""

    def noisy(source, level, seed):
        noise = torch.rand(source.targets.shape, generator=torch.Generator().manual_seed(seed))
        mixed = (1 - level) * source.targets + level * (noise + noise.T)
        return replace(source, targets=mixed.fill_diagonal_(0))

    splits = {}
    for split, tasks in data.splits.items():
        source = tasks[TASK][""]
        held = {name: noisy(source, level, n) for n, (name, level) in enumerate({"a": 0.0, "b": 0.3, "c": 1.0}.items())}
        splits[split] = {**tasks, TASK: held}
    info = data.info.tasks[TASK]
    tasks = {**data.info.tasks, TASK: replace(info, sessions=dict.fromkeys("abc", info.sessions[""]))}
    return Data(splits, replace(data.info, tasks=tasks))


def test_each_subject_has_scores_and_the_task_their_mean(layered, data):
    held = subjects(data)
    model = build(layered().model, held.info, seed=0)
    found = {
        (score.session, score.metric): score.value
        for score in evaluate(model, "test", {TASK: held.splits["test"][TASK]}, epoch=1, device=CPU)
    }
    metrics = ("loss", "spearman", "pearson", "cka")
    assert set(found) == {(session, metric) for session in ("", "a", "b", "c") for metric in metrics}
    for metric in metrics:
        assert found["", metric] == pytest.approx(np.mean([found[session, metric] for session in "abc"]))
        assert len({found[session, metric] for session in "abc"}) == 3
    alone = evaluate(model, "test", {TASK: {"": data.splits["test"][TASK][""]}}, epoch=1, device=CPU)
    assert {score.metric: score.value for score in alone if score.session == ""} == {
        metric: found["a", metric] for metric in metrics
    }
    assert {score.session for score in alone} == {""}


def test_subjects_are_trained_in_turn_and_monitored_by_their_mean(layered, data, tmp_path):
    held = subjects(data)
    experiment = layered(layer_weights="learned", trainer={"monitor": MonitorConfig(tasks=((TASK, 1.0),))})
    folder, model = RunFolder(tmp_path), build(experiment.model, held.info, seed=0)
    with folder.locked():
        scores = build(experiment.trainer).fit(model, held, seed=0, folder=folder).scores
    losses = {score.session for score in scores if (score.task, score.split, score.metric) == (TASK, "train", "loss")}
    assert losses == {"", "a", "b", "c"}
    means = {s.epoch: s.value for s in scores if s[1:5] == (TASK, "", "validation", "spearman")}
    assert {s.epoch: s.value for s in scores if s.metric == "monitored"} == {e: v for e, v in means.items() if e}


@pytest.mark.parametrize("tap", ["layer1", ("layer1", "layer2")])
def test_an_rdm_among_groups_is_scored_by_the_means_of_ragged_groups(tap, layered, data):
    source = data.splits["train"][TASK][""]
    model = build(layered(tap, layer_weights="equal").model, data.info, seed=0).eval()
    groups = torch.arange(len(source)).square() % 7  # 0, 1, 2 and 4, of different sizes, in no order
    groups = torch.unique(groups, return_inverse=True)[1]
    wanted = np.random.default_rng(0).uniform(0, 1, (4, 4)).astype(np.float32)
    wanted = torch.tensor(wanted + wanted.T).fill_diagonal_(0)
    grouped = replace(source, targets=wanted, groups=groups)
    with torch.no_grad():
        outputs = model(source.images, TASK)
    rdms = []
    for output in (outputs,) if isinstance(outputs, torch.Tensor) else outputs:
        means = [output.double().numpy()[groups.numpy() == group].mean(0) for group in range(4)]
        rdms.append(squareform(pdist(np.stack(means), "correlation")))
    upper = np.triu_indices(4, 1)
    found = {s.metric: s.value for s in evaluate(model, "train", {TASK: {"": grouped}}, epoch=1, device=CPU)}
    expected = pearsonr(np.mean(rdms, 0)[upper], wanted.double().numpy()[upper]).statistic
    assert found["pearson"] == pytest.approx(expected, abs=1e-6)
    assert found["loss"] == pytest.approx(1 - expected, abs=1e-6)
    assert set(found) == {"loss", "spearman", "pearson", "cka"}


def test_a_representation_that_collapses_has_no_score_and_is_never_the_best(layered, data):
    experiment = layered()
    model, source = build(experiment.model, data.info, seed=0), data.splits["validation"][TASK][""]
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.zero_()
    scores = evaluate(model, "validation", {TASK: {"": source}}, epoch=1, device=CPU)
    found = {score.metric: score.value for score in scores}
    assert found["loss"] == pytest.approx(1) and all(math.isnan(found[name]) for name in ("spearman", "pearson", "cka"))
    monitor = Monitor(MonitorConfig(tasks=((TASK, 1.0),)), data.info)
    poor = [score._replace(value=-0.5) for score in scores]
    assert monitor.better(1, poor) and not monitor.better(2, scores) and monitor.best == -0.5
