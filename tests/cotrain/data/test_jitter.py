"""Shifts and mirroring are those of a plain loop, depend on the seed alone, and leave the images' places together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cotrain import build
from cotrain.data import JitterConfig
from cotrain.errors import ConfigError

SEEDS = st.integers(0, 2**63 - 1)


def pictures(count=6, channels=1, height=5, width=7, dtype=torch.uint8, seed=0):
    """Images in which no two pixels of a row or column are alike."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.stack([torch.randperm(channels * height * width, generator=generator) for _ in range(count)])
        .reshape(count, channels, height, width)
        .to(dtype)
    )


def moved(image, down, right, mirrored):
    """A plain loop: edges are repeated, then left and right are exchanged."""
    channels, height, width = image.shape
    found = torch.empty_like(image)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                from_row = min(max(row + down, 0), height - 1)
                from_column = min(max(column + right, 0), width - 1)
                target = width - 1 - column if mirrored else column
                found[channel, row, target] = image[channel, from_row, from_column]
    return found


def ways(image, pixels, mirror):
    """Every picture that may become of an image."""
    span = range(-pixels, pixels + 1)
    return {
        (down, right, mirrored): moved(image, down, right, mirrored)
        for down in span
        for right in span
        for mirrored in ({False, mirror})
    }


@pytest.mark.parametrize(("pixels", "mirror"), [(1, False), (2, True), (0, True)])
def test_each_image_becomes_one_of_those_that_a_plain_loop_gives(pixels, mirror):
    images = pictures(count=12, channels=3, height=4, width=5)
    found = build(JitterConfig(pixels=pixels, mirror=mirror))(images, 7)
    met = set()
    for image, result in zip(images, found, strict=True):
        known = ways(image, pixels, mirror)
        # mirroring turns the picture that was shifted, or shifts that which was turned: the same set
        same = [way for way, expected in known.items() if torch.equal(result, expected)]
        assert same, "no shift and mirroring gives this"
        met.add(same[0])
    assert len(met) > 1, "each image is varied on its own"


@pytest.mark.parametrize("mirror", [False, True])
def test_all_ways_come_about_equally_often(mirror):
    count, pixels = 6000, 1
    images = pictures(count=1, height=6, width=6).expand(count, -1, -1, -1)
    found = build(JitterConfig(pixels=pixels, mirror=mirror))(images, 3)
    known = ways(images[0], pixels, mirror)
    seen = [int((found == picture).all((1, 2, 3)).sum()) for picture in known.values()]
    assert sum(seen) == count
    expected = count / len(known)
    assert max(abs(n - expected) for n in seen) < 5 * expected**0.5


@given(SEEDS, st.integers(1, 3), st.booleans())
def test_equal_seeds_give_equal_shifts_whatever_the_images_hold(seed, pixels, mirror):
    apply = build(JitterConfig(pixels=pixels, mirror=mirror))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    images = pictures()
    found = apply(images, seed)
    assert torch.equal(found, apply(images, seed))
    assert torch.equal(255 - found, apply(255 - images, seed)), "other content, same shifts"
    assert torch.equal(found.float(), apply(images.float(), seed)), "another type, same shifts"
    colour = images.expand(-1, 3, -1, -1)
    assert torch.equal(apply(colour, seed), found.expand(-1, 3, -1, -1)), "all channels move together"
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator is not used"


@given(SEEDS)
def test_other_seeds_give_other_shifts(seed):
    apply = build(JitterConfig(pixels=3))
    images = pictures(count=20)
    assert not torch.equal(apply(images, seed), apply(images, (seed + 1) % 2**63))


def test_without_shift_and_mirror_images_stay_as_they_are():
    images = pictures()
    found = build(JitterConfig(pixels=0))(images, 5)
    assert torch.equal(found, images) and found.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_images_that_are_given_are_not_changed(dtype):
    images = pictures(dtype=dtype)
    before = images.clone()
    found = build(JitterConfig(pixels=2, mirror=True))(images, 1)
    assert torch.equal(images, before)
    assert found.shape == images.shape and found.dtype == dtype


def test_a_shift_larger_than_the_image_repeats_its_edge():
    images = pictures(count=40, height=2, width=2)
    found = build(JitterConfig(pixels=9))(images, 1)
    for image, result in zip(images, found, strict=True):
        assert set(result.flatten().tolist()) <= set(image.flatten().tolist())
    assert any(len(set(result.flatten().tolist())) == 1 for result in found)


@pytest.mark.parametrize(("shape", "name"), [((0, 1, 4, 4), "no image"), ((3, 1, 1, 1), "one pixel")])
def test_small_batches_pass(shape, name):
    images = torch.zeros(shape, dtype=torch.uint8)
    assert build(JitterConfig(mirror=True))(images, 0).shape == shape, name


def test_negative_shifts_are_refused():
    with pytest.raises(ConfigError, match="pixels"):
        JitterConfig(pixels=-1)
