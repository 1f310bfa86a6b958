"""Weights are loaded where they fit, and the report tells the rest."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from cotrain.errors import ModelError
from cotrain.models import SmallCnnConfig, TorchvisionBackboneConfig, load_partial, small_cnn, torchvision_backbone
from cotrain.models._path_patterns import freeze, matching
from cotrain.models._weights import read_weights

CIFAR = Path(os.environ.get("COTRAIN_TEST_DATA", "nowhere")) / "cifar_resnets"


def network(seed=0, channels=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return small_cnn(SmallCnnConfig(layers=((4, 3, 1), (5, 3, 1)), input_channels=channels))


def state(seed=1, **changes):
    return {**network(seed).state_dict(), **changes}


def names(module=None):
    return tuple(key for key in (module or network()).state_dict())


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.model.", "state_dict.module."])
@pytest.mark.parametrize("around", [(), ("state_dict",), ("model",), ("model", "backbone")])
def test_wrappers_are_taken_off(prefix, around):
    given = {prefix + key: value for key, value in state().items()}
    for key in around:
        given = {key: given, "epoch": 3}
    report = load_partial(built := network(), given, strict=True)
    assert report.matched == names() and not (report.missing or report.unexpected or report.wrong_shape)
    assert all(torch.equal(value, state()[key]) for key, value in built.state_dict().items())


def test_a_prefix_that_the_module_has_itself_stays():
    built = nn.ModuleDict({"backbone": network(), "head": nn.Linear(2, 2)})
    load_partial(built, nn.ModuleDict({"backbone": network(1), "head": nn.Linear(2, 2)}).state_dict(), strict=True)
    assert torch.equal(built["backbone"].layer1[0].weight, network(1).layer1[0].weight)


def test_the_report_names_what_did_not_match_and_it_stays(caplog):
    given = state(**{"layer2.0.weight": torch.ones(5, 4, 5, 5), "fc.weight": torch.ones(3, 5)})
    del given["layer1.1.bias"], given["layer1.1.num_batches_tracked"]
    built = network()
    report = load_partial(built, given)
    assert report.missing == ("layer1.1.bias",), "the counter of batches is not missed"
    assert report.unexpected == ("fc.weight",)
    assert report.wrong_shape == ("layer2.0.weight: (5, 4, 5, 5) in the file, (5, 4, 3, 3) in the module",)
    assert len(report.matched) == len(names()) - 3
    assert torch.equal(built.layer2[0].weight, network().layer2[0].weight)
    assert torch.equal(built.layer1[0].weight, network(1).layer1[0].weight)
    assert str(report) in caplog.text and "1 missing (layer1.1.bias); 1 unexpected (fc.weight)" in str(report)
    with pytest.raises(ModelError, match=r"do not fit exactly: 9 tensors loaded; 1 missing"):
        load_partial(network(), given, strict=True)


def test_long_lists_are_shortened_in_the_text_only():
    report = load_partial(network(), {**state(), **{f"other.{i}": torch.ones(1) for i in range(9)}})
    assert len(report.unexpected) == 9
    assert str(report).endswith("9 unexpected (other.0, other.1, other.2 and 6 more)")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"conv.weight": torch.ones(2)},
            r"another architecture.*have conv.weight; the module has layer1.0.weight, .*more",
        ),
        ({"layer1.0.weight": torch.ones(2)}, r"they have layer1.0.weight: \(2,\) in the file"),
        ({"epoch": 3, "optimizer": {}}, r"Expected a state dict.*found epoch, optimizer"),
        ({}, r"found nothing"),
    ],
)
def test_weights_of_another_architecture_are_refused(given, text):
    with pytest.raises(ModelError, match=text):
        load_partial(network(), given)


def test_colour_filters_are_summed_for_a_grey_network():
    colour = network(1, channels=3).eval()
    grey = network(0).eval()
    load_partial(grey, colour.state_dict(), strict=True)
    shown = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grey(shown), colour(shown.expand(-1, 3, -1, -1)))


def test_grey_filters_are_not_guessed_for_a_colour_network():
    report = load_partial(network(0, channels=3), state())
    assert [line.partition(":")[0] for line in report.wrong_shape] == ["layer1.0.weight"]


def test_position_embeddings_are_interpolated_to_another_number_of_patches():
    class Tokens(nn.Module):
        def __init__(self, side):
            super().__init__()
            rows = torch.arange(side).float() / (side - 1)
            grid = torch.stack([rows[:, None].expand(side, side), rows[None].expand(side, side)], -1).flatten(0, 1)
            self.pos_embedding = nn.Parameter(torch.cat([torch.full((1, 2), 9.0), grid])[None])

    few, many = Tokens(7), Tokens(13)
    expected = many.pos_embedding.detach().clone()
    nn.init.zeros_(many.pos_embedding)
    assert load_partial(many, few.state_dict()).matched == ("pos_embedding",)
    assert torch.equal(many.pos_embedding[:, 0], expected[:, 0]), "the class token's"
    torch.testing.assert_close(many.pos_embedding, expected, atol=0.05, rtol=0)
    odd = {"pos_embedding": torch.zeros(1, 7, 2)}
    with pytest.raises(ModelError, match=r"pos_embedding: \(1, 7, 2\)"):
        load_partial(many, odd)


def test_densenets_of_old_files_load():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = torchvision_backbone(TorchvisionBackboneConfig(name="densenet121"))
    old = {}
    for key, value in built.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in key:
                key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    load_partial(built, old, strict=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"no weights 'mine.pt' of resnet18, and there is no file .*mine.pt.* COTRAIN_DATA"),
        (b"no archive", r"mine.pt cannot be read as weights"),
        ([1, 2], r"mine.pt holds a list, expected a state dict"),
        (nn.ReLU(), r"mine.pt cannot be read as weights: Weights only load failed"),
    ],
)
def test_files_that_hold_no_weights_are_refused(content, text, monkeypatch, tmp_path):
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))
    if isinstance(content, bytes):
        (tmp_path / "mine.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "mine.pt")
    with pytest.raises(ModelError, match=text):
        read_weights("resnet18", "mine.pt")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("layer1",), lambda key: key.startswith("layer1.")),
        (("layer1.0",), lambda key: key.startswith("layer1.0.")),
        (("*.bias", "layer2.0"), lambda key: key.endswith("bias") or key.startswith("layer2.0.")),
        (("layer[12].1",), lambda key: key[7] == "1"),
        (("*",), lambda key: True),
        ((), lambda key: False),
    ],
)
def test_patterns_choose_modules_and_names(patterns, expected):
    assert matching(network(), patterns, what="reset") == [key for key in names() if expected(key)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("layer3", "reset: nothing in the backbone fits 'layer3'. Did you mean 'layer[12]'"), ("", "fits ''. Known: lay")],
)
def test_a_pattern_that_fits_nothing_is_answered_with_near_paths(pattern, text):
    with pytest.raises(ModelError, match=text):
        matching(network(), ["layer1", pattern], what="reset")


def test_freezing_takes_parameters_away_from_learning():
    freeze(built := network(), ["layer1"])
    assert [parameter.requires_grad for parameter in built.parameters()] == [False] * 3 + [True] * 3


@pytest.mark.skipif(not CIFAR.is_dir(), reason="COTRAIN_TEST_DATA has no cifar_resnets")
def test_a_published_file_is_read_and_told_from_another_architecture():
    (path,) = CIFAR.glob("resnet20-*.th")
    held = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        resnet = torchvision_backbone(TorchvisionBackboneConfig(name="resnet18", stem="small"))
    first = nn.Sequential()
    first.add_module("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False))
    first.add_module("bn1", nn.BatchNorm2d(16))
    report = load_partial(first, held)
    assert not (report.missing or report.wrong_shape) and len(report.matched) == 5
    assert len(report.unexpected) == len(held["state_dict"]) - 5
    assert torch.equal(first.conv1.weight, held["state_dict"]["module.conv1.weight"])
    with pytest.raises(ModelError, match="another architecture"):
        load_partial(resnet, held)
