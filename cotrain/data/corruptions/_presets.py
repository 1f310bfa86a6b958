"""How strong each corruption is at severities 1 to 5: three published tables, for three sizes of images.

The numbers are those of Hendrycks & Dietterich (2019, ICLR), from https://github.com/hendrycks/robustness: of its
`make_imagenet_c.py` with the changes of `imagecorruptions` (Michaelis et al. 2019) that let it take images of any
size, of `make_tinyimagenet_c.py` and of `make_cifar_c.py`. Both are under the Apache License 2.0
(docs/corruptions.md).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

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
    "saturate": {
        "imagenet_c": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "tiny_imagenet_c": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "cifar_c": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
}
