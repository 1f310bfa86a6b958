"""How strong each corruption is at severities 1 to 5: three published tables, for three sizes of images."""

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
    "motion_blur": {
        "imagenet_c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "tiny_imagenet_c": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "cifar_c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
}
