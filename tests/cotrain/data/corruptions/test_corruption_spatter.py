"""Spatter and its filters against plain loops and SciPy."""

import heapq
import itertools

import numpy as np
import pytest
import torch
from corruption_images import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate, gaussian_filter, label, uniform_filter

from cotrain.data.corruptions._edges import distances, edges, equalised, mirrored, sums_of_nine
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom
from cotrain.data.corruptions._spatter import spatter


def liquids(count=3, height=36, width=41, seed=0):
    """Smooth blobs on nothing, as drops are."""
    noise = np.random.default_rng(seed).normal(size=(count, height, width))
    smooth = gaussian_filter(noise, (0, 2, 2))
    return torch.from_numpy(np.where(smooth > 0.05, 180 + 400 * smooth, 0).clip(0, 255).astype(np.int32))


def naive_edges(image, low, high):
    """Canny's steps a pixel at a time, the direction by its angle."""
    across = correlate(image.astype(int), np.outer([1, 2, 1], [-1, 0, 1]), mode="nearest")
    down = correlate(image.astype(int), np.outer([-1, 0, 1], [1, 2, 1]), mode="nearest")
    size = np.pad(abs(across) + abs(down), 1)
    ridge = np.zeros(image.shape, dtype=bool)
    for y, x in np.ndindex(*image.shape):
        here = size[y + 1, x + 1]
        angle = np.degrees(np.arctan2(abs(down[y, x]), abs(across[y, x])))
        if angle < 22.5:
            ridge[y, x] = size[y + 1, x] < here >= size[y + 1, x + 2]
        elif angle > 67.5:
            ridge[y, x] = size[y, x + 1] < here >= size[y + 2, x + 1]
        elif across[y, x] * down[y, x] < 0:
            ridge[y, x] = size[y, x + 2] < here > size[y + 2, x]
        else:
            ridge[y, x] = size[y, x] < here > size[y + 2, x + 2]
    inner = size[1:-1, 1:-1]
    parts, _ = label(ridge & (inner > low), np.ones((3, 3)))
    return (parts > 0) & np.isin(parts, np.unique(parts[ridge & (inner > high)]))


@pytest.mark.parametrize("seed", range(3))
def test_edges_are_cannys(seed):
    images = liquids(seed=seed)
    found = edges(images, 50, 150).numpy()
    assert found.any()
    assert all(
        np.array_equal(one, naive_edges(image, 50, 150)) for one, image in zip(found, images.numpy(), strict=True)
    )


def test_weak_edges_are_kept_where_they_touch_strong_ones():
    """A step whose height falls along it is an edge for as long as it hangs together."""
    image = torch.zeros(1, 20, 20, dtype=torch.int32)
    image[0, :, 10:] = torch.arange(60, 0, -3)[:, None].int()
    found = edges(image, 50, 150)[0]
    assert found.any(1).sum() > edges(image, 149, 150)[0].any(1).sum() > 0
    assert not edges(image, 50, 10**6).any()


def naive_distances(points, longest):
    """The shortest ways over a graph (Dijkstra)."""
    steps = {(0, 1): 65536, (1, 1): 91750, (1, 2): 143976}
    height, width = points.shape
    found = np.full(points.shape, longest * 65536)
    queue = [(0, y, x) for y, x in zip(*np.nonzero(points), strict=True)]
    while queue:
        way, y, x = heapq.heappop(queue)
        if way >= found[y, x]:
            continue
        found[y, x] = way
        for (a, b), cost in steps.items():
            for down, right in {p for pair in ((a, b), (b, a)) for p in itertools.product(*((v, -v) for v in pair))}:
                if 0 <= y + down < height and 0 <= x + right < width:
                    heapq.heappush(queue, (way + cost, y + down, x + right))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 20))
def test_distances_are_shortest_ways(seed, count, longest):
    generator = np.random.default_rng(seed)
    points = np.zeros((2, 15, 19), dtype=bool)
    for image in points:
        image[generator.integers(0, 15, count), generator.integers(0, 19, count)] = True
    found = distances(torch.from_numpy(points), longest).numpy()
    assert all(np.array_equal(one, naive_distances(image, longest)) for one, image in zip(found, points, strict=True))


