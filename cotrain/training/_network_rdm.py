"""Data with the geometry of another network as a task: an RDM of what its last features, or a layer, answer."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn
from tqdm import tqdm

from cotrain.config import Config
from cotrain.data import Data, Source, prepared, shown_sources, with_task
from cotrain.dissimilarity import Dissimilarity, pairs, stored_rdm
from cotrain.errors import DataError, ModelError
from cotrain.models import normalised_as_imagenet, tapped
from cotrain.resolve import AnyConfig, build
from cotrain.seeds import derive_seed

BATCH = 64
MOST_ROWS = 10_000  # as of RDMs of responses: 0.4 GB


class NetworkRdmConfig(Config):
    """Data with a further RDM task: dissimilarities of what a network, that is no run, answers to their images."""

    kind: ClassVar[str] = "cotrain.training.network_rdm"
    data: AnyConfig
    shown: str  # the task of these data whose images the network sees
    network: AnyConfig  # of a builder of a backbone, or `PenultimateConfig`; with its weights, or random
    layer: str = ""  # module path in the network, whose maps are averaged over space; empty: what the network gives
    size: Annotated[int, Ge(0)] = 0  # the images are scaled to so many pixels; 0: as they are
    task: str = "network_rdm"  # name of the new task
    dissimilarity: Dissimilarity = "correlation"
    network_seed: Annotated[int, Ge(0)] = 0  # of random weights: the same teacher for all seeds of an experiment


def network_rdm(config: NetworkRdmConfig, *, seed: int) -> Data:
    """Build `config.data`, show the images of a task to the network, and add the RDM of its features, split by split.

    Images become colour images, normalised with the mean and standard deviation of ImageNet.

    Raises:
        DataError: A task is unknown or there already, a split has too many images, or the network tells no images of
            it apart.
        ModelError: There is no such layer, images do not pass, or weights are missing.
    """
    data: Data = build(config.data, seed=seed)
    shown = shown_sources(data, config.shown, config.task)
    for split, source in shown.items():
        if len(source) > MOST_ROWS:
            raise DataError(
                f"{split}/{config.task}: an RDM among {len(source)} images is larger than the limit of {MOST_ROWS}. "
                "Take fewer images."
            )
    network = _network(config)
    added: dict[str, dict[str, Source]] = {}
    for split, source in shown.items():
        matrix = stored_rdm(_features(network, config, source, split), config.dissimilarity)
        if float(pairs(matrix).std()) < 1e-6:
            raise DataError(
                f"{split}/{config.task}: all images are equally far from each other for the network, so its geometry "
                "says nothing. Take another layer."
            )
        added[split] = {"": Source("rdm", source.images, matrix)}
    return with_task(data, config.task, added)


def _network(config: NetworkRdmConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.network_seed, "initialisation", "network"))
        network: nn.Module = build(config.network)
    return network.eval()


@torch.no_grad()
def _features(network: nn.Module, config: NetworkRdmConfig, source: Source, split: str) -> Tensor:
    pieces = source.images.split(BATCH)
    bar = tqdm(pieces, total=-(-len(source) // BATCH), desc=f"network, {split}", disable=None, delay=2, leave=False)
    found = []
    for piece in bar:
        images = normalised_as_imagenet(prepared(piece, 3, config.size).float() / 255)
        try:
            answer: Any = tapped(network, images, [config.layer])[config.layer] if config.layer else network(images)
        except RuntimeError as error:
            raise ModelError(
                f"Images of {tuple(images.shape[1:])} do not pass through {config.network.kind}: {error} Give `size`."
            ) from None
        found.append(answer.flatten(2).mean(2) if answer.ndim > 2 else answer)
    return torch.cat(found)
