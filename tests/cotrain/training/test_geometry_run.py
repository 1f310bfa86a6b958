"""Runs with all there is of geometry: groups, subjects, several layers, crossnobis, class manifolds, and a teacher."""

from __future__ import annotations

import numpy as np
import pytest

from cotrain import Experiment, run
from cotrain.data import (
    ArraysConfig,
    ClassManifoldsConfig,
    LabelArrayConfig,
    MixingConfig,
    RdmOfResponsesConfig,
    ResponseArrayConfig,
    SelectTasksConfig,
    SplitConfig,
)
from cotrain.dissimilarity import crossnobis, pairs, rdm
from cotrain.losses import CapacityConfig, CrossEntropyConfig, GaussianConfig, MmcrConfig, RdmMatchConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    ManifoldHeadConfig,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
)
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, RunFolder, TeacherResponsesConfig, TrainerConfig, load_state

CLASSES, EACH, REPEATS = 6, 16, 3
LABELS = ArraysConfig(
    path="made.npz",
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="it", session="a", responses="a"),
        ResponseArrayConfig(task="it", session="b", responses="b"),
    ),
    split=SplitConfig(validation=0.25, test=0.25),
)
SUBJECTS = RdmOfResponsesConfig(data=LABELS, task="it", name="it_rdm")
GROUPED = RdmOfResponsesConfig(
    data=SUBJECTS, task="it", name="class_rdm", dissimilarity="crossnobis", subjects="joint", groups_of="objects"
)
DATA = ClassManifoldsConfig(data=GROUPED, task="objects", name="manifolds")
LAYERS = ("layer1", "layer2")
MODEL = SharedBackboneConfig(
    backbone=SmallCnnConfig(layers=((6, 3, 2), (8, 3, 1))),
    tasks=(
        TaskConfig(name="objects", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
        TaskConfig(name="it", tap="layer2", head=GaussianReadoutConfig(), objective=GaussianConfig()),
        TaskConfig(name="it_rdm", tap=LAYERS, head=RdmHeadConfig(), objective=RdmMatchConfig(layer_weights="learned")),
        TaskConfig(
            name="class_rdm",
            tap=LAYERS,
            head=RdmHeadConfig(),
            objective=RdmMatchConfig(dissimilarity="squared_euclidean", layer_weights=(1.0, 3.0)),
        ),
        TaskConfig(name="manifolds", tap="layer2", head=ManifoldHeadConfig(), objective=CapacityConfig(draws=20)),
    ),
)
TRAINER = TrainerConfig(
    mixing=MixingConfig(
        main="objects",
        ratios=((1, (("it", 1.0), ("it_rdm", 1.0), ("class_rdm", 1.0), ("manifolds", 0.5))),),
        batch_size=24,
        balanced=(("class_rdm", 4), ("manifolds", 4)),
    ),
    epochs=3,
    optimiser=AdamWConfig(lr=0.01),
    device="cpu",
    checkpoint_steps=1,
)


@pytest.fixture(autouse=True)
def _made(tmp_path, monkeypatch):
    """Noisy pictures of six classes, and responses of two subjects that follow the class and the picture."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    pattern = draw.normal(0, 1, (CLASSES, 12, 12))[labels] + draw.normal(0, 0.5, (len(labels), 12, 12))
    images = np.clip(128 + 40 * pattern, 0, 255).astype(np.uint8)

    def responses(neurons):
        drive = pattern.reshape(len(labels), -1) @ draw.normal(0, 0.2, (144, neurons))
        return (drive[:, None] + draw.normal(0, 0.5, (len(labels), REPEATS, neurons))).astype(np.float32)

    np.savez(
        tmp_path / "made.npz",
        images=images,
        labels=labels,
        class_names=np.array([f"class {number}" for number in range(CLASSES)]),
        a=responses(10),
        b=responses(7),
    )
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))


EXPERIMENT = Experiment("geometry", data=DATA, model=MODEL, trainer=TRAINER)


def test_every_task_is_trained_scored_and_goes_on_bit_for_bit(tmp_path, pull_plug, assert_same_run):
    whole = run(EXPERIMENT, out=tmp_path / "whole")
    scores = whole.scores
    test = scores[scores.split == "test"].set_index(["task", "session", "metric"]).value
    assert not scores.duplicated(["epoch", "task", "session", "split", "metric"]).any()
    each = [test["it_rdm", subject, "spearman"] for subject in ("a", "b")]
    assert test["it_rdm", "", "spearman"] == pytest.approx(np.mean(each)), "subjects, and their mean"
    assert -1 <= test["class_rdm", "", "pearson"] <= 1 and test["manifolds", "", "capacity"] > 0
    learnt = scores[(scores.metric == "layer_weight_1") & (scores.task == "it_rdm") & (scores.split == "train")]
    assert len(learnt) == 3 and learnt.value.nunique() == 3, "in the optimiser"
    state = load_state(RunFolder(tmp_path / "whole").best)["model"]
    assert "objectives.it_rdm.layer_logits" in state
    for after in (5, 20):
        pull_plug(EXPERIMENT, tmp_path / "broken", after=after)
    run(EXPERIMENT, out=tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_scores_of_groups_are_those_of_the_means_of_classes(tmp_path):
    """Recomputed from features and from the file: squared distances of class means against crossnobis of responses."""
    result = run(EXPERIMENT, out=tmp_path / "run")
    data = build(DATA, seed=0)
    source, labels = data.splits["test"]["class_rdm"][""], data.splits["test"]["objects"][""].targets
    trials = np.concatenate([data.splits["test"]["it"][s].repeats.numpy() for s in ("a", "b")], 2)  # images, repeats
    means = np.stack([trials[labels == label].mean(0) for label in range(CLASSES)])
    import torch

    target = crossnobis(torch.tensor(means).double().transpose(0, 1))
    np.testing.assert_allclose(source.targets, target, rtol=1e-5)
    model = result.model.eval()
    with torch.no_grad():
        layers = model(source.images, "class_rdm")
    found = sum(
        weight * rdm(torch.stack([layer[labels == label].double().mean(0) for label in range(CLASSES)]),
                     "squared_euclidean")
        for weight, layer in zip((0.25, 0.75), layers, strict=True)
    )  # fmt: skip
    expected = np.corrcoef(pairs(found), pairs(target))[0, 1]
    scores = result.scores
    test = scores[(scores.split == "test") & (scores.task == "class_rdm") & (scores.metric == "pearson")]
    assert test.value.item() == pytest.approx(expected, abs=1e-5)


def test_mmcr_raises_capacity(tmp_path):
    tasks = tuple(task for task in MODEL.tasks if task.name == "manifolds")
    alone = EXPERIMENT.vary(
        "manifolds only",
        data=SelectTasksConfig(data=DATA, tasks=("manifolds",)),
        model={"tasks": (tasks[0].replace(objective=MmcrConfig()),)},
        trainer={"epochs": 30, "mixing": {"main": "manifolds", "ratios": (), "balanced": (("manifolds", 4),)}},
    )
    scores = run(alone, out=tmp_path / "run").scores
    held = scores[(scores.split == "validation") & (scores.metric == "capacity")].set_index("epoch").value
    assert held.max() > 1.2 * held[0]


def test_a_layer_of_a_teacher_is_the_target(tmp_path, monkeypatch):
    """A trained network's layer as neurons, their RDM as the student's task."""
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    only = EXPERIMENT.vary(
        "objects only",
        data=SelectTasksConfig(data=DATA, tasks=("objects",)),
        model={"tasks": (MODEL.tasks[0],)},
        trainer={"mixing": {"main": "objects", "ratios": (), "balanced": ()}},
    )
    teacher = run(only, out=tmp_path / "home" / "runs" / only.key())
    units = TeacherResponsesConfig(run=teacher.experiment.key(), data=only.data, shown="objects", task="units",
                                   layer="layer2", neurons=40)  # fmt: skip
    target = RdmOfResponsesConfig(data=units, task="units", name="teacher_rdm", keep=False)
    data = build(target, seed=0)
    assert list(data.info.tasks)[-1] == "teacher_rdm" and data.info.tasks["teacher_rdm"].kind == "rdm"
    student = only.vary(
        "student",
        data=SelectTasksConfig(data=target, tasks=("teacher_rdm",)),
        model={"tasks": (MODEL.tasks[2].replace(name="teacher_rdm", tap="layer2", objective=RdmMatchConfig()),)},
        trainer={"epochs": 12, "mixing": {"main": "teacher_rdm"}},
    )
    scores = run(student, out=tmp_path / "student").scores
    held = scores[(scores.split == "validation") & (scores.metric == "spearman")].set_index("epoch").value
    assert held.max() > held[0] + 0.02
