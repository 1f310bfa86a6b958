"""Each image is varied on its own: geometry, colour and noise against plain loops, Pillow, SciPy and torchvision."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats
from torchvision.transforms import functional

from cotrain.config import Config
from cotrain.data._augment import QUARTER, YIQ, AugmentConfig, augment
from cotrain.errors import ConfigError, DataError

SEEDS = st.integers(0, 2**63 - 1)
LUMA = torch.tensor([0.299, 0.587, 0.114])
EVERYTHING = AugmentConfig(
    shift=2, mirror=True, rotation=20, scale=(0.8, 1.3), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1,
    grey=0.2, noise=((0.1, 0.3),), noise_snr=((2.0, 0.3),),
)  # fmt: skip


def pictures(count=6, channels=3, height=5, width=7, low=1, high=256, seed=0):
    """uint8 images of independent pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, channels, height, width), generator=generator).to(torch.uint8)


def smooth(count, channels, height, width, low=0.0, high=1.0):
    """float32 images without single-pixel detail."""
    noise = np.random.default_rng(0).normal(size=(count, channels, height, width))
    blurred = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    span = np.ptp(blurred, axis=(1, 2, 3), keepdims=True)
    unit = (blurred - blurred.min((1, 2, 3), keepdims=True)) / span
    return torch.from_numpy(low + (high - low) * unit).float()


def assert_uniform(values, low, high):
    values = np.asarray(values, float)
    assert values.min() >= low - 1e-3 and values.max() <= high + 1e-3
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def assert_share(happened, share):
    count = len(happened)
    assert abs(int(happened.sum()) - count * share) < 4 * (count * share * (1 - share)) ** 0.5 + 1e-9


def looped(image, down, right, mirrored, edges):
    """A plain loop: shifted, then left and right are exchanged."""
    height, width = image.shape[1:]
    found = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            from_row, from_column = row + down, (width - 1 - column if mirrored else column) + right
            if edges == "repeat":
                from_row, from_column = min(max(from_row, 0), height - 1), min(max(from_column, 0), width - 1)
            if 0 <= from_row < height and 0 <= from_column < width:
                found[:, row, column] = image[:, from_row, from_column]
    return found


