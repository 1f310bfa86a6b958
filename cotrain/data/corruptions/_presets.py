"""How strong each corruption is at severities 1 to 5: three published tables, for three sizes of images.

The numbers are those of Hendrycks & Dietterich (2019, ICLR), from https://github.com/hendrycks/robustness: of its
`make_imagenet_c.py` with the changes of `imagecorruptions` (Michaelis et al. 2019) that let it take images of any
size, of `make_tinyimagenet_c.py` and of `make_cifar_c.py`. Both are under the Apache License 2.0
(docs/corruptions.md).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from cotrain.data.corruptions._elastic import Elastic
from cotrain.data.corruptions._frost import Frost
from cotrain.data.corruptions._snow import Snow
from cotrain.data.corruptions._spatter import Spatter

Preset = Literal["imagenet_c", "tiny_imagenet_c", "cifar_c"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# {corruption: {preset: parameters of severities 1 to 5}}; what the parameters mean stands beside each corruption
PARAMETERS: dict[str, dict[Preset, tuple[Any, ...]]] = {
    "gaussian_noise": {
        "imagenet_c": (0.08, 0.12, 0.18, 0.26, 0.38),
        "tiny_imagenet_c": (0.04, 0.08, 0.12, 0.15, 0.18),
        "cifar_c": (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    "shot_noise": {
        "imagenet_c": (60, 25, 12, 5, 3),
        "tiny_imagenet_c": (250, 100, 50, 30, 15),
        "cifar_c": (500, 250, 100, 75, 50),
    },
    "impulse_noise": {
        "imagenet_c": (0.03, 0.06, 0.09, 0.17, 0.27),
        "tiny_imagenet_c": (0.01, 0.02, 0.05, 0.08, 0.14),
        "cifar_c": (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    "defocus_blur": {
        "imagenet_c": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "tiny_imagenet_c": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "cifar_c": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    "glass_blur": {
        "imagenet_c": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "tiny_imagenet_c": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "cifar_c": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    "motion_blur": {
        "imagenet_c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "tiny_imagenet_c": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "cifar_c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    "zoom_blur": {
        "imagenet_c": tuple(
            (end, step, False) for end, step in ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
        ),
        "tiny_imagenet_c": tuple((end, 0.01, True) for end in (1.06, 1.11, 1.16, 1.21, 1.26)),
        "cifar_c": tuple((end, 0.01, True) for end in (1.06, 1.11, 1.16, 1.21, 1.26)),
    },
    "snow": {
        "imagenet_c": (
            Snow(0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
            Snow(0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
            Snow(0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
            Snow(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            Snow(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "tiny_imagenet_c": (
            Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.8),
            Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.8),
            Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "cifar_c": (
            Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
            Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
            Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
    "frost": {
        "imagenet_c": (
            Frost(1, 0.4, 1),
            Frost(0.8, 0.6, 1),
            Frost(0.7, 0.7, 1),
            Frost(0.65, 0.7, 1),
            Frost(0.6, 0.75, 1),
        ),
        "tiny_imagenet_c": (
            Frost(1, 0.3, 3),
            Frost(0.9, 0.4, 3),
            Frost(0.8, 0.45, 3),
            Frost(0.75, 0.5, 3),
            Frost(0.7, 0.55, 3),
        ),
        "cifar_c": (Frost(1, 0.2, 5), Frost(1, 0.3, 5), Frost(0.9, 0.4, 5), Frost(0.85, 0.4, 5), Frost(0.75, 0.45, 5)),
    },
    "fog": {
        "imagenet_c": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "tiny_imagenet_c": ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
        "cifar_c": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    },
    "brightness": {
        "imagenet_c": (0.1, 0.2, 0.3, 0.4, 0.5),
        "tiny_imagenet_c": (0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar_c": (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "contrast": {
        "imagenet_c": (0.4, 0.3, 0.2, 0.1, 0.05),
        "tiny_imagenet_c": (0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar_c": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "elastic_transform": {
        # the reference's numbers are 250 * 0.05 and so on, times random numbers up to 0.005 heights
        "imagenet_c": tuple(Elastic(250 * amount * 0.005, 0.01) for amount in (0.05, 0.065, 0.085, 0.1, 0.12)),
        "tiny_imagenet_c": (
            Elastic(0.0, 0.0, 0.08),
            Elastic(0.05, 0.3, 0.06),
            Elastic(0.1, 0.08, 0.06),
            Elastic(0.1, 0.03, 0.03),
            Elastic(0.16, 0.03, 0.02),
        ),
        "cifar_c": (
            Elastic(0.0, 0.0, 0.08),
            Elastic(0.05, 0.2, 0.07),
            Elastic(0.08, 0.06, 0.06),
            Elastic(0.1, 0.04, 0.05),
            Elastic(0.1, 0.03, 0.03),
        ),
    },
    "pixelate": {
        "imagenet_c": (0.6, 0.5, 0.4, 0.3, 0.25),
        "tiny_imagenet_c": (0.9, 0.8, 0.7, 0.6, 0.5),
        "cifar_c": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    "jpeg_compression": {
        "imagenet_c": (25, 18, 15, 10, 7),
        "tiny_imagenet_c": (65, 58, 50, 40, 25),
        "cifar_c": (80, 65, 58, 50, 40),
    },
    "speckle_noise": {
        "imagenet_c": (0.15, 0.2, 0.35, 0.45, 0.6),
        "tiny_imagenet_c": (0.15, 0.2, 0.25, 0.3, 0.35),
        "cifar_c": (0.06, 0.1, 0.12, 0.16, 0.2),
    },
    "gaussian_blur": {
        "imagenet_c": (1, 2, 3, 4, 6),
        "tiny_imagenet_c": (0.5, 0.75, 1, 1.25, 1.5),
        "cifar_c": (0.4, 0.6, 0.7, 0.8, 1),
    },
    "spatter": {
        "imagenet_c": (
            Spatter(0.65, 0.3, 4, 0.69, 0.6, False),
            Spatter(0.65, 0.3, 3, 0.68, 0.6, False),
            Spatter(0.65, 0.3, 2, 0.68, 0.5, False),
            Spatter(0.65, 0.3, 1, 0.65, 1.5, True),
            Spatter(0.67, 0.4, 1, 0.65, 1.5, True),
        ),
        "tiny_imagenet_c": (
            Spatter(0.62, 0.1, 0.7, 0.7, 0.6, False),
            Spatter(0.65, 0.1, 0.8, 0.7, 0.6, False),
            Spatter(0.65, 0.3, 1, 0.69, 0.6, False),
            Spatter(0.65, 0.1, 0.7, 0.68, 0.6, True),
            Spatter(0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
        "cifar_c": (
            Spatter(0.62, 0.1, 0.7, 0.7, 0.5, False),
            Spatter(0.65, 0.1, 0.8, 0.7, 0.5, False),
            Spatter(0.65, 0.3, 1, 0.69, 0.5, False),
            Spatter(0.65, 0.1, 0.7, 0.69, 0.6, True),
            Spatter(0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
    },
    "saturate": {
        "imagenet_c": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "tiny_imagenet_c": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "cifar_c": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
}
