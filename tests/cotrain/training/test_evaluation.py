"""Recorded numbers are true: NumPy and SciPy find the same from the stored weights and the data built again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from cotrain import build, load
from cotrain.data import Data, Source
from cotrain.training import RunFolder, Score, evaluate, predict

CPU = torch.device("cpu")
NEURAL = ("correlation", "correlation_mean", "loss")


@pytest.fixture(scope="module")
def data(tiny) -> Data:
    return build(tiny().data, seed=0)


def outputs(model, source: Source, task: str, session: str) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(source.images, task, session).double().numpy()


def deviance(mean: np.ndarray, count: np.ndarray) -> float:
    mean = np.maximum(mean, 1e-6)
    log = np.zeros_like(mean)
    log[count > 0] = count[count > 0] * np.log(count[count > 0] / mean[count > 0])
    return float((2 * (log - count + mean)).mean())


def naive_cka(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased HSIC of Song et al. 2012, normalised; its sign is that of two kernels, as of two distances."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        one, two = (k * m).sum(), k.sum() * m.sum() / (n - 1) / (n - 2)
        return float(one + two - 2 / (n - 2) * (k @ m).sum()) / (n * (n - 3))

    a, b = (matrix * (1 - np.eye(len(matrix))) for matrix in (a, b))
    return hsic(a, b) / (hsic(a, a) * hsic(b, b)) ** 0.5


def reference(model, sources) -> dict[tuple[str, str, str], float]:
    """All scores of one split, without a line of cotrain but the model's forward pass."""
    found: dict[tuple[str, str, str], float] = {}
    digits = sources["digits"][""]
    logits, labels = outputs(model, digits, "digits", ""), digits.targets.numpy()
    found["digits", "", "accuracy"] = float((logits.argmax(1) == labels).mean())
    found["digits", "", "top5"] = float((np.argsort(-logits)[:, :5] == labels[:, None]).any(1).mean())
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    found["digits", "", "loss"] = float(-np.log(shares[np.arange(len(labels)), labels]).mean())
    neurons: list[float] = []
    losses: list[float] = []
    for session, source in sources["simulated_v1"].items():
        mean, count = outputs(model, source, "simulated_v1", session), source.targets.double().numpy()
        known = [n for n in range(count.shape[1]) if count[:, n].std() > 0]
        own = [pearsonr(mean[:, n], count[:, n]).statistic for n in known]
        losses.append(deviance(mean, count))
        neurons += own
        for metric, value in zip(NEURAL, (np.median(own), np.mean(own), losses[-1]), strict=True):
            found["simulated_v1", session, metric] = value
    for metric, value in zip(NEURAL, (np.median(neurons), np.mean(neurons), np.mean(losses)), strict=True):
        found["simulated_v1", "", metric] = value
    source = sources["simulated_rdm"][""]
    features = outputs(model, source, "simulated_rdm", "")
    upper = np.triu_indices(len(features), k=1)
    ours, wanted = 1 - np.corrcoef(features)[upper], source.targets.numpy()[upper]
    found["simulated_rdm", "", "spearman"] = spearmanr(ours, wanted).statistic
    found["simulated_rdm", "", "pearson"] = pearsonr(ours, wanted).statistic
    found["simulated_rdm", "", "cka"] = naive_cka(1 - np.corrcoef(features), source.targets.double().numpy())
    found["simulated_rdm", "", "loss"] = 1 - found["simulated_rdm", "", "pearson"]
    return found


def recorded(scores, epoch: int, split: str) -> dict[tuple[str, str, str], float]:
    held = scores[(scores.epoch == epoch) & (scores.split == split) & (scores.metric != "monitored")]
    assert not held.duplicated(["task", "session", "metric"]).any()
    return {(row.task, row.session, row.metric): row.value for row in held.itertuples()}


def assert_close(found, wanted) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=2e-5, abs=2e-5), name


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_scores_of_the_best_epoch_are_those_of_its_weights(split, finished, data):
    wanted = reference(finished.model, data.splits[split])
    assert_close(recorded(finished.scores, finished.best_epoch, split), wanted)


def test_the_curves_are_stored_as_they_were(tiny, tmp_path, states, data, finished):
    # the predecessor stored [0, 0, 0, .4] of a curve [.1, .2, .3, .4], and shifted training against validation
    held, last = states(tiny(), tmp_path), int(finished.scores.epoch.max())
    model = build(tiny().model, data.info, seed=0)
    for epoch in range(last + 1):
        model.load_state_dict(held[8 * epoch]["model"])
        wanted = reference(model, data.splits["validation"])
        assert_close(recorded(finished.scores, epoch, "validation"), wanted)
        held_monitored = finished.scores[(finished.scores.metric == "monitored") & (finished.scores.epoch == epoch)]
        expected = [wanted["digits", "", "accuracy"]] if epoch else []
        assert held_monitored.value.tolist() == pytest.approx(expected)
        if epoch:
            weights = recorded(finished.scores, epoch, "train")
            assert {weights[task, "", "weight"] for task in data.info.tasks} == {
                model.objectives[task].weight().item() for task in data.info.tasks
            }