@pytest.mark.parametrize("edges", ["zeros", "repeat"])
@pytest.mark.parametrize(("shift", "mirror"), [(1, False), (2, True), (0, True), (6, True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shift_and_mirror_are_those_of_a_plain_loop(edges, shift, mirror, channels):
    images = pictures(count=1, channels=channels, height=4, width=5).expand(2000, -1, -1, -1)
    found = augment(AugmentConfig(shift=shift, mirror=mirror, edges=edges))(images, 7)
    assert found.dtype == torch.uint8 and found.shape == images.shape
    span = range(-shift, shift + 1)
    ways = [looped(images[0], d, r, m, edges) for d in span for r in span for m in {False, mirror}]
    seen, counts = torch.unique(found, dim=0, return_counts=True)
    possible = {}
    for way in ways:
        possible[way.numpy().tobytes()] = possible.get(way.numpy().tobytes(), 0) + 1
    assert {image.numpy().tobytes() for image in seen} == set(possible)
    expected = [possible[image.numpy().tobytes()] * 2000 / len(ways) for image in seen]
    assert stats.chisquare(counts.numpy(), expected).pvalue > 1e-3, "all ways come about equally often"


def maps(config, count=400, height=30, width=41):
    """From where each pixel comes, read off ramps: (images, 2, 2) and (images, 2), of (x, y) from the centre."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramps = torch.stack([(x + 1) / (width + 1), (y + 1) / (height + 1), torch.ones(height, width)])
    picture = smooth(1, 1, height, width)[0]
    found = augment(config)(torch.cat([ramps, picture]).expand(count, -1, -1, -1), 3)
    assert found.dtype == torch.float32
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    here = torch.stack([x.flatten(), y.flatten()], 1) - centre
    matrices, shifts = [], []
    for image in found:
        inside = (image[2] > 1 - 1e-5).flatten()
        assert inside.sum() > 50
        there = torch.stack([image[0] * (width + 1) - 1, image[1] * (height + 1) - 1], -1).view(-1, 2)[inside] - centre
        place = torch.cat([here[inside], torch.ones(int(inside.sum()), 1)], 1)
        fit = torch.linalg.lstsq(place, there).solution
        assert (place @ fit - there).abs().max() < 1e-2, "the map is affine"
        matrices.append(fit[:2].T)
        shifts.append(fit[2])
    return torch.stack(matrices), torch.stack(shifts), found, picture[0]


def test_rotation_zoom_mirror_and_shift_are_one_map_in_square_pixels():
    matrices, shifts, *_ = maps(AugmentConfig(shift=3, mirror=True, rotation=25, scale=(0.9, 1.4)))
    signs = torch.linalg.det(matrices).sign()
    assert_share(signs < 0, 0.5)
    turns = torch.diag_embed(torch.stack([signs, torch.ones_like(signs)], 1)) @ matrices  # after mirroring is undone
    zoom = turns.det().rsqrt()
    identity = (turns @ turns.mT) * zoom.square()[:, None, None]
    torch.testing.assert_close(identity, torch.eye(2).expand_as(identity), atol=2e-3, rtol=0)
    assert_uniform(zoom, 0.9, 1.4)
    assert_uniform(torch.rad2deg(torch.atan2(turns[:, 1, 0], turns[:, 0, 0])), -25, 25)
    torch.testing.assert_close(shifts, shifts.round(), atol=2e-2, rtol=0)
    for along in shifts.round().T.long():
        assert stats.chisquare((along + 3).bincount(minlength=7).numpy()).pvalue > 1e-3


def test_rotation_is_that_of_pillow():
    matrices, _, found, picture = maps(AugmentConfig(rotation=30), count=40)
    for matrix, result in zip(matrices, found, strict=True):
        angle = float(torch.rad2deg(torch.atan2(matrix[1, 0], matrix[0, 0])))
        expected = Image.fromarray(picture.numpy()).rotate(angle, Image.Resampling.BILINEAR)
        inside = result[2] > 1 - 1e-5
        assert np.abs(np.asarray(expected) - result[3].numpy())[inside.numpy()].max() < 1 / 255


@pytest.mark.parametrize(("edges", "mode"), [("zeros", "grid-constant"), ("repeat", "nearest")])
def test_interpolation_is_that_of_scipy_also_at_the_edges(edges, mode):
    config = AugmentConfig(shift=3, mirror=True, rotation=30, scale=(0.7, 1.5))
    matrices, shifts, _, picture = maps(config, count=30)  # the same draws, whatever the edges
    found = augment(config.replace(edges=edges))(picture.expand(30, 1, -1, -1), 3)
    centre = (np.array(picture.shape) - 1) / 2
    for matrix, shift, result in zip(matrices, shifts, found, strict=True):
        of_rows = matrix.numpy()[::-1, ::-1]
        offset = centre + shift.numpy()[::-1] - of_rows @ centre
        expected = ndimage.affine_transform(picture.numpy(), of_rows, offset, order=1, mode=mode)
        assert np.abs(expected - result[0].numpy()).max() < 2 / 255


@pytest.mark.parametrize("edges", ["zeros", "repeat"])
def test_moving_pixels_and_interpolating_are_the_same_shift(edges):
    images = pictures(count=50)
    config = AugmentConfig(shift=2, mirror=True, edges=edges)
    turned = augment(config.replace(rotation=1e-7))(images, 5)
    torch.testing.assert_close(turned * 255, augment(config)(images, 5).float(), atol=0.01, rtol=0)


def fitted(config, images, seed=0):
    """Each image's colour map, (images, 3, 3) and (images, 3), from pixels none of which were clamped."""
    found = augment(config)(images, seed)
    x, y = images.flatten(2).mT, found.flatten(2).mT
    assert y.min() > 0 and y.max() < 1
    fit = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[..., :1])], 2).double(), y.double()).solution
    return fit[:, :3].mT.float(), fit[:, 3].float(), found


