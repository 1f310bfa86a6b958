"""Training with several ranks against one: python benchmarks/scaling.py [--help]

A recipe of a main and a neural task on random images is run by `torchrun --nproc-per-node N -m cotrain run`, with one
rank and with two, in turn: the same global batch, of which each rank has its share, hence the same training. On a GPU
machine the ranks take a GPU each (NCCL); elsewhere they share the cores (gloo), each with as many threads as there are
cores for it, and two ranks can only show what exchanging gradients costs. Samples a second are those of all tasks, by
the seconds an epoch that the run's journal tells, the first epoch left out; medians of several runs.

What each rank adds to a step is one sum over ranks of all gradients: their size is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cotrain.recipe import find_recipe
from cotrain.resolve import build

RECIPE = '''
from cotrain import Experiment, Recipe
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig, MultiTaskConfig, ResponseArrayConfig, SplitConfig
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, TorchvisionBackboneConfig
from cotrain.tasks import TaskConfig
from cotrain.training import SgdConfig, TrainerConfig

HELD_OUT = SplitConfig(validation=0.02, test=0.02)
OBJECTS = ArraysConfig(path="objects.npz", tasks=(LabelArrayConfig(task="objects"),), split=HELD_OUT)
V4 = ArraysConfig(
    path="v4.npz", tasks=(ResponseArrayConfig(task="v4", session="one", responses="responses"),), split=HELD_OUT
)


class Scaling(Recipe):
    """How much faster is training with several ranks?"""

    def experiments(self):
        yield Experiment(
            "scaling",
            data=MultiTaskConfig(parts=(OBJECTS, V4)),
            model=SharedBackboneConfig(
                backbone=TorchvisionBackboneConfig(name={network!r}),
                batch_norm="shared",
                tasks=(
                    TaskConfig(name="objects", tap="depth:1", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
                    TaskConfig(name="v4", tap="depth:0.5", head=GaussianReadoutConfig(), objective=GaussianConfig()),
                ),
            ),
            trainer=TrainerConfig(
                epochs={epochs},
                optimiser=SgdConfig(lr=0.01),
                mixing=MixingConfig(main="objects", ratios=((1, (("v4", 0.5),)),), batch_size={batch}),
            ),
        )
'''
EPOCHS, NEURONS, CLASSES = 3, 50, 10


def write(root: Path, network: str, batch: int, images: int, size: int) -> Path:
    """Data and recipe."""
    numbers = np.random.default_rng(0)
    names = np.array([f"class{number}" for number in range(CLASSES)])
    pixels = numbers.integers(0, 256, (2 * images, size, size, 1), np.uint8)
    np.savez(root / "objects.npz", images=pixels[:images], labels=np.arange(images) % CLASSES, class_names=names)
    np.savez(root / "v4.npz", images=pixels[images:], responses=numbers.normal(size=(images, NEURONS)))
    recipe = root / "scaling.py"
    recipe.write_text(
        RECIPE.replace("{network!r}", repr(network)).replace("{epochs}", str(EPOCHS)).replace("{batch}", str(batch)),
        encoding="utf-8",
    )
    return recipe


def seconds(recipe: Path, out: Path, ranks: int) -> float:
    """Median seconds of an epoch."""
    threads = max(1, (os.cpu_count() or 1) // ranks)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)),
        *("-m", "cotrain", "run", str(recipe), "--out", str(out)),
    ]
    surroundings = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "COTRAIN_DATA": str(recipe.parent),
        "COTRAIN_HOME": str(recipe.parent / "home"),
    }
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    (journal,) = out.rglob("journal.jsonl")  # of one rank alone
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return statistics.median(line["seconds"] for line in lines if line["epoch"] > 1 and not line.get("finished"))


def main() -> None:
    """Measure and print."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--network", default="vgg19_bn" if on_gpu else "resnet18")
    parser.add_argument("--batch", type=int, default=512 if on_gpu else 64, help="of all ranks together")
    parser.add_argument("--images", type=int, default=50_000 if on_gpu else 400, help="of each task")
    parser.add_argument("--size", type=int, default=64 if on_gpu else 32, help="pixels a side")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    if on_gpu and max(given.ranks) > torch.cuda.device_count():
        raise SystemExit(f"{max(given.ranks)} ranks need as many GPUs; there are {torch.cuda.device_count()}.")
    with TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = write(root, given.network, given.batch, given.images, given.size)
        os.environ["COTRAIN_DATA"] = folder
        (experiment,) = find_recipe(str(recipe))().expand()
        data = build(experiment.data, seed=experiment.seed)
        model = build(experiment.model, data.info, seed=experiment.seed)
        size = sum(parameter.numel() for parameter in model.parameters()) * 4 / 1e6
        main_batches = len(data.splits["train"]["objects"][""]) // given.batch
        samples = (main_batches + main_batches // 2) * given.batch
        times: dict[int, list[float]] = {ranks: [] for ranks in given.ranks}
        for turn in range(given.turns):
            for ranks in given.ranks:
                times[ranks].append(seconds(recipe, root / f"{ranks}-{turn}", ranks))
    print(f"{given.network}, global batch {given.batch}, {given.size} pixels, {size:.0f} MB of gradients a step\n")
    print("| ranks | samples/s | to the first |\n|---:|---:|---:|")
    for ranks, own in times.items():
        factor = statistics.median(other / this for this, other in zip(own, times[given.ranks[0]], strict=True))
        print(f"| {ranks} | {samples / statistics.median(own):,.0f} | {factor:.2f}x |")


if __name__ == "__main__":
    main()
