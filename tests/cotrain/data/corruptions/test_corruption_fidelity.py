"""Given the same draws, each corruption is what its formula says: beside SciPy, Pillow, colorsys and plain loops."""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from corruption_images import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.stats import chisquare, poisson

from cotrain.data.corruptions import _defocus_blur as defocus
from cotrain.data.corruptions import _motion_blur as motion
from cotrain.data.corruptions import _zoom_blur as zoom
from cotrain.data.corruptions import corrupt_batch
from cotrain.data.corruptions._corrupt import CORRUPTIONS
from cotrain.data.corruptions._fixed_point import ONE, fixed_point
from cotrain.data.corruptions._presets import PARAMETERS, PRESETS
from cotrain.data.corruptions._random import ImageRandom

SEVERITIES = range(1, 6)


def applied(images, name, severity, preset="imagenet_c", **draws):
    return CORRUPTIONS[name].apply(images, PARAMETERS[name][preset][severity - 1], draws)


def unit(images):
    return images.double().numpy() / 255


def truncated(values):
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def assert_truncated(found, exact, error=1e-6):
    """Found are the `exact` values of 0..1 in levels, truncated, but for so small an error of levels.

    So they may lie a level beside the reference where its value is a whole level, and nowhere else.
    """
    levels, found = np.clip(exact, 0, 1) * 255, found.numpy().astype(int)
    assert (found >= np.floor(levels - error)).all()
    assert (found <= np.floor(levels + error)).all()


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("preset", PRESETS)
def test_normal_noise(preset):
    images = pictures()
    draws = CORRUPTIONS["gaussian_noise"].draw(ImageRandom(0, torch.arange(3)), images.shape[1:], None)
    normal = draws["normal"].double().numpy()
    for severity in SEVERITIES:
        scale = PARAMETERS["gaussian_noise"][preset][severity - 1]
        expected = unit(images) + normal * scale
        assert_truncated(applied(images, "gaussian_noise", severity, preset, **draws), expected, 1e-4)
        scale = PARAMETERS["speckle_noise"][preset][severity - 1]
        expected = unit(images) + unit(images) * normal * scale
        assert_truncated(applied(images, "speckle_noise", severity, preset, **draws), expected, 1e-4)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("byte", [0, 1, 40, 128, 254, 255])
def test_shot_noise_is_poisson(byte, preset):
    images = torch.full((4, 3, 100, 100), byte, dtype=torch.uint8)
    for severity in SEVERITIES:
        photons = PARAMETERS["shot_noise"][preset][severity - 1]
        found = corrupt_batch(images, "shot_noise", severity, seed=3, indices=torch.arange(4), preset=preset)
        observed = np.bincount(found.flatten().numpy(), minlength=256)
        counts = np.arange(3 * photons + 20)
        expected = np.bincount(
            truncated(counts / photons), poisson.pmf(counts, byte / 255 * photons) * found.numel(), 256
        )
        assert observed[expected < 1e-3].sum() == 0
        often = expected > 5
        observed, expected = (np.append(numbers[often], numbers[~often].sum()) for numbers in (observed, expected))
        observed, expected = observed[expected > 1], expected[expected > 1]
        if len(observed) > 1:
            assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("preset", PRESETS)
def test_impulse_noise_is_salt_and_pepper(preset):
    images = torch.full((4, 3, 100, 100), 77, dtype=torch.uint8)
    for severity, amount in zip(SEVERITIES, PARAMETERS["impulse_noise"][preset], strict=True):
        found = corrupt_batch(images, "impulse_noise", severity, seed=1, indices=torch.arange(4), preset=preset)
        shares = np.bincount(found.flatten().numpy(), minlength=256)
        assert shares[[0, 77, 255]].sum() == found.numel()
        expected = np.array([amount / 2, 1 - amount, amount / 2]) * found.numel()
        assert chisquare(shares[[0, 77, 255]], expected).pvalue > 1e-4


def test_impulses_of_channels_are_independent():
    images = torch.full((2, 3, 100, 100), 77, dtype=torch.uint8)
    struck = corrupt_batch(images, "impulse_noise", 5, seed=1, indices=torch.arange(2)) != 77
    assert abs(np.corrcoef(struck.transpose(0, 1).flatten(1).numpy())[np.triu_indices(3, 1)]).max() < 0.03


# ---------------------------------------------------------------- blurs


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3))
def test_fixed_point_weights_sum_to_one(weights):
    found = fixed_point(weights)
    assert sum(found) == ONE
    assert all(
        abs(whole - weight / math.fsum(weights) * ONE) <= 1 for whole, weight in zip(found, weights, strict=True)
    )


