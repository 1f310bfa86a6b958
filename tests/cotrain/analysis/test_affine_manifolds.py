"""Warped images are SciPy's, corners move as far as was asked for, and neither batches nor seeds mix anything up."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from cotrain.analysis import AffineManifolds, affine_geometry, affine_manifolds, extract, manifold_geometry
from cotrain.data import ImageRows
from cotrain.data._image_rows import MappedImages
from cotrain.errors import DataError, ModelError

LINES = ["rotation", "x_scale", "x_shear", "x_translation", "y_scale", "y_shear", "y_translation"]
RANDOM = ["affine", "shear", "translation", "translation_and_shear"]
CORNERS = [(-1, -1), (1, -1), (-1, 1), (1, 1)]  # x, y


def smooth(count=3, channels=2, height=40, width=48, seed=0):
    """Random images, blurred."""
    drawn = np.random.default_rng(seed).random((count, channels, height, width))
    return torch.from_numpy(ndimage.gaussian_filter(drawn, (0, 0, 2, 2))).float()


def centroid(image):
    """x and y of the middle of a blob, in pixels about the middle of the image."""
    weights = image / image.sum()
    places = [np.arange(n) - (n - 1) / 2 for n in reversed(image.shape)]
    return np.array([(weights.sum(0) * places[0]).sum(), (weights.sum(1) * places[1]).sum()])


@pytest.mark.parametrize("family", LINES)
def test_a_spot_at_a_corner_of_the_object_moves_as_far_as_was_asked_for(family):
    """The seen displacement: blobs at the four corners, their centroids before and after."""
    side, pixels = 48, 8.0
    frame = np.arange(145) - 72.0  # odd, so that blobs lie on pixels
    blobs = np.stack(
        [np.exp(-((frame - x * 24) ** 2 + ((frame - y * 24) ** 2)[:, None]) / (2 * 2.0**2)) for x, y in CORNERS]
    )
    moved = affine_manifolds(torch.from_numpy(blobs[:, None]), family, pixels, 5, size=97, object_size=side)
    shown = moved[:].numpy().reshape(4, 5, 97, 97)
    seen = np.array(
        [
            [np.linalg.norm(centroid(image) - np.array(corner) * 24) for image in images]
            for images, corner in zip(shown, CORNERS, strict=True)
        ]
    )
    assert seen.max() == pytest.approx(pixels, abs=0.05)
    np.testing.assert_allclose(seen.T, moved.displacements()[0], atol=0.05)
    np.testing.assert_allclose(shown[:, 2], blobs[:, 24:-24, 24:-24], atol=1e-9)  # the middle is the image as it is
    if family != "rotation":  # along its axis alone, and to both sides
        axis = "xy".index(family[0])
        paths = np.array([[centroid(image) for image in images] for images in shown])
        assert np.ptp(paths[..., 1 - axis], axis=1).max() < 0.05 < np.ptp(paths[..., axis], axis=1).max()
    else:
        turned = centroid(shown[3, 4]) - centroid(shown[3, 2])  # the corner on the lower right goes left and down
        assert turned[0] < -3 and turned[1] > 3
    assert len(moved.values) == 5 and (np.diff(moved.values) > 0).all()


def test_values_of_each_family_are_those_of_the_published_table():
    images, s = torch.rand(1, 1, 144, 144), 16 / 24
    values = {family: affine_manifolds(images, family, 16, 7, size=64).values for family in LINES}
    np.testing.assert_allclose(values["x_translation"], np.linspace(-s, s, 7), atol=1e-15)
    np.testing.assert_allclose(values["y_shear"], np.linspace(-s, s, 7), atol=1e-15)
    np.testing.assert_allclose(values["x_scale"], np.logspace(-np.log10(1 + s), np.log10(1 + s), 7))
    turn = 2 * math.asin(s / math.sqrt(8))
    np.testing.assert_allclose(values["rotation"], np.linspace(-turn, turn, 7), atol=1e-15)


@pytest.mark.parametrize("family", RANDOM)
def test_random_maps_move_corners_no_farther_and_differ_among_images(family):
    moved = affine_manifolds(torch.rand(3, 1, 72, 80), family, 4.0, 400, size=(40, 48), object_size=30, seed=1)
    away = np.sqrt((moved.displacements() ** 2).mean(2))
    assert away.max() <= 4 and np.percentile(away, 95) > 3 and away.min() < 1.5
    change = moved.maps - np.eye(2, 3)
    free = {
        "affine": np.ones((2, 3), bool),
        "shear": np.array([[0, 1, 0], [1, 0, 0]], bool),
        "translation": np.array([[0, 0, 1], [0, 0, 1]], bool),
        "translation_and_shear": np.array([[0, 1, 1], [1, 0, 1]], bool),
    }[family]
    assert (change[:, :, free] != 0).all() and not change[:, :, ~free].any() and moved.values is None
    assert np.abs(change.mean((0, 1))).max() < 0.05 * np.abs(change).max()  # around the image as it is
    assert not np.array_equal(moved.maps[0], moved.maps[1])
    few = affine_manifolds(torch.rand(2, 1, 72, 80), family, 4.0, 20, size=(40, 48), object_size=30, seed=1)
    np.testing.assert_array_equal(few.maps, moved.maps[:2, :20])  # neither more points nor more images change them
    other = affine_manifolds(torch.rand(1, 1, 72, 80), family, 4.0, 20, size=(40, 48), object_size=30, seed=2)
    assert not np.array_equal(other.maps[0], few.maps[0])


def test_nothing_from_outside_is_shown():
    """A white image stays white, for maps that would show what is outside are drawn again."""
    white = torch.ones(2, 1, 40, 40)
    narrow = affine_manifolds(white, "affine", 6.0, 200, size=34, seed=0)
    free = affine_manifolds(white, "affine", 6.0, 200, size=34, fill=0.0, seed=0)
    assert (narrow[:] == 1).all() and (free[:] < 0.5).any()
    assert narrow.displacements().mean() < free.displacements().mean()


@pytest.mark.parametrize(("fill", "mode"), [(None, "constant"), ("edge", "nearest")])
def test_a_warped_image_is_that_of_scipy(fill, mode):
    images = smooth()
    pixels, size = (2.0, (32, 36)) if fill is None else (9.0, None)
    moved = affine_manifolds(images.numpy(), "affine", pixels, 4, size=size, object_size=24, fill=fill, seed=3)
    shown = moved[:].numpy().reshape(3, 4, 2, *moved.size)
    half, middle = 12.0, (np.array([40, 48]) - 1) / 2
    for image, maps, found in zip(images.numpy(), moved.maps, shown, strict=True):
        for one, picture in zip(maps, found, strict=True):
            back = np.linalg.inv(one[:, :2][::-1, ::-1])  # SciPy counts rows first
            start = middle - back @ ((np.array(moved.size) - 1) / 2 + half * one[::-1, 2])
            for channel in range(2):
                expected = ndimage.affine_transform(
                    image[channel], back, start, moved.size, order=1, mode=mode, prefilter=False
                )
                np.testing.assert_allclose(picture[channel], expected, atol=2e-5)


def test_outside_may_be_a_grey_level():
    images = torch.full((1, 1, 20, 20), 255, dtype=torch.uint8)
    moved = affine_manifolds(images, "x_translation", 5.0, 3, object_size=10, fill=0.25)
    left, middle, right = moved[:].numpy()[:, 0]
    expected = np.where(np.arange(20) < 15, 1, 0.25) * np.ones((20, 1))
    np.testing.assert_allclose(middle, 1, atol=1e-6)
    np.testing.assert_allclose(left, expected, atol=1e-5)
    np.testing.assert_allclose(right, expected[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("family", ["rotation", "affine"])
def test_slices_devices_and_kinds_of_images_change_nothing(family):
    images = (255 * smooth(4, 3, 40, 40)).to(torch.uint8)
    moved = affine_manifolds(images, family, 2.0, 5, size=32, seed=1)
    whole = moved[:]
    assert isinstance(moved, AffineManifolds) and whole.shape == moved.shape == (20, 3, 32, 32)
    assert whole.dtype == torch.float32 and whole.min() >= 0 and whole.max() <= 1
    for step in (1, 3, 7):
        assert torch.equal(torch.cat([moved[at : at + step] for at in range(0, 20, step)]), whole)
    rows = ImageRows(MappedImages(images), torch.arange(4))
    for other in (rows, images.numpy(), images.permute(0, 2, 3, 1).numpy()):
        assert torch.equal(affine_manifolds(other, family, 2.0, 5, size=32, seed=1)[:], whole)
    standing = affine_manifolds(images[1:2], "rotation", 2.0, 5, size=32)[2:3]
    np.testing.assert_allclose(255 * standing, images[1:2, :, 4:-4, 4:-4], atol=1e-3)


BAD = (  # what may not be asked for, and what is said
    ({"family": "x_rotation"}, "no affine family 'x_rotation'.*rotation"),
    ({"displacement": 0}, "displacement above 0"),
    ({"points": 1}, "2 points or more"),
    ({"size": 25}, "even number of pixels.*25 x 25"),
    ({"size": 34}, "no larger than they are"),
    ({"size": None}, "up to 2 pixels outside the images of 32 x 32"),
    ({"family": "rotation", "displacement": 60.0, "fill": 0}, "half a turn moves it by 25.46"),
    ({"family": "translation", "size": None}, "Of .* random maps of the family 'translation', 0 show nothing"),
    ({"fill": "mirror"}, "found fill='mirror'"),
    ({"images": torch.zeros(2, 32, 32)}, "channels, height, width"),
    ({"images": torch.zeros(2, 1, 32, 32, dtype=torch.int64)}, "uint8 or floating-point"),
)


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_what_cannot_be_is_refused_at_once(changes, said):
    given = {
        "images": torch.zeros(2, 1, 32, 32),
        "family": "x_translation",
        "displacement": 2.0,
        "points": 3,
        "size": 24,
    }
    with pytest.raises(DataError, match=said):
        affine_manifolds(**{**given, **changes})


# ---- in the layers of a network


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 14 * 16, 30))


def test_geometry_of_layers_is_that_of_their_features():
    moved = affine_manifolds(smooth(8), "affine", 2.0, 9, size=(32, 36), object_size=24)
    model = network()
    found = affine_geometry(model, moved, ["0", "3"], k=0, n_t=100, batch=7, seed=5, memory_budget=1e9)
    assert list(found) == ["0", "3"]
    with torch.no_grad():
        features = {"0": model[0](moved[:]).flatten(1), "3": model(moved[:])}
    for layer, expected in features.items():
        clouds = [cloud.T.numpy() for cloud in expected.split(9)]
        same = manifold_geometry(clouds, k=0, n_t=100, seed=5)
        np.testing.assert_allclose(found[layer].capacity, same.capacity, rtol=1e-4)
        np.testing.assert_allclose(found[layer].radius, same.radius, rtol=1e-4)
    assert found["0"].neurons == 6 * 14 * 16
    with pytest.raises(DataError, match=r"all 72 warped images.*\(71, 3\)"):
        moved.split(torch.zeros(71, 3))


def test_images_are_made_a_batch_at_a_time(monkeypatch):
    made, slices = [], AffineManifolds.__getitem__

    def watched(self, index):
        found = slices(self, index)
        made.append(len(found))
        return found

    monkeypatch.setattr(AffineManifolds, "__getitem__", watched)
    moved = affine_manifolds(smooth(8), "x_shear", 2.0, 9, size=(32, 36))
    affine_geometry(network(), moved, "3", k=0, n_t=10, batch=7)
    assert max(made) == 7 and sum(made) >= 72
    with pytest.raises(ModelError, match="memory"):
        affine_geometry(network(), moved, "3", memory_budget=1e4)


def test_wide_layers_are_projected_and_larger_movements_are_harder():
    images = smooth(12, 1, 84, 84)
    found = {}
    for pixels in (1.0, 4.0):
        moved = affine_manifolds(images, "x_translation", pixels, 9, size=72)
        found[pixels] = affine_geometry(nn.Sequential(nn.Flatten()), moved, "0", k=0)["0"]
    whole = manifold_geometry(moved.split(extract(nn.Sequential(nn.Flatten()), moved, "0")["0"]), k=0)
    assert 4000 < found[4.0].neurons <= 4096 < whole.neurons == 72 * 72
    np.testing.assert_allclose(found[4.0].mean_capacity, whole.mean_capacity, rtol=0.05)
    assert found[4.0].mean_capacity < 0.95 * found[1.0].mean_capacity
    assert (found[4.0].radius > 1.5 * found[1.0].radius).all()
