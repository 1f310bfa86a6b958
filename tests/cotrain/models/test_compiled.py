"""Compiled passes give what uncompiled ones give, are as few as can be, and fall back aloud, never silently."""

import copy
import logging
import os
import pickle
import subprocess
import sys

import pytest
import torch
from compiling import NETWORKS, SESSIONS, SMALL, Counting, assert_alike, model, pixels, task_info, train
from torch import nn

from cotrain.errors import ModelError
from cotrain.losses import CrossEntropyConfig, GaussianConfig, RdmMatchConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    MultiTaskModel,
    RdmHeadConfig,
    SharedBackboneConfig,
    shared_backbone,
)
from cotrain.models._compiled import MOST_VERSIONS
from cotrain.tasks import DataInfo, TaskConfig

pytestmark = pytest.mark.usefixtures("compiling")
LARGE = ("resnet18", "vgg11_bn", "convnext_tiny", "densenet121", "swin_t", "vit_b_16")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NETWORKS]
)
def test_features_gradients_and_statistics_are_those_of_an_uncompiled_backbone(name):
    plain, graphs = model(name), Counting("aot_eager")
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=graphs)
    batches = [(0, "a"), (1, "b"), (2, "a")]
    for one, other in zip(train(compiled, batches), train(plain, batches), strict=True):
        assert one.keys() == other.keys()
        for tap, features in one.items():
            torch.testing.assert_close(features, other[tap], rtol=1e-4, atol=1e-4, msg=tap)
    assert graphs.graphs == 2
    assert_alike(compiled, plain)


@pytest.mark.parametrize("batch_norm", ["per_task", "shared", "frozen"])
def test_each_kind_of_batch_norm_is_as_uncompiled_in_training_and_in_evaluation(batch_norm):
    plain, graphs = model(batch_norm=batch_norm, taps={"a": ("layer2",), "b": ("layer2",)}), Counting("aot_eager")
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=graphs)
    for seed in range(3):
        for built in (plain.train(), compiled.train()):
            train(built, [(seed, "a"), (seed + 10, "b")])
        assert_alike(compiled, plain)
        for task in ("a", "b"):
            with torch.no_grad():
                assert torch.equal(compiled.eval()(pixels(2), task), plain.eval()(pixels(2), task))
    assert graphs.graphs == (2 if batch_norm == "per_task" else 1), "tasks share a pass unless layers differ by task"
    moved = plain.state_dict()["backbone.layer1.1." + ("mean_a" if batch_norm == "per_task" else "running_mean")]
    assert (moved.abs().max() > 0) == (batch_norm != "frozen")


@pytest.mark.parametrize(("batch_norm", "most"), [("per_task", 4), ("shared", 3)])
def test_there_is_no_more_than_one_graph_a_task_however_many_sessions_and_none_after_the_first_epoch(batch_norm, most):
    readout = {"head": GaussianReadoutConfig(), "objective": GaussianConfig()}
    tasks = (
        TaskConfig(name="objects", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
        TaskConfig(name="v1", tap="layer1", **readout),
        TaskConfig(name="v4", tap="layer2", **readout),
        TaskConfig(name="it", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig()),
    )
    kinds = {"objects": "classification", "v1": "neural", "v4": "neural", "it": "rdm"}
    info = DataInfo({name: task_info(kind, 8) for name, kind in kinds.items()}, "")
    built = shared_backbone(info, SharedBackboneConfig(tasks=tasks, backbone=SMALL, batch_norm=batch_norm), seed=0)
    built.compile_backbone(backend=(graphs := Counting()))
    epochs = []
    for epoch in range(3):
        for session in SESSIONS:
            for task, kind in kinds.items():
                built(pixels(side=8, seed=epoch), task, session if kind == "neural" else "").sum().backward()
        epochs.append(graphs.graphs)
        built.eval()
        with torch.no_grad():
            built(pixels(3, side=8), "v1", "s3")
        built.train()
    assert epochs == [most] * 3


def test_compiling_takes_no_number_from_the_generator():
    """So training that goes on after an interruption, and compiles again, draws what it would have drawn."""
    built = model()
    before = torch.get_rng_state()
    built.compile_backbone(backend="aot_eager")
    built(pixels(), "a").sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_all_but_the_passes_of_training_stays_uncompiled():
    built = model()
    built.compile_backbone(backend=(graphs := Counting()))
    with torch.no_grad():
        built(pixels(), "a")
    built.features(pixels(), "a", ["layer1"])
    built.together(pixels(), [("a", ""), ("b", "")])
    built.eval()(pixels(), "a")
    assert graphs.graphs == 0
    built.train()(pixels(), "a")
    assert graphs.graphs == 1


def test_a_state_goes_from_a_compiled_model_to_another_and_back():
    compiled, plain = model(), model()
    compiled.compile_backbone(backend="eager")
    train(compiled, [(0, "a"), (1, "b")])
    plain.load_state_dict(compiled.state_dict())
    train(plain, [(2, "a")])
    compiled.load_state_dict(plain.state_dict())
    for built in (compiled, plain):
        built.zero_grad()
        train(built, [(3, "a")])
    assert_alike(compiled, plain)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda built: pickle.loads(pickle.dumps(built))])
