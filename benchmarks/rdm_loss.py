"""Cost of the RDM losses beside a pass through a backbone: python benchmarks/rdm_loss.py [--device cuda]

Forward and backward of each comparison (correlation distance of 4,096 features), and of two backbones on as many
images, in turn, in one process. Medians of several: process CPU times, or on a GPU wall times with synchronisation.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cotrain.losses import rdm_loss
from cotrain.losses._rdm import COMPARISONS
from cotrain.models import SmallCnnConfig, TorchvisionBackboneConfig
from cotrain.resolve import build

FEATURES, PIXELS = 4096, 64
BACKBONES = {
    "ResNet-18": TorchvisionBackboneConfig(name="resnet18"),
    "SmallCnn": SmallCnnConfig(input_channels=3),
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--device", default="cpu", help="cpu (default; one thread) or cuda")
parser.add_argument("--stimuli", type=int, nargs="+", default=[64, 196, 512])
parser.add_argument("--rounds", type=int, default=5)
options = parser.parse_args()
device = torch.device(options.device)
torch.set_num_threads(1)
torch.manual_seed(0)


def seconds(action: Callable[[], object]) -> float:
    """Of one call."""
    if device.type == "cpu":
        started = time.process_time()
        action()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    action()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def loss_pass(comparison: str, stimuli: int) -> Callable[[], object]:
    """Forward and backward of one comparison, from features to their gradient."""
    features = torch.randn(stimuli, FEATURES, device=device, requires_grad=True)
    target = torch.corrcoef(torch.randn(stimuli, 200, device=device)).neg().add(1)
    target = (target + target.T) / 2

    def go() -> None:
        features.grad = None
        rdm_loss(features, target, comparison=comparison).backward()

    return go


def backbone_pass(name: str, stimuli: int) -> Callable[[], object]:
    """Forward and backward of a backbone in training, from images to the gradients of its parameters."""
    network = build(BACKBONES[name]).to(device).train()
    images = torch.randn(stimuli, 3, PIXELS, PIXELS, device=device)

    def go() -> None:
        network.zero_grad()
        output: Tensor = network(images)
        output.square().mean().backward()

    return go


where = platform.machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
print(
    f"{where}, torch {torch.__version__}; {FEATURES} features, images of {PIXELS} x {PIXELS}; {options.rounds} rounds"
)
for stimuli in options.stimuli:
    passes = {name: backbone_pass(name, stimuli) for name in BACKBONES}
    passes |= {comparison: loss_pass(comparison, stimuli) for comparison in COMPARISONS}
    times: dict[str, list[float]] = {name: [] for name in passes}
    for action in passes.values():
        action()
    for _ in range(options.rounds):
        for name, action in passes.items():
            times[name].append(seconds(action))
    median = {name: statistics.median(held) for name, held in times.items()}
    print(f"{stimuli} stimuli: " + ", ".join(f"{name} {1e3 * median[name]:.2f} ms" for name in BACKBONES))
    for comparison in COMPARISONS:
        shares = ", ".join(f"{100 * median[comparison] / median[name]:.1f} % of {name}" for name in BACKBONES)
        print(f"  {comparison:<9} {1e3 * median[comparison]:8.2f} ms: {shares}")
