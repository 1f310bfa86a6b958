"""Does a student take over a teacher's geometry from an RDM alone, for images that it never saw, and with which loss?

Teacher: a random convolutional network whose answers are recorded with noise as strong as they vary themselves, which
lifts all dissimilarities, as in recordings. Students: smaller ones, from scratch. Images: noise of several grains,
drawn anew for each seed, 96 to learn from and 96 held out. Printed are, over seeds, the mean and Student's 95 %
interval of the Spearman correlation of the student's held-out RDM with that of the teacher without noise; and what the
squared difference of the student's and the recorded RDM, held out too, consists of: their mean levels, their spreads,
and their shape, which alone is geometry.

Command: python benchmarks/rdm_recovery.py [--seeds 5] [--steps 100]     (about a minute of one core)
Found, 5 seeds:

| student's loss | held-out Spearman | MSE | offset | scale | shape |
|---|---|---|---|---|---|
| no loss | 0.676 [0.598, 0.755] | 0.0261 | 67 % | 5 % | 28 % |
| shuffled teacher | 0.214 [0.165, 0.264] | 0.0082 | 12 % | 3 % | 85 % |
| raw MSE | 0.723 [0.662, 0.783] | 0.0043 | 1 % | 1 % | 98 % |
| 1 - Pearson | 0.821 [0.766, 0.877] | 0.0079 | 35 % | 12 % | 53 % |

So most of what raw MSE gains is the level: it ends with the smaller squared difference and the worse geometry.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import torch
from scipy.stats import t
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cotrain.analysis import MseParts, compare_rdms, mse_decomposition
from cotrain.dissimilarity import rdm
from cotrain.losses import rdm_loss
from cotrain.seeds import derive_seed

CONDITIONS = ("no loss", "shuffled teacher", "raw MSE", "1 - Pearson")
IMAGES = 96  # to learn from, and as many held out


@dataclass(frozen=True)
class Recovery:
    """Of one student, on held-out images."""

    spearman: float
    parts: MseParts


def recovery(condition: str, seed: int, *, steps: int = 100) -> Recovery:
    """Train a student under a condition and compare it with its teacher on held-out images.

    The student, its images and its teacher are the same under all conditions of one seed.
    """
    images = _images(derive_seed(seed, "noise", "images"))
    teacher = _network((24, 48), derive_seed(seed, "initialisation", "teacher"))
    student = _network((16, 32), derive_seed(seed, "initialisation", "student"))
    with torch.no_grad():
        answers = teacher(images)
        noise = torch.randn(answers.shape, generator=_generator(derive_seed(seed, "noise", "recording")))
        seen, recorded = (rdm(part) for part in (answers + answers.std(0) * noise).split(IMAGES))
        true = rdm(answers[IMAGES:])
    if condition == "shuffled teacher":
        order = torch.randperm(IMAGES, generator=_generator(derive_seed(seed, "noise", "shuffle")))
        seen = seen[order][:, order]
    comparison = "mse" if condition == "raw MSE" else "pearson"
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-3)
    for _ in range(0 if condition == "no loss" else steps):
        loss = rdm_loss(student(images[:IMAGES]), seen, comparison=comparison)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = rdm(student(images[IMAGES:]))
    return Recovery(float(compare_rdms(found, true, "spearman")), mse_decomposition(found, recorded))


def _images(seed: int) -> Tensor:
    """Noise (images, 1, 16, 16) of several sizes of grain, so that images differ as a whole and in detail."""
    generator = _generator(seed)
    layers = [
        interpolate(torch.randn(2 * IMAGES, 1, size, size, generator=generator), (16, 16), mode="bilinear")
        for size in (2, 4, 8, 16)
    ]
    return torch.stack(layers).sum(0)


def _network(channels: tuple[int, int], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        first, second = channels
        return nn.Sequential(
            nn.Conv2d(1, first, 5, 2, 2), nn.ReLU(), nn.Conv2d(first, second, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _interval(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f} (one seed, no interval)"
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| student's loss | held-out Spearman, {options.seeds} seeds | MSE | offset | scale | shape |")
    print("|---|---|---|---|---|---|")
    for condition in CONDITIONS:
        found = [recovery(condition, seed, steps=options.steps) for seed in range(options.seeds)]
        total, *parts = (
            statistics.fmean(getattr(one.parts, name) for one in found)
            for name in ("total", "offset", "scale", "shape")
        )
        shares = " | ".join(f"{part:.4f} ({100 * part / total:.0f} %)" for part in parts)
        print(f"| {condition} | {_interval([one.spearman for one in found])} | {total:.4f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
