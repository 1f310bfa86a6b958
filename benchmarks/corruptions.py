"""Corruptions of images beside their references: python benchmarks/corruptions.py [--threads 2] [--device cuda]

Images a second of each corruption at 64 pixels, mean over severities, and how far ours are from those of
`imagecorruptions-imaug` given the same draws. Ours take batches; references take one image at a time, so they are
given fewer. All of one corruption are timed in turn, in one process, medians of several rounds: process CPU times with
one thread, wall times otherwise (the references then still use one). The total is that of the 75 common conditions with
10,000 images each, summed up from these rates.

    pip install imagecorruptions-imaug
    pip install --no-deps --target FOLDER imagecorruptions==1.1.2    # the original, for --original FOLDER

The original is given what today's setuptools and NumPy lack (`pkg_resources`, `np.float_`); what it cannot do even so
is left out of its total.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cotrain.data.corruptions import corrupt_batch, corruption_names
from cotrain.data.corruptions._corrupt import CORRUPTIONS
from cotrain.data.corruptions._presets import PARAMETERS

COMMON, CONDITIONS, IMAGES = 15, 75, 10_000
SEVERITIES = range(1, 6)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--pixels", type=int, default=64, help="a side")
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--one-by-one", type=int, default=4, help="images a round and severity that the references get")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--original", type=Path, help="folder in which PyPI's imagecorruptions 1.1.2 lies")
parser.add_argument("--only", nargs="+", help="names of corruptions")
options = parser.parse_args()
device = torch.device(options.device)
torch.set_num_threads(options.threads)
warnings.simplefilter("ignore")  # the references' own
Reference = Callable[[np.ndarray, int, str], np.ndarray]


def smooth_images(count: int, pixels: int) -> torch.Tensor:
    """Noise of several scales, about as coarse as photographs: uint8 (count, 3, pixels, pixels)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.zeros(count, 3, pixels, pixels)
    for scale in (4, 8, 16, 32, 64):
        noise = torch.randn(count, 3, scale, scale, generator=generator) * 4 / scale
        values += torch.nn.functional.interpolate(noise, pixels, mode="bilinear")
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return ((values - low) / (high - low) * 255).to(torch.uint8)


