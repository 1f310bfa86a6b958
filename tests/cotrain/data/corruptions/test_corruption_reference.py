"""Given the same draws, within one grey level of `imagecorruptions-imaug`, the maintained one of today's references."""

import numpy as np
import pytest
import torch
from corruption_images import pictures

from cotrain.data.corruptions import corrupt_batch
from cotrain.data.corruptions._corrupt import CORRUPTIONS
from cotrain.data.corruptions._presets import PARAMETERS

pytestmark = pytest.mark.filterwarnings("ignore")  # what the reference's packages warn of
reference = pytest.importorskip("imagecorruptions", reason="needs pip install 'cotrain[references]'")


def drawn(name, shape):
    """What the reference draws from NumPy's global generator for one image (height, width, channels)."""
    if name in ("gaussian_noise", "speckle_noise"):
        # the reference scales by the severity within
        return {"normal": torch.from_numpy(np.random.normal(size=shape)).permute(2, 0, 1)[None].float()}
    if name == "motion_blur":
        return {"angle": torch.tensor([np.random.uniform(-45, 45)])}
    return {}


@pytest.mark.parametrize(
    "name",
    [
        *("gaussian_noise", "speckle_noise", "defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
        *("brightness", "contrast", "saturate", "pixelate", "jpeg_compression"),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (41, 58)])
def test_equal_to_the_reference(name, height, width):
    images = pictures(2, height, width)
    for severity in range(1, 6):
        for seed, image in enumerate(images):
            plain = image.permute(1, 2, 0).contiguous().numpy()
            np.random.seed(seed)
            expected = reference.corrupt(plain, severity=severity, corruption_name=name)
            np.random.seed(seed)
            draws = drawn(name, plain.shape)
            found = CORRUPTIONS[name].apply(image[None], PARAMETERS[name]["imagenet_c"][severity - 1], draws)[0]
            distance = np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected)
            assert distance.max() <= (0 if name in ("pixelate", "jpeg_compression") else 1)


@pytest.mark.parametrize("name", ["shot_noise", "impulse_noise"])
def test_moments_of_chance_are_the_references(name):
    """These draw from generators that nobody else can follow: mean and spread of a uniform image."""
    images = torch.full((8, 3, 64, 64), 90, dtype=torch.uint8)
    for severity in (1, 5):
        np.random.seed(severity)
        plain = images[0].permute(1, 2, 0).contiguous().numpy()
        expected = np.stack([reference.corrupt(plain, severity=severity, corruption_name=name) for _ in range(8)])
        found = corrupt_batch(images, name, severity, seed=0, indices=torch.arange(8)).double()
        error = expected.std() / expected.size**0.5
        assert abs(found.mean().item() - expected.mean()) < 6 * error
        assert abs(found.std().item() / expected.std() - 1) < 0.04
