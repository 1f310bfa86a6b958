"""Cost of the capacity loss: python benchmarks/capacity_loss.py

Forward and backward of capacity and MMCR on class manifolds of random features, and of a backbone on as many images, on
the same device, in turn; median of several, and ratios to the backbones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cotrain.losses import CapacityConfig, MmcrConfig
from cotrain.models import SmallCnnConfig, TorchvisionBackboneConfig
from cotrain.resolve import build
from cotrain.tasks import TaskInfo

parser = argparse.ArgumentParser(description="Cost of the capacity loss beside a pass through a backbone.")
parser.add_argument("--classes", type=int, default=10, help="in a batch (default: %(default)s)")
parser.add_argument("--images", type=int, default=20, help="of each class (default: %(default)s)")
parser.add_argument("--features", type=int, default=512, help="(default: %(default)s)")
parser.add_argument("--draws", type=int, default=100, help="random directions a class (default: %(default)s)")
parser.add_argument("--size", type=int, default=64, help="pixels a side (default: %(default)s)")
parser.add_argument("--runs", type=int, default=5, help="of which the median is taken (default: %(default)s)")
parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)")
options = parser.parse_args()

torch.set_num_threads(options.threads)
torch.manual_seed(0)
task = TaskInfo("manifolds", (3, options.size, options.size), (0.5,), (0.2,), tuple(map(str, range(options.classes))))
labels = torch.arange(options.classes).repeat_interleave(options.images).to(options.device)
centres = torch.randn(options.classes, options.features, device=options.device)
noise = torch.randn(len(labels), options.features, device=options.device)
features = (centres[labels] + 1.5 * noise).requires_grad_()
images = torch.randn(len(labels), 3, options.size, options.size, device=options.device)


def of_objective(config: CapacityConfig | MmcrConfig) -> Callable[[], Tensor]:
    """The loss of the features."""
    objective = build(config, task)
    return lambda: objective.loss(features, labels)


def of_backbone(config: SmallCnnConfig | TorchvisionBackboneConfig) -> Callable[[], Tensor]:
    """A number that depends on all that the backbone computes."""
    network = build(config).to(options.device).train()
    return lambda: network(images).square().mean()


def seconds(forward: Callable[[], Tensor]) -> float:
    """One pass forward and backward."""
    started = time.perf_counter()
    forward().backward()
    if options.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


losses = {"capacity": of_objective(CapacityConfig(draws=options.draws)), "mmcr": of_objective(MmcrConfig())}
backbones = {
    "SmallCnn": of_backbone(SmallCnnConfig(input_channels=3)),
    "ResNet-18": of_backbone(TorchvisionBackboneConfig(name="resnet18")),
}
passes = {**losses, **backbones}
times: dict[str, list[float]] = {name: [] for name in passes}
for run in range(options.runs + 1):
    for name, forward in passes.items():
        spent = seconds(forward)
        if run:  # the first only warms up
            times[name].append(spent)
medians = {name: statistics.median(held) for name, held in times.items()}
print(
    f"{options.classes} classes x {options.images} images x {options.features} features, {options.draws} draws, "
    f"{options.device}, {options.threads} thread(s), median of {options.runs}"
)
for name, held in times.items():
    ratios = ", ".join(f"{medians[name] / medians[other]:.3f} of {other}" for other in backbones if name in losses)
    print(f"{name:>10}: {1e3 * medians[name]:8.1f} ms ({1e3 * min(held):.1f} to {1e3 * max(held):.1f})  {ratios}")
