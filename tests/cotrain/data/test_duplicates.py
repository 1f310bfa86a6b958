"""Equal pictures and near copies are found, and no others; checked by naive loops and on real recordings."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cotrain.data import ImageRows, average_hashes, duplicate_groups, image_tensor
from cotrain.data._duplicates import near_pairs
from cotrain.data._image_rows import MappedImages
from cotrain.data.recordings import read_cowley2023

REAL = Path(os.environ.get("COTRAIN_TEST_DATA", "missing")) / "cowley_v4"
needs_cowley = pytest.mark.skipif(not REAL.is_dir(), reason="COTRAIN_TEST_DATA has no cowley_v4")
# few ones, so that many pairs are near
WORDS = st.lists(st.lists(st.integers(0, 255), max_size=5), max_size=25)


def random_images(count: int, side: int = 20, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, channels, side, side), np.uint8))


def hashes_of(bits: list[list[int]]) -> np.ndarray:
    """256 bits each, of which some are set."""
    flat = np.zeros((len(bits), 256), bool)
    for row, places in zip(flat, bits, strict=True):
        row[places] = True
    return np.packbits(flat, axis=1).view(np.uint64)


def differing(one: np.ndarray, other: np.ndarray) -> int:
    return sum((int(a) ^ int(b)).bit_count() for a, b in zip(one, other, strict=True))


def naive_groups(equal: list[list[bool]]) -> list[int]:
    """Connected components by spreading the smallest name, renamed in the order of first appearance."""
    names = list(range(len(equal)))
    changed = True
    while changed:
        changed = False
        for i in range(len(equal)):
            for j in range(len(equal)):
                if equal[i][j] and names[i] != names[j]:
                    names[i] = names[j] = min(names[i], names[j])
                    changed = True
    seen = list(dict.fromkeys(names))
    return [seen.index(name) for name in names]


@settings(max_examples=80)
@given(WORDS, st.integers(0, 12))
def test_near_pairs_are_those_of_a_double_loop(bits, most):
    hashes = hashes_of(bits)
    found = near_pairs(hashes, most)
    expected = [
        (i, j)
        for i in range(len(bits))
        for j in range(i + 1, len(bits))
        if differing(hashes[i], hashes[j]) <= most
    ]  # fmt: skip
    assert found.shape == (2, len(expected)) and found.dtype == np.int64
    assert sorted(map(tuple, found.T.tolist())) == expected


def test_blocks_of_comparisons_lose_no_pair():
    count = 2500  # compared in two blocks
    hashes = np.random.default_rng(0).integers(0, 2**63, (count, 4)).astype(np.uint64)
    planted = [(0, 2499), (1598, 1599), (1599, 1600), (1600, 1601), (3, 1700)]
    for one, other in planted:
        hashes[other] = hashes[one]
        hashes[other, 1] ^= np.uint64(1 << 63)
    expected = [*planted, (1598, 1600), (1599, 1601)]  # one bit is set, and unset again
    assert sorted(map(tuple, near_pairs(hashes, 1).T.tolist())) == sorted([*expected, (1598, 1601)])


def test_all_bits_may_differ():
    hashes = np.array([[0] * 4, [2**64 - 1] * 4], np.uint64)
    assert near_pairs(hashes, 255).shape == (2, 0)
    assert near_pairs(hashes, 256).tolist() == [[0], [1]]


def test_hashes_are_those_of_pillow_but_for_rounding():
    images = random_images(12, side=48)
    grey = (images.numpy().transpose(0, 2, 3, 1) @ np.array([0.299, 0.587, 0.114])).round().astype(np.float32)
    for image, found in zip(grey, average_hashes(images), strict=True):
        small = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR), np.float64)
        bits = np.unpackbits(found[None].view(np.uint8)).astype(bool)
        sure = np.abs(small - small.mean()).ravel() > 0.5
        assert sure.sum() > 200
        np.testing.assert_array_equal(bits[sure], (small > small.mean()).ravel()[sure])


def test_hashes_of_16_by_16_pixels_compare_each_with_the_mean():
    images = random_images(9, side=16, channels=1)
    flat = images.flatten(1).double()
    bits = np.unpackbits(average_hashes(images).view(np.uint8), axis=1).astype(bool)
    np.testing.assert_array_equal(bits, (flat > flat.mean(1, keepdim=True) + 0.01).numpy())


def test_brightness_and_contrast_do_not_matter():
    images = random_images(5) // 2
    np.testing.assert_array_equal(average_hashes(images), average_hashes(images + 40))
    pairs = zip(average_hashes(images), average_hashes(images * 2), strict=True)
    assert max(differing(one, other) for one, other in pairs) <= 1  # a pixel that is as bright as the mean


def test_plain_pictures_have_one_hash_that_rounding_does_not_disturb():
    plain = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 37, 53)
    assert not average_hashes(plain).any()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=15), st.sampled_from([None, 0, 4, 20]), st.integers(0, 10**6))
def test_groups_are_the_connected_components(chosen, near, seed):
    random = np.random.default_rng(seed)
    # steps along one path from picture to picture, so that chains of near ones arise
    steps, value = [], random.integers(0, 256, (16, 16))
    for _ in range(6):
        value = value.copy()
        value.flat[random.integers(0, 256, 3)] = random.integers(0, 256, 3)
        steps.append(value)
    pixels = np.array([steps[number] for number in chosen], np.uint8)[:, None]
    images = torch.from_numpy(pixels)
    hashes = average_hashes(images)
    equal = [
        [
            bool((one == other).all()) if near is None else differing(hashes[i], hashes[j]) <= near
            for j, other in enumerate(pixels)
        ]
        for i, one in enumerate(pixels)
    ]
    groups = duplicate_groups(images, near=near)
    assert groups.dtype == np.int64
    assert groups.tolist() == naive_groups(equal)
    held = ImageRows(MappedImages(images), torch.arange(len(images)))
    np.testing.assert_array_equal(duplicate_groups(held, near=near), groups)


def test_chains_of_near_copies_are_one_group():
    image = np.zeros((3, 1, 16, 16), np.uint8)
    image[:, :, :8] = 200
    image[1, 0, 0, :5] = image[2, 0, 0, :10] = 0
    images = torch.from_numpy(image)
    one, two, three = average_hashes(images)
    assert (differing(one, two), differing(two, three), differing(one, three)) == (5, 5, 10)
    assert duplicate_groups(images, near=5).tolist() == [0, 0, 0]
    assert duplicate_groups(images, near=4).tolist() == [0, 1, 2]
    assert duplicate_groups(images[[0, 2]], near=5).tolist() == [0, 1]


@pytest.mark.parametrize("near", [None, 8])
def test_no_images_have_no_groups(near):
    assert duplicate_groups(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), near=near).shape == (0,)


def cowley(session: str) -> torch.Tensor:
    return image_tensor(read_cowley2023(REAL, sessions=(session,)).sessions[session].images, session)


@needs_cowley
def test_copies_of_photographs_that_were_compressed_or_scaled_are_found():
    photos = cowley("190923")[:40]
    copies = []
    for number, photo in enumerate(photos.numpy().transpose(0, 2, 3, 1)):
        image, file = Image.fromarray(photo.squeeze()), io.BytesIO()
        width, height = image.size
        if number % 2:
            image = image.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.LANCZOS).resize((width, height))
        image.save(file, "jpeg", quality=60)
        copies.append(np.asarray(Image.open(file)).reshape(photo.shape).transpose(2, 0, 1))
    both = torch.cat([photos, torch.from_numpy(np.stack(copies))])
    assert len(set(duplicate_groups(both).tolist())) == 80
    groups = duplicate_groups(both, near=8)
    np.testing.assert_array_equal(groups[:40], groups[40:])
    assert len(set(groups.tolist())) == len(set(duplicate_groups(photos, near=8).tolist())) >= 38


@needs_cowley
def test_the_pictures_that_a_session_showed_twice_are_found():
    groups = duplicate_groups(cowley("190925"))
    names, counts = np.unique(groups, return_counts=True)
    assert dict(zip(*np.unique(counts, return_counts=True), strict=True)) == {1: len(names) - 300, 2: 300}
    np.testing.assert_array_equal(groups[:300], groups[900:1200])
    assert len(set(groups[:900].tolist())) == 900


@needs_cowley
def test_the_near_copies_of_a_session_without_equal_pictures_are_found():
    images = cowley("210305")
    assert len(set(duplicate_groups(images).tolist())) == len(images)
    _, counts = np.unique(duplicate_groups(images, near=8), return_counts=True)
    assert (counts[counts > 1].sum(), (counts > 1).sum()) == (298, 100)
