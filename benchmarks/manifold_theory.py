"""Mean-field capacity beside what is separable: python benchmarks/manifold_theory.py [--only segments]

Three sorts of manifolds, each with the capacity of mean-field theory, of one manifold at a time after common
directions of the centres are removed (`manifold_geometry`, with their number K); that of all together
(`joint_geometry`); and the direct estimate, at which half of the random balanced dichotomies can be made by a plane
through the mean of the centres (`simulated_capacity`, with its 95 % interval): theory is about planes through the
origin. Standard errors of the first two are over random directions.

- segments about random centres, whose capacity is also known in closed form;
- the classes of CIFAR-10, as many test images of each, in the stages of a ResNet-20 that was trained on it;
- single test images of CIFAR-10 as manifolds: the image under random shifts of up to some pixels, beyond whose border
  its nearest pixel is repeated, in the same network. They are many, as theory wants them, and classes are ten.

The latter two need COTRAIN_TEST_DATA, a folder with cifar10/cifar10_jpeg_20k.npz and cifar_resnets/.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: two threads make these small problems slower

import numpy as np
import torch

from cotrain.analysis import (
    AveragePool,
    affine_manifolds,
    ball_capacity,
    extract,
    joint_geometry,
    manifold_geometry,
    simulated_capacity,
)
from cotrain.models import CifarResNetConfig, cifar_resnet, normalised_as_imagenet

SORTS = ("segments", "classes", "images")
PIXELS, WEIGHTS = "cifar10/cifar10_jpeg_20k.npz", "cifar_resnets/resnet20-12fca82f.th"
STAGES = ["layer1", "layer2", "layer3"]

parser = argparse.ArgumentParser(description="Mean-field capacity beside what is separable.")
parser.add_argument("--only", nargs="+", choices=SORTS, default=SORTS, help="(default: all)")
parser.add_argument("--segments", type=int, default=100, help="(default: %(default)s)")
parser.add_argument("--points", type=int, default=40, help="test images of a class (default: %(default)s)")
parser.add_argument("--images", type=int, default=60, help="that are manifolds (default: %(default)s)")
parser.add_argument("--shifts", type=int, default=12, help="of each of them (default: %(default)s)")
parser.add_argument("--pixels", type=float, default=3.0, help="largest shift (default: %(default)s)")
parser.add_argument("--trials", type=int, default=200, help="near the transition (default: %(default)s)")
parser.add_argument("--draws", type=int, default=300, help="random directions (default: %(default)s)")
options = parser.parse_args()

Named = Iterator[tuple[str, str, list[np.ndarray]]]


def segments() -> Named:
    """Of three half lengths, in lengths of their centres."""
    rng = np.random.default_rng(0)
    for radius in (0.1, 0.5, 1.0):
        centers, axes = rng.normal(size=(2, options.segments, 500)) / np.sqrt(500)
        ends = [np.stack([a + radius * b, a - radius * b], 1) for a, b in zip(centers, axes, strict=True)]
        yield f"segments, R = {radius}", f"closed form {ball_capacity(radius, 1):.3f}", ends


def cifar() -> tuple[torch.nn.Module, np.ndarray, np.ndarray]:
    """The network, and test images with labels."""
    folder = os.environ.get("COTRAIN_TEST_DATA", "")
    missing = [name for name in (PIXELS, WEIGHTS) if not (Path(folder) / name).is_file()]
    if not folder or missing:
        raise SystemExit(f"COTRAIN_TEST_DATA must name a folder with {', '.join(missing)}; or take --only segments.")
    os.environ["COTRAIN_DATA"] = folder
    with np.load(Path(folder) / PIXELS) as held:
        return cifar_resnet(CifarResNetConfig(weights=WEIGHTS)).eval(), held["test_images"], held["test_labels"]


def classes() -> Named:
    """The ten of CIFAR-10: maps of three stages, and the means of the last one's, which the classifier reads."""
    network, images, labels = cifar()
    rows = np.concatenate([np.flatnonzero(labels == label)[: options.points] for label in range(10)])
    shown = {"prepare": normalised_as_imagenet, "batch": 100}
    features = extract(network, images[rows], STAGES, **shown)
    features["layer3, means"] = extract(network, images[rows], "layer3", reduce=AveragePool(), **shown)["layer3"]
    for layer, values in features.items():
        yield f"classes, {layer}", f"{values.shape[1]} features", [part.T for part in np.split(values, 10)]


def moved_images() -> Named:
    """The first test images, whatever their class."""
    network, images, _ = cifar()
    chosen = images[: options.images]
    moved = affine_manifolds(chosen, "translation", options.pixels, options.shifts, fill="edge")
    features = extract(network, moved, STAGES, prepare=normalised_as_imagenet, batch=100)
    for layer, values in features.items():
        yield f"images, {layer}", f"{values.shape[1]} features", moved.split(values)


sources = {"segments": segments, "classes": classes, "images": moved_images}
logging.getLogger("cotrain").setLevel(logging.ERROR)  # of capacities near that of noise, which the table shows
print(f"{'':<24} {'P x M':>9} {'theory':>14} {'K':>2} {'jointly':>14} {'simulated':>22} {'theory':>7} {'jointly':>7}")
for sort in options.only:
    for name, remark, manifolds in sources[sort]():
        started = time.process_time()
        geometry = manifold_geometry(manifolds, n_t=options.draws)
        joint = joint_geometry(manifolds, n_t=options.draws)
        direct = simulated_capacity(manifolds, seed=0, trials=options.trials, bias=False)
        floor = float(np.mean(geometry.floor))
        print(
            f"{name:<24} {len(manifolds):>4} x {manifolds[0].shape[1]:<2} "
            f"{geometry.mean_capacity:7.3f} +-{geometry.mean_capacity_error:5.3f} {geometry.n_removed:>2} "
            f"{joint.capacity:7.3f} +-{joint.capacity_error:5.3f} "
            f"{direct.capacity:7.3f} [{direct.low:.3f}, {direct.high:.3f}] "
            f"{geometry.mean_capacity / direct.capacity:7.2f} {joint.capacity / direct.capacity:7.2f}  "
            f"({remark}; noise {floor:.3f}; {time.process_time() - started:.0f} s)",
            flush=True,
        )
        for reason in {joint.reason, direct.reason} - {""}:
            print(f"    {reason}")
print("The last two columns are shares of what was simulated.")
