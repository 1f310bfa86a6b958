"""Features of layers: what is taken, that the model stays as it was, and that memory is told before the run."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn.functional import relu
from torchvision.models import SwinTransformer

from cotrain.analysis import AveragePool, GaussianProjection, Gram, Pca, SparseProjection, extract, ridge
from cotrain.data import ImageRows, MappedImages
from cotrain.errors import DataError, ModelError
from cotrain.models import SharedBackboneConfig, SmallCnnConfig
from cotrain.resolve import build


class Block(nn.Module):
    """A residual block that uses one ReLU twice, in place."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        inner = self.norm(self.conv(self.relu(x * 1)))
        inner += x
        return self.relu(inner)


class Restless(nn.Module):
    """Does what a well-behaved module does not: counts in evaluation, draws, stores, and can fail."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))
        self.fails_at = math.inf

    def forward(self, x):
        self.calls += 1
        self.last = x.mean(0).flatten()[:1].clone()
        self.noise = torch.rand(3)
        if self.calls > self.fails_at:
            raise RuntimeError("too often")
        return x + 0


def network(seed=0):
    torch.manual_seed(seed)
    layers = {
        "entry": nn.Conv2d(3, 6, 3, padding=1),
        "relu": nn.ReLU(inplace=True),
        "blocks": nn.Sequential(Block(6), Block(6)),
        "restless": Restless(),
        "drop": nn.Dropout(0.5),
        "pool": nn.AdaptiveAvgPool2d(2),
        "flat": nn.Flatten(),
        "head": nn.Linear(24, 4),
    }
    held = nn.Sequential()
    for name, layer in layers.items():
        held.add_module(name, layer)
    held.blocks[0].norm.running_mean += 0.3
    return held


def pixels(count=11, size=8, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def state(model):
    modules = list(model.modules())
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in modules],
        [set(vars(module)) for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [getattr(module, "active", None) for module in modules],
        [value.requires_grad for value in model.parameters()],
    )


def assert_untouched(model, before):
    values, *rest = state(model)
    assert values.keys() == before[0].keys()
    for name, value in values.items():
        assert torch.equal(value, before[0][name]), name
        assert not value.is_inference()
    assert rest == list(before[1:])


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
    found = extract(model, images, ["entry", "relu", "blocks", "restless", "pool", "head"], batch=4)
    assert list(found) == ["entry", "relu", "blocks", "restless", "pool", "head"]
    for name, values in found.items():
        assert values.dtype == torch.float32 and not values.is_inference()
        torch.testing.assert_close(values, by_hand(model, images, name), atol=1e-6, rtol=1e-5)
    assert (found["entry"] < 0).any(), "the ReLU that works in place after it changes nothing"


def test_modules_that_are_used_again_are_numbered():
    model, images = network().eval(), pixels()
    found = extract(model, images, ["blocks.0.relu", "blocks.0.relu#2", "blocks.0", "relu"])
    torch.testing.assert_close(found["blocks.0.relu"], found["relu"])
    torch.testing.assert_close(found["blocks.0.relu#2"], found["blocks.0"])
    assert not torch.allclose(found["blocks.0.relu"], found["blocks.0"])


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


@pytest.mark.parametrize("reduce", [None, AveragePool(), SparseProjection(40), GaussianProjection(40), Pca(5), Gram()])
def test_neither_batches_nor_other_layers_matter(reduce):
    model, images = network().eval(), pixels(20)
    alone = extract(model, images, "blocks.0", reduce=reduce, seed=5, batch=20)["blocks.0"]
    for batch in (7, 1):
        found = extract(model, images, "all", reduce=reduce, seed=5, batch=batch)
        others = extract(model, images, ["blocks.0", "head"], reduce=reduce, seed=5, batch=batch)
        assert torch.equal(
            others["blocks.0"], extract(model, images, "blocks.0", reduce=reduce, seed=5, batch=batch)["blocks.0"]
        )
        torch.testing.assert_close(others["blocks.0"], alone, atol=1e-4, rtol=1e-4)
        assert len(found) > 8
    if isinstance(reduce, (SparseProjection, GaussianProjection)):
        assert not torch.allclose(alone, extract(model, images, "blocks.0", reduce=reduce, seed=6)["blocks.0"])


def test_projections_are_those_of_the_whole_features():
    model, images = network().eval(), pixels(20)
    from cotrain.analysis._sparse_projection import SparseMatrix
    from cotrain.seeds import derive_seed

    whole = extract(model, images, "blocks.0")["blocks.0"]
    matrix = SparseMatrix(384, 50, nonzeros=4, seed=derive_seed(3, "initialisation", "sparse projection", "blocks.0"))
    found = extract(model, images, "blocks.0", reduce=SparseProjection(50), seed=3, batch=6)["blocks.0"]
    torch.testing.assert_close(found, matrix(whole), atol=1e-5, rtol=1e-4)
    pooled = extract(model, images, ["blocks.0", "head"], reduce="average_pool")
    torch.testing.assert_close(pooled["blocks.0"], whole.view(20, 6, 64).mean(2))
    assert pooled["head"].shape == (20, 4)


def test_layers_smaller_than_a_projection_stay_as_they_are():
    model, images = network().eval(), pixels(20)
    found = extract(model, images, ["entry", "head"], reduce=SparseProjection(100))
    assert found["entry"].shape == (20, 100)
    torch.testing.assert_close(found["head"], extract(model, images, "head")["head"])


def test_principal_components_are_fitted_to_their_rows():
    model, images = network().eval(), pixels(20)
    rows = list(range(12))
    found = extract(model, images, ["blocks.0", "head"], reduce=Pca(3, rows=rows), batch=6)
    for name, scores in found.items():
        whole = extract(model, images, name)[name].double().numpy()
        expected = PCA(3, svd_solver="full").fit(whole[rows]).transform(whole)
        np.testing.assert_allclose(np.abs(scores.numpy()), np.abs(expected), atol=1e-4)
    masked = extract(model, images, "head", reduce=Pca(3, rows=np.arange(20) < 12))["head"]
    torch.testing.assert_close(masked, found["head"])
    for wrong in ([0, 0, 1], [3], [5, 20], [0.5, 2]):
        with pytest.raises(ModelError, match="rows must be two or more different positions from 0 to 19"):
            extract(model, images, "head", reduce=Pca(3, rows=wrong))


def test_ridge_sees_no_difference_between_features_and_their_coordinates():
    model, images = network().eval(), pixels(30)
    y = torch.rand(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = [extract(model, images, "blocks.1", reduce=reduce)["blocks.1"] for reduce in (None, "gram")]
    fits = [ridge(found.double(), y, [0.1, 1, 10]) for found in features]
    torch.testing.assert_close(fits[0].predictions, fits[1].predictions, atol=1e-4, rtol=1e-4)
    assert torch.equal(fits[0].alphas, fits[1].alphas)


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
    with pytest.raises(ModelError, match="no task 'dy'.*Did you mean 'day'"):
        extract(model, images, "leaves", task="dy")
    with pytest.raises(DataError, match=r"values from -2.* but the model normalises pixels in 0..1"):
        extract(model, images.float() / 64 - 2, "leaves", task="day")
    with pytest.raises(ModelError, match="Only co-trained models have tasks, found task='day'"):
        extract(network(), pixels(), "head", task="day")


def test_maps_with_channels_last_are_turned_and_pooled_over_space():
    model = SwinTransformer([2, 2], 8, [1], [2], [4, 4], num_classes=3)
    images = pixels(2, 16)
    whole = extract(model, images, "features.1.0")["features.1.0"].view(2, 8, 64)
    with torch.no_grad():
        maps = model.eval().features[:2](images)  # (images, height, width, channels)
    torch.testing.assert_close(whole, maps.flatten(1, 2).transpose(1, 2))
    torch.testing.assert_close(
        extract(model, images, "features.1.0", reduce="average_pool")["features.1.0"], whole.mean(2)
    )


def test_the_budget_is_checked_before_the_run_and_the_error_says_what_would_fit():
    model, images = network(), pixels(200)
    passed = []
    model.head.register_forward_hook(lambda *_: passed.append(1))
    with pytest.raises(
        ModelError,
        match=r"Features of \d+ layers for 200 images need .* MB, more than the memory budget of 1 MB. The largest are "
        r"(entry|relu|blocks)\S*: 384 features, 307 kB; .* What would fit: .*AveragePool\(\) .*a folder as spill .*smallest",
    ):
        extract(model, images, "all", memory_budget=1e6, batch=4)
    assert len(passed) == 2, "in the trial passes alone"
    assert len(extract(model, images, "all", memory_budget=1e6, batch=4, reduce="average_pool")) > 8
    with pytest.raises(ModelError, match="Nothing smaller fits: raise the budget"):
        extract(model, images, "all", memory_budget=100)


def test_what_waits_takes_several_passes_under_a_budget(caplog):
    model, images = network().eval(), pixels(60)
    free = extract(model, images, "all", reduce=Pca(3), batch=4)
    with caplog.at_level("INFO"):
        tight = extract(model, images, "all", reduce=Pca(3), batch=4, memory_budget=2.5e5)
    assert "passes, so that no more than 250 kB is held" in caplog.text
    assert list(tight) == list(free)
    for name, values in free.items():
        assert torch.equal(values, tight[name])


@pytest.mark.parametrize("reduce", [None, "gram", SparseProjection(50)])
def test_features_may_lie_in_files(reduce, tmp_path):
    model, images = network().eval(), pixels(20)
    kept = extract(model, images, "all", reduce=reduce)
    spilled = extract(model, images, "all", reduce=reduce, spill=tmp_path / "new", memory_budget=1e6)
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {f"{name}.npy" for name in kept}
    for name, values in kept.items():
        assert torch.equal(values, spilled[name])
        np.testing.assert_array_equal(np.load(tmp_path / "new" / f"{name}.npy"), values)
        spilled[name] += 1
        np.testing.assert_array_equal(np.load(tmp_path / "new" / f"{name}.npy"), values)
    with pytest.raises(DataError, match="files of features are there already, first .*Name another folder"):
        extract(model, images, "head", spill=tmp_path / "new")
    assert isinstance(extract(model, images.numpy(), "head", spill=tmp_path / "n")["head"], np.ndarray)


def test_features_may_be_kept_as_other_types():
    model, images = network().eval(), pixels()
    whole = extract(model, images, "head")["head"]
    half = extract(model, images, "head", dtype="float16")["head"]
    assert half.dtype == torch.float16 and torch.allclose(half.float(), whole, atol=1e-3)
    double = extract(copy.deepcopy(model).double(), images, "head", dtype="float64")["head"]
    assert double.dtype == torch.float64 and torch.allclose(double.float(), whole, atol=1e-5)
    with pytest.raises(DataError, match="Features of '0' reach 1e.05, too large for float16"):
        extract(nn.Sequential(nn.Identity()), images * 0 + 1e5, "0", dtype="float16")
    with pytest.raises(DataError, match="kept as float32, float16, float64, found 'int8'"):
        extract(model, images, "head", dtype="int8")


def test_progress_is_shown_on_request_alone(capsys):
    extract(network(), pixels(), "head")
    assert capsys.readouterr().err == ""
    extract(network(), pixels(), "head", progress=True, batch=2)
    assert "extract" in capsys.readouterr().err


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
