"""What can be read out of finished runs: on held-out images, the same for all runs of a seed."""

import numpy as np
import pytest
import torch

import cotrain
from cotrain import Experiment
from cotrain.analysis import linear_svm_score
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig, ResponseRdmConfig, SelectTasksConfig, SplitConfig
from cotrain.errors import DataError
from cotrain.evaluations import object_readout
from cotrain.losses import RdmMatchConfig
from cotrain.models import RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import TrainerConfig

ARRAYS = ArraysConfig(
    path="some.npz",
    tasks=(LabelArrayConfig(task="objects"), ResponseRdmConfig(task="geometry", responses="cells")),
    split=SplitConfig(validation=0.2, test=0.4),
)
GEOMETRY = TaskConfig(name="geometry", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig())


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Of a network that learnt a geometry alone."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 255, (100, 12, 12)).astype(np.uint8), np.arange(100) % 2
    images[labels == 1, ::2] //= 4
    cells, names = random.normal(size=(100, 6)), np.array(["grey", "striped"])
    np.savez(tmp_path / "some.npz", images=images, labels=labels, class_names=names, cells=cells)
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    experiment = Experiment(
        "student",
        data=SelectTasksConfig(data=ARRAYS, tasks=("geometry",)),
        model=SharedBackboneConfig(backbone=SmallCnnConfig(layers=((4, 3, 2), (6, 3, 1))), tasks=(GEOMETRY,)),
        trainer=TrainerConfig(epochs=1, mixing=MixingConfig(main="geometry")),
        seed=3,
    )
    return cotrain.run(experiment, out=tmp_path / "run")


def test_it_is_the_nested_score_of_the_pooled_layer_on_the_test_images_of_the_run_s_seed(run):
    found = object_readout(run, ARRAYS, "layer2")
    source = build(ARRAYS, seed=3).splits["test"]["objects"][""]
    with torch.no_grad():
        maps = run.model.features(source.images[torch.arange(len(source))], "geometry", ["layer2"])["layer2"]
    expected = linear_svm_score(maps.mean((2, 3)), source.targets, variant="nested", seed=3)
    assert found.mean == pytest.approx(expected.mean)
    assert found.variant == "nested"
    assert found.mean > 0.8  # stripes are easily seen
    assert object_readout(run, ARRAYS, "layer2").mean == found.mean
    assert object_readout(run, ARRAYS, "layer2", pool=False).fits == found.fits


def test_a_task_that_is_no_classification(run):
    with pytest.raises(DataError, match=r"no classification task 'object'. Did you mean 'objects'"):
        object_readout(run, ARRAYS, "layer2", task="object")
    with pytest.raises(DataError, match="no classification task 'geometry'"):
        object_readout(run, ARRAYS, "layer2", task="geometry")
