"""Features of a stored model's layers, one layer after the other, and as which task it sees images."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from pydantic import AfterValidator
from torch import Tensor

from cotrain.analysis import AffineManifolds, GaussianProjection, SparseProjection, extract
from cotrain.data import Images
from cotrain.errors import ConfigError, did_you_mean
from cotrain.evaluations._robustness import each_once
from cotrain.models import MultiTaskModel

Layers = Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1), AfterValidator(each_once)]
"""Names, patterns, "blocks", "leaves", "all" or "depth:0.5", as of `cotrain.analysis.extract`."""
Reduce = Literal["", "average_pool", "sparse_projection", "gaussian_projection"]
"""What is kept of each layer's features; "": all."""


@contextlib.contextmanager
def layer_features(
    model: MultiTaskModel,
    images: Images | AffineManifolds,
    layers: Sequence[str],
    *,
    shown_as: str,
    reduce: Reduce | SparseProjection | GaussianProjection,
    seed: int,
    batch: int,
) -> Iterator[Iterator[tuple[str, Tensor]]]:
    """Gives (layer, float32 (images, features)), one after the other, in the order of a pass; on the CPU.

    The images pass once; until a layer's turn its features lie in a temporary file, so that memory holds one layer.
    The files are there as long as the context is.

    Args:
        model: Left as it is.
        images: uint8, or warped.
        layers: As for `cotrain.analysis.extract`.
        shown_as: The task of the model whose normalisation images have.
        reduce: What is kept.
        seed: Of random projections.
        batch: Images that pass at once.
    """
    with tempfile.TemporaryDirectory(prefix="cotrain-") as folder:
        found = extract(
            model, images, list(layers), reduce=reduce or None, task=shown_as, seed=seed, batch=batch, spill=folder
        )
        yield ((name, torch.as_tensor(found.pop(name))) for name in list(found))


def reduction(reduce: Reduce, widest: int) -> Reduce | SparseProjection | GaussianProjection:
    """What is kept of layers, where projections leave `widest` features of those that have more."""
    if reduce == "sparse_projection":
        return SparseProjection(widest)
    return GaussianProjection(widest) if reduce == "gaussian_projection" else reduce


def task_shown(model: MultiTaskModel, wanted: str, asked: str = "") -> str:
    """The task of the model as which images are normalised.

    Args:
        model: Of some tasks.
        wanted: The task of the images, if the model has it.
        asked: What a config says for images that belong to none of the model's tasks; "": the model's first task.

    Raises:
        ConfigError: The model has no such task.
    """
    known = list(model.taps)
    if wanted in known:
        return wanted
    if asked and asked not in known:
        raise ConfigError(f"shown_as: the model has no task {asked!r}.{did_you_mean(asked, known)}")
    return asked or known[0]