def test_colours_are_mixed_by_maps_of_the_documented_form():
    images = smooth(300, 3, 12, 12, 0.4, 0.6)
    config = AugmentConfig(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)
    matrix, offset, _ = fitted(config, images)
    ones = torch.ones(3)
    gain = (LUMA @ matrix @ ones)[:, None]
    torch.testing.assert_close(matrix @ ones, gain * ones, atol=2e-3, rtol=0)  # grey stays grey
    torch.testing.assert_close(LUMA @ matrix, gain * LUMA, atol=2e-3, rtol=0)  # and luma does not heed chroma
    torch.testing.assert_close(offset, offset.mean(1, keepdim=True).expand(-1, 3), atol=2e-3, rtol=0)
    mean = (images.mean((2, 3)) * LUMA).sum(1)
    brightness = gain[:, 0] + offset.mean(1) / mean
    assert_uniform(brightness, 0.7, 1.3)
    assert_uniform(gain[:, 0] / brightness, 0.6, 1.4)
    # in I and Q the rest is a rotation by the hue times the saturation
    chroma = torch.linalg.solve(YIQ.float(), (YIQ.float() @ matrix / gain[..., None]), left=False)[:, 1:, 1:]
    assert_uniform(chroma.det().sqrt(), 0.5, 1.5)
    assert_uniform(torch.atan2(chroma[:, 1, 0], chroma[:, 0, 0]) / (2 * torch.pi), -0.1, 0.1)
    torch.testing.assert_close(chroma[:, 0, 0], chroma[:, 1, 1], atol=1e-2, rtol=0)


