"""Names of layers: modules, uses, parts, patterns, sorts and depths."""

from __future__ import annotations

import pytest
import torch
from networks import network, pixels
from torch import nn
from torch.nn.functional import relu
from torchvision.models import SwinTransformer

from cotrain.analysis import extract
from cotrain.errors import ModelError


def test_modules_that_are_used_again_are_numbered():
    model, images = network().eval(), pixels()
    found = extract(model, images, ["blocks.0.relu", "blocks.0.relu#2", "blocks.0", "relu"])
    torch.testing.assert_close(found["blocks.0.relu"], found["relu"])
    torch.testing.assert_close(found["blocks.0.relu#2"], found["blocks.0"])
    assert not torch.allclose(found["blocks.0.relu"], found["blocks.0"])


class Parts(nn.Module):
    """Gives dictionaries, tuples, and what has no axis of images, or not as its first."""

    def __init__(self):
        super().__init__()
        self.lstm, self.inner, self.fixed, self.last = nn.LSTM(4, 3), nn.Module(), nn.Embedding(5, 2), nn.Linear(3, 2)
        self.inner.forward = lambda x: {"low": x * 2, "deep": (x * 3, [x * 4]), "none": None}

    def forward(self, x):
        self.fixed(torch.arange(5))
        self.inner(x)
        steps, _ = self.lstm(x.unsqueeze(0).expand(7, -1, -1))  # (time, images, features)
        return self.last(steps[-1])


def test_parts_of_outputs_are_named_and_images_found_along_any_axis():
    model, x = Parts(), torch.rand(6, 4)
    found = extract(model, x, "all", batch=2)
    assert list(found) == [
        "inner[low]",
        "inner[deep][0]",
        "inner[deep][1][0]",
        "lstm[0]",
        "lstm[1][0]",
        "lstm[1][1]",
        "last",
    ]
    torch.testing.assert_close(found["inner[deep][1][0]"], x * 4)
    assert found["lstm[0]"].shape == (6, 21) and found["lstm[1][0]"].shape == (6, 3)
    torch.testing.assert_close(found["lstm[0]"][:, -3:], found["lstm[1][0]"])
    with pytest.raises(ModelError, match=r"'lstm' gives 3 tensors; name one: lstm\[0\], lstm\[1\]\[0\]"):
        extract(model, x, "lstm")
    with pytest.raises(ModelError, match=r"'fixed' gives \(5, 2\) for one image and has no axis that grows"):
        extract(model, x, "fixed")


def test_layers_by_pattern_sort_and_depth():
    model, images = network(), pixels(3)
    names = lambda layers: list(extract(model, images, layers))  # noqa: E731
    assert names("blocks.*.conv") == ["blocks.0.conv", "blocks.1.conv"]
    assert names(["head", "*.norm", "head"]) == ["blocks.0.norm", "blocks.1.norm", "head"]
    blocks = ["entry", "relu", "blocks.0", "blocks.1", "restless", "head"]
    assert names("blocks.?") == blocks[2:4]
    assert names("depth:0.5") == names(0.5) == ["blocks.0"]
    assert names([0.0, 1.0]) == ["entry", "head"]
    leaves = names("leaves")
    assert "blocks.0" not in leaves and "blocks.0.relu#2" in leaves and "drop" not in leaves, "it hands on its input"
    assert set(leaves) <= set(names("all"))
    assert extract(model, images, ["blocks"])["blocks.0"].shape == (3, 384), "a sort goes before a module of its name"


def test_a_module_of_two_paths_has_both_names():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"one": shared, "two": shared})
    model.forward = lambda x: model["two"](relu(model["one"](x)))
    found = extract(model, torch.rand(3, 4), ["one", "two", "two#2"])
    assert list(found) == ["one", "two", "two#2"]
    torch.testing.assert_close(found["one"], found["two"])
    assert not torch.allclose(found["two"], found["two#2"])


def test_maps_with_channels_last_are_turned_and_pooled_over_space():
    model = SwinTransformer([2, 2], 8, [2], [2], [4, 4], num_classes=3)
    images = pixels(2, 16)
    whole = extract(model, images, "features.1")["features.1"].view(2, 8, 64)
    with torch.no_grad():
        maps = model.eval().features[:2](images)  # (images, height, width, channels)
    torch.testing.assert_close(whole, maps.flatten(1, 2).transpose(1, 2))
    torch.testing.assert_close(extract(model, images, "features.1", reduce="average_pool")["features.1"], whole.mean(2))


@pytest.mark.parametrize(
    ("layers", "wrong"),
    [
        ("hed", "gives no layer 'hed'.*Did you mean 'head'.*Layers are module paths"),
        ("layer*", r"gives no layer 'layer\*'"),
        ("relu#3", "gives no layer 'relu#3'"),
        ([], "No layer is asked for"),
        (1.5, "a number from 0 to 1, found 'depth:1.5'"),
        ([None], "A layer is a name, a pattern or a depth from 0 to 1, found None"),
        (True, "found True"),
    ],
)
def test_wrong_layers_are_named(layers, wrong):
    with pytest.raises((ModelError, TypeError), match=wrong):
        extract(network(), pixels(), layers)


def test_layers_that_change_their_shape_or_vanish_are_named():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Identity(), nn.Linear(4, 4)

        def forward(self, x):
            return self.two(self.one(x)) if float(x.detach().sum()) < 100 else x

    images = torch.ones(4, 4)
    images[2:] = 100
    with pytest.raises(ModelError, match="never reached two, as it had in the trial pass"):
        extract(Fickle(), images, "two", batch=2)

    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Identity()

        def forward(self, x):
            return self.one(x if float(x.detach().sum()) < 100 else torch.cat([x, x], 1))

    with pytest.raises(ModelError, match=r"'one' gave features of shape \(4,\) in the trial pass, now \(2, 8\)"):
        extract(Growing(), images, "one", batch=2)


def test_compiled_models_are_looked_into():
    model, images = network().eval(), pixels()
    wanted = extract(model, images, "blocks.0")["blocks.0"]
    wrapped = torch.compile(model, backend="eager")
    assert torch.equal(extract(wrapped, images, "blocks.0")["blocks.0"], wanted)
    model.compile(backend="eager")
    assert torch.equal(extract(model, images, "blocks.0")["blocks.0"], wanted)