def test_test_scores_are_neither_the_last_nor_the_validation_ones(finished):
    scores = finished.scores
    assert set(scores[scores.split == "test"].epoch) == {finished.best_epoch}
    assert finished.best_epoch < scores.epoch.max()
    test, validation = (recorded(scores, finished.best_epoch, split) for split in ("test", "validation"))
    assert test.keys() == validation.keys()
    assert not set(test.values()) & set(validation.values())


def with_targets(data: Data, split: str, change: Any) -> Data:
    """The same data with other targets in one split; what the model is told of them stays."""
    tasks = {
        task: {session: replace(source, targets=change(source)) for session, source in held.items()}
        for task, held in data.splits[split].items()
    }
    return Data({**data.splits, split: tasks}, data.info)


def reversed_pairs(source: Source) -> torch.Tensor:
    return source.targets.flip((0, 1)) if source.kind == "rdm" else source.targets.flip(0)


def fit(experiment, data: Data, path: Path):
    folder = RunFolder(path)
    model = build(experiment.model, data.info, seed=experiment.seed).eval()  # in whichever mode it comes
    with folder.locked():
        return build(experiment.trainer).fit(model, data, seed=experiment.seed, folder=folder), model


def test_the_test_split_changes_nothing_but_test_scores(tiny, data, tmp_path, finished):
    found, model = fit(tiny(), with_targets(data, "test", reversed_pairs), tmp_path)
    usual = [Score(*row) for row in finished.scores.itertuples(index=False)]
    assert found.best_epoch == finished.best_epoch
    assert [s for s in found.scores if s.split != "test"] == [s for s in usual if s.split != "test"]
    for name, value in finished.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), "the best weights are the same, and restored"
    ours, others = ({s[:5]: s.value for s in scores if s.split == "test"} for scores in (found.scores, usual))
    assert ours.keys() == others.keys() and all(ours[name] != others[name] for name in ours)
    accuracy = ours[found.best_epoch, "digits", "", "test", "accuracy"]
    assert accuracy < 0.3 < others[found.best_epoch, "digits", "", "test", "accuracy"], "chance, for labels of others"


def test_the_validation_split_changes_no_weights_but_those_chosen(tiny, data, tmp_path, finished):
    found, _ = fit(tiny(epochs=2), with_targets(data, "validation", reversed_pairs), tmp_path)
    usual, _ = fit(tiny(epochs=2), data, tmp_path / "usual")
    trained = [[s for s in result.scores if s.split == "train"] for result in (found, usual)]
    assert trained[0] == trained[1]
    assert [s for s in found.scores if s.split == "validation"] != [s for s in usual.scores if s.split == "validation"]


def test_the_test_split_is_read_once_at_the_end(tiny, data, tmp_path):
    read = []

    class Watched(dict):
        def __getitem__(self, split):
            read.append(split)
            return super().__getitem__(split)

    fit(tiny(epochs=2), Data(Watched(data.splits), data.info), tmp_path)
    assert read.count("test") == 1 and read[-1] == "test"


def test_predicting_leaves_the_model_as_it_was_and_draws_nothing(finished, data):
    model = load(finished.folder).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source, generator = data.splits["train"]["simulated_v1"]["simulated1"], torch.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        first = predict(model, source, "simulated_v1", "simulated1", CPU)
        assert torch.equal(first, predict(model, source, "simulated_v1", "simulated1", CPU)), "places are not drawn"
        assert not first.requires_grad and first.dtype == torch.float32
        assert {module.training for module in model.modules()} == {mode}
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_predictions_do_not_depend_on_how_many_images_are_shown_at_once(finished, data):
    source = data.splits["train"]["digits"][""]
    assert len(source) > 1000
    together = outputs(finished.model, source, "digits", "")
    found = predict(finished.model, source, "digits", "", CPU).double().numpy()
    np.testing.assert_allclose(found, together, rtol=1e-4, atol=1e-5)


def test_missing_responses_are_left_out(finished, data):
    targets = data.splits["test"]["simulated_v1"]["simulated1"].targets.clone()
    source = replace(data.splits["test"]["simulated_v1"]["simulated1"], targets=targets)
    targets[::3, 1] = torch.nan
    found = evaluate(finished.model, "test", {"simulated_v1": {"simulated1": source}}, epoch=7, device=CPU)
    assert [s[:4] for s in found] == [(7, "simulated_v1", session, "test") for session in ["simulated1"] * 3 + [""] * 3]
    mean, known = outputs(finished.model, source, "simulated_v1", "simulated1"), ~np.isnan(targets.numpy())
    count = targets.double().numpy()
    own = [pearsonr(mean[known[:, n], n], count[known[:, n], n]).statistic for n in range(5) if count[:, n].std() != 0]
    values = {(s.session, s.metric): s.value for s in found}
    assert values["", "correlation_mean"] == values["simulated1", "correlation_mean"] == pytest.approx(np.mean(own))
    assert values["", "loss"] == pytest.approx(deviance(mean[known], count[known]), rel=1e-5)
