"""Models of two RDM tasks with taps of every sort, and how two of them are compared."""

import torch

from cotrain.losses import RdmMatchConfig
from cotrain.models import (
    RdmHeadConfig,
    SeCoreConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    shared_backbone,
)
from cotrain.seeds import derive_seed
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}
SESSIONS = [f"s{number}" for number in range(24)]
SMALL = SmallCnnConfig(layers=((4, 3, 1), (5, 3, 2), (6, 3, 1)), input_channels=3)
NETWORKS = {  # taps of two tasks: several each, within blocks and between permutations, where a network has them
    "small_cnn": (("layer2",), ("layer1.0", "layer3")),
    "se_core": (("layer2.norm",), ("layer1", "layer3.se")),
    "resnet18": (("layer2.0.bn2", "layer2.0.relu"), ("conv1", "layer3.0.downsample")),
    "vgg11_bn": (("features.10",), ("features.1", "features.11", "features.22")),
    "densenet121": (("features.denseblock1",), ("features.pool0", "features.denseblock1.denselayer2.conv1")),
    "convnext_tiny": (("features.1",), ("features.0", "features.1.0.block.2")),
    "swin_t": (("features.1",), ("features.0.0", "features.1.0.norm1")),
    "vit_b_16": (("encoder.layers.encoder_layer_0",), ("conv_proj", "encoder.layers.encoder_layer_1.ln_1")),
}


class Counting:
    """A backend that runs graphs as they are, or as autograd sees them, and counts them."""

    def __init__(self, name="eager"):
        self.run, self.graphs = torch._dynamo.lookup_backend(name), 0

    def __call__(self, graph, examples):
        self.graphs += 1
        return self.run(graph, examples)


def task_info(kind, side):
    images = {"image_shape": (3, side, side), "image_mean": (0.5, 0.4, 0.3), "image_std": (0.2, 0.25, 0.3)}
    if kind == "classification":
        return TaskInfo(kind, **images, class_names=("cat", "dog"))
    sessions = {
        name: SessionInfo(1 + number, (1.0,) * (1 + number), 0.0, STIMULI) for number, name in enumerate(SESSIONS)
    }
    return TaskInfo(kind, **images, sessions=sessions if kind == "neural" else {"": SessionInfo(0, (), 0.0, STIMULI)})


def config_of(name):
    if name in ("small_cnn", "se_core"):
        return SMALL if name == "small_cnn" else SeCoreConfig(channels=(4, 4, 4), se_layers=2, input_channels=3)
    return TorchvisionBackboneConfig(name=name, **({"image_size": 32} if name.startswith("vit") else {}))


def model(name="small_cnn", taps=None, batch_norm="per_task", side=32):
    """RDM tasks of one or several taps."""
    taps = dict(zip(("a", "b"), NETWORKS[name], strict=True)) if taps is None else taps
    tasks = tuple(
        TaskConfig(
            name=task, tap=given if len(given) > 1 else given[0], head=RdmHeadConfig(), objective=RdmMatchConfig()
        )
        for task, given in taps.items()
    )
    config = SharedBackboneConfig(tasks=tasks, backbone=config_of(name), batch_norm=batch_norm)
    return shared_backbone(DataInfo(dict.fromkeys(taps, task_info("rdm", side)), ""), config, seed=0)


def pixels(number=4, side=32, seed=0):
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(seed))


def train(built, batches):
    """Features of each batch of each task, with what their gradients become."""
    found = []
    for seed, task in batches:
        torch.manual_seed(derive_seed(seed, "noise", task))  # paths of a Swin or a ConvNeXt are dropped
        features = built.features(pixels(seed=seed), task, built.taps[task])
        sum(each.square().mean() for each in features.values()).backward()
        found.append(features)
    return found


def assert_alike(compiled, plain, *, tolerance=1e-4):
    """Gradients, parameters and statistics."""
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for (key, one), other in zip(compiled.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(
            one, other, rtol=tolerance, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}"
        )
    for (key, one), other in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), key
        if one.grad is not None:
            scale = other.grad.abs().max().item()
            torch.testing.assert_close(one.grad, other.grad, rtol=tolerance, atol=tolerance * max(scale, 1e-3), msg=key)