def test_small_filters_are_scipys():
    images = torch.randint(0, 256, (2, 9, 12), generator=torch.Generator().manual_seed(0)).int()
    expected = np.stack([correlate(image, np.ones((3, 3), dtype=int), mode="mirror") for image in images.numpy()])
    assert np.array_equal(sums_of_nine(images).numpy(), expected)
    assert np.array_equal(mirrored(images).numpy(), np.pad(images.numpy(), ((0, 0), (1, 1), (1, 1)), "reflect"))


def naive_equalised(image):
    values, counts = np.unique(image, return_counts=True)
    if len(values) == 1:
        return image
    share = (np.cumsum(counts) - counts[0]) / (image.size - counts[0])
    return np.round(share * 255).astype(int)[np.searchsorted(values, image)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 255))
def test_grey_levels_are_spread(seed, low, high):
    low, high = sorted((low, high))
    images = np.random.default_rng(seed).integers(low, high + 1, (2, 7, 9))
    found = equalised(torch.from_numpy(images).int()).numpy()
    assert all(np.array_equal(one, naive_equalised(image)) for one, image in zip(found, images, strict=True))


def expected_water(image, layer, parameters):
    liquid = (np.where(layer < parameters.threshold, 0, layer) * 255).astype(np.uint8).astype(int)
    far = np.minimum(naive_distances(naive_edges(liquid, 50, 150), 20) / 65536, 20)
    near = np.floor(uniform_filter(far, 3, mode="mirror") + 1e-6).astype(int)
    relief = correlate(naive_equalised(near), np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror")
    soft = np.round(uniform_filter(relief.clip(0, 255).astype(float), 3, mode="mirror"))
    shine = liquid * soft
    return image + (shine / max(1, shine.max()) * parameters.strength)[..., None] * [175, 238, 238]


def expected_mud(image, layer, parameters):
    cover = gaussian_filter(
        (layer > parameters.threshold).astype(float), parameters.strength, mode="nearest", truncate=4
    )
    cover = np.where(cover < 0.8, 0, cover)[..., None]
    return image * (1 - cover) + cover * [63, 42, 20]


@pytest.mark.parametrize("preset", ["imagenet_c", "tiny_imagenet_c", "cifar_c"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_drops_lie_on_images(preset, severity):
    images = pictures(1, 40, 44)
    parameters = PARAMETERS["spatter"][preset][severity - 1]
    assert parameters.is_mud == (severity >= 4)
    draws = spatter.draw(ImageRandom(severity, torch.arange(1)), (3, 40, 44), parameters)
    noise = draws["normal"][0].double().numpy() * parameters.deviation + parameters.mean
    layer = gaussian_filter(noise, parameters.sigma, mode="nearest", truncate=4)
    image = images[0].permute(1, 2, 0).double().numpy()
    expected = (expected_mud if parameters.is_mud else expected_water)(image, layer, parameters).clip(0, 255)
    found = spatter.apply(images, parameters, draws)[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - np.floor(expected + 1e-9))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_grey_drops_are_as_bright_as_coloured_ones():
    for parameters in PARAMETERS["spatter"]["imagenet_c"]:
        draws = spatter.draw(ImageRandom(0, torch.arange(2)), (1, 64, 64), parameters)
        grey = torch.full((2, 1, 64, 64), 90, dtype=torch.uint8)
        colour = spatter.apply(grey.expand(-1, 3, -1, -1), parameters, draws).double()
        brightness = 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]
        unclamped = (colour < 255).all(1)
        difference = (spatter.apply(grey, parameters, draws)[:, 0] - brightness)[unclamped]
        assert difference.abs().max() < 1.01


def test_a_dry_image_stays():
    images = pictures(1, 32, 32)
    parameters = PARAMETERS["spatter"]["imagenet_c"][0]
    dry = {"normal": torch.full((1, 32, 32), -1.0)}
    assert torch.equal(spatter.apply(images, parameters, dry), images)