def reference(folder: Path | None) -> Reference | None:
    """`corrupt` of the installed package, or of the original in a folder under another name."""
    if folder is None:
        if importlib.util.find_spec("imagecorruptions") is None:
            return None
        from imagecorruptions import corrupt

        return corrupt
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda _, path: str(folder / "imagecorruptions" / path)
    sys.modules.setdefault("pkg_resources", resources)
    if not hasattr(np, "float_"):
        np.float_ = np.float64
    place = folder / "imagecorruptions" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "original_imagecorruptions", place, submodule_search_locations=[str(place.parent)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.corrupt


def seconds(action: Callable[[], object]) -> float:
    """Of one call."""
    clock = time.process_time if device.type == "cpu" and options.threads == 1 else time.perf_counter
    started = clock()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def ours(images: torch.Tensor, name: str) -> Callable[[], None]:
    indices = torch.arange(len(images), device=device)

    def go() -> None:
        for severity in SEVERITIES:
            corrupt_batch(images, name, severity, seed=0, indices=indices)

    return go


def theirs(images: np.ndarray, name: str, corrupt: Reference) -> Callable[[], None]:
    def go() -> None:
        for severity in SEVERITIES:
            for image in images:
                corrupt(image, severity, name)

    return go


def works(corrupt: Reference, image: np.ndarray, name: str) -> str:
    """Nothing, or why not; warms it up as well."""
    try:
        corrupt(image, 1, name)
    except Exception as error:
        return type(error).__name__
    return ""


# Draws of the reference for one image (height, width, channels), in its order, from NumPy's global generator
def _normal(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {"normal": torch.from_numpy(np.random.normal(size=shape)).permute(2, 0, 1)[None].float()}


def _angle(_: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {"angle": torch.tensor([np.random.uniform(-45, 45)])}


DRAWN = {"gaussian_noise": _normal, "speckle_noise": _normal, "motion_blur": _angle}
CERTAIN = {
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
}
WEATHER = {"glass_blur", "snow", "frost", "fog", "elastic_transform", "spatter"}  # whose draws are many


def distance(images: torch.Tensor, name: str, corrupt: Reference) -> str:
    """Largest difference in grey levels and share of values that differ, given the reference's draws."""
    if name in WEATHER:
        return "see test_corruption_weather_reference.py"
    if name not in DRAWN and name not in CERTAIN:
        return "only statistically" if name in ("shot_noise", "impulse_noise") else "not compared here"
    largest, differing = 0, []
    for severity in SEVERITIES:
        for seed, image in enumerate(images):
            plain = image.permute(1, 2, 0).contiguous().numpy()
            np.random.seed(seed)
            expected = torch.from_numpy(corrupt(plain, severity, name).astype(np.int16)).permute(2, 0, 1)
            np.random.seed(seed)
            draws = DRAWN[name](plain.shape) if name in DRAWN else {}
            draws = {key: value.to(device) for key, value in draws.items()}
            parameters = PARAMETERS[name]["imagenet_c"][severity - 1]
            found = CORRUPTIONS[name].apply(image[None].to(device), parameters, draws)[0].cpu()
            levels = (found - expected).abs()
            largest = max(largest, int(levels.max()))
            differing.append((levels > 0).double().mean().item())
    return f"{largest}, {100 * statistics.mean(differing):.4f} %"


images = smooth_images(options.batch, options.pixels)
few = images[: options.one_by_one].permute(0, 2, 3, 1).contiguous().numpy()
columns: dict[str, Reference] = {}
for title, folder in (("imaug", None), ("original", options.original)):
    found = reference(folder) if title == "imaug" or folder else None
    if found is None:
        print(f"{title}: not installed, left out")
    else:
        columns[title] = found

where = platform.machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
print(
    f"{where}, torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()[0]:.1f}; "
    f"{options.pixels} pixels, batches of {options.batch}; medians of {options.rounds} rounds"
)
headings = [f"{title:>10} {'ratio':>7}" for title in columns]
print(f"{'images a second':20}{'ours':>10}", *headings, "  off by, share (levels, of values)")
names = [name for name in corruption_names(extra=True) if not options.only or name in options.only]
common = [name for name in names if name in corruption_names()]
per_image: dict[str, dict[str, float]] = {}
for name in names:
    failures = {title: works(corrupt, few[0], name) for title, corrupt in columns.items()}
    actions = {"ours": ours(images.to(device), name)}
    actions |= {t: theirs(few, name, corrupt) for t, corrupt in columns.items() if not failures[t]}
    actions["ours"]()
    times: dict[str, list[float]] = {title: [] for title in actions}
    for _ in range(options.rounds):
        for title, action in actions.items():
            count = len(images) if title == "ours" else len(few)
            times[title].append(seconds(action) / count / len(SEVERITIES))
    per_image[name] = {title: statistics.median(values) for title, values in times.items()}
    line = f"{name:20}{1 / per_image[name]['ours']:10.0f}"
    for title in columns:
        if failures[title]:
            line += f" {failures[title]:>18}"
        else:
            line += f" {1 / per_image[name][title]:10.0f} {per_image[name][title] / per_image[name]['ours']:6.1f}x"
    shown = distance(images[:8], name, columns["imaug"]) if "imaug" in columns and not failures["imaug"] else ""
    print(line, f"  {shown}", flush=True)

conditions = len(SEVERITIES) * IMAGES
print(f"\n{CONDITIONS} conditions of {IMAGES:,} images, {len(common)} of {COMMON} common corruptions measured:")
print(f"  ours {sum(per_image[name]['ours'] for name in common) * conditions / 60:6.1f} minutes")
for title in columns:
    done = [name for name in common if title in per_image[name]]
    total = sum(per_image[name][title] for name in done) * conditions / 60
    same = sum(per_image[name]["ours"] for name in done) * conditions / 60
    print(f"  {title} {total:6.1f} minutes, {total / same:.1f}x ours, over the {len(done)} that it can do")