def test_hue_turns_i_and_q_of_the_ntsc_signal_towards_yellow():
    for colour in torch.eye(3).tolist():
        expected = colorsys.rgb_to_yiq(*colour)  # with rounded weights of the luma
        np.testing.assert_allclose(YIQ @ torch.tensor(colour).double(), expected, atol=0.01)
    _, green, blue = (QUARTER @ torch.tensor([1.0, 0, 0]).double()).tolist()
    assert green > 0 > blue
    torch.testing.assert_close(QUARTER @ QUARTER, YIQ[0].expand(3, 3) - torch.eye(3).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("name", "adjusted"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_single_changes_of_colour_are_those_of_torchvision(name, adjusted, as_bytes):
    mild, strong = smooth(40, 3, 12, 12, 0.45, 0.55), smooth(40, 3, 12, 12)
    config = AugmentConfig(**{name: 0.8})
    matrix, _, found = fitted(config, mild)
    factor = {"brightness": matrix.sum((1, 2)) / 3, "contrast": matrix.sum((1, 2)) / 3}.get(name)
    if factor is None:  # of the chroma alone; its projection has the trace 2
        factor = (matrix.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    given_images = (strong * 255).round().byte() if as_bytes else strong
    results = augment(config)(given_images, 0)
    assert results.dtype == torch.float32 and results.min() >= 0 and results.max() <= 1
    for image, result, value in zip(strong, results, factor.tolist(), strict=True):
        torch.testing.assert_close(result, adjusted(image, value), atol=1.5 / 255, rtol=0)  # its 0.2989 is our 0.299
    assert_uniform(factor, 0.2, 1.8)
    assert not torch.equal(found, mild)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_grey_images_change_as_grey_colour_images_do(name):
    grey = smooth(20, 1, 8, 9)
    apply = augment(AugmentConfig(**{name: 0.7}))
    torch.testing.assert_close(apply(grey, 1).expand(-1, 3, -1, -1), apply(grey.expand(-1, 3, -1, -1), 1))


def test_factors_never_fall_below_0():
    images = smooth(200, 1, 6, 6, 0.1, 0.2)
    found = augment(AugmentConfig(brightness=3.0))(images, 0)
    assert_uniform((found / images).mean((1, 2, 3)), 0, 4)


def test_a_share_of_the_images_loses_its_colour():
    images = pictures(count=1000)
    found = augment(AugmentConfig(grey=0.3))(images, 0)
    is_grey = (found - found.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-5
    assert_share(is_grey, 0.3)
    luma = (images * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True) / 255
    expected = torch.where(is_grey[:, None, None, None], luma.expand(-1, 3, -1, -1), images / 255)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_noise_has_each_level_with_its_share_and_the_rest_is_clean():
    levels = ((0.02, 0.1), (0.05, 0.2), (0.1, 0.3))
    images = torch.full((3000, 1, 24, 24), 0.5)
    found = augment(AugmentConfig(noise=levels))(images, 0)
    noise = found - images
    deviation = noise.std((1, 2, 3))
    assert_share(deviation == 0, 0.4)
    for std, share in levels:
        of_level = (deviation / std - 1).abs() < 0.2
        assert_share(of_level, share)
        values = noise[of_level].flatten()
        assert abs(values.std() / std - 1) < 0.01 and abs(values.mean()) < 5 * std / len(values) ** 0.5
        assert stats.kstest(values[:20000].double().numpy() / std, "norm").pvalue > 1e-3
    first, second = noise[deviation > 0].flatten(1)[:-1], noise[deviation > 0].flatten(1)[1:]
    assert abs(torch.nn.functional.cosine_similarity(first, second).mean()) < 0.01, "each image has noise of its own"


def test_noise_of_a_signal_to_noise_ratio_goes_by_the_variance_of_the_image():
    images = smooth(600, 1, 24, 24, 0.45, 0.55)
    found = augment(AugmentConfig(noise=((0.05, 0.3),), noise_snr=((4.0, 0.3), (0.25, 0.4))))(images, 0)
    variance = (found - images).var((1, 2, 3))
    ratio = images.var((1, 2, 3)) / variance
    assert_share(((ratio / 4) - 1).abs() < 0.25, 0.3)
    assert_share(((ratio / 0.25) - 1).abs() < 0.25, 0.4)
    assert_share((variance.sqrt() / 0.05 - 1).abs() < 0.1, 0.3)


def test_noise_is_clamped_and_comes_after_geometry():
    images = pictures(count=20, low=0, height=20, width=20)
    grey, always = torch.full((20, 1, 8, 8), 0.5), augment(AugmentConfig(noise=((0.05, 1.0),)))
    assert (always(grey, 0) == always(grey, 1)).float().mean() < 0.01, "each seed has noise of its own"
    found = augment(AugmentConfig(shift=8, noise=((0.5, 1.0),)))(images, 0)
    assert found.min() == 0 and found.max() == 1
    black = augment(AugmentConfig(shift=8))(images, 0) == 0
    assert (found[black] > 0).float().mean() > 0.4, "beyond the edges there is noise, too"


@given(SEEDS)
def test_equal_seeds_give_equal_images_and_others_do_not(seed):
    images = pictures(count=20)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    apply = augment(EVERYTHING)
    found = apply(images, seed)
    assert torch.equal(found, apply(images, seed))
    assert not torch.equal(found, apply(images, (seed + 1) % 2**63))
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator is not used"
    torch.testing.assert_close(found, apply(images / 255, seed), atol=1e-4, rtol=0)


@given(SEEDS, st.integers(1, 20))
def test_a_draw_is_that_of_the_place_in_the_batch(seed, count):
    images = pictures(count=20)
    apply = augment(EVERYTHING.replace(noise=(), noise_snr=()))
    torch.testing.assert_close(apply(images, seed)[:count], apply(images[:count], seed), atol=1e-5, rtol=0)


def test_draws_do_not_depend_on_what_else_is_switched_on():
    images = pictures(count=50, low=100, high=101)
    images[:, :, 0] = 0
    moved = augment(AugmentConfig(shift=3))(images, 2)
    also = augment(AugmentConfig(shift=3, mirror=True, brightness=0.1, noise=((0.01, 0.5),)))(images, 2)
    dark = moved[:, 0].float().mean(2) == 0
    assert torch.equal(dark, also[:, 0].mean(2) < 0.1)


@pytest.mark.parametrize("config", [EVERYTHING, AugmentConfig(shift=2, mirror=True),
    AugmentConfig(noise=((0.1, 0.5),)), AugmentConfig(hue=0.2), AugmentConfig(rotation=9.0)])  # fmt: skip
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "float16", "transposed"])
def test_the_images_that_are_given_are_not_changed(config, kind):
    images = pictures()
    if kind.startswith("float"):
        images = (images / 255).to(getattr(torch, kind))
    if kind == "transposed":
        images = images.mT
    before = images.clone()
    found = augment(config)(images, 1)
    assert torch.equal(images, before)
    assert found.data_ptr() != images.data_ptr() and not found.requires_grad
    assert torch.equal(found, augment(config)(before.contiguous(), 1))
    if config == AugmentConfig(shift=2, mirror=True):
        assert found.dtype == images.dtype
    else:
        assert found.dtype == torch.float32
    assert found.shape[2:] == images.shape[2:]


def test_with_nothing_switched_on_images_are_returned():
    images = pictures()
    assert augment(AugmentConfig())(images, 5) is images


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 3, 1, 1), (1, 3, 2, 9)])
@pytest.mark.parametrize("config", [EVERYTHING, AugmentConfig(shift=5, mirror=True, edges="repeat")])
def test_small_batches_and_images_pass(shape, config):
    assert augment(config)(torch.zeros(shape, dtype=torch.uint8), 0).shape == shape


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"shift": -1}, "shift: input should be greater than or equal to 0"),
        ({"shift": 1.5}, "shift: .*integer"),
        ({"rotation": -1.0}, "rotation: "),
        ({"hue": 0.6}, "hue: input should be less than or equal to 0.5"),
        ({"grey": 1.2}, "grey: "),
        ({"scale": (1.2, 0.9)}, r"scale: expected the smallest zoom, then the largest, found \(1\.2, 0\.9\)"),
        ({"scale": (0.0, 1.0)}, r"scale\.0: "),
        ({"noise": ((0.0, 0.1),)}, r"noise\.0\.0: "),
        ({"noise": ((0.1, 0.6),), "noise_snr": ((1.0, 0.5),)}, r"shares must sum to 1 or less .* not 1\.1"),
        ({"edges": "black"}, "edges: "),
    ],
)
def test_wrong_values_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        AugmentConfig(**values)