def plain_disk(radius, smoothing):
    """The kernel as the reference makes it, pixel by pixel, with OpenCV's mirrored border."""
    reach, half = (8, 1) if radius <= 8 else (radius, 2)
    size = 2 * reach + 1
    disk = [[float((x - reach) ** 2 + (y - reach) ** 2 <= radius**2) for x in range(size)] for y in range(size)]
    disk = np.array(disk) / np.sum(disk)
    gauss = np.array([math.exp(-((i - half) ** 2) / 2 / smoothing**2) for i in range(2 * half + 1)])
    padded = np.pad(disk, half, mode="reflect")
    kernel = np.zeros((size, size))
    for i in range(2 * half + 1):
        for j in range(2 * half + 1):
            kernel += gauss[i] * gauss[j] / gauss.sum() ** 2 * padded[i : i + size, j : j + size]
    return kernel


@pytest.mark.parametrize("preset", PRESETS)
def test_defocus_blur(preset):
    images = pictures()
    for severity, parameters in zip(SEVERITIES, PARAMETERS["defocus_blur"][preset], strict=True):
        kernel = plain_disk(*parameters)
        blurred = ndimage.correlate(unit(images), kernel[None, None], mode="mirror")
        assert_truncated(applied(images, "defocus_blur", severity, preset), blurred, 0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_defocus_kernels_are_exact_in_float32(preset):
    for parameters in PARAMETERS["defocus_blur"][preset]:
        kernel, _ = defocus.disk_kernel(*parameters)
        assert 0.99 * ONE < kernel.sum() <= ONE
        assert np.array_equal(kernel, kernel.T)
        assert np.array_equal(kernel, kernel[::-1])
        edges = np.diff(-kernel, prepend=0, append=0)
        if np.count_nonzero(edges) < np.count_nonzero(kernel):
            assert edges[edges > 0].sum() * 255 < 2**24  # the largest sum on the way
        images = pictures(2).float()
        assert torch.equal(defocus._by_edges(images, kernel), defocus._by_taps(images, kernel))


def plain_motion(image, radius, sigma, angle):
    """Sums over the line's pixels, for each pixel on its own; (height, width) in, real numbers out."""
    height, width = image.shape
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    blurred = np.zeros((height, width))
    for i, weight in enumerate(weights):
        down = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        if abs(down) >= height or abs(right) >= width:
            break
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        blurred += weight * image[rows][:, columns]
    return blurred


@pytest.mark.parametrize("preset", PRESETS)
def test_motion_blur(preset):
    images = pictures(4, 36, 32)
    angles = torch.tensor([-45.0, -7.3, 0.0, 33.1])
    for severity, parameters in zip(SEVERITIES, PARAMETERS["motion_blur"][preset], strict=True):
        expected = np.array(
            [
                [plain_motion(channel.double().numpy(), *parameters, angle) for channel in image]
                for image, angle in zip(images, angles.tolist(), strict=True)
            ]
        )
        assert_truncated(applied(images, "motion_blur", severity, preset, angle=angles), expected / 255, 0.05)


@given(
    st.integers(32, 45),
    st.integers(32, 45),
    st.lists(st.floats(-180, 180), min_size=1, max_size=3),
    st.sampled_from([(10, 3), (20, 15), (3, 1), (40, 30)]),
)
@settings(max_examples=25)
def test_both_ways_to_blur_along_a_line_agree(height, width, angles, line):
    weights = motion.line_weights(*line)
    lines = [motion._steps(angle, len(weights)) for angle in angles]
    layers = pictures(len(angles), height, width).float()
    found = motion._by_shifts(layers, weights, lines)
    assert torch.equal(found, motion._by_gathers(layers, weights, lines))
    assert torch.equal(motion._by_shifts(layers.double() * 4099, weights, lines), found.double() * 4099)


@pytest.mark.parametrize("preset", PRESETS)
def test_zoom_blur(preset):
    images = pictures(2, 64, 45)
    for severity, (end, step, middle) in zip(SEVERITIES, PARAMETERS["zoom_blur"][preset], strict=True):
        values, total = unit(images), unit(images)
        factors = np.arange(1, end, step)
        for factor in factors:
            part = [math.ceil(size / factor) for size in (64, 45)]
            first = [(size - kept) // 2 for size, kept in zip((64, 45), part, strict=True)]
            cut = values[:, :, first[0] : first[0] + part[0], first[1] : first[1] + part[1]]
            large = ndimage.zoom(cut, (1, 1, factor, factor), order=1)
            top, left = ((large.shape[2] - 64) // 2, (large.shape[3] - 45) // 2) if middle else (0, 0)
            total = total + large[:, :, top : top + 64, left : left + 45]
        assert_truncated(applied(images, "zoom_blur", severity, preset), total / (len(factors) + 1), 0.05)


def test_zoom_operators_keep_the_brightness():
    operator = zoom.zoom_operator(40, 33, 1.31, 0.03, False)
    assert np.array_equal(operator.sum(1), np.full(40 * 33, ONE))
    assert operator.data.min() >= 1
    pixels = pictures(2, 40, 33).flatten(2).permute(2, 0, 1).flatten(1).float()
    places = zoom._places(40, 33, (1.31, 0.03, False), pixels.device)
    assert np.array_equal(zoom._by_gathers(pixels, *places).numpy(), operator @ pixels.numpy())


@pytest.mark.parametrize("preset", PRESETS)
def test_gaussian_blur(preset):
    images = pictures()
    for severity, sigma in zip(SEVERITIES, PARAMETERS["gaussian_blur"][preset], strict=True):
        blurred = ndimage.gaussian_filter(unit(images), (0, 0, sigma, sigma), mode="nearest", truncate=4)
        assert_truncated(applied(images, "gaussian_blur", severity, preset), blurred, 0.01)


# ---------------------------------------------------------------- light


def by_colorsys(images, change):
    """Each pixel through Python's own hue, saturation and value."""
    found = np.empty(images.shape)
    for index in np.ndindex(images.shape[0], *images.shape[2:]):
        pixel = index[0], slice(None), *index[1:]
        found[pixel] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*(images[pixel].double() / 255).tolist())))
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_brightness_and_saturation(preset):
    images = pictures(1, 32, 40)
    images[0, :, :4, :4] = 100  # grey pixels, of which saturation makes red ones
    for severity in (1, 3, 5):
        added = PARAMETERS["brightness"][preset][severity - 1]
        expected = by_colorsys(images, lambda h, s, v, added=added: (h, s, min(v + added, 1)))
        assert_truncated(applied(images, "brightness", severity, preset), expected)
        factor, added = PARAMETERS["saturate"][preset][severity - 1]
        expected = by_colorsys(images, lambda h, s, v, f=factor, a=added: (h, min(s * f + a, 1), v))
        assert_truncated(applied(images, "saturate", severity, preset), expected, 1e-4)


