"""Given the same random numbers, pixels of `imagecorruptions-imaug` within one grey level."""

import functools
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from corruption_images import pictures
from PIL import Image

from cotrain.data.corruptions._corrupt import CORRUPTIONS
from cotrain.data.corruptions._frost import frost_from
from cotrain.data.corruptions._frost_files import frost_files
from cotrain.data.corruptions._presets import PARAMETERS

reference = pytest.importorskip(
    "imagecorruptions.corruptions", reason="needs imagecorruptions-imaug (extra: references)"
)
SHAPES = [(32, 32), (64, 64), (48, 80)]


# where its sums of a constant are a rounding error below the whole number; weights that are no binary fractions
OFTEN = {"glass_blur": 0.2, "frost": 0.08}


def frost_folder():
    return Path(reference.__file__).parent / "frost"


def normal_draws(shape, parameters):
    drawn = np.random.normal(size=shape, loc=parameters.mean, scale=parameters.deviation)
    return {"normal": (drawn - parameters.mean) / parameters.deviation}


def snow_draws(shape, parameters):
    return normal_draws(shape, parameters) | {"angle": np.array(np.random.uniform(-135, -45))}


def fog_draws(shape, parameters):
    size = 1 << (max(shape) - 1).bit_length()
    step, spread, found = size, 100.0, []
    while step >= 2:
        for _ in range(3):
            found.append(np.random.uniform(-spread, spread, (size // step) ** 2) / spread)
        step, spread = step // 2, spread / parameters[1]
    return {"offsets": np.concatenate(found).astype(np.float32)}


def elastic_draws(shape, parameters):
    reach = shape[0] * 0.005
    return {"steps": np.stack([np.random.uniform(-reach, reach, shape) for _ in range(2)]) / reach}


def frost_draws(shape, parameters):
    textures = frost_files(frost_folder(), shape, parameters.reduction)
    texture = np.random.randint(6)
    rows, columns = textures[texture].shape[1:]
    row, column = np.random.randint(0, rows - shape[0]), np.random.randint(0, columns - shape[1])
    return {"texture": np.array(texture), "row": np.array(row), "column": np.array(column)}


@functools.cache
def compiled_draws():
    """Its loop is compiled by Numba, whose generator is another one than NumPy's."""
    numba = importlib.import_module("numba")

    @numba.njit
    def drawn(count, reach, seed):
        np.random.seed(seed)
        found = np.empty((count, 2), np.int64)
        for i in range(count):
            found[i] = np.random.randint(-reach, reach, size=(2,))
        return found

    return drawn


def glass_draws(shape, parameters, seed):
    _, reach, rounds = parameters
    inner = (rounds, shape[0] - 2 * reach, shape[1] - 2 * reach)
    backwards = compiled_draws()(int(np.prod(inner)), reach, seed).reshape(*inner, 2)[:, ::-1, ::-1]
    steps = np.zeros((rounds, 2, *shape), dtype=np.int64)
    middle = tuple(slice(reach + 1, size - reach + 1) for size in shape)
    steps[:, 0, *middle], steps[:, 1, *middle] = backwards[..., 1], backwards[..., 0]
    return {"steps": steps}


DRAWS = {
    "snow": snow_draws,
    "frost": frost_draws,
    "fog": fog_draws,
    "elastic_transform": elastic_draws,
    "spatter": normal_draws,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param("glass_blur", marks=pytest.mark.slow), *DRAWS])
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_within_one_grey_level(name, shape):
    images = pictures(2, *shape)
    corruption = frost_from(frost_folder()) if name == "frost" else CORRUPTIONS[name]
    for severity, parameters in enumerate(PARAMETERS[name]["imagenet_c"], 1):
        for seed, image in enumerate(images):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            if name == "glass_blur":
                draws = glass_draws(shape, parameters, seed)
                expected = np.uint8(reference.glass_blur(picture, severity, seed=seed))
            else:
                np.random.seed(seed)
                draws = DRAWS[name](shape, parameters)
                np.random.seed(seed)
                expected = np.uint8(getattr(reference, name)(picture, severity))
            given = {key: torch.from_numpy(np.asarray(value)[None].copy()) for key, value in draws.items()}
            found = corruption.apply(image[None], parameters, given)[0].permute(1, 2, 0).numpy()
            difference = np.abs(found.astype(int) - expected)
            assert difference.max() <= 1
            assert (difference > 0).mean() < OFTEN.get(name, 0.01)
