"""Half precision, channels-last and a compiled backbone in the trainer: python benchmarks/precision.py [--help]

Images a second of whole epochs of the trainer, on random grey images of 64 x 64 pixels that are shifted, mirrored and
turned: VGG-19 with batch norm on a GPU, ResNet-18 on a CPU, or the networks that are named. The trainer's own clock
times an epoch, from the first batch to the losses that were read from the device; the first epoch (memory, kernels
chosen, compilation) is left out, and of the others the median is taken. The settings take turns.

On a GPU also, for each setting: an epoch of 100,000 images in seconds; arithmetic done (counted by torch, of the
forward and backward pass) as a share of what a large bfloat16 matrix product reaches on the same device; and, from a
profile of one epoch's steps: how often a step makes the host wait for the device, and the share of the time in which
the device computes. Goals for one H100 or H200: an epoch within 6 s, or 4 s compiled; 0 waits; 85 % of the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _profile import Profile, profiled_steps
from torch.utils.flop_counter import FlopCounterMode

from cotrain.data import AugmentConfig, Data, MixingConfig, Source, assemble
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, TorchvisionBackboneConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import ConstantConfig, RunFolder, Score, ScoreSink, SgdConfig, TrainerConfig

SIZE, CLASSES, EPOCH = 64, 200, 100_000
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, channels last": {"channels_last": True},
    "float32, compiled": {"compile": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, channels last": {"precision": "bfloat16", "channels_last": True},
    "bfloat16, channels last, compiled": {"precision": "bfloat16", "channels_last": True, "compile": True},
    "float16, channels last": {"precision": "float16", "channels_last": True},
}


class Seconds(ScoreSink):
    """Keeps the wall time of each epoch, as the trainer tells it."""

    def __init__(self) -> None:
        self.of: dict[int, float] = {}

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """Take note."""
        self.of[epoch] = seconds


def data(images: int) -> Data:
    """Random images; hardly any are held out, so that epochs are of training."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> dict[str, dict[str, Source]]:
        pixels = torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        names = tuple(f"class{number}" for number in range(CLASSES))
        return {"objects": {"": Source("classification", pixels, torch.arange(count) % CLASSES, names)}}

    return assemble({"train": split(images), "validation": split(8), "test": split(8)})


def configs(network: str, batch: int, device: str, epochs: int, setting: dict[str, Any]) -> tuple[Any, TrainerConfig]:
    """The model and the trainer."""
    task = TaskConfig(name="objects", tap="depth:1", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0))
    model = SharedBackboneConfig(backbone=TorchvisionBackboneConfig(name=network), batch_norm="shared", tasks=(task,))
    trainer = TrainerConfig(
        epochs=epochs,
        optimiser=SgdConfig(lr=0.01),
        schedule=ConstantConfig(),
        mixing=MixingConfig(main="objects", batch_size=batch),
        augmentation=(("objects", AugmentConfig(shift=4, mirror=True, rotation=15)),),
        device=device,
        **setting,
    )
    return model, trainer


def fit(model: Any, trainer: TrainerConfig, held: Data) -> list[float]:
    """Seconds of each epoch but the first."""
    sink = Seconds()
    with TemporaryDirectory() as folder, (place := RunFolder(Path(folder))).locked():
        built = build(model, held.info, seed=0)
        build(trainer).fit(built, held, seed=0, folder=place, sinks=[sink])
    return [sink.of[epoch] for epoch in range(2, trainer.epochs + 1)]


def flops_an_image(model: Any, held: Data) -> float:
    """Floating-point operations of the forward and backward pass, a multiplication and its addition counted as two."""
    built, count = build(model, held.info, seed=0).train(), 2
    with FlopCounterMode(display=False) as counter:
        built(held.splits["train"]["objects"][""].images[:count], "objects").sum().backward()
    return float(counter.get_total_flops() / count)


def matrix_peak(device: torch.device) -> float:
    """FLOP/s of a large bfloat16 matrix product, the best of several."""
    side = 8192
    left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    best = 0.0
    for _ in range(20):
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(10):
            left @ right
        torch.cuda.synchronize(device)
        best = max(best, 10 * 2 * side**3 / (time.perf_counter() - started))
    return best


def known(settings: dict[str, dict[str, Any]], device: torch.device) -> dict[str, dict[str, Any]]:
    """Those settings that this release has, and that the device can run."""
    fields, found = TrainerConfig.model_fields, {}
    for name, setting in settings.items():
        if missing := sorted(set(setting) - set(fields)):
            print(f"Left out: {name} (TrainerConfig has no {', '.join(missing)}).")
        elif device.type == "cuda" or setting.get("precision") != "float16":
            found[name] = setting
    return found


def compare(network: str, held: Data, given: argparse.Namespace) -> None:
    """A table of the settings."""
    device = torch.device(given.device)
    on_gpu, peak = device.type == "cuda", 0.0
    settings = known({name: SETTINGS[name] for name in given.setting or SETTINGS}, device)
    steps = len(held.splits["train"]["objects"][""]) // given.batch
    if on_gpu:
        peak = matrix_peak(device)
        print(f"{torch.cuda.get_device_name(device)}: {peak / 1e12:.0f} TFLOP/s in a bfloat16 matrix product")
    times: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(given.turns):
        for name, setting in settings.items():
            times[name] += fit(*configs(network, given.batch, given.device, 3, setting), held)
    print(f"\n{network}, epochs of {steps} batches of {given.batch}\n")
    more = " 100,000 images, s | share of peak | waits a step | computing |" if on_gpu else ""
    print(f"| setting | images/s | to the first |{more}\n|---|---:|---:|{'---:|' * (4 if on_gpu else 0)}")
    first = next(iter(times.values()))
    for name, setting in settings.items():
        rate = steps * given.batch / statistics.median(times[name])
        factor = statistics.median(other / own for own, other in zip(times[name], first, strict=True))
        row = f"| {name} | {rate:,.0f} | {factor:.2f}x |"
        if on_gpu:
            model, trainer = configs(network, given.batch, given.device, 2, setting)
            share = rate * flops_an_image(model, held) / peak
            seen: Profile = profiled_steps(lambda model=model, trainer=trainer: fit(model, trainer, held), epoch=2)
            row += f" {EPOCH / rate:.2f} | {share:.0%} | {seen.waits / steps:.2f} | {seen.busy:.0%} |"
        print(row, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--network", action="append", help="of torchvision; repeatable")
    parser.add_argument("--setting", choices=SETTINGS, action="append", help="only this one; repeatable")
    parser.add_argument("--batch", type=int, help="images a batch (default: 512, on a CPU 32)")
    parser.add_argument("--images", type=int, help=f"of an epoch (default: {EPOCH:,}, on a CPU three batches)")
    parser.add_argument("--turns", type=int, default=2, help="each times two epochs of each setting (default: 2)")
    given = parser.parse_args()
    on_cpu = torch.device(given.device).type == "cpu"
    given.batch = given.batch or (32 if on_cpu else 512)
    held = data(given.images or (3 * given.batch if on_cpu else EPOCH))
    for network in given.network or (["resnet18"] if on_cpu else ["vgg19_bn"]):
        compare(network, held, given)


if __name__ == "__main__":
    main()
