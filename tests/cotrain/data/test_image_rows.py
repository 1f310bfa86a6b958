"""Images that stay on disk behave as the equal tensor does, in indexing, in sources and in what is known of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from cotrain.data import ImageFiles, ImageRows, Preparation, Source, assemble, decode, image_facts, join
from cotrain.data._image_rows import MappedImages, bytes_of, taken
from cotrain.errors import DataError

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 5, 4), np.uint8))
IMAGES = arrays_of.arrays(np.uint8, st.tuples(st.integers(0, 5), st.sampled_from([1, 3]), *[st.integers(1, 6)] * 2))


@pytest.fixture(params=["memory", "memory_map", "files"])
def rows(request, tmp_path) -> ImageRows:
    """All of `PIXELS`, held in one of three ways."""
    if request.param == "memory":
        return ImageRows(MappedImages(PIXELS), torch.arange(30))
    paths = [tmp_path / f"{number}.npy" for number in range(30)]
    for path, image in zip(paths, PIXELS.numpy(), strict=True):
        np.save(path, image.transpose(1, 2, 0))
    return decode(ImageFiles(tuple(paths)), Preparation(), storage=request.param, cache=tmp_path / "cache").images


def naive_facts(images: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    digests = [
        hashlib.blake2b(image.tobytes() + str(image.shape).encode(), digest_size=16).digest() for image in images
    ]
    wide = images.astype(object)  # whole numbers of any length
    sums = [[[channel.sum(), (channel * channel).sum()] for channel in image] for image in wide]
    return digests, np.array(sums, np.int64).reshape(len(images), images.shape[1], 2)


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([4, 0, 29, 4]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(30) % 3 == 1,
        slice(None),
        slice(25, 40),
        slice(3, 20, 5),
        slice(5, 5),
    ],
)
def test_indexing_gives_what_the_tensor_gives(rows, index):
    assert torch.equal(rows[index], PIXELS[index])


def test_what_is_read_is_a_copy(rows):
    found = rows[torch.arange(3)]
    found.zero_()
    assert torch.equal(rows[torch.arange(3)], PIXELS[:3])


def test_it_has_the_properties_of_the_tensor(rows):
    for name in ("shape", "ndim", "dtype", "device"):
        assert getattr(rows, name) == getattr(PIXELS, name)
    assert (len(rows), rows.numel()) == (30, PIXELS.numel())


def test_rows_of_rows_are_rows_of_the_whole(rows):
    first, second = torch.tensor([9, 3, 3, 27, 0]), torch.tensor([4, 1, 0])
    part = rows.take(first).take(second)
    assert part.shape == (3, 3, 5, 4)
    assert torch.equal(part[:], PIXELS[first][second])
    assert torch.equal(taken(rows, first)[:], taken(PIXELS, first))
    digests, sums = naive_facts(PIXELS[first][second].numpy())
    found = image_facts(part)
    assert [row.tobytes() for row in found.digests] == digests
    np.testing.assert_array_equal(found.sums, sums)


@pytest.mark.parametrize("size", [1, 7, 30, 31])
def test_pieces_come_in_order(rows, size):
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    pieces, expected = list(rows.take(order).split(size)), PIXELS[order].split(size)
    assert len(pieces) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(pieces, expected, strict=True))


def test_what_sources_share_is_moved_once():
    stack = MappedImages(PIXELS)
    parts = [Source("neural", ImageRows(stack, rows), torch.zeros(len(rows), 2)) for rows in torch.arange(6).split(3)]
    other = Source("neural", PIXELS, torch.zeros(len(PIXELS), 2))
    stacks: dict = {}
    first, second, third = (source.to(torch.device("meta"), stacks) for source in (*parts, other))
    assert len(stacks) == 1 and first.images.stack is second.images.stack is stacks[id(stack)]
    assert {held.images.device.type for held in (first, second, third)} == {"meta"}
    assert bytes_of([held.images for held in (*parts, other)]) == 2 * PIXELS.numel()


def test_the_whole_on_a_device_is_the_tensor(rows):
    assert torch.equal(rows.to(torch.device("cpu")), PIXELS)
    assert rows.to(torch.device("meta")).shape == PIXELS.shape
    nothing = rows.take(torch.arange(0))
    assert nothing.to(torch.device("cpu")).shape == (0, 3, 5, 4)


def splits(images, kind: str) -> dict:
    """Three splits of a task."""
    targets = {
        "classification": torch.arange(30) % 3,
        "neural": torch.arange(60.0).reshape(30, 2).sqrt(),
        "rdm": torch.cdist(torch.arange(30.0)[:, None], torch.arange(30.0)[:, None]),
    }[kind]
    names = ("a", "b", "c") if kind == "classification" else ()
    whole = Source(kind, images, targets, class_names=names)
    return {
        split: {"some": {"": whole.subset(part)}}
        for split, part in zip(("train", "validation", "test"), torch.arange(30).split(10), strict=True)
    }


@pytest.mark.parametrize("kind", ["classification", "neural", "rdm"])
def test_sources_do_not_care_where_their_images_are(rows, kind):
    one, other = assemble(splits(rows, kind)), assemble(splits(PIXELS, kind))
    assert one.info == other.info
    assert one.info.fingerprint == other.info.fingerprint
    assert join([one]).info == other.info
    index = torch.tensor([5, 1, 8])
    for split in one.splits:
        held, expected = one.splits[split]["some"][""], other.splits[split]["some"][""]
        assert len(held) == len(expected) == 10
        for found, right in zip(held.batch(index), expected.batch(index), strict=True):
            assert torch.equal(found, right)
        assert torch.equal(held.to(torch.device("cpu")).images[:], expected.images)


def test_known_facts_that_leak_between_splits_are_found(rows):
    held = splits(rows, "classification")
    held["test"]["some"][""] = held["train"]["some"][""]
    with pytest.raises(DataError, match=r"One image stands in two splits: train .* and test"):
        assemble(held)


@settings(max_examples=80)
@given(IMAGES)
def test_facts_are_those_of_a_naive_loop(images):
    digests, sums = naive_facts(images)
    tensor = torch.from_numpy(images)
    for held in (tensor, ImageRows(MappedImages(tensor), torch.arange(len(images)))):
        found = image_facts(held)
        assert found.digests.shape == (len(images), 16) and found.digests.dtype == np.uint8
        assert [row.tobytes() for row in found.digests] == digests
        assert found.sums.dtype == np.int64
        np.testing.assert_array_equal(found.sums, sums)


def test_facts_do_not_depend_on_the_layout_in_memory():
    turned = PIXELS.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not turned.is_contiguous()
    np.testing.assert_array_equal(image_facts(turned).digests, image_facts(PIXELS).digests)
    np.testing.assert_array_equal(image_facts(turned).sums, image_facts(PIXELS).sums)


def test_equal_bytes_in_another_shape_have_another_digest():
    one, other = torch.zeros(1, 1, 2, 6, dtype=torch.uint8), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert not np.array_equal(image_facts(one).digests, image_facts(other).digests)


def test_sums_of_large_bright_images_do_not_overflow():
    white = torch.full((1, 1, 300, 300), 255, dtype=torch.uint8)  # squares sum to more than 32 bits hold
    assert image_facts(white).sums.tolist() == [[[255 * 90_000, 255**2 * 90_000]]]


def test_facts_over_many_pieces_are_joined_in_order(monkeypatch):
    monkeypatch.setattr("cotrain.data._image_rows.PIECE", 7)
    digests, sums = naive_facts(PIXELS.numpy())
    for held in (PIXELS, ImageRows(MappedImages(PIXELS), torch.arange(30))):
        assert [row.tobytes() for row in image_facts(held).digests] == digests
        np.testing.assert_array_equal(image_facts(held).sums, sums)
    rows = ImageRows(MappedImages(PIXELS), torch.arange(30).flip(0))
    assert torch.equal(rows.to(torch.device("cpu")), PIXELS.flip(0))
