"""Elastic distortion against SciPy's interpolation at places in floating point."""

import numpy as np
import pytest
import torch
from corruption_images import pictures
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from cotrain.data.corruptions._elastic import PIXEL, Elastic, affine_places, elastic_transform, sample
from cotrain.data.corruptions._presets import PARAMETERS
from cotrain.data.corruptions._random import ImageRandom


def places(draws, parameters, height, width):
    """Rows and columns from which pixels are taken, in floating point."""
    sigma = (parameters.sigma * height, parameters.sigma * width)
    right, down = (
        gaussian_filter(part, sigma, mode="reflect", truncate=3) * parameters.amount * height
        for part in draws["steps"][0].double().numpy()
    )
    rows, columns = np.mgrid[:height, :width]
    return rows + down, columns + right


@pytest.mark.parametrize("shape", [(40, 56), (64, 64)])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_pixels_are_taken_from_smoothly_moved_places(shape, severity):
    images = pictures(1, *shape)
    parameters = PARAMETERS["elastic_transform"]["imagenet_c"][severity - 1]
    draws = elastic_transform.draw(ImageRandom(severity, torch.arange(1)), (3, *shape), parameters)
    found = elastic_transform.apply(images, parameters, draws)[0].numpy()
    for channel in range(3):
        moved = places(draws, parameters, *shape)
        expected = map_coordinates(images[0, channel].double().numpy(), moved, order=1, mode="reflect")
        assert np.abs(found[channel] - np.floor(expected + 1e-9)).max() <= 1
        assert (found[channel] != np.floor(expected + 1e-9)).mean() < 0.01


@pytest.mark.parametrize("repeat_edge", [True, False])
def test_places_far_beyond_the_edges_are_mirrored(repeat_edge):
    images = pictures(1, 32, 35)[:, :1]
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(-150 * PIXEL, 150 * PIXEL, (1, 32, 35), generator=generator).int() for _ in range(2))
    found = sample(images, rows, columns, repeat_edge=repeat_edge)[0, 0].numpy()
    coordinates = np.stack([rows[0].numpy() / PIXEL, columns[0].numpy() / PIXEL])
    mode = "reflect" if repeat_edge else "mirror"
    expected = map_coordinates(images[0, 0].double().numpy(), coordinates, order=1, mode=mode)
    assert np.abs(found - expected).max() < 1 + 1e-9
    assert np.array_equal(found, np.floor(expected + 1e-9))


def test_whole_places_give_pixels_themselves_and_rounding_is_to_the_nearest():
    images = pictures(1, 32, 35)
    rows = (torch.arange(32, dtype=torch.int32)[:, None] * PIXEL).expand(1, 32, 35)
    columns = (torch.arange(35, dtype=torch.int32) * PIXEL).expand(1, 32, 35)
    assert torch.equal(sample(images, rows, columns), images)
    between = sample(images, rows, columns + PIXEL // 4, truncate=False)[..., :-1].double()
    assert (between - (0.75 * images[..., :-1] + 0.25 * images[..., 1:])).abs().max() <= 0.5


def test_the_affine_map_moves_its_three_corners():
    """Against the linear system that three pairs of points are."""
    height, width, side = 48, 64, 16
    moves = torch.tensor([[[3.0, -2.0], [-4.0, 1.5], [2.0, 2.5]]])
    rows, columns = affine_places(moves, height, width)
    centre = np.array([32.0, 24.0])
    corners = centre + np.array([[side, side], [side, -side], [-side, -side]])
    moved = corners + moves[0].numpy()
    backwards = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)  # of places in the result
    y, x = np.mgrid[:height, :width]
    expected = np.stack([x, y, np.ones_like(x)], -1) @ backwards
    assert np.abs(columns[0].numpy() / PIXEL - expected[..., 0]).max() <= 0.5 / PIXEL + 1e-9
    assert np.abs(rows[0].numpy() / PIXEL - expected[..., 1]).max() <= 0.5 / PIXEL + 1e-9


def test_tables_of_small_images_begin_with_an_affine_map_alone():
    images = pictures(1, 64, 64)
    for preset in ("tiny_imagenet_c", "cifar_c"):
        parameters = PARAMETERS["elastic_transform"][preset][0]
        draws = elastic_transform.draw(ImageRandom(0, torch.arange(1)), (3, 64, 64), parameters)
        assert set(draws) == {"corners"}
        rows, columns = affine_places(draws["corners"] * (parameters.jitter * 64), 64, 64)
        origin = np.array([rows[0, 0, 0], columns[0, 0, 0]]) / PIXEL
        ends = (np.array([rows[0, -1, 0], columns[0, -1, 0]]), np.array([rows[0, 0, -1], columns[0, 0, -1]]))
        matrix = np.stack([(end / PIXEL - origin) / 63 for end in ends], 1)
        found = elastic_transform.apply(images, parameters, draws)[0].numpy()
        for channel in range(3):
            pixels = images[0, channel].double().numpy()
            expected = affine_transform(pixels, matrix, origin, order=1, mode="mirror")
            assert np.abs(found[channel] - expected).max() < 1.5


def test_displacements_have_the_spread_of_smoothed_noise():
    """Of uniform noise in -1..1, smoothed by weights w: a variance of the sum of w^2, over 3."""
    height = width = 96
    parameters = Elastic(0.15, 0.01)
    draws = elastic_transform.draw(ImageRandom(0, torch.arange(12)), (3, height, width), parameters)
    steps = draws["steps"].double()
    assert steps.abs().max() < 1
    assert abs(float(steps.mean())) < 0.01
    assert abs(float(steps.var()) - 1 / 3) < 0.005
    ramp = (torch.arange(width) * 2).to(torch.uint8).expand(12, 1, height, width).contiguous()
    moved = elastic_transform.apply(ramp, parameters, draws).double()[:, 0, 20:-20, 20:-20]
    shifts = (moved + 0.5) / 2 - torch.arange(20, width - 20)
    point = np.zeros((41, 41))
    point[20, 20] = 1
    weights = gaussian_filter(point, 0.96, truncate=3)
    expected = np.sqrt((weights**2).sum() / 3) * 0.15 * height
    assert abs(float(shifts.mean())) < 0.1
    assert abs(float(shifts.std()) / expected - 1) < 0.03
