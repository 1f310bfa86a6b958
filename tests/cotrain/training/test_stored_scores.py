"""Forty epochs with early stopping on two tasks: what is stored of the best epoch is what its weights give."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from cotrain import build, run
from cotrain.training import MonitorConfig, load_state

TASKS = ("digits", "simulated_v1")
RULES = {"all": 4, "any": 12, "mean": 8}  # patience, so that training ends before the last epoch


@pytest.fixture(
    scope="module", params=["all", *(pytest.param(rule, marks=pytest.mark.slow) for rule in ("any", "mean"))]
)
def stopped(request, tiny, tmp_path_factory):
    """(experiment, result, rule) of a run that stopped early."""
    monitor = MonitorConfig(
        tasks=(("digits", 1.0), ("simulated_v1", 2.0)),
        rule=request.param,
        patience=RULES[request.param],
        tolerance=0.01,
    )
    experiment = tiny(epochs=40, monitor=monitor, checkpoint_steps=0)
    return experiment, run(experiment, out=tmp_path_factory.mktemp(request.param)), request.param


def curves(result):
    scores = result.scores[(result.scores.split == "validation") & (result.scores.session == "")]
    metrics = {"digits": "accuracy", "simulated_v1": "correlation"}
    return np.stack(
        [
            scores[(scores.task == task) & (scores.metric == metrics[task])].sort_values("epoch").value[1:]
            for task in TASKS
        ]
    )


def test_the_best_epoch_is_that_of_the_rule_and_training_stopped_when_patience_ran_out(stopped):
    _, result, rule = stopped
    found, best, held = curves(result), 1, None
    for epoch, values in enumerate(found.T, start=1):
        if rule == "mean":
            better = held is None or values @ [1, 2] / 3 > held @ [1, 2] / 3 + 0.01
        elif rule == "all":
            better = held is None or (values > held + 0.01).all()
        else:
            better = held is None or (values > held + 0.01).any()
        if better:
            grown = values if held is None or rule != "any" else np.where(values > held + 0.01, values, held)
            held, best = grown, epoch
    assert result.best_epoch == best
    assert found.shape[1] == best + RULES[rule] < 40


def test_stored_test_scores_are_those_of_the_stored_weights(stopped):
    """Recomputed from `best.pt` by other means than the trainer's."""
    experiment, result, _ = stopped
    data = build(experiment.data, seed=0)
    model = build(experiment.model, data.info, seed=0)
    stored = load_state(result.folder / "best.pt")
    assert stored["epoch"] == result.best_epoch
    assert json.loads((result.folder / "result.json").read_text())["best_epoch"] == result.best_epoch
    model.load_state_dict(stored["model"])
    model.eval()
    found = result.scores[result.scores.split == "test"].set_index(["task", "session", "metric"]).value
    assert set(result.scores[result.scores.split == "test"].epoch) == {result.best_epoch}
    test = data.splits["test"]
    with torch.no_grad():
        digits = test["digits"][""]
        classes = model(digits.images[torch.arange(len(digits))], "digits").argmax(1)
        assert found["digits", "", "accuracy"] == pytest.approx(
            (classes == digits.targets).double().mean().item(), abs=1e-6
        )
        correlations = []
        for session, source in test["simulated_v1"].items():
            answers = model(source.images[torch.arange(len(source))], "simulated_v1", session).double().numpy()
            targets = source.targets.double().numpy()
            own = [np.corrcoef(a, b)[0, 1] for a, b in zip(answers.T, targets.T, strict=True) if b.std() > 0]
            assert found["simulated_v1", session, "correlation"] == pytest.approx(np.median(own), abs=1e-6)
            correlations += own
        assert found["simulated_v1", "", "correlation"] == pytest.approx(np.median(correlations), abs=1e-6)
        source = test["simulated_rdm"][""]
        features = model(source.images[torch.arange(len(source))], "simulated_rdm").flatten(1).double().numpy()
        pairs = np.triu_indices(len(features), 1)
        rank = spearmanr((1 - np.corrcoef(features))[pairs], source.targets.double().numpy()[pairs]).statistic
        assert found["simulated_rdm", "", "spearman"] == pytest.approx(rank, abs=1e-5)
    monitored = result.scores[
        (result.scores.metric == "monitored") & (result.scores.epoch == result.best_epoch)
    ].value.item()
    validation = curves(result)[:, result.best_epoch - 1]
    assert monitored == pytest.approx(validation @ [1, 2] / 3, abs=1e-12)
