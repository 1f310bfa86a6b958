"""Features of layers: what is taken, of which images, and that the model stays as it was."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from networks import assert_untouched, network, pixels, state
from torch import nn

from cotrain.analysis import Pca, SparseProjection, extract
from cotrain.data import ImageRows, MappedImages
from cotrain.errors import DataError, ModelError
from cotrain.models import SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build


def by_hand(model, images, upto):
    """With copies, in evaluation."""
    held = copy.deepcopy(model).eval()
    for module in held.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    with torch.no_grad():
        for name, layer in held.named_children():
            images = layer(images)
            if name == upto:
                return images.flatten(1)
    raise AssertionError(upto)


def test_layers_give_what_they_give_by_hand():
    model, images = network().train(), pixels()
    found = extract(model, images, ["entry", "relu", "block[s]", "restless", "pool", "head"], batch=4)
    assert list(found) == ["entry", "relu", "blocks", "restless", "pool", "head"]
    for name, values in found.items():
        assert values.dtype == torch.float32 and not values.is_inference()
        torch.testing.assert_close(values, by_hand(model, images, name), atol=1e-6, rtol=1e-5)
    assert (found["entry"] < 0).any(), "the ReLU that works in place after it changes nothing"


@pytest.mark.parametrize("reduce", [None, "sparse_projection", "pca", "gram"])
def test_the_model_is_left_as_it_was(reduce):
    model, images = network().train(), pixels()
    model.blocks[1].eval()  # partly in evaluation
    model.entry.register_forward_hook(lambda *_: None)
    before, original, random = state(model), images.clone(), torch.random.get_rng_state()
    extract(model, images, "all", reduce=reduce, batch=3)
    assert_untouched(model, before)
    assert torch.equal(images, original) and torch.equal(random, torch.random.get_rng_state())
    model(images).sum().backward()  # nothing of inference is left in it


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_the_model_is_left_as_it_was_when_it_raises(calls, tmp_path):
    model, images = network().train(), pixels()
    model.restless.fails_at = calls
    before, random = state(model), torch.random.get_rng_state()
    with pytest.raises((RuntimeError, ModelError), match="too often"):
        extract(model, images, "all", batch=3, spill=tmp_path)
    assert_untouched(model, before)
    assert torch.equal(random, torch.random.get_rng_state())
    assert list(tmp_path.iterdir()) == [], "and no half-written file"


def test_images_that_are_changed_in_place_are_copies():
    model, images = nn.Sequential(nn.ReLU(inplace=True)), pixels() - 0.5
    before = images.clone()
    found = extract(model, images, "0")["0"]
    assert torch.equal(images, before) and torch.equal(found, before.relu().flatten(1))


def test_nothing_is_computed_after_the_last_layer_that_is_asked_for():
    model, images = network(), pixels(6)
    passed = []
    model.pool.register_forward_hook(lambda *_: passed.append("pool"))
    extract(model, images, "blocks.1", batch=2)
    assert passed == ["pool"] * 2, "in the trial passes alone"


def test_dropout_is_off_and_batch_norm_uses_its_statistics():
    model, images = network().train(), pixels()
    whole, single = extract(model, images, "head")["head"], extract(model, images[:1], "head")["head"]
    torch.testing.assert_close(whole[:1], single, atol=1e-6, rtol=1e-5)


def test_images_of_all_kinds_give_the_same():
    model = network().eval()
    bytes_ = (pixels() * 255).byte()
    wanted = extract(model, bytes_.float() / 255, "head")["head"]
    rows = ImageRows(MappedImages(torch.cat([bytes_[5:], bytes_[:5]])), (torch.arange(11) + 6) % 11)
    for images in (bytes_, rows, bytes_.numpy(), bytes_.permute(0, 2, 3, 1).numpy(), bytes_.numpy() / 255):
        found = extract(model, images, "head", batch=4)["head"]
        assert isinstance(found, np.ndarray) == isinstance(images, np.ndarray)
        np.testing.assert_allclose(np.asarray(found), wanted.numpy(), atol=1e-6)
    grey = extract(nn.Sequential(nn.Flatten()), np.ones((4, 5, 6), np.uint8), "0")["0"]
    np.testing.assert_allclose(grey, np.full((4, 30), 1 / 255), rtol=1e-6)
    prepared = extract(model, bytes_, "head", prepare=lambda batch: batch * 0)["head"]
    assert (prepared == prepared[0]).all()


def co_trained(backbone, batch_norm="per_task"):
    from cotrain.losses import CrossEntropyConfig
    from cotrain.models import LinearHeadConfig
    from cotrain.tasks import DataInfo, TaskConfig, TaskInfo

    def info(mean):
        return TaskInfo("classification", (3, 16, 16), (mean,) * 3, (0.2,) * 3, class_names=("a", "b"))

    tasks = tuple(
        TaskConfig(name=name, tap="depth:0.5", head=LinearHeadConfig(), objective=CrossEntropyConfig())
        for name in ("day", "night")
    )
    config = SharedBackboneConfig(tasks=tasks, backbone=backbone, batch_norm=batch_norm)
    return build(config, DataInfo({"day": info(0.7), "night": info(0.2)}, "of a test"), seed=0)


def test_a_co_trained_model_is_probed_in_its_backbone_as_one_of_its_tasks():
    model, images = co_trained(SmallCnnConfig(input_channels=3)).train(), (pixels(5, 16) * 255).byte()
    before = state(model)
    model_layers = list(extract(model, images, "leaves", task="day"))
    assert model_layers and all(name in dict(model.backbone.named_modules()) for name in model_layers)
    for task in ("day", "night"):
        found = extract(model, images, model_layers[-2:], task=task)
        held = copy.deepcopy(model).eval()
        with torch.no_grad():
            wanted = held.features(images, task, model_layers[-2:])
        for name, values in found.items():
            torch.testing.assert_close(values, wanted[name].flatten(1))
    assert_untouched(model, before)
    with pytest.raises(ModelError, match="has the tasks day, night: say as which one's"):
        extract(model, images, "leaves")
    with pytest.raises(ModelError, match=r"no task 'dy'.*Did you mean 'day'"):
        extract(model, images, "leaves", task="dy")
    with pytest.raises(DataError, match=r"values from -2.* but the model normalises pixels in 0..1"):
        extract(model, images.float() / 64 - 2, "leaves", task="day")
    with pytest.raises(ModelError, match="Only co-trained models have tasks, found task='day'"):
        extract(network(), pixels(), "head", task="day")


def test_progress_is_shown_on_request_alone(capsys):
    extract(network(), pixels(), "head")
    assert capsys.readouterr().err == ""
    extract(network(), pixels(), "head", progress=True, batch=2)
    assert "extract" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "settings", "error", "wrong"),
    [
        (torch.rand(0, 3, 8, 8), {}, DataError, "There are no images"),
        ("pictures", {}, DataError, "images as a tensor, an array or ImageRows, found a str"),
        (
            torch.ones(2, 3, 8, 8, dtype=torch.int64),
            {},
            DataError,
            "uint8 or floating-point numbers, found torch.int64",
        ),
        (np.ones((2, 3, 8, 8), np.int32), {}, DataError, "uint8 or floating-point numbers, found int32"),
        (torch.full((2, 3, 8, 8), math.nan), {}, DataError, "Images 0 to 0 hold NaN"),
        (torch.rand(2, 1, 8, 8), {}, ModelError, r"Images of shape \(1, 8, 8\) do not pass through the network"),
        (torch.rand(2, 3, 8, 8), {"reduce": "srp"}, ModelError, "no reduction 'srp'"),
        (torch.rand(2, 3, 8, 8), {"reduce": 5}, ModelError, "A reduction is None, one of average_pool.* found 5"),
        (torch.rand(2, 3, 8, 8), {"reduce": SparseProjection(0)}, ModelError, "one dimension or more, found size=0"),
        (torch.rand(2, 3, 8, 8), {"reduce": Pca(0)}, ModelError, "one component or more, found size=0"),
        (torch.rand(2, 3, 8, 8), {"batch": 0}, ModelError, "A batch holds one image or more, found batch=0"),
    ],
)
def test_wrong_input_is_named(images, settings, error, wrong):
    with pytest.raises(error, match=wrong):
        extract(network(), images, "head", **settings)
