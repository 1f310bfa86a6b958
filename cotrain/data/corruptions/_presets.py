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
}
