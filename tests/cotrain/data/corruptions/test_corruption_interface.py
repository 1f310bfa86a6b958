"""What `corrupt` takes and gives: the same pixels for every batch, order, layout and number of threads."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from corruption_images import pictures

from cotrain.data.corruptions import Preset, corrupt, corrupt_batch, corruption_names
from cotrain.data.corruptions._corrupt import COMMON, CORRUPTIONS, EXTRA
from cotrain.data.corruptions._presets import PARAMETERS, PRESETS
from cotrain.errors import ConfigError, DataError

ORDER = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
EXTRA_ORDER = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
RANDOM = set(ORDER + EXTRA_ORDER) - {
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
}
NAMES = corruption_names(extra=True)


def batch(images, name, *, severity=3, seed=0, indices=None, preset: Preset = "imagenet_c"):
    indices = torch.arange(len(images)) if indices is None else indices
    return corrupt_batch(images, name, severity, seed=seed, indices=indices, preset=preset)


def test_names_are_in_the_order_of_the_benchmark():
    assert list(COMMON) == [name for name in ORDER if name in COMMON]
    assert list(EXTRA) == [name for name in EXTRA_ORDER if name in EXTRA]
    assert (*corruption_names(), *EXTRA) == NAMES
    assert len(NAMES) >= 13


def test_each_corruption_has_five_severities_in_each_preset():
    assert list(PARAMETERS) == [name for name in ORDER + EXTRA_ORDER if name in PARAMETERS]
    assert set(PARAMETERS) == set(CORRUPTIONS)
    for name, tables in PARAMETERS.items():
        assert tuple(tables) == PRESETS, name
        assert {len(table) for table in tables.values()} == {5}, name


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_no_pixel(name, monkeypatch):
    images = pictures(24, 36, 33)
    whole = batch(images, name)
    order = torch.tensor([17, 3, 22, 4, 0])
    assert torch.equal(batch(images[order], name, indices=order), whole[order])
    assert torch.equal(batch(images[5:6], name, indices=torch.tensor([5])), whole[5:6])
    monkeypatch.setattr("cotrain.data.corruptions._corrupt.AT_ONCE", {"cpu": 7 * images[0].numel()})
    assert torch.equal(batch(images, name), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_large_batch_is_many_small_ones(name):
    images = pictures(128, 32, 32)
    whole = batch(images, name)
    for size in (1, 7):
        indices = torch.arange(128)
        parts = [
            batch(part, name, indices=places)
            for part, places in zip(images.split(size), indices.split(size), strict=True)
        ]
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_left_as_they_were_and_the_result_is_new(name):
    for channels in (1, 3):
        images = pictures(2, 34, 40, channels)
        before = images.clone()
        for severity in (1, 5):
            found = batch(images, name, severity=severity)
            assert found.shape == images.shape
            assert found.dtype == torch.uint8
            assert found.is_contiguous()
            found.zero_()
            assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
def test_layouts_and_kinds_of_arrays_agree(name):
    images = pictures(2, 35, 33)
    expected = batch(images, name).permute(0, 2, 3, 1)
    array = images.permute(0, 2, 3, 1).contiguous().numpy()
    assert np.array_equal(corrupt(array, name, 3, seed=0), expected.numpy())
    array.flags.writeable = False
    assert np.array_equal(corrupt(array, name, 3, seed=0), expected.numpy())  # and no warning
    backwards = np.ascontiguousarray(array[:, :, ::-1])[:, :, ::-1]
    assert np.array_equal(corrupt(backwards, name, 3, seed=0), expected.numpy())
    strided = torch.zeros(2, 70, 33, 4, dtype=torch.uint8)[:, ::2, :, :3]
    strided.copy_(torch.from_numpy(array.copy()))
    assert torch.equal(corrupt(strided, name, 3, seed=0), expected)
    assert torch.equal(batch(images.contiguous(memory_format=torch.channels_last), name), expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_of_the_seed_and_the_index(name):
    images = pictures(1, 40, 40).expand(3, -1, -1, -1)
    found = batch(images, name)
    other_seed = batch(images, name, seed=1)
    if name in RANDOM:
        assert not torch.equal(found[0], found[1])
        assert not torch.equal(found, other_seed)
    else:
        assert torch.equal(found[0], found[1])
        assert torch.equal(found, other_seed)
    assert torch.equal(
        batch(images, name, indices=torch.tensor([4, 4, 4]))[0], batch(images, name, indices=torch.tensor([2, 3, 4]))[2]
    )


def test_corruptions_have_noise_of_their_own():
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    additive = batch(grey, "gaussian_noise").double() - 128
    relative = batch(grey, "speckle_noise").double() - 128
    assert abs(torch.corrcoef(torch.stack([additive.flatten(), relative.flatten()]))[0, 1]) < 0.05


def test_severities_share_their_noise():
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    mild, strong = (batch(grey, "gaussian_noise", severity=severity).double().flatten() for severity in (1, 2))
    assert torch.corrcoef(torch.stack([mild, strong]))[0, 1] > 0.95


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_severity_of_every_preset_changes_images(name, preset):
    images = pictures(2, 32, 32)
    found = [batch(images, name, severity=severity, preset=preset) for severity in range(1, 6)]
    assert all(not torch.equal(one, images) for one in found[1:])
    if preset == "imagenet_c":
        assert len({one.numpy().tobytes() for one in found}) == 5


@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_fit_no_blocks(name):
    for height, width in ((32, 61), (47, 33)):
        for channels in (1, 3):
            images = pictures(1, height, width, channels)
            assert batch(images, name, severity=5).shape == images.shape


@pytest.mark.parametrize("name", NAMES)
def test_no_images_give_none(name):
    assert batch(torch.zeros(0, 3, 32, 32, dtype=torch.uint8), name).shape == (0, 3, 32, 32)
    assert corrupt(np.zeros((0, 40, 32, 1), dtype=np.uint8), name, 1, seed=0).shape == (0, 40, 32, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_survive(name, value):
    """No quotient of zero by zero is turned into a byte: what comes out is the same twice, and no warning comes."""
    images = torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
    assert torch.equal(batch(images, name, severity=4), batch(images, name, severity=4))


THREADS = """
import hashlib, sys, torch
sys.path.insert(0, {folder!r})
from corruption_images import pictures
from cotrain.data.corruptions import corrupt_batch, corruption_names
torch.set_num_threads({threads})
images = pictures(40, 64, 64)
for name in corruption_names(extra=True):
    found = corrupt_batch(images, name, 4, seed=0, indices=torch.arange(40))
    print(name, hashlib.sha256(found.numpy().tobytes()).hexdigest())