def test_light_of_grey_images():
    grey = pictures(channels=1)
    assert torch.equal(applied(grey, "saturate", 5), grey)
    expected = truncated(unit(grey) + 0.3)
    assert np.array_equal(applied(grey, "brightness", 3).numpy(), expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_contrast(preset):
    images = pictures()
    for severity, factor in zip(SEVERITIES, PARAMETERS["contrast"][preset], strict=True):
        means = unit(images).mean((2, 3), keepdims=True)
        expected = (unit(images) - means) * factor + means
        assert_truncated(applied(images, "contrast", severity, preset), expected, 1e-4)


# ---------------------------------------------------------------- pixels


def by_pillow(images, change):
    found = [np.asarray(change(Image.fromarray(image))) for image in images.permute(0, 2, 3, 1).squeeze(3).numpy()]
    return np.stack(found).reshape(len(images), *images.shape[2:], images.shape[1]).transpose(0, 3, 1, 2)


@given(st.integers(32, 80), st.integers(32, 80), st.sampled_from([1, 3]), st.integers(1, 100), st.integers(0, 99))
@settings(max_examples=40)
def test_jpeg_is_pillows_to_the_bit(height, width, channels, quality, seed):
    images = pictures(2, height, width, channels)
    images[1] = torch.randint(0, 256, images[1].shape, generator=torch.Generator().manual_seed(seed))

    def coded(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    assert np.array_equal(CORRUPTIONS["jpeg_compression"].apply(images, quality, {}).numpy(), by_pillow(images, coded))


BOX = Image.Resampling.BOX
SCALES = sorted({scale for table in PARAMETERS["pixelate"].values() for scale in table})


@given(st.integers(32, 90), st.integers(45, 230), st.sampled_from([1, 3]), st.sampled_from(SCALES))
@settings(max_examples=40)
def test_pixelate_is_pillows_to_the_bit(height, width, channels, scale):
    """Of images up to twice as tall as wide: of taller ones, this Pillow makes the rows narrow first."""
    images = pictures(1, height, width, channels)

    def pixelated(image):
        small = image.resize((int(width * scale), int(height * scale)), BOX)
        return small.resize((width, height), Image.Resampling.NEAREST)

    assert np.array_equal(CORRUPTIONS["pixelate"].apply(images, scale, {}).numpy(), by_pillow(images, pixelated))


@pytest.mark.parametrize(("preset", "side"), [("tiny_imagenet_c", 64), ("cifar_c", 32)])
def test_small_presets_enlarge_pixels_with_a_box(preset, side):
    """At the sizes that they were made for, Hendrycks' box filter and ours give the same."""
    images = pictures(1, side, side)
    for scale in PARAMETERS["pixelate"][preset]:
        small = int(side * scale)
        expected = by_pillow(images, lambda image, n=small: image.resize((n, n), BOX).resize((side, side), BOX))
        assert np.array_equal(CORRUPTIONS["pixelate"].apply(images, scale, {}).numpy(), expected)


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "defocus_blur", "zoom_blur", "pixelate", "jpeg_compression"]
)
def test_a_grey_image_is_a_channel_of_three(name):
    grey = pictures(channels=1)
    for severity in SEVERITIES:
        colour = applied(grey.expand(-1, 3, -1, -1).contiguous(), name, severity)
        assert torch.equal(applied(grey, name, severity).expand(-1, 3, -1, -1), colour)
