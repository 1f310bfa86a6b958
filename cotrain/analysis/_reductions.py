"""What is kept of a layer's features: all, spatial means, random projections, principal components, scalar products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from cotrain.analysis._feature_pca import COLUMNS, coordinates, principal_components
from cotrain.analysis._sparse_projection import GaussianMatrix, SparseMatrix, johnson_lindenstrauss_size
from cotrain.errors import ModelError, did_you_mean
from cotrain.seeds import derive_seed

Take = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cost:
    """Of one layer.

    Args:
        columns: Numbers a stimulus that are held while images pass.
        kept: Numbers a stimulus that are held in the end.
        scratch: Bytes that are needed beside, while images pass.
        last: Bytes that are needed after the last image, when it is this layer's turn.
    """

    columns: int
    kept: int
    scratch: int = 0
    last: int = 0


class Reduction(Protocol):
    """What `extract` does with the features of a layer.

    Args:
        waits: Whether all stimuli's features are held, in float32, until `finish` makes of them what is kept.
    """

    @property
    def waits(self) -> bool: ...

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        """For features of that shape of each stimulus."""

    def taker(self, shape: tuple[int, ...], stimuli: int, *, layer: str, seed: int) -> Take:
        """A function from features (images, *shape) to what is held of them (images, columns)."""

    def finish(self, held: Tensor) -> Tensor:
        """What is kept (stimuli, kept) of all that was held (stimuli, columns)."""


def flattened(features: Tensor) -> Tensor:
    """(images, features)."""
    return features.flatten(1) if features.ndim > 1 else features[:, None]


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _bytes_of_products(shape: tuple[int, ...], stimuli: int) -> int:
    """Scalar products of stimuli, their eigenvectors, and the columns that are multiplied at a time, in float64."""
    return 8 * stimuli * (2 * stimuli + min(COLUMNS, _count(shape)))


@dataclass(frozen=True)
class Everything:
    """All features."""

    waits: ClassVar[bool] = False

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        return Cost(_count(shape), _count(shape))

    def taker(self, shape: tuple[int, ...], stimuli: int, *, layer: str, seed: int) -> Take:
        return flattened

    def finish(self, held: Tensor) -> Tensor:
        return held


@dataclass(frozen=True)
class AveragePool(Everything):
    """Means over space: of maps (channels, height, width) one number a channel, of tokens (tokens, channels) the mean
    token; vectors stay as they are."""

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        kept = shape[0] if len(shape) > 2 else shape[-1] if shape else 1
        return Cost(kept, kept)

    def taker(self, shape: tuple[int, ...], stimuli: int, *, layer: str, seed: int) -> Take:
        def take(features: Tensor) -> Tensor:
            if len(shape) > 2:
                return features.flatten(2).float().mean(2)
            return features.float().mean(1) if len(shape) == 2 else flattened(features)

        return take


@dataclass(frozen=True)
class _Projection(Everything):
    """Random projection of the flattened features; layers with no more features than its size stay as they are.

    Args:
        size: Dimensions; None: as many as keep all squared distances among the stimuli within 1 +- eps (Johnson &
            Lindenstrauss), 4,096 of 119 stimuli.
        eps: For that.
    """

    size: int | None = None
    eps: float = 0.1

    def dimensions(self, stimuli: int) -> int:
        """Of the projection."""
        if self.size is None:
            return johnson_lindenstrauss_size(stimuli, self.eps)
        if self.size < 1:
            raise ModelError(f"A projection has one dimension or more, found size={self.size}.")
        return self.size

    def _wide(self, shape: tuple[int, ...], stimuli: int) -> bool:
        return _count(shape) > self.dimensions(stimuli)


@dataclass(frozen=True)
class SparseProjection(_Projection):
    """Sparse random projection (Kane & Nelson 2014); layers with no more features than its size stay as they are.

    The matrix depends on the seed and on the layer's name alone: it is the same for other stimuli (give `size`, then),
    beside other layers and in batches of any size.

    Args:
        size: Dimensions; None: as many as keep all squared distances among the stimuli within 1 +- eps (Johnson &
            Lindenstrauss), 4,096 of 119 stimuli.
        eps: For that.
        nonzeros: Dimensions that each feature goes to: 1 is fastest, but large single features then collide.
    """

    nonzeros: int = 4

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        size = min(self.dimensions(stimuli), _count(shape))
        return Cost(size, size, 4 * _count(shape) * self.nonzeros if self._wide(shape, stimuli) else 0)

    def taker(self, shape: tuple[int, ...], stimuli: int, *, layer: str, seed: int) -> Take:
        if not self._wide(shape, stimuli):
            return flattened
        own = derive_seed(seed, "initialisation", "sparse projection", layer)
        matrix = SparseMatrix(_count(shape), self.dimensions(stimuli), nonzeros=self.nonzeros, seed=own)
        return lambda features: matrix(flattened(features))


@dataclass(frozen=True)
class GaussianProjection(_Projection):
    """Random projection with independent normal numbers: as `SparseProjection`, slower, the same for any features.

    A matrix above 256 MB is drawn anew for each batch, which is slow: prefer the sparse one for large layers.

    Args:
        size: Dimensions; None: as in `SparseProjection`.
        eps: For that.
    """

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        size = min(self.dimensions(stimuli), _count(shape))
        whole = 4 * _count(shape) * size
        drawn = whole if whole <= 2**28 else 4 * GaussianMatrix.ROWS * size
        return Cost(size, size, drawn if self._wide(shape, stimuli) else 0)

    def taker(self, shape: tuple[int, ...], stimuli: int, *, layer: str, seed: int) -> Take:
        if not self._wide(shape, stimuli):
            return flattened
        own = derive_seed(seed, "initialisation", "gaussian projection", layer)
        matrix = GaussianMatrix(_count(shape), self.dimensions(stimuli), seed=own)
        return lambda features: matrix(flattened(features))


@dataclass(frozen=True)
class Pca(Everything):
    """Scores on principal components, fitted to some stimuli and applied to all.

    Features of all stimuli are held (in memory, or on disk with `spill`) until their components are known. Exact up to
    6000 fitted stimuli or features, incremental above.

    Args:
        size: Components; cut to what a layer has: features, and fitted stimuli less one.
        rows: Positions of the stimuli that are fitted: those for training. None: all of them, also those that are to
            test something later.
    """

    waits: ClassVar[bool] = True
    size: int = 1000
    rows: Sequence[int] | None = None

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        kept = min(self.size, _count(shape), len(self._fitted(stimuli)) - 1)
        return Cost(_count(shape), kept, last=_bytes_of_products(shape, stimuli))

    def finish(self, held: Tensor) -> Tensor:
        return principal_components(held, self.size, self._fitted(len(held)))

    def _fitted(self, stimuli: int) -> Tensor:
        if self.size < 1:
            raise ModelError(f"Pca: there is one component or more, found size={self.size}.")
        rows = np.arange(stimuli) if self.rows is None else np.asarray(self.rows)
        if rows.dtype == bool and rows.shape == (stimuli,):
            rows = np.flatnonzero(rows)
        if (
            rows.dtype.kind not in "iu"
            or len(rows) < 2
            or len(np.unique(rows)) < len(rows)
            or not 0 <= rows.min() <= rows.max() < stimuli
        ):
            raise ModelError(
                f"Pca: rows must be two or more different positions from 0 to {stimuli - 1}, found "
                f"{rows[:5].tolist()}..."
            )
        return torch.from_numpy(rows.astype(np.int64))


@dataclass(frozen=True)
class Gram(Everything):
    """All that ridge, principal components, Euclidean RDMs and CKA can see of the features, exactly: at most as many
    columns as stimuli, with the scalar products of all features.

    Features of all stimuli are held (in memory, or on disk with `spill`) until the products are known. Columns are the
    coordinates of all stimuli that were shown together; they mean nothing for others.
    """

    waits: ClassVar[bool] = True

    def cost(self, shape: tuple[int, ...], stimuli: int) -> Cost:
        return Cost(_count(shape), min(_count(shape), stimuli), last=_bytes_of_products(shape, stimuli))

    def finish(self, held: Tensor) -> Tensor:
        return coordinates(held)


NAMED: dict[str, Callable[[], Reduction]] = {
    "average_pool": AveragePool,
    "gaussian_projection": GaussianProjection,
    "gram": Gram,
    "pca": Pca,
    "sparse_projection": SparseProjection,
}


def as_reduction(reduce: Reduction | str | None) -> Reduction:
    """A reduction, from one, from its name with everything as it stands, or from None: everything is kept.

    Raises:
        ModelError: There is none of that name.
    """
    if reduce is None:
        return Everything()
    if isinstance(reduce, str):
        if reduce not in NAMED:
            raise ModelError(f"There is no reduction {reduce!r}.{did_you_mean(reduce, list(NAMED))}")
        return NAMED[reduce]()
    if not hasattr(reduce, "taker"):
        raise ModelError(f"A reduction is None, one of {', '.join(NAMED)}, or such an object, found {reduce!r}.")
    return reduce
