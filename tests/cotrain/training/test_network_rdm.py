"""The geometry of a network that is no run, as a task."""

import numpy as np
import pytest
import torch

import cotrain
from cotrain import Experiment
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig
from cotrain.dissimilarity import rdm
from cotrain.errors import DataError, ModelError
from cotrain.losses import RdmMatchConfig
from cotrain.models import PenultimateConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build
from cotrain.tasks import SPLITS, TaskConfig
from cotrain.training import MonitorConfig, NetworkRdmConfig, TrainerConfig, network_rdm

ARRAYS = ArraysConfig(path="some.npz", tasks=(LabelArrayConfig(task="stripes"),))
NETWORK = SmallCnnConfig(layers=((4, 3, 2), (6, 3, 1)))
CONFIG = NetworkRdmConfig(data=ARRAYS, shown="stripes", network=SmallCnnConfig(layers=((4, 3, 2),), input_channels=3))


@pytest.fixture(autouse=True)
def _arrays(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 255, (60, 16, 16)).astype(np.uint8), np.arange(60) % 2
    images[labels == 1, ::2] //= 3
    names = np.array(["grey", "striped"])
    np.savez(tmp_path / "some.npz", images=images, labels=labels, class_names=names)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))


def test_the_rdm_is_that_of_the_pooled_features():
    from cotrain.seeds import derive_seed

    data = network_rdm(CONFIG, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "initialisation", "network"))
        network = build(CONFIG.network).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    for split in SPLITS:
        source = data.splits[split]["network_rdm"][""]
        shown = data.splits[split]["stripes"][""]
        with torch.no_grad():
            maps = network((shown.images.expand(-1, 3, -1, -1) / 255 - mean) / std)
        torch.testing.assert_close(source.targets, rdm(maps.mean((2, 3)).double()).float(), atol=1e-5, rtol=1e-4)
        assert source.kind == "rdm"


def test_a_layer_another_seed_and_another_size_give_other_rdms():
    own = network_rdm(CONFIG, seed=0).splits["test"]["network_rdm"][""].targets
    for change in ({"network_seed": 1}, {"size": 24}, {"dissimilarity": "squared_euclidean"}, {"layer": "layer1.0"}):
        other = network_rdm(CONFIG.replace(**change), seed=0).splits["test"]["network_rdm"][""].targets
        assert not torch.allclose(own, other), change
    again = network_rdm(CONFIG, seed=0).splits["test"]["network_rdm"][""].targets
    assert torch.equal(own, again)


def test_the_random_teacher_is_the_same_for_all_seeds_and_leaves_torch_s_generator_alone():
    before = torch.get_rng_state()
    first, second = (network_rdm(CONFIG, seed=seed).splits["train"]["network_rdm"][""] for seed in (0, 1))
    assert torch.equal(before, torch.get_rng_state())
    rows = [
        (i, j)
        for i, image in enumerate(first.images[torch.arange(len(first))])
        for j, other in enumerate(second.images[torch.arange(len(second))])
        if torch.equal(image, other)
    ]
    mine, theirs = (torch.tensor(part) for part in zip(*rows, strict=True))
    torch.testing.assert_close(first.targets[mine][:, mine], second.targets[theirs][:, theirs], atol=1e-5, rtol=1e-4)


def test_a_student_learns_it_and_the_last_epoch_is_kept(tmp_path):
    task = TaskConfig(name="network_rdm", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig())
    labels = build(CONFIG, seed=0)
    assert list(labels.info.tasks) == ["stripes", "network_rdm"]
    from cotrain.data import SelectTasksConfig

    experiment = Experiment(
        "student",
        data=SelectTasksConfig(data=CONFIG, tasks=("network_rdm",)),
        model=SharedBackboneConfig(backbone=NETWORK, tasks=(task,)),
        trainer=TrainerConfig(
            epochs=6, monitor=MonitorConfig(rule="last", patience=1), mixing=MixingConfig(main="network_rdm")
        ),
    )
    found = cotrain.run(experiment, out=tmp_path / "run")
    assert found.best_epoch == 6


def test_what_is_refused():
    with pytest.raises(DataError, match="no task 'strips' to be shown"):
        network_rdm(CONFIG.replace(shown="strips"), seed=0)
    with pytest.raises(DataError, match="a task 'stripes' already"):
        network_rdm(CONFIG.replace(task="stripes"), seed=0)
    with pytest.raises(ModelError, match="no tap 'layer7'"):
        network_rdm(CONFIG.replace(layer="layer7"), seed=0)
    with pytest.raises(ModelError, match=r"do not pass through .*small_cnn"):
        network_rdm(CONFIG.replace(network=NETWORK), seed=0)  # it takes grey images
    with pytest.raises(ModelError, match=r"do not pass through .*penultimate.* Give `size`"):
        network_rdm(CONFIG.replace(network=PenultimateConfig(name="alexnet")), seed=0)