def test_a_copy_of_a_compiled_model_computes_with_parameters_of_its_own(again):
    built = model()
    built.compile_backbone(backend="eager")
    before = built(pixels(), "a").detach()
    copied = again(built)
    with torch.no_grad():
        for parameter in built.backbone.parameters():
            parameter.zero_()
    torch.testing.assert_close(copied(pixels(), "a"), before)
    assert built(pixels(), "a").abs().max() == 0
    copied(pixels(), "a").sum().backward()
    assert all(parameter.grad is None for parameter in built.backbone.parameters())


def test_a_compiled_model_may_change_its_numbers_and_what_it_learns():
    plain, graphs = model(), Counting("aot_eager")
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=graphs)
    train(compiled, [(0, "a")])
    train(plain, [(0, "a")])
    for built in (plain, compiled):
        built.double().zero_grad()
        built.backbone.layer1.requires_grad_(False)
        train(built, [(1, "a")])
        assert (
            built.backbone.layer1[0].weight.grad is None and built.backbone.layer2[0].weight.grad.dtype == torch.double
        )
    assert_alike(compiled, plain)
    assert graphs.graphs == 2


def test_a_layer_that_is_set_to_evaluation_and_a_hook_that_comes_later_are_heeded():
    plain = model(taps={"a": ("layer2.0", "layer3")})
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=(graphs := Counting()))
    train(compiled, [(0, "a")]), train(plain, [(0, "a")])
    handles = []
    for built in (plain, compiled):
        built.backbone.layer1.eval()
        handles.append(built.backbone.layer2[2].register_forward_hook(lambda _m, _i, output: output * 2))
        built.backbone.register_forward_pre_hook(lambda _m, inputs: (inputs[0] + 1,))
        train(built, [(1, "a")])
    assert_alike(compiled, plain)
    for built, handle in zip((plain, compiled), handles, strict=True):
        handle.remove()
        train(built, [(2, "a")])
    assert_alike(compiled, plain)
    assert graphs.graphs == 3


@pytest.mark.parametrize("change", ["shapes", "hooks"])
def test_more_versions_than_are_kept_are_warned_of_once_and_run_uncompiled(change, caplog):
    plain = model(batch_norm="shared")
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=(graphs := Counting()))
    caplog.set_level(logging.WARNING, "cotrain")
    for number in range(2, MOST_VERSIONS + 5):
        if change == "hooks":
            for built in (plain, compiled):
                built.backbone.layer1.register_forward_hook(lambda _m, _i, output: output * 1.1)
        batch = pixels(number if change == "shapes" else 2)
        one, other = (built.features(batch, "a", built.taps["a"]) for built in (compiled, plain))
        torch.testing.assert_close(one, other)
    assert_alike(compiled, plain)
    assert graphs.graphs == MOST_VERSIONS
    warned = [record.getMessage() for record in caplog.records if record.name.startswith("cotrain")]
    assert len(warned) == 1
    size = MOST_VERSIONS + 2 if change == "shapes" else 2
    assert "The pass of the backbone to layer2 was compiled as often as torch.compile allows" in warned[0]
    assert f"Images of ({size}, 3, 32, 32) now go through it uncompiled" in warned[0]
    compiled.features(pixels(2), "a", ("layer2",))
    assert graphs.graphs == MOST_VERSIONS


