"""NX-414's table for what is not trained here: python benchmarks/nx414.py [--weights IMAGENET1K_V2] [--it]

How well pixels, their principal components, the layers of ResNet-50 (random without --weights) and those of CIFAR
ResNets (trained, where `cifar_resnets/` is in the data folder, and random) predict each neuron: fitted on the training
images of the recipe `nx414`, scored on its test images, for each of its seeds. With --it, the course's file and its own
split: fitted on its training images, scored on its validation images. Networks that were trained by the recipe are
asked by `cotrain evaluate --suite neural_regression`.

Prints mean over neurons of the explained variance, and median over neurons of Pearson's r, each the mean over seeds.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from cotrain import build
from cotrain.analysis import Ols, PrincipalComponents, Ridge, SparseProjection, layer_scores, network_scores
from cotrain.data import joined_images
from cotrain.models import CifarResNetConfig, PenultimateConfig, normalised_as_imagenet
from cotrain.recipes.nx414 import IT, V4
from cotrain.settings import data_folder

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--it", action="store_true", help="IT_data.h5 in the place of the V4 data")
parser.add_argument("--weights", default="", help="of ResNet-50: a name of torchvision's, or a file in the data folder")
parser.add_argument("--size", type=int, default=64, help="pixels a side that ResNet-50 is shown; trained ones: 224")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of splits and of random weights")
parser.add_argument("--only", default="", help="rows whose name holds this text")
options = parser.parse_args()
logging.getLogger("cotrain").setLevel(logging.ERROR)  # not of ends of grids, which differ by neuron

COMPONENTS = PrincipalComponents(1000, Ridge())  # the course's; cut to what the training images have
METRICS = ("explained_variance", "pearson")
BLOCKS = (3,)  # of ResNet-20; 9 are those of ResNet-56


def stimuli(size: int, seed: int) -> tuple[torch.Tensor, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Images that are fitted and then those that are scored, their mean responses, and which are which."""
    data = build((IT if options.it else V4).replace(size=size), seed=seed)
    parts = [
        next(iter(data.splits[split]["neurons"].values()))
        for split in ("train", "validation" if options.it else "test")
    ]
    count, more = map(len, parts)
    responses = torch.cat([part.targets for part in parts]).double().numpy()
    folds = [(np.arange(count), np.arange(count, count + more))]
    return joined_images([part.images for part in parts])[:], responses, folds


def networks(seed: int) -> Iterator[tuple[str, nn.Module, list[str], int]]:
    """(name, network, layers, size of images)."""
    torch.manual_seed(seed)
    network = build(PenultimateConfig(name="resnet50", weights=options.weights)).network
    name = f"ResNet-50, {options.weights or 'random'}"
    yield name, network, ["conv1", "layer1", "layer2", "layer3", "layer4", "avgpool"], options.size
    for blocks in BLOCKS:
        depth = 6 * blocks + 2
        trained = [f"cifar_resnets/{path.name}" for path in data_folder().glob(f"cifar_resnets/resnet{depth}*.th")]
        for file in (*trained[:1], ""):
            config = CifarResNetConfig(blocks=blocks, weights=file)
            torch.manual_seed(seed)
            name = f"ResNet-{depth}, {'CIFAR-10' if file else 'random'}"
            yield name, build(config), ["layer1", "layer2", "layer3"], 56


def rows(seed: int) -> Iterator[pd.DataFrame]:
    """The tables of one seed, each with the column `probe`."""
    images, responses, folds = stimuli(56, seed)
    pixels = {"pixels": images.flatten(1).double().numpy() / 255}
    few = 100
    for name, method in (
        ("pixels, least squares", Ols()),
        ("pixels, ridge", Ridge()),
        (f"{few} components of pixels, least squares", PrincipalComponents(few, Ols())),
        (f"{few} components of pixels, ridge", PrincipalComponents(few, Ridge())),
    ):
        if options.only in name:
            yield layer_scores(pixels, responses, method=method, folds=folds, metrics=METRICS).assign(probe=name)
    for name, network, layers, size in networks(seed):
        if options.only in name:
            shown, wanted, split = stimuli(size, seed)
            yield network_scores(
                network, shown, wanted, layers, reduce=SparseProjection(), prepare=normalised_as_imagenet, seed=seed,
                method=COMPONENTS, folds=split, metrics=METRICS,
            ).assign(probe=name)  # fmt: skip


started = time.process_time()
tables = [
    table.assign(seed=seed)
    for seed in options.seeds
    for table in tqdm(rows(seed), desc=f"seed {seed}", unit="probe", disable=not sys.stderr.isatty())
]
if not tables:
    raise SystemExit(f"No row is called {options.only!r}.")
table = pd.concat(tables)
keys = ["probe", "layer", "metric"]
by_seed = table.groupby([*keys, "seed"], sort=False).score.agg(["mean", "median"]).reset_index()
mean = by_seed.groupby(keys, sort=False)[["mean", "median"]].mean().unstack()
print(f"{'probe':<42} {'layer':<8} {'EV, mean':>9} {'r, median':>10}")
for probe, layer in dict.fromkeys(zip(table.probe, table.layer, strict=True)):
    held = mean.loc[(probe, layer)]
    print(f"{probe:<42} {layer:<8} {held['mean', 'explained_variance']:>9.3f} {held['median', 'pearson']:>10.3f}")
print(f"{len(options.seeds)} seeds, {time.process_time() - started:.0f} s of processor time")
