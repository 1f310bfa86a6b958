"""Arrays of any usual layout become uint8 tensors; scaling and grey agree with Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data._images import grey, image_tensor, resized
from cotrain.errors import DataError


def noise(*shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 8, 6), None),
        ((5, 8, 6, 1), (0, 3, 1, 2)),
        ((5, 8, 6, 3), (0, 3, 1, 2)),
        ((5, 1, 8, 6), (0, 1, 2, 3)),
        ((5, 3, 8, 6), (0, 1, 2, 3)),
        ((5, 3, 8, 3), (0, 1, 2, 3)),  # where both could be meant: channels first
    ],
)
def test_channels_may_be_first_last_or_absent(shape, axes):
    array = noise(*shape)
    tensor = image_tensor(array, "here")
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor, array[:, None] if axes is None else array.transpose(axes))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_between_0_and_1_are_the_same_picture(kind):
    array = noise(4, 9, 7, 3)
    tensor = image_tensor((array / 255).astype(kind), "here")
    np.testing.assert_array_equal(tensor, array.transpose(0, 3, 1, 2))


def test_views_of_other_arrays_are_read_as_they_look():
    array = noise(6, 9, 7, 3)
    np.testing.assert_array_equal(
        image_tensor(array[::-2, :, ::-1], "here"), array[::-2, :, ::-1].transpose(0, 3, 1, 2)
    )


BROKEN = np.full((4, 2, 2), 0.5)
BROKEN[[1, 3], 0] = np.nan


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (BROKEN, r"file, 'images': 2 images hold NaN or infinite pixels, first at rows \[1, 3\]"),
        (np.full((1, 2, 2), np.inf), r"1 images hold NaN or infinite pixels, first at rows \[0\]"),
        (np.full((1, 2, 2), 1.5), r"must lie between 0 and 1, found 1\.5 to 1\.5\. Rescale them"),
        (np.linspace(-1, 1, 4).reshape(1, 2, 2), "must lie between 0 and 1, found -1 to 1"),
        (noise(2, 2, 2).astype(np.float32), "float images must lie between 0 and 1"),
        (noise(2, 2, 2).astype(np.int64), "expected uint8, or floats between 0 and 1, found int64"),
        (noise(2, 2, 2).astype(bool), "expected uint8, .* found bool"),
        (np.array([[["a"]]]), "expected uint8, .* found <U1"),
        (noise(2, 2), r"expected images \(stimuli, height, width\[, 1 or 3\]\), found shape \(2, 2\)"),
        (noise(2, 8, 8, 4), r"found shape \(2, 8, 8, 4\)"),
        (noise(2, 1, 8, 8, 3), r"found shape \(2, 1, 8, 8, 3\)"),
        (np.ones((0, 4, 4)), r"expected images, found none: shape \(0, 1, 4, 4\)"),
        (noise(3, 0, 4), r"found none: shape \(3, 1, 0, 4\)"),
    ],
)
def test_what_is_no_image_is_refused(array, text):
    with pytest.raises(DataError, match=text):
        image_tensor(array, "file, 'images'")


@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 17, 31), (3, 8, 8)])
@pytest.mark.parametrize("size", [16, 33])
def test_scaling_agrees_with_pillow(shape, size):
    array = noise(2, *shape)
    scaled = resized(torch.from_numpy(array), size)
    assert scaled.shape == (2, shape[0], size, size)
    assert scaled.dtype == torch.uint8
    for image, result in zip(array, scaled.numpy(), strict=True):
        for channel, found in zip(image, result, strict=True):
            expected = np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR))
            assert np.abs(expected.astype(int) - found).max() <= 1  # Pillow rounds between its two passes


def test_size_0_and_the_own_size_leave_images_alone():
    images = torch.from_numpy(noise(2, 3, 8, 8))
    assert resized(images, 0) is images
    assert resized(images, 8) is images


@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_images_stay_plain(level):
    images = torch.full((2, 3, 10, 10), level, dtype=torch.uint8)
    assert set(resized(images, 7).unique().tolist()) == set(grey(images).unique().tolist()) == {level}


def test_grey_agrees_with_pillow():
    array = noise(3, 20, 20, 3)
    found = grey(image_tensor(array, "here"))
    assert found.shape == (3, 1, 20, 20)
    for image, result in zip(array, found, strict=True):
        expected = np.asarray(Image.fromarray(image).convert("L")).astype(int)
        assert np.abs(expected - result[0].numpy()).max() <= 1
    assert grey(found) is found


def test_many_images_are_scaled_as_few_are():
    images = torch.from_numpy(noise(1030, 3, 6, 6))
    for change in (grey, lambda part: resized(part, 4)):
        torch.testing.assert_close(change(images)[1020:], change(images[1020:]))
