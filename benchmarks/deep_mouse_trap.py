"""Deep Mouse Trap's question of the runs of its recipe: python benchmarks/deep_mouse_trap.py [--out networks.png]

Every finished run of `deep_mouse_trap` in the lab's database, each beside the network as its training began, and the
CIFAR ResNets where `cifar_resnets/` is in the data folder, trained and random. Features of every block (of ResNets:
every stage) are projected to 4,096 dimensions and z-scored. Two scores:

- "r": median over neurons of Pearson's r. On one half of the stimuli (even positions) ridge chooses an alpha a neuron,
  and folds within it choose the layer; the other half is predicted and scored. Intervals are bootstrapped over neurons.
- "published": Deep Mouse Trap's, the squared correlation of leave-one-out predictions with alpha 1.0, of all stimuli,
  median over neurons, in the layer where it is best.

With --recording mouse (a folder in their layout, in the data folder) the neurons are theirs, and tables are by area.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from cotrain import analysis, build
from cotrain.data import image_tensor, prepared
from cotrain.data.recordings import read_recording
from cotrain.models import CifarResNetConfig, MultiTaskModel, normalised_as_imagenet
from cotrain.settings import data_folder
from cotrain.tables.connect import connect

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--recording", default="cowley_v4", help="folder or file in the data folder")
parser.add_argument("--session", default="210325", help="of the recording; of mouse files, cells")
parser.add_argument("--size", type=int, default=64, help="pixels a side that networks are shown")
parser.add_argument("--least-reliability", type=float, default=0.0, help="of the neurons that are used")
parser.add_argument("--out", type=Path, help="a picture of scores against depth, width and accuracy")
options = parser.parse_args()
logging.getLogger("cotrain").setLevel(logging.ERROR)  # not of ends of grids, which differ by neuron
if options.out:
    analysis.check_picture_path(options.out)

FIT = analysis.Ridge(standardise=True)
REDUCE = analysis.SparseProjection(4096)
BLOCKS = (3, 9)  # of ResNet-20 and ResNet-56
PUBLISHED_CIFAR = {20: 0.810, 56: 0.832}  # of these weights, on the 4,000 test pictures of the JPEG copy


def networks() -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """(name, network, what is known of it)."""
    connect()
    from cotrain.tables import queries, store

    runs = queries.runs(recipe="deep_mouse_trap.DeepMouseTrap")
    accuracy = queries.scores(runs, metric="accuracy").sort_values("label")
    for row in accuracy.itertuples():
        for epoch, trained in ((None, True), (0, False)):
            known = {"trained": trained, "accuracy": row.value if trained else np.nan}
            yield (
                f"{row.label}, seed {row.seed}{'' if trained else ', untrained'}",
                store.load_model(row.run_key, epoch=epoch),
                known,
            )
    for blocks in BLOCKS:
        depth = 6 * blocks + 2
        for path in sorted(data_folder().glob(f"cifar_resnets/resnet{depth}*.th"))[:1]:
            weights = f"cifar_resnets/{path.name}"
            trained_known = {"trained": True, "accuracy": PUBLISHED_CIFAR[depth]}
            yield f"ResNet-{depth}", build(CifarResNetConfig(blocks=blocks, weights=weights)), trained_known
        torch.manual_seed(0)
        untrained = {"trained": False, "accuracy": np.nan}
        yield f"ResNet-{depth}, untrained", build(CifarResNetConfig(blocks=blocks)), untrained


started = time.process_time()
session = read_recording(data_folder() / options.recording, sessions=[options.session]).sessions[options.session]
responses = session.responses.astype(np.float64)
reliability = (
    analysis.split_half_reliability(responses) if responses.ndim == 3 else np.full(responses.shape[-1], np.nan)
)
used = ~(reliability < options.least_reliability)
responses, means = responses[..., used], session.mean[:, used].astype(np.float64)
areas = np.array(session.neurons.get("area", [""] * len(used)), str)[used]
images = prepared(image_tensor(np.asarray(session.images), "pictures"), 3, (options.size, options.size))
halves = [(np.arange(0, len(images), 2), np.arange(1, len(images), 2))]

tables, published, facts = [], {}, {}
for name, network, known in tqdm(networks(), unit="network", disable=not sys.stderr.isatty()):
    cotrained = isinstance(network, MultiTaskModel)
    layers: Any = "blocks" if cotrained else ["layer1", "layer2", "layer3"]
    prepare = None if cotrained else normalised_as_imagenet
    features = analysis.extract(network, images, layers, reduce=REDUCE, prepare=prepare)
    depths = analysis.layer_depths(network, images, layers, prepare=prepare)
    table = analysis.layer_scores(
        features, torch.from_numpy(responses), method=FIT, folds=halves, selection=5, area=areas, depths=depths
    )
    tables.append(table.assign(network=name))
    theirs = analysis.mouse_trap_scores(features, means, area=areas)
    published[name] = theirs.groupby("layer").score.median().max()
    size = analysis.network_size(network)
    facts[name] = {**known, "depth": size.depth, "width": size.width, "parameters": size.parameters}
scores = pd.concat(tables, ignore_index=True)

found = analysis.network_table(scores, facts)
print(f"{len(images)} stimuli, {used.sum()} neurons, median reliability {np.nanmedian(reliability[used]):.2f}")
print(f"{'network':<40} {'depth':>5} {'width':>5} {'accuracy':>8} {'layer':<10} {'r':>6} {'interval':<12} published")
for row in found.itertuples():
    print(
        f"{row.network:<40} {row.depth:>5} {row.width:>5} {row.accuracy:>8.3f} {row.layer:<10} {row.value:>6.3f} "
        f"{row.low:.3f}-{row.high:.3f}  {published[row.network]:.3f}"
    )
for trained in (True, False):
    print(f"\nSpearman correlation with r over {'trained' if trained else 'untrained'} networks")
    names = ("depth", "width", "parameters", "accuracy") if trained else ("depth", "width", "parameters")
    print(analysis.network_correlations(found[found.trained == trained], names).round(3).to_string(index=False))
if len(set(areas)) > 1:
    print("\nby area, of trained networks\n")
    by_area = analysis.network_table(scores, facts, by=["area"])
    print(
        by_area[by_area.trained][["network", "area", "layer", "value", "low", "high", "neurons"]].round(3).to_string()
    )
if options.out:
    analysis.save_figure(analysis.network_figure(found), options.out)
print(f"{time.process_time() - started:.0f} s of processor time")
