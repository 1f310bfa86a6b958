"""Does the pipeline reach the known bars of neural prediction? python benchmarks/neural_bars.py

Two sessions of macaque V4 (Cowley et al. 2023) are predicted from grey pixels, from the first layer of a ResNet-20
with random weights, and from the layers of one that was trained on CIFAR-10: ridge, five folds, alphas chosen within
each training fold, features z-scored there; the median over neurons of the Pearson correlation of held-out
predictions. Beside each number stands the one that another program, written independently of cotrain, found on the
same data (of its random network no more is known than that it was one; those of ResNet-20 vary: .36 to .40 in layer1
and .14 to .40 in layer2 of 210325, with three seeds); then the median after each neuron's correlation is divided by
the root of its reliability, where there are repeats; and that of stimuli which were shuffled. Needs the folders
cowley_v4 and cifar_resnets below COTRAIN_DATA.

Command: COTRAIN_DATA=... python benchmarks/neural_bars.py     (a minute and a half of one core)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad, relu
from tqdm import tqdm

from cotrain.analysis import Ridge, extract, normalised, regress, split_half_reliability, summary
from cotrain.data.recordings import Session, read_cowley2023

BARS = {
    "210325": {"pixels 28 x 28": 0.26, "random": 0.37, "layer1": 0.46, "layer2": 0.54, "layer3": 0.45},
    "190923": {"pixels 28 x 28": 0.18, "random": 0.36, "layer1": 0.46, "layer2": 0.52, "layer3": 0.39},
}
WEIGHTS = "cifar_resnets/resnet20-12fca82f.th"
METHOD = Ridge(tuple(np.logspace(1, 7, 13)), standardise=True)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of the pixels that the network was trained with


class Block(nn.Module):
    """Of a CIFAR ResNet, whose shortcut pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of `outputs` channels."""
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        missing = inner.shape[1] - x.shape[1]
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, missing // 2, missing // 2))
        return relu(inner + shortcut)


class Pool(nn.Module):
    """Maps as 7 x 7 means."""

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, 7, 7)."""
        return adaptive_avg_pool2d(x, 7)


class ResNet20(nn.Module):
    """Without its classifier; its layers' maps pass a pool at which they can be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = {"layer1": (16, 16), "layer2": (16, 32), "layer3": (32, 64)}
        for name, (inputs, outputs) in widths.items():
            blocks = (Block(inputs if number == 0 else outputs, outputs) for number in range(3))
            self.add_module(name, nn.Sequential(*blocks))
        self.pools = nn.ModuleDict({name: Pool() for name in widths})

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the last layer."""
        x = relu(self.bn1(self.conv1(x)))
        for name, pool in self.pools.items():
            x = getattr(self, name)(x)
            pool(x)
        return x


def resnet20(weights: Path | None) -> ResNet20:
    """The trained network, or one with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ResNet20()
    if weights is not None:
        state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
        state = {name.removeprefix("module."): value for name, value in state.items()}
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith("linear.")})
    return network.eval()


def as_trained(images: Tensor) -> Tensor:
    """56 x 56 pixels, normalised as the network's were."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (interpolate(images, (56, 56), mode="bilinear", antialias=True) - mean) / std


def feature_sets(images: np.ndarray, weights: Path) -> dict[str, np.ndarray]:
    """{name: (images, features)} of uint8 (images, height, width, 3), in the order of the bars."""
    grey = torch.from_numpy(images).float().mean(3)[:, None] / 255
    small = interpolate(grey, (28, 28), mode="bilinear", antialias=True).flatten(1).numpy()
    names = [f"pools.layer{number}" for number in (1, 2, 3)]
    trained = extract(resnet20(weights), images, names, prepare=as_trained, batch=128)
    random = extract(resnet20(None), images, names[:1], prepare=as_trained, batch=128)[names[0]]
    layers = {name.removeprefix("pools."): np.asarray(one) for name, one in trained.items()}
    return {"pixels 28 x 28": small, "random": np.asarray(random), **layers}


@dataclass(frozen=True)
class Found:
    """Medians over neurons.

    Args:
        correlation: Pearson r of held-out predictions.
        normalised: The same divided by the root of the reliability; NaN without repeats.
        shuffled: As `correlation`, of features in another order than the responses.
    """

    correlation: float
    normalised: float
    shuffled: float


def predicted(session: Session, features: np.ndarray, *, seed: int = 0) -> Found:
    """Of one session from one set of features."""
    r = regress(features, session.mean, METHOD, 5, seed=seed).scores("pearson")
    order = np.random.default_rng(seed).permutation(len(features))
    # correlations fold by fold: joined, those of a neuron that nothing predicts are below 0
    shuffled = np.nanmean(regress(features[order], session.mean, METHOD, 5, seed=seed).fold_scores("pearson"), 0)
    share = float("nan")
    if session.responses.ndim == 3:
        share = summary(normalised(r, split_half_reliability(session.responses), "r/sqrt(ceiling)")).median
    return Found(summary(r).median, share, summary(shuffled).median)


def bars(root: Path, sessions: Sequence[str] = tuple(BARS)) -> dict[str, dict[str, Found]]:
    """{session: {features: found}}."""
    recording = read_cowley2023(root / "cowley_v4", sessions=sessions)
    found = {}
    for name in sessions:
        session = recording.sessions[name]
        sets = feature_sets(np.asarray(session.images), root / WEIGHTS)
        found[name] = {key: predicted(session, one) for key, one in tqdm(sets.items(), desc=name, leave=False)}
    return found


if __name__ == "__main__":
    logging.getLogger("cotrain").setLevel(logging.ERROR)  # ends of the grid of alphas, of shuffled stimuli
    torch.set_num_threads(1)
    print("session  features         median r   bar  differs   r/sqrt(reliability)  shuffled")
    for session, rows in bars(Path(os.environ["COTRAIN_DATA"])).items():
        for name, found in rows.items():
            bar = BARS[session][name]
            print(
                f"{session}   {name:<16} {found.correlation:8.3f} {bar:5.2f} {found.correlation - bar:+8.3f} "
                f"{found.normalised:21.3f} {found.shuffled:9.3f}"
            )