def test_shares_of_ten_tenths_are_a_whole():
    config = AugmentConfig(noise=tuple((0.01 * n, 0.1) for n in range(1, 11)))
    assert isinstance(config, Config) and AugmentConfig.from_yaml(config.to_yaml()) == config
    found = augment(config)(torch.full((500, 1, 4, 4), 0.5), 0)
    assert (found != 0.5).any(3).any(2).all()


@pytest.mark.parametrize(
    ("config", "images", "text"),
    [
        ({"hue": 0.1, "saturation": 0.2}, torch.zeros(2, 1, 4, 4), "one channel .* leave out saturation, hue"),
        ({"grey": 0.1}, torch.zeros(2, 1, 4, 4), "one channel .* leave out grey"),
        ({"contrast": 0.1}, torch.zeros(2, 2, 4, 4), "1 or 3 channels, found 2"),
        ({"shift": 1}, torch.zeros(3, 4, 4), r"found \(3, 4, 4\) as torch.float32"),
        ({"shift": 1}, torch.zeros(2, 1, 4, 4, dtype=torch.int64), "as uint8, or as floats in 0..1, .*int64"),
    ],
)
def test_images_that_do_not_fit_are_refused(config, images, text):
    with pytest.raises(DataError, match=text):
        augment(AugmentConfig(**config))(images, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_are_equal_on_the_gpu():
    images = pictures(count=100, height=20)
    moves = augment(AugmentConfig(shift=3, mirror=True, edges="repeat"))
    assert torch.equal(moves(images, 1), moves(images.cuda(), 1).cpu())
    apply = augment(EVERYTHING.replace(noise=(), noise_snr=()))
    torch.testing.assert_close(apply(images, 1), apply(images.cuda(), 1).cpu(), atol=1e-4, rtol=0)
    noisy = augment(EVERYTHING)
    assert torch.equal(noisy(images.cuda(), 1), noisy(images.cuda(), 1))
