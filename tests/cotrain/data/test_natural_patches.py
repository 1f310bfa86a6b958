"""Patches are real cuts of the photographs, distinct, and disjoint in pixels between regions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from cotrain.data._natural_patches import (
    LARGEST,
    MIN_CONTRAST,
    PHOTOGRAPHS,
    SCALES,
    SMALLEST,
    natural_patches,
)
from cotrain.errors import DataError


@pytest.fixture(scope="module", params=[(3000, 16), (1500, 32), (500, 80)], ids=lambda case: f"{case[1]}px")
def drawn(request):
    number, size = request.param
    return number, size, natural_patches(number, size, seed=3)


def test_shapes_and_types(drawn):
    number, size, patches = drawn
    assert patches.images.shape == (number, 1, size, size)
    assert patches.images.dtype == np.uint8
    for name in ("region", "photograph", "top", "left", "scale"):
        values = getattr(patches, name)
        assert values.shape == (number,)
        assert values.dtype == np.int64
    assert set(patches.scale) == set(SCALES)
    assert set(patches.photograph) == set(range(len(PHOTOGRAPHS)))


def test_each_patch_is_the_named_cut(drawn):
    _, size, patches = drawn
    photographs = [load_sample_image(name).astype(float) for name in PHOTOGRAPHS]
    for index in range(200):
        scale, top, left = patches.scale[index], patches.top[index], patches.left[index]
        photograph = photographs[patches.photograph[index]]
        expected = np.zeros((size, size))
        for row in range(scale):
            for column in range(scale):
                rows = slice(top + row, top + scale * size, scale)
                columns = slice(left + column, left + scale * size, scale)
                red, green, blue = np.moveaxis(photograph[rows, columns], -1, 0)
                expected += (0.299 * red + 0.587 * green + 0.114 * blue) / scale**2
        # Half a grey level of rounding.
        np.testing.assert_allclose(patches.images[index, 0], expected, atol=0.5 + 1e-9)


def test_regions_share_no_pixel(drawn):
    _, size, patches = drawn
    owners = [np.full(load_sample_image(name).shape[:2], -1) for name in PHOTOGRAPHS]
    for region, photograph, top, left, scale in zip(
        patches.region, patches.photograph, patches.top, patches.left, patches.scale, strict=True
    ):
        pixels = owners[photograph][top : top + scale * size, left : left + scale * size]
        assert pixels.shape == (scale * size, scale * size)
        assert set(np.unique(pixels)) <= {-1, region}
        pixels[:] = region
    assert len(np.unique(patches.region)) >= 10


def test_distinct_and_not_blank(drawn):
    number, _, patches = drawn
    assert len({image.tobytes() for image in patches.images}) == number
    assert patches.images.std(axis=(1, 2, 3)).min() >= MIN_CONTRAST


def test_seed_decides_everything():
    first, again, other = (natural_patches(60, 32, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.region, again.region)
    # Other patches, not only another order.
    assert {image.tobytes() for image in first.images} != {image.tobytes() for image in other.images}


def test_draws_are_even_over_regions_and_the_limit_can_be_reached():
    with pytest.raises(DataError, match=r"ask for at most (\d+)") as refused:
        natural_patches(10**6, 48, seed=0)
    limit = int(re.search(r"at most (\d+)", str(refused.value))[1])
    everything = natural_patches(limit, 48, seed=0)
    assert len({image.tobytes() for image in everything.images}) == limit
    regions, room = np.unique(everything.region, return_counts=True)
    for number in (7, 200, 2000):
        region = natural_patches(number, 48, seed=1).region
        counts = np.array([(region == one).sum() for one in regions])
        unfinished = counts < room
        # Regions with patches left have given equally many; the others gave all and no more than those.
        assert np.ptp(counts[unfinished]) <= 1
        assert counts.max() <= counts[unfinished].min() + 1


def test_more_patches_begin_with_the_same_ones():
    few, many = natural_patches(100, 32, seed=4), natural_patches(900, 32, seed=4)
    np.testing.assert_array_equal(few.images, many.images[:100])
    np.testing.assert_array_equal(few.region, many.region[:100])


@pytest.mark.parametrize("size", [SMALLEST - 1, LARGEST + 1, 0, -4])
def test_size_outside_the_limits(size):
    with pytest.raises(DataError, match=rf"size is {size}, patches can be cut from {SMALLEST} to {LARGEST}"):
        natural_patches(10, size, seed=0)


@pytest.mark.parametrize("number", [0, -1])
def test_number_below_one(number):
    with pytest.raises(DataError, match="at least 1 patch"):
        natural_patches(number, 32, seed=0)
