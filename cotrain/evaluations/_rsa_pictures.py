"""One layer beside one target, with what pictures of them need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.data import Data, ImageRows
from cotrain.errors import ModelError
from cotrain.evaluations._labels import classification_of, labels_of
from cotrain.evaluations._rsa import RsaConfig, RsaScore, compared, layer_rdms, rsa_targets
from cotrain.evaluations._rsa_targets import Target, chosen_target
from cotrain.models import MultiTaskModel


@dataclass(frozen=True, eq=False)
class RsaPicture:
    """What is drawn.

    Args:
        target: "name" or "name/session".
        layer: Its name.
        target_rdm: float64 (stimuli, stimuli); of several subjects the mean.
        model_rdm: float64 (stimuli, stimuli).
        categories: Of each stimulus; empty where none is known.
        icons: uint8 (stimuli, height, width, channels); None of an RDM among groups.
        scores: Of all layers of the config, by its first dissimilarity and comparison.
    """

    target: str
    layer: str
    target_rdm: NDArray[np.float64]
    model_rdm: NDArray[np.float64]
    categories: tuple[str, ...]
    icons: NDArray[np.uint8] | None
    scores: tuple[RsaScore, ...]


def rsa_picture(
    model: MultiTaskModel,
    data: Data,
    config: RsaConfig,
    *,
    layer: str,
    device: torch.device,
    target: str | None = None,
    categories: str = "",
) -> RsaPicture:
    """The RDMs of one layer and one target, by the first dissimilarity of the config, and the scores of its layers.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: As of `rsa`; its layers are those that are scored.
        layer: That is drawn: a name, or a pattern that one layer has.
        device: Where features and RDMs are computed.
        target: "name" or "name/session"; None: the only one.
        categories: The classification that names the stimuli's categories; "": the only one that names all of them, if
            there is one. A file's own labels go before.

    Raises:
        CotrainError: There is no such target, or it must be chosen.
        ModelError: There is no such layer, or the pattern is that of several.
        DataError: As of `rsa`.
    """
    way = config.replace(dissimilarities=config.dissimilarities[:1], comparisons=config.comparisons[:1])
    chosen = chosen_target(list(rsa_targets(model, data, config)), target)
    with layer_rdms(model, chosen, way.replace(layers=(layer,)), device=device) as layers:
        found = dict(layers)
    if len(found) > 1:
        raise ModelError(f"One layer is drawn, and {layer!r} means {', '.join(found)}. Name one of them.")
    ((name, matrices),) = found.items()
    dissimilarity = way.dissimilarities[0]
    return RsaPicture(
        chosen.where,
        name,
        chosen.rdms(dissimilarity, config.responses).mean(0).numpy(),
        matrices[dissimilarity].numpy(),
        _categories(chosen, data, config.split, categories),
        _icons(chosen),
        tuple(compared(model, chosen, way, device=device)),
    )


def _categories(target: Target, data: Data, split: str, asked: str) -> tuple[str, ...]:
    if target.labels is not None and not asked:
        return tuple(target.labels.tolist())
    several = sum(task.kind == "classification" for task in data.info.tasks.values()) > 1
    if target.groups is not None or (several and not asked):
        return ()
    task = classification_of(data, asked)
    if task is None:
        return ()
    names = labels_of(target.images, data.splits[split][task])
    return tuple(names.tolist()) if (names != "").all() else ()


def _icons(target: Target) -> NDArray[np.uint8] | None:
    if target.groups is not None:
        return None
    held = target.images
    pixels = held[torch.arange(len(held))] if isinstance(held, ImageRows) else held
    return np.ascontiguousarray(pixels.cpu().numpy().transpose(0, 2, 3, 1))
