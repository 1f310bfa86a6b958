"""Frost: what grows, what is read from a folder, and how it is laid over images."""

import numpy as np
import pytest
import torch
from corruption_images import pictures
from PIL import Image

from cotrain.data.corruptions import corrupt, corrupt_batch, frost_identity
from cotrain.data.corruptions._frost import Frost, frost, frost_from
from cotrain.data.corruptions._frost_files import FILES, frost_files
from cotrain.data.corruptions._frost_growth import Habit, grow
from cotrain.data.corruptions._frost_textures import KINDS, _spread, _with_tones, frost_textures
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom
from cotrain.errors import DataError

OWN = "62c33f895f8a4b17"  # other textures are another benchmark: raise CORRUPTIONS_VERSION with it


@pytest.fixture
def folder(tmp_path):
    """Six pictures of several sizes under the names of the original files."""
    for number, name in enumerate(FILES):
        picture = pictures(1, 330 + 10 * number, 400)[0].permute(1, 2, 0).numpy()
        Image.fromarray(np.roll(picture, number, 2)).save(tmp_path / name)
    return tmp_path


def test_the_textures_are_the_same_everywhere():
    assert frost_identity() == OWN


def test_textures_are_bluish_and_have_the_tones_of_their_kind():
    assert len(frost_textures()) == 6
    for texture, kind in zip(frost_textures(), KINDS, strict=True):
        assert texture.shape == (3, 480, 480)
        assert texture.dtype == torch.uint8
        red, green, blue = texture.float()
        assert red.mean() <= green.mean() <= blue.mean()
        tones = np.percentile(green.numpy(), [10, 50, 90])
        assert np.abs(tones - np.array(kind.tones)[[2, 4, 6]]).max() <= 8


def test_opposite_edges_fit_together():
    for texture in frost_textures():
        for axis in (1, 2):
            steps = (texture.float() - texture.float().roll(1, axis)).abs().mean((0, 3 - axis))
            assert steps[0] < steps.mean() + 4 * steps.std()


def test_feathers_are_thin_connected_and_do_not_overlap():
    pool = np.random.default_rng(0).integers(0, 65536, 65536)
    thickness, directions = grow(Habit(12, 3, 120, 40, 8, (4, 3), 40, 2), pool)
    ice = thickness > 0
    assert 0.03 < ice.mean() < 0.6
    assert (thickness.max(), thickness.min()) == (255, 0)
    assert set(np.unique(directions)) <= set(range(256))
    neighbours = sum(np.roll(ice, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)) - ice.astype(int)
    assert (neighbours[ice] > 0).mean() > 0.99
    again, _ = grow(Habit(12, 3, 120, 40, 8, (4, 3), 40, 2), pool)
    assert np.array_equal(thickness, again)


def test_a_lone_straight_stem_is_a_line():
    pool = np.full(65536, 32768)  # the middle of every range
    thickness, directions = grow(Habit(1, 1, 60, 0, 0, (10**6, 1), 40, 0), pool)
    assert (thickness > 0).sum() == 60  # half the longest life, and half of that life drawn
    assert (thickness > 0).any(1).sum() == 1
    assert set(directions[thickness > 0]) == {128}


def test_means_over_squares_and_tones_are_plain():
    values = np.random.default_rng(0).integers(0, 1000, (9, 11))
    rows = np.sum([np.roll(values, step, 0) for step in range(-2, 3)], 0) // 5
    assert np.array_equal(_spread(values, 2), np.sum([np.roll(rows, step, 1) for step in range(-2, 3)], 0) // 5)
    tones = _with_tones(np.arange(10000).reshape(100, 100)[::-1], (0, 1, 10, 25, 50, 75, 90, 99, 100))
    assert np.abs(tones - np.arange(10000).reshape(100, 100)[::-1] / 100).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("preset", "size"), [("imagenet_c", 60), ("tiny_imagenet_c", 64), ("cifar_c", 32)])
