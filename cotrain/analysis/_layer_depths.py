"""How deep in a network its layers lie."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cotrain.analysis._extract import network_of
from cotrain.analysis._layers import Layers, chosen_layers, depths_of
from cotrain.analysis._places import try_out
from cotrain.analysis._shown_images import Prepare, ShownImages
from cotrain.analysis._undisturbed import undisturbed


def layer_depths(
    model: nn.Module, images: Any, layers: Layers, *, task: str = "", prepare: Prepare | None = None
) -> dict[str, float]:
    """Share of the network's blocks that is done when a layer is, above 0 and at most 1.

    Of the third of four blocks 0.75, as "depth:0.75" means that block; within a block, depth grows evenly with what a
    pass goes through, and after the last block it is 1. Of a network without blocks, it is the share of all modules.

    Args:
        model: As for `extract`; it is left as it was.
        images: As for `extract`; the first one is passed twice.
        layers: As for `extract`.
        task, prepare: As for `extract`.

    Returns:
        {layer: depth} in the order of a pass.

    Raises:
        ModelError, DataError: As `extract`.

    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))
    >>> layer_depths(network, torch.rand(5, 1, 8, 8), "blocks")
    {'0': 0.5, '1': 1.0}
    """
    looked_at = network_of(model, task, None)
    shown = ShownImages(
        images, device=looked_at.device, dtype=looked_at.dtype, keep_bytes=looked_at.normalises, prepare=prepare
    )
    with undisturbed(looked_at.whole), torch.no_grad(), torch.autocast(looked_at.device.type, enabled=False):
        trial = try_out(looked_at.layers, looked_at.run, shown.batch(0, 1))
    found = chosen_layers(looked_at.layers, trial, layers)
    depth = depths_of(looked_at.layers, trial)
    return {name: depth[place.name] for name, place in found.items()}