class Lab(nn.Module):
    """A network as labs write them: a dictionary of blocks, of which one decides by the numbers that it sees."""

    def __init__(self, outside=False, inside=False):
        super().__init__()
        self.outside, self.inside = outside, inside
        self.conv, self.block, self.unused = nn.Conv2d(3, 4, 3), Lab.Block(inside), nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, images, *, repeat=2):
        maps = self.conv(images) * self.gain
        if self.outside and maps.mean() > 0:
            maps = maps * 2
        for _ in range(repeat):
            maps = self.block(maps)
        return self.unused(maps) if repeat > 2 else maps

    class Block(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.conv, self.inside = nn.Conv2d(4, 4, 3, padding=1), inside

        def forward(self, maps):
            if len(maps) > 2 and maps.shape[-1] % 2 == 0:
                maps = maps.relu_()
            if self.inside and maps.sum().item() > 0:
                maps = maps * 2
            return {"maps": self.conv(maps)}["maps"]


def lab(taps=("block",), **settings):
    other = model()
    return MultiTaskModel(Lab(**settings), {"a": taps}, {"a": other.inputs["a"]}, {"a": other.heads["a"]}, {})


def test_the_backbone_of_a_lab_is_compiled_though_fx_could_not_follow_it():
    plain = lab(("conv", "block"))
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=(graphs := Counting("aot_eager")))
    train(compiled, [(0, "a")]), train(plain, [(0, "a")])
    assert_alike(compiled, plain)
    assert plain.backbone.gain.grad is not None and graphs.graphs == 1


def test_backbones_that_cannot_be_compiled_are_refused_with_advice():
    advice = "Leave compilation off"
    with pytest.raises(
        ModelError, match=rf"Task 'a': The backbone \(Lab\) cannot be compiled: .*control flow.* {advice}"
    ):
        lab(outside=True).compile_backbone(backend="eager")
    built = lab(inside=True)
    built.compile_backbone(backend="eager")
    with pytest.raises(ModelError, match=rf"Task 'a': The backbone \(Lab\) cannot be compiled: .* {advice}"):
        built(pixels(), "a")
    with pytest.raises(ModelError, match="Task 'a': The forward pass never reached unused"):
        lab(("block", "unused")).compile_backbone(backend="eager")
    with pytest.raises(ModelError, match=r"no tap 'blok'\. Did you mean 'block'"):
        lab(("blok",)).compile_backbone(backend="eager")


def test_the_reason_why_a_compiler_fails_is_told():
    def broken(graph, examples):
        raise ValueError("no such instruction")

    built = model()
    built.compile_backbone(backend=broken)
    with pytest.raises(ModelError, match=r"backbone \(Sequential\) cannot be compiled: .*no such instruction\. Leave"):
        built(pixels(), "a")
    built.compile_backbone(backend="eager")
    built.backbone.layer1.register_forward_hook(lambda _m, _i, output: output[:, :2])
    with pytest.raises(ModelError, match=r"expected input.* to have 4 channels, but got 2"):
        built(pixels(), "a")


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_told_of_at_once(tmp_path):
    program = (
        "import torch\n"
        "from cotrain.errors import ModelError\n"
        "from cotrain.models._compiled import require_compiler\n"
        "try:\n    require_compiler(torch.device('cpu'))\n"
        "except ModelError as error:\n    print(error)"
    )
    hidden = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | hidden)
    assert done.stdout.startswith("torch.compile does not work on this machine for cpu: "), done.stderr
    assert done.stdout.endswith("It needs a C++ compiler; install it, or leave compilation off.\n")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("name", ["small_cnn", *[pytest.param(name, marks=pytest.mark.slow) for name in LARGE[:2]]])
def test_half_precision_goes_through_compiled_passes(name):
    plain, graphs = model(name), Counting("aot_eager")
    compiled = copy.deepcopy(plain)
    compiled.compile_backbone(backend=graphs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one, other = train(compiled, [(0, "a")])[0], train(plain, [(0, "a")])[0]
    for tap, features in one.items():
        assert features.dtype == other[tap].dtype
        torch.testing.assert_close(features, other[tap], rtol=0.05, atol=0.05, msg=tap)
    for (key, parameter), reference in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        if reference.grad is not None and reference.grad.norm() > 1e-4:
            assert torch.cosine_similarity(parameter.grad.flatten(), reference.grad.flatten(), 0) > 0.98, key
    assert graphs.graphs == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "half"), [("small_cnn", False), ("small_cnn", True), ("resnet18", False)])
def test_with_the_compiler_itself(name, half):
    plain = model(name)
    compiled = copy.deepcopy(plain)
    compiled.use_channels_last()
    compiled.compile_backbone()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        train(compiled, [(0, "a"), (1, "b"), (2, "a")])
        train(plain, [(0, "a"), (1, "b"), (2, "a")])
    if not half:
        assert_alike(compiled, plain, tolerance=1e-3)
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        if other.grad is not None and other.grad.norm() > 1e-3:
            assert torch.cosine_similarity(one.grad.flatten(), other.grad.flatten(), 0) > 0.97
