"""Fog against the diamond-square method point by point."""

import numpy as np
import pytest
import torch
from corruption_images import pictures

from cotrain.data.corruptions import corrupt_batch
from cotrain.data.corruptions._fog import fog, plasma
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom


def naive_plasma(offsets, size, decay):
    """One point after the other on a torus."""
    heights = {(0, 0): 0.0}
    numbers, step, spread = iter(offsets), size, 100.0
    while step >= 2:
        half = step // 2
        corners = [(y, x) for y in range(0, size, step) for x in range(0, size, step)]
        diagonal = [(-half, -half), (-half, half), (half, -half), (half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        levels = [
            ([(y + half, x + half) for y, x in corners], diagonal),
            ([(y, x + half) for y, x in corners], straight),
            ([(y + half, x) for y, x in corners], straight),
        ]
        for points, reach in levels:
            for y, x in points:
                around = [heights[(y + down) % size, (x + right) % size] for down, right in reach]
                heights[y, x] = sum(around) / 4 + next(numbers) * spread**2
        step, spread = half, spread / decay
    values = np.array([[heights[y, x] for x in range(size)] for y in range(size)])
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("decay", [1.4, 2.0, 3.0])
def test_clouds_are_those_of_a_plain_loop(decay):
    offsets = ImageRandom(0, torch.arange(2)).uniform("fog", 32**2 - 1, low=-1.0, high=1.0)
    found = plasma(offsets, 32, decay)
    for cloud, numbers in zip(found, offsets.tolist(), strict=True):
        assert np.abs(cloud.numpy() - naive_plasma(numbers, 32, decay)).max() < 1e-5


def test_images_are_mixed_with_the_cloud_and_dimmed():
    images = pictures(2, 40, 60)
    for amount, decay in PARAMETERS["fog"]["imagenet_c"]:
        draws = fog.draw(ImageRandom(3, torch.arange(2)), (3, 40, 60), (amount, decay))
        cloud = plasma(draws["offsets"], 64, decay)[:, None, :40, :60].double().numpy()
        pixels = images.numpy() / 255
        brightest = pixels.max((1, 2, 3), keepdims=True)
        expected = np.clip((pixels + amount * cloud) * brightest / (brightest + amount), 0, 1) * 255
        found = fog.apply(images, (amount, decay), draws).numpy()
        assert np.abs(found - np.floor(expected)).max() <= 1
        assert (found != np.floor(expected)).mean() < 1e-3


def test_clouds_fill_their_range_and_roughness_falls_with_the_decay():
    offsets = ImageRandom(1, torch.arange(20)).uniform("fog", 64**2 - 1, low=-1.0, high=1.0)
    clouds = {decay: plasma(offsets, 64, decay) for decay in (1.4, 1.75, 2.0, 3.0)}
    for cloud in clouds.values():
        assert torch.equal(cloud.amin((1, 2)), torch.zeros(20))
        assert torch.equal(cloud.amax((1, 2)), torch.ones(20))
        assert 0.4 < cloud.mean() < 0.6
    steps = [float(cloud.diff(dim=2).abs().mean()) for cloud in clouds.values()]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 2 * steps[-1]


def test_a_constant_image_is_the_cloud_and_a_black_one_stays_black():
    for value in (0, 128, 255):
        images = torch.full((3, 1, 33, 40), value, dtype=torch.uint8)
        found = corrupt_batch(images, "fog", 5, seed=0, indices=torch.arange(3))
        assert (found.amax() <= value) and (value == 0 or len(found.unique()) > value // 4)


def test_the_cloud_grows_with_the_image():
    draws = {size: fog.draw(ImageRandom(0, torch.arange(1)), (3, 32, size), (1.5, 2.0))["offsets"] for size in (64, 65)}
    assert draws[64].shape == (1, 64**2 - 1)
    assert draws[65].shape == (1, 128**2 - 1)
