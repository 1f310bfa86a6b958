"""A co-training epoch of the loop that labs used before against ours: python benchmarks/epoch.py [--help]

Pictures to name, and neural sessions, on one backbone: the same model, losses with learnt weights, optimiser, number
of batches and images on both sides, at 64 x 64 pixels, grey, shifted, mirrored and turned; one neural batch for each
batch of pictures. `benchmarks/_predecessor.py` says what the earlier loop does; what is uncertain there is decided in
its favour. Ours is the trainer's own epoch with the read-out of its losses, a line of the journal and a checkpoint.
Neither side validates. They take turns; medians of three epochs after one to warm up. Parts are in wall seconds;
"processor" is the time of all cores together, of the DataLoader's process too, which gives the earlier loop one core
more than ours: where the cores are busy otherwise, look at that.

    data          waiting for a batch; ours: gathering and changing it
    forward       model and loss
    backward      of the loss
    optimiser     its step
    bookkeeping   all else: values to Python, progress bar, tables; ours: sums, seeds, journal, checkpoint

Pictures and sessions are those of CIFAR-10 and macaque V4 where COTRAIN_TEST_DATA names a folder with
cifar10/cifar10_jpeg_20k.npz and cowley_v4/, and random ones elsewhere, enlarged and written as JPEG files.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _predecessor
import numpy as np
import torch
from _steps import TrainingState, end_of_epoch, epoch, in_turn, training_state
from data_path import pictures

from cotrain.config import Config
from cotrain.data import (
    ArraysConfig,
    AugmentConfig,
    Data,
    ImageFolderConfig,
    MixingConfig,
    MultiTaskConfig,
    RecordedConfig,
    ResponseArrayConfig,
    SplitConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    TorchvisionBackboneConfig,
)
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import ConstantConfig, JournalSink, SgdConfig, TrainerConfig

SIZE, BATCH, TURNS = 64, 64, 3
SESSIONS = ("190923", "190927", "190928", "190929", "210325")
PARTS = ("data", "forward", "backward", "optimiser")
MODELS: dict[str, tuple[Config, str, str, int]] = {  # name: (backbone, tap of the pictures, of the neurons, pictures)
    "SmallCnn": (SmallCnnConfig(input_channels=1), "layer3", "layer3", 2048),
    "VGG-11-bn": (TorchvisionBackboneConfig(name="vgg11_bn"), "depth:1", "depth:0.5", 200),
}


class Clock:
    """Wall seconds of named parts, since it was last read."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.started, self.used = time.perf_counter(), sum(os.times()[:4])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls are timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def read(self) -> dict[str, float]:
        """Seconds of all parts and in all; begins anew."""
        whole, used = time.perf_counter() - self.started, sum(os.times()[:4]) - self.used
        rest = whole - sum(self.seconds.values())
        found = {**self.seconds, "bookkeeping": rest, "all": whole, "processor": used}
        Clock.__init__(self)
        return found


def files(root: Path, count: int) -> Config:
    """Write the pictures as JPEG files in folders of classes; the config of all data."""
    from PIL import Image

    for number, image in enumerate(pictures(count)):
        place = root / "jpeg" / str(number % 10)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.jpeg", quality=90)
    held = SplitConfig(validation=0.01, test=0.01)
    objects = ImageFolderConfig(path="jpeg", size=SIZE, grey=True, split=held)
    real = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "cowley_v4"
    if os.environ.get("COTRAIN_TEST_DATA") and real.is_dir():
        (root / "cowley_v4").symlink_to(real.resolve())
        v4 = RecordedConfig(path="cowley_v4", sessions=SESSIONS, format="cowley2023", size=SIZE, grey=True, split=held)
        return MultiTaskConfig(parts=(objects, v4))
    numbers = np.random.default_rng(1)
    parts: list[Config] = [objects]
    for name in SESSIONS:
        images = numbers.integers(0, 256, (1000, SIZE, SIZE, 1), np.uint8)
        np.savez(root / f"{name}.npz", images=images, responses=numbers.normal(size=(1000, 30)))
        task = ResponseArrayConfig(task="v4", session=name, responses="responses")
        parts.append(ArraysConfig(path=f"{name}.npz", tasks=(task,), split=held))
    return MultiTaskConfig(parts=tuple(parts))


def configs(name: str) -> tuple[SharedBackboneConfig, TrainerConfig]:
    """The model and the trainer."""
    backbone, pictures_at, neurons_at, _ = MODELS[name]
    model = SharedBackboneConfig(
        backbone=backbone,
        batch_norm="shared",
        tasks=(
            TaskConfig(name="objects", tap=pictures_at, head=LinearHeadConfig(), objective=CrossEntropyConfig()),
            TaskConfig(name="v4", tap=neurons_at, head=GaussianReadoutConfig(), objective=GaussianConfig()),
        ),
    )
    trainer = TrainerConfig(
        epochs=1000,
        optimiser=SgdConfig(lr=0.01),
        schedule=ConstantConfig(),
        mixing=MixingConfig(main="objects", ratios=((1, (("v4", 1.0),)),), batch_size=BATCH),
        augmentation=(("objects", AugmentConfig(shift=4, mirror=True, rotation=15)),),
        device="cpu",
    )
    return model, trainer


