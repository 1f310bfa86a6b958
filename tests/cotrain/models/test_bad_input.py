"""What does not fit a model is refused by one sentence that names the task, and the session, layer or file."""

import pytest
import torch

from cotrain.errors import ModelError
from cotrain.losses import GaussianConfig
from cotrain.models import (
    AttentionReadoutConfig,
    FactorizedReadoutConfig,
    GaussianReadoutConfig,
    PointPooledReadoutConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    shared_backbone,
    torchvision_backbone,
)
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo

RESNET = TorchvisionBackboneConfig(name="resnet18")
SESSION = SessionInfo(2, (0.5, 1.5), 0.0, {})
TASK = TaskInfo("neural", (1, 32, 32), (0.5,), (0.3,), sessions={"monday": SESSION, "tuesday": SESSION})


def model(tap="layer2", *, backbone=None, head=None):
    task = TaskConfig(name="v1", tap=tap, head=head or GaussianReadoutConfig(), objective=GaussianConfig())
    config = SharedBackboneConfig(backbone=backbone or SmallCnnConfig(), tasks=(task,))
    return shared_backbone(DataInfo({"v1": TASK}, "0" * 32), config, seed=0)


def test_a_tap_that_does_not_exist():
    with pytest.raises(ModelError, match=r"^Task 'v1': The backbone has no tap 'layer_2'\. Did you mean 'layer2'"):
        model("layer_2")
    with pytest.raises(ModelError, match=r"^Task 'v1': A depth is written as 'depth:0.5'"):
        model("depth:2")


@pytest.mark.parametrize("head", [FactorizedReadoutConfig(), PointPooledReadoutConfig(), AttentionReadoutConfig()])
def test_a_tap_after_global_pooling(head):
    with pytest.raises(ModelError, match=r"^Task 'v1', tap 'avgpool': .*_readout learns where .* \(512, 1, 1\), one"):
        model("avgpool", backbone=RESNET, head=head)


def test_a_tap_without_maps():
    with pytest.raises(ModelError, match=r"^Task 'v1', tap 'fc': .*gaussian_readout needs feature maps .* \(512,\)"):
        model("fc", backbone=RESNET)


def test_images_of_other_channels():
    expected = r"^Task 'v1': Expected images \(1 channels\).* found \(2, 3, 32, 32\)"
    for ask in (lambda m, x: m(x, "v1", "monday"), lambda m, x: m.together(x, [("v1", "monday")])):
        with pytest.raises(ModelError, match=expected):
            ask(model(), torch.zeros(2, 3, 32, 32))


def test_an_unknown_session_and_images_of_another_size():
    network = model(head=FactorizedReadoutConfig())
    with pytest.raises(ModelError, match=r"^Task 'v1', session 'mondy': .*no session 'mondy'\. Did you mean 'monday'"):
        network(torch.zeros(2, 1, 32, 32), "v1", "mondy")
    with pytest.raises(ModelError, match=r"^Task 'v1': The readout has no session ''\. Known: monday, tuesday"):
        network(torch.zeros(2, 1, 32, 32), "v1")
    with pytest.raises(ModelError, match=r"^Task 'v1', session 'monday': The masks were made for maps of \(8, 8\)"):
        network(torch.zeros(2, 1, 48, 48), "v1", "monday")


def test_weights_of_another_architecture(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    other = torchvision_backbone(TorchvisionBackboneConfig(name="squeezenet1_1"))
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"^resnet18, weights='other.pt': .* another architecture, none fits: .*conv1"):
        model(backbone=RESNET.replace(weights="other.pt"))
