"""Every readout on every family of backbones: answers, gradients, one step of training, storing and loading."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from cotrain import models
from cotrain.losses import GaussianConfig
from cotrain.models import (
    MultiTaskModel,
    Readout,
    SeCoreConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    shared_backbone,
)
from cotrain.models._torchvision_families import FAMILIES, family_of
from cotrain.resolve import build
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo
from cotrain.training import AdamWConfig, RunFolder, load_state

# A small network of each family, with the side of images that it takes and that leaves more than one place at the tap.
pytestmark = pytest.mark.slow

MEMBERS = {
    "alexnet": 64,
    "vgg11_bn": 32,
    "resnet18": 32,
    "densenet121": 32,
    "squeezenet1_1": 32,
    "mobilenet_v3_small": 32,
    "mnasnet0_5": 32,
    "regnet_y_400mf": 32,
    "shufflenet_v2_x0_5": 32,
    "convnext_tiny": 32,
    "googlenet": 32,
    "inception_v3": 80,
    "swin_t": 32,
    "vit_b_16": 32,
    "maxvit_t": 224,
}
OWN = {"small_cnn": SmallCnnConfig(), "se_core": SeCoreConfig(channels=(16, 16, 16))}
BACKBONES = {**OWN, **MEMBERS}
READOUTS = tuple(name for name in models.__all__ if name.endswith("_readout"))
NEURONS, IMAGES = 2, 2


@dataclass
class Built:
    """A model with one task a readout, all at one tap, and what is known of it before any step.

    Args:
        backbone: Its name in `BACKBONES`.
        learning: Parameters of the backbone that the tap's features depend on.
        answers: What each task answered, in evaluation.
        loaded: What the same model answered after it was stored, and loaded into one of another seed.
    """

    backbone: str
    model: MultiTaskModel
    learning: set[str]
    answers: dict[str, Tensor]
    loaded: dict[str, Tensor]


def config(backbone: str) -> SharedBackboneConfig:
    """Half way through the backbone: maps, or a ViT's tokens."""
    held = OWN.get(backbone)
    if held is None:
        family = family_of(backbone)
        sized = family is not None and family.sized
        held = TorchvisionBackboneConfig(name=backbone, image_size=MEMBERS[backbone] if sized else 0)
    tasks = (
        TaskConfig(
            name=name, tap="depth:0.5", head=vars(models)[_class_of(name)](output="elu"), objective=GaussianConfig()
        )
        for name in READOUTS
    )
    return SharedBackboneConfig(backbone=held, tasks=tuple(tasks))


def _class_of(readout: str) -> str:
    return inspect.signature(vars(models)[readout]).parameters["config"].annotation


def info(backbone: str) -> DataInfo:
    side = MEMBERS.get(backbone, 16)
    session = SessionInfo(NEURONS, (0.5, 1.5), 0.0, {"train": 4, "validation": 2, "test": 2})
    task = TaskInfo("neural", (1, side, side), (0.5,), (0.3,), sessions={"monday": session})
    return DataInfo(dict.fromkeys(READOUTS, task), "0" * 32)


def pictures(backbone: str) -> Tensor:
    side = MEMBERS.get(backbone, 16)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (IMAGES, 1, side, side), generator=generator, dtype=torch.uint8)


def made(backbone: str, seed: int) -> MultiTaskModel:
    """A model whose readouts look at features: some start with weights of 0, through which no gradient comes."""
    model = shared_backbone(info(backbone), config(backbone), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.heads.named_parameters():
            if "readouts" in name and name.endswith(".weight"):
                small = parameter.shape[-1] ** -0.5  # larger ones would silence neurons, whose gradient vanishes then
                parameter.copy_(small * torch.randn(parameter.shape, generator=generator))
    return model


def answers(model: MultiTaskModel, backbone: str) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: model.eval()(pictures(backbone), name, "monday") for name in READOUTS}


def needed(model: MultiTaskModel, backbone: str) -> set[str]:
    """Parameters on which the tap's output depends in a whole pass, by autograd and one hook."""
    task = READOUTS[0]
    found: list[Tensor] = []
    tap = model.backbone.get_submodule(*model.taps[task])
    handle = tap.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    model.eval().backbone(model.inputs[task](pictures(backbone)))
    handle.remove()
    names, parameters = zip(*model.backbone.named_parameters(), strict=True)
    gradients = torch.autograd.grad(found[0].square().sum(), parameters, allow_unused=True)
    return {f"backbone.{name}" for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


@pytest.fixture(scope="module", params=[*BACKBONES])
def built(request, tmp_path_factory) -> Built:
    """One backbone at a time, built once for all readouts."""
    backbone, folder = request.param, RunFolder(tmp_path_factory.mktemp("run"))
    model, other = made(backbone, 0), made(backbone, 1)
    folder.save(folder.best, {"model": model.state_dict()})
    before = answers(other, backbone)
    other.load_state_dict(load_state(folder.best)["model"])
    folder.best.unlink()  # as large as the network
    held = Built(backbone, model, needed(model, backbone), answers(model, backbone), answers(other, backbone))
    assert not any(torch.equal(before[name], held.answers[name]) for name in READOUTS), "another seed, other answers"
    return held


@pytest.mark.parametrize("readout", READOUTS)
def test_a_readout_on_a_backbone_answers_learns_and_is_stored(built, readout):
    model, images = built.model, pictures(built.backbone)
    assert isinstance(model.heads[readout], Readout)
    assert built.answers[readout].shape == (IMAGES, NEURONS) and built.answers[readout].isfinite().all()
    assert torch.equal(built.loaded[readout], built.answers[readout])

    model.train().zero_grad()
    optimiser = build(AdamWConfig(lr=1e-3), model)
    objective = model.objectives[readout]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the Gaussian readout's places, and of stochastic depth
        output = model(images, readout, "monday")
    loss = objective.loss(output, torch.tensor([[0.0, 3.0], [1.0, 0.0]]), "monday")
    objective.weighted(loss).backward()
    assert loss.isfinite()

    parameters = dict(model.named_parameters())
    own = {name for name in parameters if name.startswith((f"heads.{readout}.", f"objectives.{readout}."))}
    learning = {name for name, parameter in parameters.items() if parameter.grad is not None}
    assert learning == built.learning | own, "all before the tap, the task's own, and nothing else"
    assert all(parameters[name].grad.isfinite().all() for name in learning)
    assert all(parameters[name].grad.any() for name in own)

    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimiser.step()
    moved = {name for name, parameter in parameters.items() if not torch.equal(parameter, before[name])}
    assert moved <= learning and all(parameters[name].isfinite().all() for name in moved)
    still = {name for name in learning - moved if parameters[name].grad.any()}
    assert not still, "what has a gradient moves"
    first = next(path for path, module in model.backbone.named_modules() if isinstance(module, nn.Conv2d))
    assert f"backbone.{first}.weight" in moved


def test_no_family_and_no_readout_is_left_out(request):
    assert {family_of(name).prefixes for name in MEMBERS} == {family.prefixes for family in FAMILIES}
    assert len(MEMBERS) == len(FAMILIES) >= 15
    assert len(READOUTS) >= 4
    assert all(_class_of(name) in models.__all__ for name in READOUTS)
    pairs = len(BACKBONES) * len(READOUTS)
    collected = [item for item in request.session.items if "answers_learns_and_is_stored" in item.name]
    assert pairs >= 68 and len(collected) in (0, pairs)  # 0: this test was asked for alone
