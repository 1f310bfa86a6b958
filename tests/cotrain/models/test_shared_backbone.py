"""The co-trained model: one backbone, answers for one task or several, refusals before training, seeded weights."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from cotrain.errors import ModelError
from cotrain.losses import CrossEntropyConfig, GaussianConfig, QuasiPoissonConfig, RdmMatchConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
    shared_backbone,
)
from cotrain.models._shared_backbone import ImageInput, _feature_shape
from cotrain.tasks import DataInfo, SessionInfo, TaskConfig, TaskInfo

STIMULI = {"train": 8, "validation": 4, "test": 4}
GREY = {"image_shape": (1, 16, 16), "image_mean": (0.4,), "image_std": (0.2,)}
COLOUR = {"image_shape": (3, 16, 16), "image_mean": (0.5, 0.4, 0.3), "image_std": (0.2, 0.25, 0.3)}
PAIRS = [("objects", ""), ("v1", "a"), ("v1", "b"), ("it", "")]


def task_info(name, lowest=0.0, **images):
    images = GREY | images
    if name == "objects":
        return TaskInfo("classification", **images, class_names=("cat", "dog", "owl"))
    if name == "it":
        return TaskInfo("rdm", **images, sessions={"": SessionInfo(0, (), 0.0, STIMULI)})
    sessions = {"a": SessionInfo(2, (0.5, 2.0), lowest, STIMULI), "b": SessionInfo(3, (1.0,) * 3, lowest, STIMULI)}
    return TaskInfo("neural", **images, sessions=sessions)


def data(*names, **changes):
    return DataInfo({name: task_info(name, **changes) for name in names or ("objects", "v1", "it")}, "")


def tasks(**changes):
    """{task: its config}; `v1_tap="layer1"` changes the tap of v1."""
    parts = {
        "objects": {"tap": "layer3", "head": LinearHeadConfig(), "objective": CrossEntropyConfig()},
        "v1": {"tap": "layer2", "head": GaussianReadoutConfig(output="elu"), "objective": QuasiPoissonConfig()},
        "it": {"tap": "layer1", "head": RdmHeadConfig(), "objective": RdmMatchConfig()},
    }
    for name, change in changes.items():
        task, _, part = name.partition("_")
        parts[task][part] = change
    return {name: TaskConfig(name=name, **held) for name, held in parts.items()}


def model(info=None, names=None, *, seed=0, backbone=None, **changes):
    """In evaluation mode."""
    info, held = info or data(), tasks(**changes)
    used = tuple(held[name] for name in names or info.tasks)
    trunk = backbone or SmallCnnConfig(layers=((6, 3, 1), (8, 3, 2), (8, 3, 1)))
    return shared_backbone(info, SharedBackboneConfig(tasks=used, backbone=trunk), seed=seed).eval()


def resnet(**changes):
    """A ResNet with taps whose output it later changes in place."""
    taps = {"objects_tap": "layer2", "v1_tap": "layer1.0.bn2", "it_tap": "bn1"} | changes
    return model(backbone=TorchvisionBackboneConfig(name="resnet18"), **taps)


def pixels(number=5, channels=1, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, channels, size, size), generator=generator, dtype=torch.uint8)


def passes(network, action):
    """How often `action` runs each convolution of the backbone."""
    count = {path: 0 for path, module in network.backbone.named_modules() if isinstance(module, nn.Conv2d)}

    def add(path):
        count[path] += 1

    handles = [
        network.backbone.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: add(path))
        for path in count
    ]
    action()
    for handle in handles:
        handle.remove()
    return count


@pytest.mark.parametrize("build", [model, resnet])
def test_several_tasks_in_one_pass_are_answered_as_one_by_one(build):
    network = build()
    found = {}
    with torch.no_grad():
        count = passes(network, lambda: found.update(network.together(pixels(), PAIRS)))
        assert max(count.values()) == 1
        assert list(found) == PAIRS
        for task, session in PAIRS:
            assert torch.equal(found[task, session], network(pixels(), task, session)), task
    assert [found[pair].shape[1] for pair in PAIRS[:3]] == [3, 2, 3]


def test_a_task_computes_no_layer_after_its_tap():
    network = model()
    for pair, expected in zip(PAIRS, ([1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]), strict=True):
        assert list(passes(network, partial(network, pixels(), *pair)).values()) == expected
    together = passes(network, lambda: network.together(pixels(), [("it", ""), ("v1", "a")]))
    assert list(together.values()) == [1, 1, 0]


def test_several_tasks_see_the_images_as_the_first_one_does():
    info = DataInfo({"objects": task_info("objects", image_mean=(0.1,)), "v1": task_info("v1")}, "")
    network = model(info)
    with torch.no_grad():
        first = network.together(pixels(), [("v1", "a"), ("objects", "")])
        assert torch.equal(first["v1", "a"], network(pixels(), "v1", "a"))
        assert not torch.allclose(first["objects", ""], network(pixels(), "objects"))


def test_features_before_an_in_place_relu_are_not_rectified():
    network = resnet()
    assert not any(getattr(module, "inplace", False) for module in network.backbone.modules())
    with torch.no_grad():
        alone, beside = network(pixels(), "it"), network.together(pixels(), PAIRS)["it", ""]
    assert alone.min() < 0 and torch.equal(alone, beside)


def test_a_task_teaches_its_head_and_the_layers_up_to_its_tap_only():
    network = model().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.objectives["v1"](network(pixels(), "v1", "b"), torch.ones(5, 3)).backward()
    reached = {key for key, parameter in network.named_parameters() if parameter.grad is not None}
    prefixes = ("backbone.layer1.", "backbone.layer2.", "heads.v1.readouts.b.", "objectives.v1.")
    assert reached == {key for key, _ in network.named_parameters() if key.startswith(prefixes)}
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"backbone.layer{layer}.1.{name}" for layer in (1, 2) for name in ("mean_v1", "variance_v1")}


@pytest.mark.parametrize(("images", "channels"), [(GREY, 1), (GREY, 3), (COLOUR, 3), (COLOUR, 1)])
def test_images_are_normalised_and_get_the_channels_of_the_backbone(images, channels):
    number = images["image_shape"][0]
    network = model(
        data("objects", **images), backbone=SmallCnnConfig(layers=((4, 3, 1),) * 3, input_channels=channels)
    )
    seen = []
    network.backbone.register_forward_pre_hook(lambda _m, arguments: seen.append(arguments[0]))
    shown = pixels(channels=number)
    scaled = shown.double() / 255
    for channel in range(number):
        scaled[:, channel] = (scaled[:, channel] - images["image_mean"][channel]) / images["image_std"][channel]
    expected = scaled if number == channels else (scaled.mean(1, True) if channels == 1 else torch.cat([scaled] * 3, 1))
    network(shown, "objects")
    network(shown.float() / 255, "objects")
    torch.testing.assert_close(seen[0], expected.float(), atol=2e-6, rtol=1e-5)
    assert torch.equal(seen[0], seen[1])


def test_everything_that_an_answer_rests_on_is_in_the_state():
    info = DataInfo({"objects": task_info("objects", image_mean=(0.1,), image_std=(0.5,)), "v1": task_info("v1")}, "")
    one, other = model(info, seed=1), model(data("objects", "v1"), seed=2)
    assert {"inputs.objects.mean", "inputs.v1.std"} <= set(one.state_dict())
    with torch.no_grad():
        one.objectives["v1"].log_variance.fill_(0.7)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one(pixels(), "objects"), other(pixels(), "objects"))
        assert torch.equal(copy.deepcopy(one)(pixels(), "v1", "a"), other(pixels(), "v1", "a"))
    assert other.objectives["v1"].weight() == one.objectives["v1"].weight()


def test_learned_weights_are_parameters_of_the_model_and_fixed_ones_are_not():
    names = {key for key, _ in model(v1_objective=GaussianConfig(weight=0.5)).named_parameters() if "objective" in key}
    assert names == {"objectives.objects.log_variance"}
    state = model().state_dict()
    assert {key for key in state if "log_variance" in key} == {
        f"objectives.{name}.log_variance" for name in ("objects", "v1")
    }


def test_weights_follow_the_seed():
    one, same, other = (model(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    drawn = [key for key, value in one.items() if key.endswith(("weight", "mu")) and value.unique().numel() > 1]
    assert len(drawn) >= 3 + 1 + 4
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


@pytest.mark.parametrize("alone", ["objects", "v1", "it"])
def test_a_single_task_baseline_starts_as_the_co_trained_model_does(alone):
    joint, single = dict(model().named_parameters()), dict(model(data(alone)).named_parameters())
    assert any(key.startswith("backbone") for key in single)
    assert all(torch.equal(value, joint[key]) for key, value in single.items())
    turned = dict(model(names=("it", "v1", "objects")).named_parameters())
    assert turned.keys() == joint.keys() and all(torch.equal(value, joint[key]) for key, value in turned.items())


def test_building_leaves_the_callers_randomness_alone_on_every_device(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    model(seed=5)
    assert torch.equal(torch.get_rng_state(), before) and not seeded


@pytest.mark.parametrize(
    ("have", "name", "text"),
    [
        (("objects", "v1"), ("objects",), "the data have objects, v1; the model names objects"),
        (("objects",), ("objects", "v1"), "the data have objects; the model names objects, v1"),
        (("objects", "v1"), ("objects", "objects"), "the model names objects, objects"),
        (("objects", "v1"), ("objects", "v1", "v1"), "each once"),
    ],
)
def test_the_tasks_must_be_those_of_the_data(have, name, text):
    with pytest.raises(ModelError, match=text):
        model(data(*have), name)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"v1_head": LinearHeadConfig()}, "linear_head is for classification tasks, this one is of kind neural"),
        ({"it_head": GaussianReadoutConfig()}, "gaussian_readout is for neural tasks, this one is of kind rdm"),
        ({"objects_objective": GaussianConfig()}, "gaussian is for neural tasks, this one is of kind classification"),
        ({"objects_objective": QuasiPoissonConfig()}, "quasi_poisson is for neural tasks, .* kind classification"),
        (
            {"v1_objective": CrossEntropyConfig()},
            "cross_entropy is for classification tasks, this one is of kind neural",
        ),
        ({"v1_objective": RdmMatchConfig()}, "rdm_match is for rdm tasks, this one is of kind neural"),
        ({"v1_head": GaussianReadoutConfig()}, "Task 'v1': .*quasi_poisson needs positive predictions.*output='elu'"),
        ({"v1_tap": "layer_2"}, "no tap 'layer_2'. Did you mean 'layer2'"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_the_model_is_built(changes, text):
    with pytest.raises(ModelError, match=text):
        model(**changes)


def test_counts_are_never_below_zero():
    with pytest.raises(ModelError, match=r"never below 0; found responses as low as {'a': -1.5, 'b': -1.5}"):
        model(data("v1", lowest=-1.5))


def test_images_too_small_for_the_backbone_are_named():
    backbone = TorchvisionBackboneConfig(name="vgg11_bn")
    with pytest.raises(ModelError, match=r"Task 'objects': images of \(1, 16, 16\) do not pass .* 'features.28'"):
        model(data("objects"), backbone=backbone, objects_tap="features.28")


def test_a_readout_with_places_on_a_flat_tap_is_refused():
    with pytest.raises(ModelError, match=r"needs feature maps .* the tap gives \(512,\): tap earlier"):
        model(data("v1"), backbone=TorchvisionBackboneConfig(name="resnet18"), v1_tap="fc")


def test_a_tap_that_gives_no_features_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.number = nn.Identity(), nn.Identity()

        def forward(self, images):
            return self.number(self.pair((images, images))[0].mean())

    info = task_info("objects")
    for tap in ("pair", "number"):
        with pytest.raises(ModelError, match=f"Task 'objects': the tap '{tap}' gives no features"):
            _feature_shape(Odd(), ImageInput(info, 1), info, "objects", tap)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (pixels(channels=3), r"Expected images \(1 channels\).* found \(5, 3, 16, 16\)"),
        (pixels()[0], r"found \(1, 16, 16\)"),
        (pixels().long(), "uint8, or as floats in 0..1, found torch.int64"),
        (pixels() > 9, "found torch.bool"),
    ],
)
def test_wrong_images_are_refused(images, text):
    for ask in (lambda: model()(images, "objects"), lambda: model().together(images, PAIRS)):
        with pytest.raises(ModelError, match=text):
            ask()


def test_unknown_tasks_and_sessions_are_refused():
    network = model()
    for ask in (lambda: network(pixels(), "object"), lambda: network.together(pixels(), [("v1", "a"), ("object", "")])):
        with pytest.raises(ModelError, match=r"The model has no task 'object'. Did you mean 'objects'"):
            ask()
    with pytest.raises(ModelError, match=r"no session 'c'. Known: a, b"):
        network(pixels(), "v1", "c")
    with pytest.raises(ModelError, match="Name at least one"):
        network.together(pixels(), [])
