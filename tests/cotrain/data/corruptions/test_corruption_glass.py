"""Glass against the reference's loop of copies, pixel by pixel."""

import numpy as np
import pytest
import torch
from corruption_images import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cotrain.data.corruptions._glass import glass_blur, source_pixels
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom


def naive_loop(image, steps, reach):
    image = image.copy()
    height, width = image.shape[:2]
    for down, right in steps:
        for y in range(height - reach, reach, -1):
            for x in range(width - reach, reach, -1):
                image[y, x] = image[y + down[y, x], x + right[y, x]]
    return image


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(12, 17), st.integers(12, 19), st.integers(0, 10**6))
def test_sources_are_those_of_the_loop(reach, rounds, height, width, seed):
    steps = np.random.default_rng(seed).integers(-reach, reach, (2, rounds, 2, height, width))
    found = source_pixels(torch.from_numpy(steps), reach).numpy()
    numbered = np.arange(height * width).reshape(height, width)
    for number in range(2):
        assert np.array_equal(found[number].reshape(height, width), naive_loop(numbered, steps[number], reach))


def test_the_longest_chain_is_followed_to_its_end():
    """All pixels take from their lower right neighbour, so one value runs along each diagonal."""
    steps = torch.ones(1, 1, 2, 64, 64, dtype=torch.int64)
    found = source_pixels(steps, 2).numpy().reshape(64, 64)
    assert np.array_equal(found, naive_loop(np.arange(64**2).reshape(64, 64), steps[0].numpy(), 2))
    assert found[3, 3] == 63 * 64 + 63


@pytest.mark.parametrize("preset", ["imagenet_c", "tiny_imagenet_c", "cifar_c"])
def test_images_are_blurred_before_and_after(preset):
    images = pictures(1, 36, 44)
    for severity, (sigma, reach, rounds) in enumerate(PARAMETERS["glass_blur"][preset], 1):
        parameters = (sigma, reach, rounds)
        draws = glass_blur.draw(ImageRandom(severity, torch.arange(1)), (3, 36, 44), parameters)
        assert draws["steps"].shape == (1, rounds, 2, 36, 44)
        assert (draws["steps"].amin(), draws["steps"].amax()) == (-reach, reach - 1)
        image = images[0].permute(1, 2, 0).numpy()
        filtered = gaussian_filter(image / 255, (sigma, sigma, 0), mode="nearest", truncate=4)
        once = (filtered * 255 + 1e-9).astype(np.uint8)
        moved = naive_loop(once, draws["steps"][0].numpy(), reach)
        expected = gaussian_filter(moved.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
        found = glass_blur.apply(images, parameters, draws)[0].permute(1, 2, 0).numpy()
        assert np.abs(found - np.floor(expected + 1e-9)).max() <= 1
        assert (
            found != np.floor(expected + 1e-9)
        ).mean() < 0.03  # places where a sum is a whole number but for its rounding


def test_steps_are_uniform_and_severities_share_them():
    mild, strong = (
        glass_blur.draw(ImageRandom(0, torch.arange(4)), (3, 64, 64), (1.0, reach, 2))["steps"] for reach in (2, 4)
    )
    assert torch.equal(torch.div(strong, 2, rounding_mode="floor"), mild)
    counts = torch.bincount((strong + 4).flatten(), minlength=8).double()
    expected = strong.numel() / 8
    assert float(((counts - expected) ** 2 / expected).sum()) < 24.3  # chi-square, 7 degrees of freedom, p = 0.001