def test_images_are_mixed_with_a_crop(preset, size, channels):
    images = pictures(9, size, size + 3, channels)
    for parameters in PARAMETERS["frost"][preset]:
        draws = frost.draw(ImageRandom(2, torch.arange(9)), (channels, size, size + 3), parameters)
        found = frost.apply(images, parameters, draws)
        for number in range(9):
            texture = frost_textures()[int(draws["texture"][number])]
            thinned = texture[
                :, parameters.reduction // 2 :: parameters.reduction, parameters.reduction // 2 :: parameters.reduction
            ]
            shifts = (-int(draws["row"][number]), -int(draws["column"][number]))
            crop = thinned.roll(shifts, (1, 2))[:, :size, : size + 3].double()
            if channels == 1:
                crop = (crop * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(0)
            mixed = parameters.image * images[number].double() + parameters.ice * crop
            assert (found[number] - mixed.clamp(0, 255)).abs().max() < 1 + 1e-9


def test_crops_are_of_all_textures_and_from_everywhere():
    draws = frost.draw(ImageRandom(0, torch.arange(3000)), (3, 64, 64), Frost(1, 0.4, 1))
    counts = torch.bincount(draws["texture"], minlength=6).double()
    assert float(((counts - 500) ** 2 / 500).sum()) < 20.5  # chi-square, 5 degrees of freedom, p = 0.001
    for name in ("row", "column"):
        assert draws[name].amin() < 5
        assert 475 < draws[name].amax() < 480
        assert abs(float(draws[name].double().mean()) - 239.5) < 10


def test_images_larger_than_the_textures_are_covered():
    images = torch.zeros(1, 1, 500, 1000, dtype=torch.uint8)
    found = corrupt_batch(images, "frost", 1, seed=0, indices=torch.arange(1))
    assert torch.equal(found[0, 0, :20, :40], found[0, 0, 480:, 480:520])


def test_files_of_a_folder_take_the_place_of_textures(folder):
    images = pictures(4, 48, 40)
    own = corrupt_batch(images, "frost", 3, seed=0, indices=torch.arange(4))
    other = corrupt_batch(images, "frost", 3, seed=0, indices=torch.arange(4), frost_folder=folder)
    assert not torch.equal(own, other)
    array = images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(
        corrupt(array, "frost", 3, seed=0, frost_folder=str(folder)), other.permute(0, 2, 3, 1).numpy()
    )
    for name in ("fog", "brightness"):
        plain = corrupt(array, name, 3, seed=0)
        assert np.array_equal(corrupt(array, name, 3, seed=0, frost_folder=folder / "nowhere"), plain)
    draws = {"texture": torch.tensor([1]), "row": torch.tensor([7]), "column": torch.tensor([30])}
    found = frost_from(folder).apply(images[:1], Frost(0.7, 0.7, 1), draws)
    crop = frost_files(folder, (48, 40), 1)[1][:, 7:55, 30:70]
    assert (found[0] - (0.7 * (images[0].double() + crop)).clamp(0, 255)).abs().max() < 1 + 1e-9


def test_files_are_resized_as_the_reference_does(folder):
    full = frost_files(folder, (64, 64), 1)
    assert [tuple(texture.shape) for texture in full][:2] == [
        (3, 364, 441),
        (3, 375, 441),
    ]  # 330 * 1.1 is a little above 363 in floating point
    assert len(frost_files(folder, (64, 64), 3)) == 5
    assert frost_files(folder, (64, 64), 3)[0].shape == (3, 99, 120)
    assert frost_files(folder, (32, 32), 5)[1].shape == (3, 68, 80)
    magnified = frost_files(folder, (400, 300), 1)[0]  # 400 / 330 covers the image, a tenth more leaves room
    assert magnified.shape == (3, 441, 534)
    assert all(min(texture.shape[1:]) > 150 for texture in frost_files(folder, (150, 150), 3))


def test_cubic_convolution_reproduces_lines_and_constants(tmp_path):
    ramp = np.broadcast_to(np.arange(240)[None, :, None].astype(np.uint8), (200, 240, 3))
    for name in FILES:
        Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / name, format="PNG")
    found = frost_files(tmp_path, (32, 32), 1)[0][0].double()
    expected = (torch.arange(264) + 0.5) * 240 / 264 - 0.5
    assert found.shape == (221, 264)
    assert (found[:, 5:-5] - expected[5:-5]).abs().max() < 0.7
    assert (found - found[:1]).abs().max() <= 1  # each weight is rounded on its own, as in the reference


def test_folders_have_identities(folder):
    first = frost_identity(folder)
    assert first == frost_identity(str(folder))
    assert len(first) == len(OWN)
    (folder / "frost3.png").write_bytes((folder / "frost2.png").read_bytes())
    assert frost_identity(folder) not in (first, OWN)


def test_missing_and_broken_files_are_told(folder):
    (folder / "frost2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"frost picture .*frost2.png cannot be read: .* Copy it anew"):
        corrupt(np.zeros((1, 32, 32, 3), dtype=np.uint8), "frost", 1, seed=0, frost_folder=folder)
    (folder / "frost2.png").unlink()
    (folder / "frost6.jpg").unlink()
    message = r"frost pictures .* has no frost2.png, frost6.jpg. Give the folder of the six original files"
    with pytest.raises(DataError, match=message):
        corrupt(np.zeros((1, 32, 32, 3), dtype=np.uint8), "frost", 1, seed=0, frost_folder=folder)
    with pytest.raises(DataError, match=message):
        frost_identity(folder)
