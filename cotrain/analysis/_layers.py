"""Layers by name, pattern, depth, or all of a sort."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from torch import nn

from cotrain.analysis._places import Place, Trial
from cotrain.errors import ModelError, did_you_mean
from cotrain.models import at_depth, block_paths, is_depth

Layers = str | float | Sequence[str | float]


def chosen_layers(network: nn.Module, trial: Trial, layers: Layers) -> dict[str, Place]:
    """{name: place} of those that are asked for, in the order of a pass.

    Args:
        network: Whose layers.
        trial: What a pass goes through.
        layers: One or several of: a name, as `Place.name` or by any path of the module; a pattern as in the shell, with
            `*` for any text, also with dots; "all", "leaves", "blocks", also where a module is called so;
            "depth:0.5", or the number 0.5.

    Raises:
        ModelError: Nothing is of that name, or it has no features a image; or nothing is asked for.
    """
    asked = [layers] if isinstance(layers, (str, float, int)) else list(layers)
    if not asked:
        raise ModelError("No layer is asked for. Name some, or write 'blocks'.")
    order = {place.name: number for number, place in enumerate(trial.places)}
    found: dict[str, Place] = {}
    for layer in asked:
        for name, place in _found(network, trial, layer).items():
            found.setdefault(name, place)
    return dict(sorted(found.items(), key=lambda item: order[item[1].name]))


def depths_of(network: nn.Module, trial: Trial) -> dict[str, float]:
    """{name of a place: share of all blocks that is done when it is}; see `layer_depths`."""
    blocks = set(block_paths(network))
    ends: dict[str, int] = {}
    for number, place in enumerate(trial.places):
        if place.path in blocks and place.call == 1:
            ends.setdefault(place.path, number)
    done = list(ends.values()) or [len(trial.places) - 1]
    depths = np.interp(np.arange(len(trial.places)), [-1, *done], np.arange(len(done) + 1) / len(done))
    return {place.name: depth for place, depth in zip(trial.places, depths.tolist(), strict=True)}


def _found(network: nn.Module, trial: Trial, layer: str | float) -> dict[str, Place]:
    known = {place.name: place for place in trial.places}
    if isinstance(layer, bool) or not isinstance(layer, (str, float, int)):
        raise ModelError(f"A layer is a name, a pattern or a depth from 0 to 1, found {layer!r}.")
    if not isinstance(layer, str):
        layer = f"depth:{layer:g}"
    if layer in ("all", "leaves", "blocks"):
        return _sort(network, trial, layer)
    if layer in known:
        return {layer: known[layer]}
    if is_depth(layer):
        path = at_depth(layer, _blocks(network, trial))
        return {path: _only(path, known, trial)}
    if (real := _renamed(layer, trial)) in known:
        return {layer: known[real]}
    if matches := {name: place for name, place in known.items() if fnmatchcase(name, layer)}:
        return matches
    return {layer: _only(real, known, trial)}


def _sort(network: nn.Module, trial: Trial, sort: str) -> dict[str, Place]:
    if sort == "blocks":
        # of a block that gives several tensors the first stands for it
        first: dict[str, Place] = {}
        for place in trial.places:
            if place.call == 1:
                first.setdefault(place.path, place)
        return {first[path].name: first[path] for path in _blocks(network, trial)}
    leaves = {path for path, module in network.named_modules() if next(module.children(), None) is None}
    return {p.name: p for p in trial.places if not p.seen and (sort == "all" or p.path in leaves)}


def _blocks(network: nn.Module, trial: Trial) -> list[str]:
    candidates = set(block_paths(network))
    found = list(dict.fromkeys(place.path for place in trial.places if place.path in candidates and place.call == 1))
    if not found:
        raise ModelError("The network has no blocks with features an image; name its layers, or write 'leaves'.")
    return found


def _renamed(layer: str, trial: Trial) -> str:
    """By the first path of a module that has several."""
    for path, real in trial.aliases.items():
        if layer == path or layer.startswith((f"{path}#", f"{path}[")):
            return real + layer.removeprefix(path)
    return layer


def _only(name: str, known: dict[str, Place], trial: Trial) -> Place:
    """The one tensor of a layer whose tensors are parts, or an error."""
    if name in known:
        return known[name]
    parts = [known[other] for other in known if other.startswith(f"{name}[")]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise ModelError(
            f"The layer {name!r} gives {len(parts)} tensors; name one: {', '.join(p.name for p in parts[:8])}."
        )
    if name in trial.others:
        raise ModelError(
            f"The layer {name!r} gives {trial.others[name]} for one image and has no axis that grows with the number "
            "of images, so it has no features of an image."
        )
    shallow = [other for other in known if other.count(".") <= max(1, name.count("."))]
    raise ModelError(
        f"A pass gives no layer {name!r}.{did_you_mean(name, shallow)} Layers are module paths, those of a co-trained "
        "model in its backbone."
    )
