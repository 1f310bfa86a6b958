"""What holds for weather, glass and elastic distortion alike."""

import pytest
import torch
from corruption_images import pictures

from cotrain.data.corruptions import corrupt_batch
from cotrain.data.corruptions._presets import PARAMETERS, PRESETS

NAMES = ("glass_blur", "snow", "frost", "fog", "elastic_transform", "spatter")
COLOURED = {"frost": 1.5, "spatter": 1.5}  # grey levels that truncation of three channels takes from their brightness


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_grey_image_is_one_of_three_equal_channels(name, preset):
    grey = pictures(3, 40, 44, 1) // 2  # dark enough for no colour to be cut off at white, but for snow and frost
    for severity in (1, 3, 5):
        one, three = (
            corrupt_batch(images, name, severity, seed=1, indices=torch.arange(3), preset=preset)
            for images in (grey, grey.expand(-1, 3, -1, -1))
        )
        if name not in COLOURED:
            assert torch.equal(three, one.expand(-1, 3, -1, -1))
            continue
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        brightness = (three * weights).sum(1, keepdim=True)
        inside = (three.amax(1, keepdim=True) < 255) & (one < 255)
        assert inside.any()
        assert (one - brightness)[inside].abs().max() < COLOURED[name]


@pytest.mark.parametrize("name", ["glass_blur", "elastic_transform"])
@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_what_moves_pixels_leaves_a_constant_image(name, value):
    images = torch.full((2, 3, 33, 47), value, dtype=torch.uint8)
    for preset in PRESETS:
        for severity in range(1, 6):
            found = corrupt_batch(images, name, severity, seed=0, indices=torch.arange(2), preset=preset)
            assert torch.equal(found, images)


@pytest.mark.parametrize("name", ["snow", "frost", "spatter"])
def test_stronger_weather_changes_more(name):
    images = pictures(24, 48, 48)
    changes = []
    for severity in range(1, 6):
        found = corrupt_batch(images, name, severity, seed=0, indices=torch.arange(24))
        changes.append(float((found.float() - images.float()).abs().mean()))
    kinds = [changes[:3], changes[3:]] if name == "spatter" else [[changes[0], changes[-1]]]  # water, then mud
    for one in kinds:
        assert one == sorted(one)


def test_severities_share_what_is_drawn():
    """The same drops, flakes and clouds, so that severities differ by strength alone."""
    images = torch.full((4, 1, 64, 64), 60, dtype=torch.uint8)
    for name in ("fog", "frost"):
        found = [
            corrupt_batch(images, name, severity, seed=0, indices=torch.arange(4)).double().flatten(1)
            for severity in (1, 2)
        ]
        for mild, strong in zip(*found, strict=True):
            assert torch.corrcoef(torch.stack([mild, strong]))[0, 1] > 0.95
    assert set(NAMES) <= set(PARAMETERS)