Side = Callable[[], dict[str, float]]


def before(model: Config, data: Data, root: Path, clock: Clock) -> tuple[Side, Side]:
    """An epoch of the earlier loop, and one of its loaders alone."""
    held = _predecessor.without_input(build(model, data.info, seed=0))
    watch(held, clock)
    optimiser = torch.optim.SGD(held.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    of_pictures, of_neurons = data.info.tasks["objects"], data.info.tasks["v4"]
    steps = len(data.splits["train"]["objects"][""]) // BATCH
    mean, std = of_pictures.image_mean[0], of_pictures.image_std[0]
    main = _predecessor.picture_loader(root / "jpeg", steps * BATCH, size=SIZE, batch=BATCH, mean=mean, std=std)
    mean, std = of_neurons.image_mean[0], of_neurons.image_std[0]
    sessions = {
        name: _predecessor.session_loader(source, batch=BATCH, mean=mean, std=std)
        for name, source in data.splits["train"]["v4"].items()
    }

    def train() -> dict[str, float]:
        clock.read()
        batches = _predecessor.alternate(main, sessions)
        _predecessor.epoch(held, optimiser, batches, 2 * steps, main="objects", neural="v4", watch=clock.part)
        return clock.read()

    def load() -> dict[str, float]:
        clock.read()
        deque(_predecessor.alternate(main, sessions), maxlen=0)
        return clock.read()

    return train, load


def ours(run: TrainingState, clock: Clock) -> tuple[Side, Side]:
    """An epoch of the trainer, and one of its loader and augmentation alone."""
    watch(run.model, clock)
    run.augmentation = {task: clock.timed("data", change) for task, change in run.augmentation.items()}
    journal = JournalSink(run.folder.journal)
    journal.start([], None)

    def train() -> dict[str, float]:
        clock.read()
        epoch(run, clock.part)
        end_of_epoch(run, journal, checkpoint=True)
        return clock.read()

    def load() -> dict[str, float]:
        clock.read()
        for seed, batch in enumerate(run.loader):
            if change := run.augmentation.get(batch.task):
                change(batch.images, seed)
        return clock.read()

    return train, load


def watch(model: torch.nn.Module, clock: Clock) -> None:
    """Time calls of a model and of its losses."""
    model.forward = clock.timed("forward", model.forward)
    for objective in model.objectives.values():
        objective.loss = clock.timed("forward", objective.loss)
        objective.weighted = clock.timed("forward", objective.weighted)


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Time all backward passes, and steps of optimisers that are made within."""
    backward, step = torch.autograd.backward, torch.optim.SGD.step
    torch.autograd.backward = clock.timed("backward", backward)
    torch.optim.SGD.step = clock.timed("optimiser", step)
    try:
        yield
    finally:
        torch.autograd.backward, torch.optim.SGD.step = backward, step


def table(title: str, found: dict[str, list[dict[str, float]]], *, of_training: bool) -> None:
    """Medians of the parts' seconds, and the ratio of the wholes within each turn."""
    print(f"\n{title}\n\n| | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    parts = (*PARTS, "bookkeeping") if of_training else ()
    for part in (*parts, "all", "processor"):
        values = [statistics.median(turn[part] for turn in turns) for turns in found.values()]
        print(f"| {part}, s | {' | '.join(f'{value:.3f}' for value in values)} |")
    earlier, own = found.values()
    for part, meaning in (("all", "as fast"), ("processor", "less work")):
        if not all(turn[part] for turn in own):
            print(f"\n{part}: too short for the clock of the processor")
            continue
        ratios = [first[part] / second[part] for first, second in zip(earlier, own, strict=True)]
        print(f"\n{statistics.median(ratios):.2f} times {meaning} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one; repeatable")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the pictures, one turn")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.model or MODELS:
        with TemporaryDirectory() as folder, ExitStack() as ends:
            root = Path(folder)
            os.environ["COTRAIN_DATA"], os.environ["COTRAIN_CACHE"] = folder, str(root / "cache")
            config = files(root, max(150, MODELS[name][-1] // 4) if given.quick else MODELS[name][-1])
            started = time.perf_counter()
            data = build(config, seed=0)
            reading = time.perf_counter() - started
            clock = Clock()
            ends.enter_context(watched(clock))
            model, trainer = configs(name)
            run = ends.enter_context(training_state(trainer, model, data))
            sides = {"before": before(model, data, root, clock), "cotrain": ours(run, clock)}
            steps = run.loader.schedule.main_batches
            for place, what in enumerate(("an epoch", "its loaders alone")):
                turns = {side: both[place] for side, both in sides.items()}
                in_turn(turns, 1)
                title = f"{name}, {what}: {steps} batches of {BATCH} pictures and {steps} of neurons"
                table(title, in_turn(turns, 1 if given.quick else TURNS), of_training=place == 0)
            print(f"{reading:.1f} s of ours to read, decode and check all data, once a run (decoding: once a machine)")


if __name__ == "__main__":
    main()
