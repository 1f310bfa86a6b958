"""The last features of many known networks for the same images, each network built, asked and left in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cotrain.analysis._extract import extract
from cotrain.analysis._reductions import AveragePool
from cotrain.errors import ModelError
from cotrain.models import LastFeatures, PenultimateConfig, normalised_as_imagenet, penultimate, penultimate_sizes
from cotrain.seeds import derive_seed


def zoo_features(
    images: Any,
    names: Sequence[str] | None = None,
    *,
    weights: str | Mapping[str, str] = "",
    readout: LastFeatures = "published",
    batch: int = 32,
    seed: int = 0,
    device: str | torch.device | None = None,
    spill: str | Path | None = None,
    progress: bool = False,
) -> Iterator[tuple[str, Any]]:
    """(name, features) of one network after the other, so that memory holds one network and one batch.

    Grey images are shown as colour ones; all are normalised with the mean and standard deviation of ImageNet, and
    shown as large as they are: weights were made for 224 x 224 pixels. Nothing is mirrored.

    Args:
        images: As `extract` takes them.
        names: Of `cotrain.models.penultimate_sizes()`; None: all, the 20 of the published table.
        weights: For all networks or {name: weights}: a name of torchvision's ("IMAGENET1K_V1"), or a file in the
            data folder. Empty, or a name that is left out: random weights.
        readout: Which last features, see `PenultimateConfig`.
        batch: Images that pass together.
        seed: Of random weights, which depend on it and on the name alone.
        device: Where to compute; None: on the CPU.
        spill: An empty or new folder; the features of each network are mapped from a folder of its name there.
        progress: Whether bars are shown, of networks and of images.

    Yields:
        The name, and float32 (images, features), of the kind that `extract` gives.

    Raises:
        ModelError: A name is not known, no network is named, weights are of networks that are not asked for or do not
            fit, or images do not pass.
    """
    names = tuple(penultimate_sizes()) if names is None else names
    if not names:
        raise ModelError(f"No network is asked for. Known are {', '.join(penultimate_sizes())}.")
    if isinstance(weights, Mapping) and (others := sorted(set(weights) - set(names))):
        raise ModelError(f"There are weights of {', '.join(others)}, which is not among the networks asked for.")
    configs = [
        PenultimateConfig(
            name=name, weights=weights if isinstance(weights, str) else weights.get(name, ""), readout=readout
        )
        for name in names
    ]
    for config in tqdm(configs, desc="zoo", unit="network", disable=not progress, leave=False):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "initialisation", "zoo", config.name))
            built = penultimate(config)
        found = extract(
            built.network.eval(),
            images,
            [built.layer],
            reduce=AveragePool(),
            prepare=normalised_as_imagenet,
            batch=batch,
            device=device,
            spill=None if spill is None else Path(spill) / config.name,
            progress=progress,
        )
        yield config.name, found[built.layer]
