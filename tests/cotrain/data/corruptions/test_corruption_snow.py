"""Snow against SciPy's zoom and a motion blur pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from corruption_images import pictures
from scipy.ndimage import zoom

from cotrain.data.corruptions._pixels import luminance
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom
from cotrain.data.corruptions._snow import enlarged, snow


@pytest.mark.parametrize("factor", [1.25, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 4.5])
@pytest.mark.parametrize("shape", [(32, 47), (64, 64), (33, 224)])
def test_the_middle_is_magnified_as_by_scipy(factor, shape):
    layer = np.random.default_rng(0).normal(size=shape)
    sizes = [math.ceil(size / factor) for size in shape]
    top, left = ((size - middle) // 2 for size, middle in zip(shape, sizes, strict=True))
    expected = zoom(layer[top : top + sizes[0], left : left + sizes[1]], factor, order=1)
    found = enlarged(torch.from_numpy(layer)[None], factor)[0].numpy()
    assert found.shape == expected.shape
    assert min(a - b for a, b in zip(found.shape, shape, strict=True)) >= 0
    assert np.abs(found - expected).max() < 1e-12


def test_a_factor_of_one_changes_nothing():
    layer = torch.rand(1, 5, 6, dtype=torch.float64)
    assert torch.equal(enlarged(layer, 1.0), layer)


def blurred(layer, radius, sigma, angle):
    """Along the angle, one step after the other, the border repeated."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    rows, columns = np.indices(layer.shape)
    total = np.zeros_like(layer)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (math.ceil(step * part(math.radians(angle)) - 0.5) for part in (math.sin, math.cos))
        if abs(down) >= layer.shape[0] or abs(right) >= layer.shape[1]:
            break
        inside = np.clip(rows + down, 0, layer.shape[0] - 1), np.clip(columns + right, 0, layer.shape[1] - 1)
        total += weight * layer[inside]
    return total


@pytest.mark.parametrize("preset", ["imagenet_c", "tiny_imagenet_c", "cifar_c"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_images_are_whitened_and_flakes_fall_on_them(preset, severity):
    images = pictures(1, 36, 45)
    parameters = PARAMETERS["snow"][preset][severity - 1]
    draws = snow.draw(ImageRandom(severity, torch.arange(1)), (3, 36, 45), parameters)
    layer = draws["normal"][0].double().numpy() * parameters.deviation + parameters.mean
    sizes = [math.ceil(size / parameters.zoom) for size in layer.shape]
    top, left = ((size - middle) // 2 for size, middle in zip(layer.shape, sizes, strict=True))
    layer = zoom(layer[top : top + sizes[0], left : left + sizes[1]], parameters.zoom, order=1)
    layer = np.clip(np.where(layer < parameters.threshold, 0, layer), 0, 1)
    layer = blurred(layer, parameters.radius, parameters.sigma, float(draws["angle"][0]))
    layer = np.round(layer * 255)[:36, :45]
    pixels = images[0].permute(1, 2, 0).double().numpy()
    grey = pixels @ [0.299, 0.587, 0.114]
    white = np.maximum(pixels, grey[..., None] * 1.5 + 127.5)
    mixed = parameters.clear * pixels + (1 - parameters.clear) * white + (layer + np.rot90(layer, 2))[..., None]
    found = snow.apply(images, parameters, draws)[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - np.floor(np.clip(mixed, 0, 255) + 1e-9))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_draws_are_normal_and_wind_blows_from_all_sides_above():
    draws = snow.draw(ImageRandom(0, torch.arange(400)), (3, 32, 32), PARAMETERS["snow"]["imagenet_c"][0])
    assert abs(float(draws["normal"].mean())) < 0.01
    assert abs(float(draws["normal"].std()) - 1) < 0.01
    assert -135 <= draws["angle"].amin() < -133
    assert -47 < draws["angle"].amax() <= -45


def test_luminance_of_grey_is_itself():
    grey = torch.arange(256).float().view(1, 1, 16, 16)
    assert torch.equal(luminance(grey.expand(-1, 3, -1, -1)), grey)
    assert luminance(torch.tensor([255.0, 0, 0]).view(1, 3, 1, 1)).item() == pytest.approx(76.245)
