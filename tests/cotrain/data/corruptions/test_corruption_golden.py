"""The pixels of every corruption are pinned: a change of them is a new version.

`python tests/cotrain/data/corruptions/test_corruption_golden.py` pins what tests/golden/corruptions.json lacks; it
changes what is there only if `CORRUPTIONS_VERSION` is another one.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from corruption_images import pictures

from cotrain.data.corruptions import CORRUPTIONS_VERSION, corrupt_batch, corruption_names
from cotrain.data.corruptions._presets import PRESETS

GOLDEN = Path(__file__).parents[3] / "golden" / "corruptions.json"


def digest(name: str, preset: str) -> str:
    """Of severity 3 on three colour images and a grey one."""
    found = hashlib.sha256()
    for images in (pictures(3, 40, 52), pictures(1, 48, 48, 1)):
        indices = torch.arange(len(images)) + 10
        found.update(corrupt_batch(images, name, 3, seed=0, indices=indices, preset=preset).numpy().tobytes())
    return found.hexdigest()[:16]


def all_digests() -> dict[str, str]:
    return {f"{name}/{preset}": digest(name, preset) for name in corruption_names(extra=True) for preset in PRESETS}


def test_the_version_is_the_pinned_one():
    version = json.loads(GOLDEN.read_text())["version"]
    assert version == CORRUPTIONS_VERSION, "pin the new version's pixels: run this file with python"


@pytest.mark.parametrize("name", corruption_names(extra=True))
def test_pixels_are_the_pinned_ones(name):
    pinned = json.loads(GOLDEN.read_text())["pixels"]
    for preset in PRESETS:
        assert digest(name, preset) == pinned.get(f"{name}/{preset}"), (
            f"{name} gives other pixels than version {CORRUPTIONS_VERSION}: scores of before cannot be compared "
            "with new ones. If that is meant, raise CORRUPTIONS_VERSION and run this file with python."
        )


def test_nothing_else_is_pinned():
    assert set(json.loads(GOLDEN.read_text())["pixels"]) == set(all_digests())


def pin() -> None:
    pinned = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {"version": CORRUPTIONS_VERSION, "pixels": {}}
    found = all_digests()
    changed = [name for name, value in found.items() if pinned["pixels"].get(name, value) != value]
    if changed and pinned["version"] == CORRUPTIONS_VERSION:
        raise SystemExit(f"Raise CORRUPTIONS_VERSION first: {', '.join(changed)} changed.")
    GOLDEN.write_text(json.dumps({"version": CORRUPTIONS_VERSION, "pixels": found}, indent=2) + "\n")


if __name__ == "__main__":
    pin()