"""


def test_threads_change_no_pixel(request):
    images = pictures(40, 64, 64)
    expected = {name: hashlib.sha256(batch(images, name, severity=4).numpy().tobytes()).hexdigest() for name in NAMES}
    code = THREADS.format(folder=str(request.path.parent), threads=3 - min(2, torch.get_num_threads()))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert dict(line.split() for line in done.stdout.splitlines()) == expected


def test_precision_of_matrix_products_changes_no_pixel():
    images = pictures(2, 40, 40)
    expected = {name: batch(images, name) for name in NAMES}
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        torch.set_default_dtype(torch.float64)
        assert {name: torch.equal(batch(images, name), expected[name]) for name in NAMES} == dict.fromkeys(NAMES, True)
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_default_dtype(torch.float32)


FINE = np.zeros((1, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1]], "take NumPy arrays or torch tensors, found list"),
        (FINE.astype(np.float32), r"uint8 \(images, height, width, channels\) .* found float32"),
        (np.array([["a"]]), "found <U1 of shape"),
        (FINE[0], r"found uint8 of shape \(32, 32, 3\)"),
        (np.zeros((1, 32, 32, 2), dtype=np.uint8), "1 or 3 channels, found"),
        (np.zeros((1, 32, 32, 4), dtype=np.uint8), "1 or 3 channels, found"),
        (np.zeros((1, 31, 64, 3), dtype=np.uint8), "defined from 32 pixels a side, found 31 x 64"),
        (np.zeros((1, 64, 8, 3), dtype=np.uint8), "defined from 32 pixels a side, found 64 x 8"),
        (torch.zeros(1, 32, 32, 3), r"uint8 .* found torch.float32"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        corrupt(images, "brightness", 1, seed=0)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, 3.0, True, "3", None])
def test_other_severities_are_refused(severity):
    with pytest.raises(DataError, match=r"severity of a corruption is 1, 2, 3, 4 or 5, found"):
        corrupt(FINE, "brightness", severity, seed=0)


def test_numbers_of_numpy_are_numbers():
    found = corrupt(FINE, "gaussian_noise", np.int64(3), seed=np.int64(2), first_index=np.int32(1))
    assert np.array_equal(found, corrupt(FINE, "gaussian_noise", 3, seed=2, first_index=1))


@pytest.mark.parametrize("seed", [-1, True, 1.0, None])
@pytest.mark.parametrize("count", [0, 1])
def test_other_seeds_are_refused(seed, count):
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        corrupt(FINE[:count], "gaussian_noise", 1, seed=seed)


@pytest.mark.parametrize("index", [-1, 0.0, True])
def test_other_first_indices_are_refused(index):
    with pytest.raises(DataError, match="index of the first image is a whole number"):
        corrupt(FINE, "gaussian_noise", 1, seed=0, first_index=index)


def test_names_and_presets_are_looked_up():
    with pytest.raises(DataError, match=r"no corruption 'contrasts'.*contrast"):
        corrupt(FINE, "contrasts", 1, seed=0)
    with pytest.raises(DataError, match="no corruption None"):
        corrupt(FINE, None, 1, seed=0)
    with pytest.raises(DataError, match=r"no preset 'cifar'.*"):
        corrupt(FINE, "contrast", 1, seed=0, preset="cifar")


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.arange(2), r"1 images, indices of shape \(2,\)"),
        (torch.zeros(1, 1, dtype=torch.int64), r"indices of shape \(1, 1\)"),
        (torch.tensor(0), r"indices of shape \(\)"),
        (torch.zeros(1), "whole numbers, found torch.float32"),
        (torch.zeros(1, dtype=torch.bool), "whole numbers, found torch.bool"),
        ([0], "whole numbers, found list"),
    ],
)
def test_other_indices_are_refused(indices, message):
    with pytest.raises(DataError, match=message):
        corrupt_batch(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "contrast", 1, seed=0, indices=indices)


def test_indices_follow_the_first():
    images = pictures(3, 32, 32).permute(0, 2, 3, 1)
    whole = corrupt(images, "gaussian_noise", 2, seed=0, first_index=5)
    assert torch.equal(corrupt(images[1:], "gaussian_noise", 2, seed=0, first_index=6), whole[1:])
    small = torch.tensor([5, 6, 7], dtype=torch.int16)
    assert torch.equal(
        batch(images.permute(0, 3, 1, 2), "gaussian_noise", severity=2, indices=small).permute(0, 2, 3, 1), whole
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_gives_the_same_pixels(name, preset):
    for channels in (1, 3):
        images = pictures(9, 50, 64, channels)
        for severity in range(1, 6):
            found = batch(images.cuda(), name, severity=severity, preset=preset)
            assert found.is_cuda
            assert torch.equal(found.cpu(), batch(images, name, severity=severity, preset=preset))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2])
def test_grey_images_with_channels_last_are_those_with_channels_first(name, count):
    """One channel may have any stride: it counts as contiguous either way."""
    grey = pictures(count, 32, 40, 1)
    last = np.zeros((count, 32, 40, 1), dtype=np.uint8)  # a copy of the other would keep its strides
    last[...] = grey.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(corrupt(last, name, 3, seed=0)[..., 0], batch(grey, name)[:, 0].numpy())
